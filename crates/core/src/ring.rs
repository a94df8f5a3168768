//! Which node holds a key: modulo, jump hash, or a consistent hash ring with bounded load.

/// How keys are spread over nodes.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Sharding {
    /// The key's number modulo the count of nodes: moves almost every key when the count changes.
    Modulo,
    /// Jump consistent hash (Lamping and Veach, 2014): nodes can only be added and removed at the end.
    Jump,
    /// A ring of virtual nodes.
    #[default]
    Ring,
}
