//! What is the matter with what stands behind the cache.

use super::words::{count, or_unknown, share, time, times};
use crate::failure::Failure;
use crate::finding::{Case, Finding};
use crate::situation::Situation;
use crate::view::Origin;

pub(super) fn examine(situation: &Situation, findings: &mut Vec<Finding>) {
    for origin in &situation.view.origins {
        findings.extend([
            slow(situation, origin),
            locked(situation, origin),
            full(situation, origin),
            down(situation, origin),
        ]);
    }
}

/// How many times as much the origin is asked for as while it was calm.
fn asked(situation: &Situation, origin: &Origin) -> Option<f64> {
    let now = origin.requests.mean(situation.lately.clone())?;
    Some(now / origin.requests.median(situation.calm)?.max(1.0))
}

fn slow(situation: &Situation, origin: &Origin) -> Finding {
    let mut case = Case::new(Failure::OriginSlow, &origin.name);
    let now = origin.typical.mean(situation.now.clone());
    let calm = origin.typical.median(situation.calm);
    let longer = now.zip(calm).map(|(now, calm)| now / calm.max(1e-5));
    case.weigh(
        longer.map(|longer| longer >= 3.0),
        5.0,
        -6.0,
        "how long the origin takes",
        || {
            format!(
                "it takes {}, {} while it was calm",
                or_unknown(now, time),
                or_unknown(calm, time)
            )
        },
    );
    let more = asked(situation, origin);
    let so = longer.is_some_and(|longer| longer >= 3.0);
    case.weigh(more.map(|more| more < 1.3).filter(|_| so), 2.5, -1.0, "", || {
        format!(
            "it is asked for {} as much as while it was calm",
            times(more.unwrap_or(1.0))
        )
    });
    case.close()
}

fn locked(situation: &Situation, origin: &Origin) -> Finding {
    let mut case = Case::new(Failure::OriginLocked, &origin.name);
    let locks = origin.locks.mean(situation.now.clone());
    let open = origin
        .connections
        .mean(situation.now.clone())
        .unwrap_or(1.0)
        .max(1.0);
    let so = locks.map(|locks| locks >= 2.0 && locks >= 0.3 * open);
    case.weigh(
        so,
        9.0,
        -7.0,
        "which queries wait for a lock (`pg_stat_activity`)",
        || {
            format!(
                "{} of {} queries under way wait for a lock",
                count(locks.unwrap_or(0.0)),
                count(open)
            )
        },
    );
    case.close()
}

fn full(situation: &Situation, origin: &Origin) -> Finding {
    let mut case = Case::new(Failure::OriginFull, &origin.name);
    let used = origin.connections.mean(situation.now.clone());
    let limit = origin
        .limit
        .last(situation.now.clone())
        .filter(|limit| *limit > 0.0);
    let so = used.zip(limit).map(|(used, limit)| used >= 0.95 * limit);
    case.weigh(so, 5.0, -6.0, "how many connections the origin lets in", || {
        format!(
            "{} of {} connections are taken",
            or_unknown(used, count),
            or_unknown(limit, count)
        )
    });
    let refused = origin
        .probed
        .iter()
        .filter_map(|probed| situation.failing(probed, &["connect_too_many_clients"]))
        .reduce(f64::max);
    case.weigh(refused.map(|refused| refused >= 0.5), 6.0, -0.5, "", || {
        format!(
            "{} of the new connections are turned away",
            share(refused.unwrap_or(0.0))
        )
    });
    let waiting = origin.waiting.mean(situation.now.clone());
    let usual = origin.waiting.median(situation.calm).unwrap_or(0.0);
    case.weigh(
        waiting.map(|waiting| waiting > 1.0 && waiting > 3.0 * usual),
        2.0,
        -0.5,
        "",
        || format!("{} wait for a connection", count(waiting.unwrap_or(0.0))),
    );
    case.close()
}

fn down(situation: &Situation, origin: &Origin) -> Finding {
    let mut case = Case::new(Failure::OriginDown, &origin.name);
    let causes = [
        "connect_refused",
        "connect_timed_out",
        "query_timed_out",
        "connect_reset",
        "connect_closed",
    ];
    let failing = origin
        .probed
        .iter()
        .filter_map(|probed| situation.failing(probed, &causes))
        .reduce(f64::max);
    case.weigh(
        failing.map(|failing| failing >= 0.5),
        7.0,
        -4.0,
        "a probe of the origin",
        || format!("{} of the probes get no answer", share(failing.unwrap_or(0.0))),
    );
    let asked = origin.requests.sum(situation.now.clone());
    let failed = origin.errors.sum(situation.now.clone());
    let failed = asked
        .zip(failed)
        .and_then(|(asked, failed)| (asked > 0.0).then(|| failed / asked));
    case.weigh(
        failed.map(|failed| failed >= 0.5),
        3.0,
        -3.0,
        "how many calls to the origin fail",
        || format!("{} of the calls to it fail", share(failed.unwrap_or(0.0))),
    );
    let up = origin.up.last(situation.now.clone());
    let before = origin.up.median(situation.calm);
    case.weigh(
        up.zip(before).map(|(up, before)| up < before),
        5.0,
        -1.0,
        "",
        || {
            format!(
                "{} copies are up of {}",
                or_unknown(up, count),
                or_unknown(before, count)
            )
        },
    );
    case.close()
}
