//! What can be the matter, by name.
//!
//! A [`Failure`] is a fact about one part of a system ("the cache lets nobody in"), not a symptom that many facts share
//! ("the cache is down"). Some are always the cause of something else, and some are what follows; [`Failure::role`]
//! tells them apart, because it is the cause that has to be mended.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What kind of part a failure is a failure of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A cache, or a node of one.
    Cache,
    /// What stands behind the cache.
    Origin,
    /// A service that reads through the cache.
    Service,
    /// Those who ask.
    Clients,
}

/// Whether a failure starts things or follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It has its reason outside the system that is looked at.
    Cause,
    /// It can begin on its own, and it also follows from a cause.
    Either,
    /// It always follows from something, which may be over already.
    Effect,
}

macro_rules! failures {
    ($($(#[doc = $what:literal])+ $variant:ident = $name:literal, $part:ident, $role:ident;)+) => {
        /// What can be the matter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Failure {
            $($(#[doc = $what])+ $variant,)+
        }

        impl Failure {
            /// Every failure, in the order of the documentation.
            pub const ALL: &'static [Failure] = &[$(Failure::$variant,)+];

            /// Its name in reports, in JSON and in the store of incidents.
            pub const fn name(self) -> &'static str {
                match self { $(Failure::$variant => $name,)+ }
            }

            /// One sentence that a person understands at once.
            pub const fn what(self) -> &'static str {
                match self { $(Failure::$variant => concat!($($what,)+).trim_ascii(),)+ }
            }

            /// What it is a failure of.
            pub const fn part(self) -> Part {
                match self { $(Failure::$variant => Part::$part,)+ }
            }

            /// Whether it starts things or follows from them.
            pub const fn role(self) -> Role {
                match self { $(Failure::$variant => Role::$role,)+ }
            }
        }
    };
}

failures! {
    /// Nobody listens at the cache's address: its process is gone, or something on the way refuses.
    Refused = "refused", Cache, Cause;
    /// Nothing that is sent to the cache arrives: packets are dropped on the way.
    Unreachable = "unreachable", Cache, Cause;
    /// The cache's process stands still: its kernel accepts connections, and nobody reads from them.
    Hung = "hung", Cache, Cause;
    /// The cache holds back all commands, because somebody paused its clients.
    Paused = "paused", Cache, Cause;
    /// Connections to the cache are cut.
    Reset = "reset", Cache, Cause;
    /// Commands inside the cache take too long.
    SlowCommands = "slow-commands", Cache, Cause;
    /// The way to the cache takes too long; the cache itself is quick.
    NetworkLatency = "network-latency", Cache, Cause;
    /// The cache gets too little of a processor.
    CpuStarved = "cpu-starved", Cache, Cause;
    /// The cache has no memory for new entries and refuses writes.
    OutOfMemory = "out-of-memory", Cache, Cause;
    /// The kernel has killed the cache's process for want of memory.
    Killed = "killed", Cache, Cause;
    /// The cache lets no more clients in.
    TooManyClients = "too-many-clients", Cache, Cause;
    /// The cache reads its data set and answers nothing else.
    Loading = "loading", Cache, Cause;
    /// The cache takes no writes: it is a replica, or has become one.
    ReadOnly = "read-only", Cache, Cause;
    /// The cache does not accept the login.
    Auth = "auth", Cache, Cause;
    /// The cache cannot write to its disk and therefore refuses writes.
    DiskFull = "disk-full", Cache, Cause;
    /// The cache is empty: flushed, restarted or replaced.
    Cold = "cold", Cache, Cause;
    /// A large part of the entries expired at one time.
    MassExpiry = "mass-expiry", Cache, Cause;
    /// What should be cached is not stored.
    NotStored = "not-stored", Cache, Cause;
    /// What is read from the cache is not what was stored.
    Corruption = "corruption", Cache, Cause;
    /// The same keys are loaded over and over, by many at once.
    Stampede = "stampede", Cache, Either;
    /// One key draws a large part of the load.
    HotKey = "hot-key", Clients, Cause;
    /// Many ask for keys that do not exist, and each question goes to the origin.
    Penetration = "penetration", Clients, Cause;
    /// Much more is asked than before.
    TrafficSpike = "traffic-spike", Clients, Cause;
    /// The cache gives nothing, and the origin carries what it normally spares it.
    FallbackActive = "fallback-active", Service, Effect;
    /// Copies of the service are gone, or go again and again.
    InstancesDown = "instances-down", Service, Cause;
    /// The service gets too little of a processor: it is slow, and what it calls is not.
    ServiceStarved = "service-starved", Service, Cause;
    /// The origin answers slowly without being asked for more.
    OriginSlow = "origin-slow", Origin, Either;
    /// Queries of the origin wait for a lock.
    OriginLocked = "origin-locked", Origin, Cause;
    /// Every connection of the origin is taken.
    OriginFull = "origin-full", Origin, Either;
    /// The origin does not answer.
    OriginDown = "origin-down", Origin, Cause;
    /// What began it is over, and retries and abandoned work keep the system down.
    RetryStorm = "retry-storm", Service, Effect;
}

impl Failure {
    /// The failure of this name.
    pub fn from_name(name: &str) -> Option<Failure> {
        Failure::ALL
            .iter()
            .copied()
            .find(|failure| failure.name() == name)
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Failure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Failure, D::Error> {
        let name = String::deserialize(deserializer)?;
        Failure::from_name(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("no failure is called `{name}`")))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for failure in Failure::ALL {
            assert_eq!(Failure::from_name(failure.name()), Some(*failure));
            assert!(failure.what().ends_with('.'), "{failure}");
        }
    }
}
