//! How long an entry is kept: TTL by class, jitter, stagger, and the TTL of "there is no such thing".

use crate::time::Span;

/// The importance of what is cached, which decides its TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Class {
    /// Must survive an outage of the origin as long as possible.
    Critical,
    /// In between.
    Important,
    /// Everything else.
    #[default]
    Regular,
}

/// By how much a TTL is shortened at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jitter {
    /// Up to this share of the TTL.
    Share(f64),
    /// Up to this time (never more than the TTL).
    Up(Span),
}

/// How long entries are kept.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// The TTL of a class that has none of its own; the cache's own TTL when absent.
    pub ttl: Option<Span>,
    /// The TTL of [`Class::Critical`].
    pub critical: Option<Span>,
    /// The TTL of [`Class::Important`].
    pub important: Option<Span>,
    /// The TTL of [`Class::Regular`].
    pub regular: Option<Span>,
    /// Shortens each TTL by a uniform draw, so that what was filled together does not expire together.
    pub jitter: Option<Jitter>,
    /// Staggered refresh: an entry is refreshed at an instant of its own, drawn from the last part of its life that
    /// is this long, when it is asked for after that instant; its readers do not wait.
    pub stagger: Option<Span>,
    /// How long "there is no such thing" is remembered; not at all when absent.
    pub negative: Option<Span>,
}
