//! Which key makes room for another (`maxmemory-policy`).

/// A policy, by the words of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    NoEviction,
    AllKeys(Choice),
    Expiring(Choice),
    SoonestExpiry,
}

/// Which of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    LeastRecent,
    LeastFrequent,
    Random,
}

/// All policies by name.
pub(crate) const POLICIES: [(&str, Policy); 8] = [
    ("noeviction", Policy::NoEviction),
    ("allkeys-lru", Policy::AllKeys(Choice::LeastRecent)),
    ("allkeys-lfu", Policy::AllKeys(Choice::LeastFrequent)),
    ("allkeys-random", Policy::AllKeys(Choice::Random)),
    ("volatile-lru", Policy::Expiring(Choice::LeastRecent)),
    ("volatile-lfu", Policy::Expiring(Choice::LeastFrequent)),
    ("volatile-random", Policy::Expiring(Choice::Random)),
    ("volatile-ttl", Policy::SoonestExpiry),
];

impl Policy {
    pub(crate) fn from_name(name: &str) -> Option<Policy> {
        let found = POLICIES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, policy)| *policy)
    }
}
