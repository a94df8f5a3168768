//! Which failure is it, how bad is it, what to do.
//!
//! "The cache is down" has a dozen reasons, and what helps against one makes another worse: who restarts a Redis that is
//! merely paused empties it. This crate reads the record of metrics ([`seawall_core::record`]), of a simulated run, of a
//! drill or of a live system, and says which failure it is, with the evidence for it and against it.
//!
//! [`diagnose`](diagnose()) looks at one moment, [`follow`](follow()) at a whole record. Both are pure: same record, same
//! findings.
//!
//! ```
//! use seawall_core::record::{Metric, Record, Series};
//! use seawall_core::time::Span;
//! use seawall_diagnose::{Failure, diagnose};
//!
//! let mut record = Record::new(Span::secs(1), Span::ZERO, 20);
//! let series = |metric, from: f64, to: f64| {
//!     let value = |at| if at < 15 { from } else { to };
//!     Series::new(metric, "redis", (0..20).map(value).collect())
//! };
//! record.push(series(Metric::CacheHits, 900.0, 0.0));
//! record.push(series(Metric::CacheMisses, 100.0, 0.0));
//! record.push(series(Metric::Probes, 1.0, 1.0));
//! record.push(series(Metric::ProbeFailures, 0.0, 1.0).labelled("reply_timed_out"));
//! record.push(series(Metric::ProbeFailures, 0.0, 1.0).labelled("alive_timed_out"));
//! let diagnosis = diagnose(&record, 19, 0..15);
//! assert_eq!(diagnosis.first().map(|finding| finding.failure), Some(Failure::Hung));
//! ```

#[cfg(feature = "live")]
pub mod apply;
#[cfg(feature = "live")]
pub mod audit;
mod diagnosis;
mod failure;
mod finding;
mod follow;
#[cfg(feature = "live")]
mod held;
#[cfg(feature = "live")]
pub mod incident;
#[cfg(feature = "live")]
pub mod init;
mod joined;
mod line;
#[cfg(feature = "live")]
pub mod probe;
mod rules;
pub mod runbook;
mod severity;
mod situation;
mod told;
mod truth;
mod view;

pub use diagnosis::{Diagnosis, diagnose};
pub use failure::{Failure, Part, Role};
pub use finding::{Evidence, Finding, LIKELY, PRIOR};
pub use follow::{Change, Episode, Follower, Settings, follow};
#[cfg(feature = "live")]
pub use held::{Held, held};
pub use joined::joined;
pub use severity::{Judged, Severity, escalation};
pub use situation::Impact;
pub use told::told;
pub use truth::{Truth, truth};
