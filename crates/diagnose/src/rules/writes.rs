//! Why a cache that answers reads takes no writes, or keeps nothing of them.

use super::words::{count, or_unknown, share};
use crate::failure::Failure;
use crate::finding::{Case, Finding};
use crate::situation::Situation;
use crate::view::Cache;

const CANARY: &str = "a probe that writes a key and reads it back";
/// So many seconds later, what was missed has been loaded.
const LOADED_S: f64 = 5.0;
const ASKED: &str = "the errors of those who write to the cache, by reason";

pub(super) fn examine(situation: &Situation, cache: &Cache, findings: &mut Vec<Finding>) {
    findings.extend([
        out_of_memory(situation, cache),
        read_only(situation, cache),
        disk_full(situation, cache),
        not_stored(situation, cache),
    ]);
}

/// Weighs the answer to the canary's write, at the node where it fails most.
fn canary(situation: &Situation, cache: &Cache, case: &mut Case, answer: &str, pro: f64, contra: f64) {
    let failing = cache
        .probed
        .iter()
        .filter_map(|probed| situation.failing(probed, &[answer]))
        .reduce(f64::max);
    case.weigh(failing.map(|failing| failing >= 0.5), pro, contra, CANARY, || {
        let said = answer.trim_start_matches("write_").replace('_', " ");
        format!(
            "a test write fails with \"{said}\" in {} of the probes",
            share(failing.unwrap_or(0.0))
        )
    });
}

/// Weighs the errors of writes: any at all tell, for most calls are reads.
fn refused(situation: &Situation, cache: &Cache, case: &mut Case, reason: &str, pro: f64, contra: f64) {
    let failed = situation.errors(cache, reason);
    case.weigh(failed.map(|failed| failed > 0.001), pro, contra, ASKED, || {
        format!(
            "{} of the calls to it: {}",
            share(failed.unwrap_or(0.0)),
            reason.replace('_', " ")
        )
    });
}

fn out_of_memory(situation: &Situation, cache: &Cache) -> Finding {
    let mut case = Case::new(Failure::OutOfMemory, &cache.name);
    canary(situation, cache, &mut case, "write_out_of_memory", 7.0, -4.0);
    refused(situation, cache, &mut case, "out_of_memory", 6.0, -2.0);
    let used = cache.memory.mean(situation.now.clone());
    let limit = cache.memory_limit.last(situation.now.clone());
    if let (Some(used), Some(limit)) = (used, limit) {
        let full = limit > 0.0 && used >= 0.95 * limit;
        case.weigh(Some(full), 2.0, -2.0, "", || {
            if limit > 0.0 {
                format!("{} of its memory is used", share(used / limit))
            } else {
                "it has no limit of memory".to_owned()
            }
        });
    }
    let evicting = cache.evicting.last(situation.now.clone());
    case.weigh(
        evicting.map(|evicting| evicting < 0.5),
        1.0,
        -2.0,
        "its `maxmemory-policy`",
        || match evicting {
            Some(evicting) if evicting >= 0.5 => "it makes room by evicting".to_owned(),
            _ => "it does not evict: a full cache refuses writes".to_owned(),
        },
    );
    case.close()
}

fn read_only(situation: &Situation, cache: &Cache) -> Finding {
    let mut case = Case::new(Failure::ReadOnly, &cache.name);
    canary(situation, cache, &mut case, "write_read_only", 7.0, -6.0);
    refused(situation, cache, &mut case, "read_only", 3.0, -2.0);
    let replica = cache.replica.last(situation.now.clone());
    let before = cache.replica.median(situation.calm);
    case.weigh(
        replica.map(|replica| replica > 0.5),
        3.0,
        -1.0,
        "its role",
        || match (replica, before) {
            (Some(role), Some(before)) if role > 0.5 && before < 0.5 => {
                "it was a master and is a replica now".to_owned()
            }
            (Some(role), _) if role > 0.5 => "it is a replica".to_owned(),
            _ => "it is a master".to_owned(),
        },
    );
    case.close()
}

fn disk_full(situation: &Situation, cache: &Cache) -> Finding {
    let mut case = Case::new(Failure::DiskFull, &cache.name);
    canary(situation, cache, &mut case, "write_disk_full", 9.0, -7.0);
    refused(situation, cache, &mut case, "disk_full", 5.0, -1.0);
    case.close()
}

/// What is missing is loaded and then not there the next time, though nobody refuses anything.
fn not_stored(situation: &Situation, cache: &Cache) -> Finding {
    let mut case = Case::new(Failure::NotStored, &cache.name);
    // A load takes its time: what was missed a few seconds ago is stored now.
    let later = situation.view.periods_in(LOADED_S, 1);
    let earlier = situation.lately.start.saturating_sub(later)..situation.lately.end.saturating_sub(later);
    let kept = match (
        cache.sets.sum(situation.lately.clone()),
        cache.misses.sum(earlier),
    ) {
        (Some(sets), Some(misses)) if misses > 0.0 => Some(sets / misses),
        _ => None,
    };
    let before = match (
        cache.sets.median(situation.calm),
        cache.misses.median(situation.calm),
    ) {
        (Some(sets), Some(misses)) if misses > 0.0 => Some(sets / misses),
        _ => None,
    };
    let stopped = kept
        .zip(before)
        .map(|(kept, before)| before > 0.3 && kept < 0.2 * before);
    case.weigh(stopped, 4.0, -6.0, "how many entries are written", || {
        format!(
            "{} writes for each miss, {} while it was calm",
            or_unknown(kept, |kept| format!("{kept:.2}")),
            or_unknown(before, |before| format!("{before:.2}"))
        )
    });
    let grown = situation.grown(&cache.misses, 1.0);
    case.weigh(grown.map(|grown| grown > 1.5), 2.0, -3.0, "", || {
        format!(
            "{} as many misses as while it was calm",
            super::words::times(grown.unwrap_or(0.0))
        )
    });
    let answers = situation.reached(cache);
    case.weigh(answers, 0.5, -4.0, "", || match answers {
        Some(true) => "it answers".to_owned(),
        _ => "it does not answer".to_owned(),
    });
    let failing = situation.view.origins.iter().any(|origin| {
        let (failed, asked) = (
            origin.errors.sum(situation.now.clone()),
            origin.requests.sum(situation.now.clone()),
        );
        failed
            .zip(asked)
            .is_some_and(|(failed, asked)| failed > 0.3 * asked)
    });
    case.supports(failing, -6.0, || {
        "loads fail, so there is nothing to store".to_owned()
    });
    let lost = situation.impact().lost();
    case.supports(lost.is_some_and(|lost| lost > 0.3), -4.0, || {
        "most calls are lost, so loads end too late to be stored".to_owned()
    });
    let loads: f64 = situation
        .view
        .origins
        .iter()
        .filter_map(|origin| origin.empty.sum(situation.lately.clone()))
        .sum();
    let misses = cache.misses.sum(situation.lately.clone()).unwrap_or(0.0);
    case.supports(loads > 0.3 * misses && misses > 0.0, -4.0, || {
        format!("{} of what is asked for does not exist at all", count(loads))
    });
    case.close()
}
