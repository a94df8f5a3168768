//! From findings to steps, in the order in which they are to be taken.

use super::catalog::{Id, catalog};
use super::{How, Step};
use crate::diagnosis::Diagnosis;
use crate::failure::Failure;

/// What is known of the system: names that go into commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The host and port of the cache.
    pub cache: Option<(String, u16)>,
    /// The host of the origin.
    pub origin: Option<String>,
}

/// The steps against all that is likely, the likeliest cause first; each step once.
pub fn plan(diagnosis: &Diagnosis, known: &Known) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for finding in diagnosis.likely() {
        for id in against(finding.failure) {
            let harmful = diagnosis
                .likely()
                .any(|other| catalog(*id).harms.contains(&other.failure));
            if steps.iter().any(|step| step.id == *id) || harmful {
                continue;
            }
            steps.push(step(*id, finding.failure, known));
        }
    }
    steps
}

/// One step, with the names of the system.
fn step(id: Id, against: Failure, known: &Known) -> Step {
    let recipe = catalog(id);
    let how = match recipe.how {
        How::Person(commands) => How::Person(commands.iter().map(|line| named(line, known)).collect()),
        how @ How::Seawall(_) => how,
    };
    Step {
        id,
        title: recipe.title,
        phase: recipe.phase,
        does: recipe.does,
        risk: recipe.risk,
        verify: recipe.verify,
        undo: recipe.undo,
        how,
        harms: recipe.harms,
        against,
    }
}

/// The commands of a step that only a person takes, with the names of the system; none of one that Seawall does.
pub fn commands(id: Id, known: &Known) -> Vec<String> {
    match catalog(id).how {
        How::Person(commands) => commands.iter().map(|line| named(line, known)).collect(),
        How::Seawall(_) => Vec::new(),
    }
}

fn named(line: &str, known: &Known) -> String {
    let (host, port) = known
        .cache
        .as_ref()
        .map_or(("REDIS_HOST", "6379".to_owned()), |(host, port)| {
            (host, port.to_string())
        });
    let origin = known.origin.as_deref().unwrap_or("POSTGRES_HOST");
    line.replace("{host}", host)
        .replace("{port}", &port)
        .replace("{origin}", origin)
}

