//! Which copy serves: random, in turn, least connections, or the better of two.

/// How calls are spread over copies that could all serve them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Any one.
    Random,
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest calls in flight.
    LeastConnections,
    /// The less busy of two drawn at random.
    PowerOfTwo,
}
