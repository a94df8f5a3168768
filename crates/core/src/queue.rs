//! A bounded queue: places, a timeout, and what happens when it stands for too long.

use crate::time::Span;

/// Who is served next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// The one who has waited longest.
    #[default]
    Fifo,
    /// The one who came last.
    Lifo,
    /// First come, first served, but last come, first served while the queue is overloaded.
    Adaptive,
}

/// CoDel (RFC 8289), for requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Codel {
    /// The wait that is fine.
    pub target: Span,
    /// Waits above the target for this long mean that the queue stands.
    pub interval: Span,
}

/// The bounds of a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How many may wait; the next one is shed.
    pub places: u32,
    /// Who has waited this long is shed.
    pub timeout: Span,
    /// Who is served next.
    pub order: Order,
    /// Sheds from a queue that stands; off when absent.
    pub codel: Option<Codel>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            places: 1000,
            timeout: Span::secs(30),
            order: Order::Fifo,
            codel: None,
        }
    }
}
