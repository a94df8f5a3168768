//! Real servers in every state that a probe can meet, and scripted ones that lie.
//!
//! The machine needs `redis-server` and `postgres`.

#![cfg(feature = "live")]
#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod audit;
mod findings;
mod init;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod liars;
mod postgres;
mod prometheus;
mod redis;
#[path = "../../../runtime/tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use seawall_core::record::Metric;
use seawall_diagnose::probe::{Options, Prober, Sample};

/// A prober of these servers, with this patience.
fn prober(urls: &[&str], patience_ms: u64) -> Prober {
    let targets = urls.iter().map(|url| url.parse().unwrap()).collect();
    let patience = Duration::from_millis(patience_ms);
    Prober::new(
        targets,
        Options {
            patience,
            ..Options::default()
        },
    )
}

/// A round, which must be over when it should be.
async fn round(prober: &mut Prober, patience_ms: u64) -> Sample {
    #[expect(clippy::disallowed_methods, reason = "a real server takes real time")]
    let begun = Instant::now();
    let sample = prober.round().await;
    let took = begun.elapsed();
    assert!(
        took < Duration::from_millis(patience_ms + 400),
        "it took {took:?}"
    );
    sample
}

/// All kinds of failures of a round, by name, in order.
fn failures(sample: &Sample) -> Vec<String> {
    let mut failures: Vec<String> = sample
        .troubles
        .iter()
        .map(|trouble| format!("{}_{}", trouble.step.name(), trouble.fault.why.name()))
        .collect();
    let counted = sample
        .points
        .iter()
        .filter(|point| point.metric == Metric::ProbeFailures);
    assert_eq!(counted.count(), failures.len(), "each is counted once");
    failures.sort();
    failures
}

/// Whether a step ended well.
fn went_well(sample: &Sample, step: &str) -> bool {
    sample
        .labelled(Metric::ProbeSeconds, step)
        .is_some_and(f64::is_finite)
}
