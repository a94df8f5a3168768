//! From a moment of a record to ranked findings: a pure function.
//!
//! Each submodule holds the hypotheses that the same kind of evidence decides between. A rule says what it saw, for and
//! against, whether or not it decides anything: the person who reads it can disagree.

mod access;
mod content;
mod demand;
mod origin;
mod speed;
mod words;
mod writes;

use crate::failure::{Failure, Part, Role};
use crate::finding::Finding;
use crate::situation::Situation;

/// All hypotheses about this moment, the likeliest cause first.
///
/// Of like nodes the one with the strongest evidence speaks for all. What follows from a likely cause comes after it.
pub(crate) fn examine(situation: &Situation) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A cache that nobody probes while others are probed lies in the memory of a process: it cannot be lost alone.
    let probed = situation.view.caches.iter().any(|cache| !cache.probed.is_empty());
    for cache in situation
        .view
        .caches
        .iter()
        .filter(|cache| !probed || !cache.probed.is_empty())
    {
        access::examine(situation, cache, &mut findings);
        writes::examine(situation, cache, &mut findings);
        speed::examine(situation, cache, &mut findings);
        content::examine(situation, cache, &mut findings);
    }
    origin::examine(situation, &mut findings);
    demand::examine(situation, &mut findings);
    rank(findings)
}

fn rank(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|one, other| other.confidence.total_cmp(&one.confidence));
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings {
        let known = kept
            .iter()
            .any(|other| other.failure == finding.failure && other.component == finding.component);
        if !known {
            kept.push(finding);
        }
    }
    let explained: Vec<Option<Failure>> = kept.iter().map(|finding| cause_of(finding, &kept)).collect();
    for (finding, cause) in kept.iter_mut().zip(explained) {
        finding.effect_of = cause;
    }
    // The order among equals stays that of confidence: the sort is stable.
    kept.sort_by_key(|finding| (!finding.is_likely(), finding.effect_of.is_some()));
    kept
}

/// The likely finding that explains this one.
fn cause_of(finding: &Finding, all: &[Finding]) -> Option<Failure> {
    let mut causes = all.iter().filter(|other| other.is_likely());
    let cause =
        causes.find(|other| other.failure != finding.failure && explains(other.failure, finding.failure));
    cause.map(|cause| cause.failure)
}

/// Whether one failure brings the other about.
fn explains(cause: Failure, effect: Failure) -> bool {
    use Failure::{
        Cold, Corruption, HotKey, InstancesDown, Killed, MassExpiry, NotStored, OriginDown, OriginFull,
        OriginLocked, OriginSlow, Penetration, ReadOnly, Refused, RetryStorm, ServiceStarved, Stampede,
        TrafficSpike,
    };
    if effect == RetryStorm {
        // Whatever holds on is the matter, and not what it has left behind.
        return cause.role() == Role::Cause;
    }
    if cause.role() == Role::Effect {
        return false;
    }
    match effect {
        Failure::FallbackActive => cause.part() == Part::Cache,
        OriginSlow => cause == Stampede || cause.role() == Role::Cause,
        OriginFull => matches!(cause, Stampede | OriginSlow) || cause.role() == Role::Cause,
        Stampede => cause.part() == Part::Cache && cause.role() == Role::Cause,
        Refused | Cold => cause == Killed,
        Failure::TooManyClients => cause == TrafficSpike,
        NotStored => matches!(
            cause,
            Failure::OutOfMemory
                | Failure::DiskFull
                | ReadOnly
                | Failure::Refused
                | Failure::Hung
                | Failure::Unreachable
        ),
        MassExpiry => cause == Cold,
        InstancesDown => {
            matches!(
                cause,
                Cold | MassExpiry | TrafficSpike | Corruption | HotKey | Penetration
            ) || cause.part() == Part::Cache && cause.role() == Role::Cause
        }
        ServiceStarved => cause != ServiceStarved && cause.role() == Role::Cause,
        OriginDown => matches!(cause, OriginLocked | Stampede | Cold | MassExpiry | TrafficSpike),
        _ => false,
    }
}
