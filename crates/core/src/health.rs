//! Health: a lost cache makes a service degraded, not dead.
//!
//! A service that calls itself dead because its cache is gone is taken out of rotation, and so is each of its
//! copies: the failure of what was meant to help becomes an outage. So each part says whether the service can answer
//! without it. This probes nothing and keeps no history; it is the rule alone.
//!
//! ```
//! use seawall_core::health::{Health, Part, judge};
//! let cache = Part { name: "cache", critical: false, up: false };
//! let origin = Part { name: "origin", critical: true, up: true };
//! assert_eq!(judge(&[cache, origin]), Health::Degraded { parts: vec!["cache"] });
//! assert!(judge(&[cache, origin]).takes_traffic());
//! ```

/// Something that a service uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Whether the service cannot answer without it.
    pub critical: bool,
    /// Whether it answers.
    pub up: bool,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health<'a> {
    /// All parts are up.
    Ready,
    /// It answers, without these parts.
    Degraded {
        /// What is down, in the order given.
        parts: Vec<&'a str>,
    },
    /// It cannot answer.
    NotReady {
        /// What it cannot answer without, in the order given.
        parts: Vec<&'a str>,
    },
}

impl Health<'_> {
    /// Whether it belongs in rotation.
    pub fn takes_traffic(&self) -> bool {
        !matches!(self, Health::NotReady { .. })
    }
}

/// The health of a service with these parts.
pub fn judge<'a>(parts: &[Part<'a>]) -> Health<'a> {
    let down = |critical_only: bool| -> Vec<&'a str> {
        let lost = parts
            .iter()
            .filter(|part| !part.up && (part.critical || !critical_only));
        lost.map(|part| part.name).collect()
    };
    let (fatal, all) = (down(true), down(false));
    if !fatal.is_empty() {
        Health::NotReady { parts: fatal }
    } else if !all.is_empty() {
        Health::Degraded { parts: all }
    } else {
        Health::Ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_critical_part_takes_a_service_out() {
        let part = |name, critical, up| Part { name, critical, up };
        let cases = [
            (vec![], Health::Ready),
            (
                vec![part("cache", false, true), part("origin", true, true)],
                Health::Ready,
            ),
            (
                vec![
                    part("l2", false, false),
                    part("l3", false, false),
                    part("origin", true, true),
                ],
                Health::Degraded {
                    parts: vec!["l2", "l3"],
                },
            ),
            (
                vec![part("cache", false, false), part("origin", true, false)],
                Health::NotReady {
                    parts: vec!["origin"],
                },
            ),
        ];
        for (parts, health) in cases {
            assert_eq!(judge(&parts), health);
            assert_eq!(
                health.takes_traffic(),
                parts.iter().all(|part| part.up || !part.critical)
            );
        }
    }
}
