//! The protections of the document: the same settings that the gateway and the library read.

use seawall_core::policies::Policies;
use seawall_core::{
    balance, breaker, coalesce, deadline, early, lease, limit, queue, rate, retry, shed, sketch, stale,
    throttle, ttl, warm,
};

use super::Place;

/// One protection, and the places that have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Protection {
    /// Gateways and services.
    pub at: Vec<Place>,
    /// What it is, completely.
    pub setting: Setting,
}

macro_rules! protections {
    ($($(#[doc = $doc:literal])+ $variant:ident($type:ty) = $field:ident, $off:expr;)+) => {
        /// The settings of one protection.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Setting { $($(#[doc = $doc])+ $variant($type),)+ }

        /// A protection, without its settings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ProtectionName { $($(#[doc = $doc])+ $variant,)+ }

        impl Setting {
            /// Which protection this is.
            pub fn name(&self) -> ProtectionName {
                match self { $(Setting::$variant(_) => ProtectionName::$variant,)+ }
            }

            /// Switches it on, or tunes it.
            pub fn apply(&self, policies: &mut Policies) {
                match self { $(Setting::$variant(settings) => policies.$field = settings.clone().into(),)+ }
            }
        }

        impl ProtectionName {
            /// Every protection.
            pub const ALL: &'static [ProtectionName] = &[$(ProtectionName::$variant,)+];

            /// Its key in the document.
            pub const fn key(self) -> &'static str {
                match self { $(ProtectionName::$variant => stringify!($field),)+ }
            }

            /// Switches it off.
            pub fn remove(self, policies: &mut Policies) {
                match self { $(ProtectionName::$variant => policies.$field = $off,)+ }
            }
        }
    };
}

protections! {
    /// Stops asking cache nodes that do not answer.
    Breaker(breaker::Settings) = breaker, None;
    /// Stops asking an origin that does not answer.
    OriginBreaker(breaker::Settings) = origin_breaker, None;
    /// Many misses of one key, one load.
    Coalesce(coalesce::Settings) = coalesce, None;
    /// One load a key over the whole fleet.
    Lease(lease::Settings) = lease, None;
    /// How long entries are kept.
    Ttl(ttl::Settings) = ttl, ttl::Settings::default();
    /// Early refresh.
    Early(early::Settings) = early, None;
    /// Stale answers.
    Stale(stale::Settings) = stale, None;
    /// Limits on waiting.
    Deadline(deadline::Settings) = deadline, deadline::Settings::default();
    /// Retries of loads.
    Retry(retry::Settings) = retry, None;
    /// The bounded queue of requests at the door.
    Queue(queue::Settings) = queue, None;
    /// How many calls may be inside the origin.
    Limit(limit::Settings) = limit, None;
    /// How many requests a second are let in.
    Rate(rate::Settings) = rate, None;
    /// The share of reads let in.
    Throttle(throttle::Settings) = throttle, None;
    /// Shedding by priority.
    Shed(shed::Settings) = shed, None;
    /// Refilling a cold cache.
    Warm(warm::Settings) = warm, None;
    /// Keeping hot keys in each instance's memory.
    Hot(sketch::Settings) = hot, None;
    /// How calls are spread over copies of the origin.
    Balance(balance::Strategy) = balance, None;
    /// Whether entries carry a checksum.
    Integrity(bool) = integrity, false;
}
