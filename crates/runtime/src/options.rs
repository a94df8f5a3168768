//! What a call may ask for.

use std::time::Duration;

use seawall_core::guard::Mode;
use seawall_core::shed::Priority;
use seawall_core::time::Span;
use seawall_core::ttl::Class;

/// What one call asks for; the default asks for nothing in particular.
///
/// ```
/// use std::time::Duration;
/// use seawall::{Class, Options, Priority};
/// let checkout = Options::new()
///     .class(Class::Critical)
///     .priority(Priority::High)
///     .deadline(Duration::from_millis(300))
///     .max_stale(Duration::from_secs(60));
/// # let _ = checkout;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) class: Option<Class>,
    pub(crate) priority: Priority,
    pub(crate) deadline: Option<Duration>,
    pub(crate) fresh_for: Span,
    pub(crate) stale_max: Span,
    pub(crate) mode: Mode,
    pub(crate) tags: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// Asks for nothing in particular.
    pub const fn new() -> Options {
        Options {
            class: None,
            priority: Priority::Normal,
            deadline: None,
            fresh_for: Span::MAX,
            stale_max: Span::MAX,
            mode: Mode::Normal,
            tags: Vec::new(),
        }
    }

    /// The class of the value, which decides how long it is kept. Without one, each tier's own TTL does.
    pub fn class(mut self, class: Class) -> Options {
        self.class = Some(class);
        self
    }

    /// What is shed last, where anything is.
    pub fn priority(mut self, priority: Priority) -> Options {
        self.priority = priority;
        self
    }

    /// The caller waits for this long, all tiers, queues and retries together; less when the policy says less.
    pub fn deadline(mut self, deadline: Duration) -> Options {
        self.deadline = Some(deadline);
        self
    }

    /// To this caller nothing is fresh that was read from the origin longer ago than this. A load that is under way
    /// is fresh enough.
    pub fn fresh_for(mut self, age: Duration) -> Options {
        self.fresh_for = age.into();
        self
    }

    /// This caller takes nothing that is past its freshness for longer than this, whatever the policy allows;
    /// zero for nothing stale at all.
    pub fn max_stale(mut self, age: Duration) -> Options {
        self.stale_max = age.into();
        self
    }

    /// Past the caches, to the origin; what comes is stored. A load that is under way is joined.
    pub fn bypass(mut self) -> Options {
        self.mode = Mode::NoCache;
        self
    }

    /// Something that the value belongs to, and can be invalidated by.
    pub fn tag(mut self, tag: impl Into<String>) -> Options {
        self.tags.push(tag.into());
        self
    }

    pub(crate) fn only_cached(&self) -> Options {
        Options {
            mode: Mode::OnlyIfCached,
            ..self.clone()
        }
    }
}