/// What helps against a failure, in order: keep the origin alive, mend the cause, bring the load back slowly.
#[expect(clippy::too_many_lines, reason = "it is a table")]
pub(crate) fn against(failure: Failure) -> &'static [Id] {
    match failure {
        Failure::Refused => &[
            Id::LimitOrigin,
            Id::Coalesce,
            Id::Stale,
            Id::StartRedis,
            Id::Throttle,
            Id::Shed,
            Id::Jitter,
        ],
        Failure::Unreachable => &[
            Id::LimitOrigin,
            Id::CacheBreaker,
            Id::Deadline,
            Id::Stale,
            Id::CheckNetwork,
            Id::Throttle,
        ],
        Failure::Hung => &[
            Id::LimitOrigin,
            Id::CacheBreaker,
            Id::Deadline,
            Id::Stale,
            Id::WakeRedis,
            Id::Throttle,
        ],
        Failure::Paused => &[
            Id::LimitOrigin,
            Id::CacheBreaker,
            Id::Deadline,
            Id::WaitPause,
            Id::Stale,
        ],
        Failure::Reset => &[Id::LimitOrigin, Id::CacheBreaker, Id::CheckNetwork, Id::Stale],
        Failure::SlowCommands => &[
            Id::FindSlow,
            Id::LimitOrigin,
            Id::Deadline,
            Id::CacheBreaker,
            Id::Shard,
        ],
        Failure::NetworkLatency => &[Id::CheckNetwork, Id::LimitOrigin, Id::Deadline, Id::CacheBreaker],
        Failure::CpuStarved => &[Id::GiveCpu, Id::LimitOrigin, Id::Deadline],
        Failure::OutOfMemory => &[
            Id::LimitOrigin,
            Id::RaiseMaxmemory,
            Id::Evict,
            Id::MemoryLimit,
            Id::TtlClasses,
        ],
        Failure::Killed => &[Id::LimitOrigin, Id::MemoryLimit, Id::StartRedis, Id::Stale],
        Failure::TooManyClients => &[Id::RaiseMaxclients, Id::LimitOrigin, Id::DropIdle],
        Failure::Loading => &[Id::LimitOrigin, Id::WaitLoading, Id::Stale],
        Failure::ReadOnly => &[Id::LimitOrigin, Id::FindMaster],
        Failure::Auth => &[Id::LimitOrigin, Id::FixAuth],
        Failure::DiskFull => &[Id::AllowWrites, Id::FreeDisk, Id::LimitOrigin],
        Failure::Cold => &[
            Id::LimitOrigin,
            Id::Coalesce,
            Id::Stale,
            Id::Throttle,
            Id::Shed,
            Id::Jitter,
            Id::Warm,
            Id::TtlClasses,
        ],
        Failure::MassExpiry => &[
            Id::LimitOrigin,
            Id::Coalesce,
            Id::Stale,
            Id::Jitter,
            Id::Early,
            Id::TtlClasses,
            Id::Warm,
        ],
        Failure::NotStored => &[Id::LimitOrigin, Id::Coalesce, Id::CheckWriters],
        Failure::Corruption => &[Id::LimitOrigin, Id::Integrity, Id::Purge],
        Failure::Stampede => &[
            Id::Coalesce,
            Id::LimitOrigin,
            Id::Stale,
            Id::OriginBreaker,
            Id::Jitter,
            Id::Early,
            Id::ScaleOrigin,
        ],
        Failure::HotKey => &[Id::HotKeys, Id::Coalesce, Id::Early, Id::Shard],
        Failure::Penetration => &[Id::Negative, Id::LimitOrigin, Id::Rate],
        Failure::TrafficSpike => &[
            Id::LimitOrigin,
            Id::Shed,
            Id::Queue,
            Id::Rate,
            Id::Balance,
            Id::ScaleService,
        ],
        Failure::FallbackActive => &[Id::LimitOrigin, Id::Coalesce, Id::Throttle],
        Failure::InstancesDown => &[Id::CheckService, Id::Shed, Id::Queue],
        Failure::ServiceStarved => &[Id::Queue, Id::Shed, Id::GiveCpu, Id::ScaleService],
        Failure::OriginSlow => &[
            Id::LimitOrigin,
            Id::FindSlowQueries,
            Id::Stale,
            Id::Throttle,
            Id::RetryBudget,
            Id::ScaleOrigin,
        ],
        Failure::OriginLocked => &[
            Id::FindLock,
            Id::LimitOrigin,
            Id::OriginBreaker,
            Id::Stale,
            Id::RetryBudget,
        ],
        Failure::OriginFull => &[
            Id::LimitOrigin,
            Id::Coalesce,
            Id::OriginConnections,
            Id::Throttle,
            Id::RetryBudget,
        ],
        Failure::OriginDown => &[Id::Stale, Id::OriginBreaker, Id::CheckOrigin, Id::RetryBudget],
        Failure::RetryStorm => &[
            Id::LimitOrigin,
            Id::RetryBudget,
            Id::Queue,
            Id::Shed,
            Id::Rate,
            Id::HoldBreaker,
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_steps_and_every_step_is_for_something() {
        for failure in Failure::ALL {
            assert!(!against(*failure).is_empty(), "{failure}");
        }
        for id in Id::ALL {
            let used = Failure::ALL.iter().any(|failure| against(*failure).contains(id));
            assert!(used, "{} is proposed by nothing", id.name());
            assert_eq!(Id::from_name(id.name()), Some(*id));
        }
    }

    #[test]
    fn no_step_is_proposed_against_what_it_makes_worse() {
        for failure in Failure::ALL {
            for id in against(*failure) {
                let harms = catalog(*id).harms;
                assert!(!harms.contains(failure), "{} harms {failure}", id.name());
            }
        }
    }

    #[test]
    fn the_first_step_does_no_harm_whatever_it_is() {
        // What is first is taken at once and by a tired person: it has to be harmless even when the finding is wrong.
        for failure in Failure::ALL {
            let first = catalog(against(*failure)[0]);
            let likely_mistaken = first.harms.iter().filter(|other| other.part() == failure.part());
            assert_eq!(
                likely_mistaken.count(),
                0,
                "{} first against {failure}",
                first.id.name()
            );
        }
    }

    #[test]
    fn commands_name_the_system() {
        let known = Known {
            cache: Some(("cache.internal".to_owned(), 6380)),
            origin: None,
        };
        let step = step(Id::StartRedis, Failure::Refused, &known);
        let How::Person(commands) = step.how else {
            panic!("only a person starts Redis")
        };
        assert!(commands.contains(&"redis-cli -h cache.internal -p 6380 ping".to_owned()));
        assert!(commands.iter().all(|line| !line.contains("{host}")));
    }
}
