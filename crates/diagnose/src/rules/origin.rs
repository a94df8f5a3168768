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
    // Times in a queue vary much even when nothing is the matter: it is longer than they ever were, and for a while.
    let now = origin.typical.mean(situation.lately.clone());
    let calm = origin.typical.median(situation.calm);
    let longest = origin.typical.quantile(situation.calm, 1.0);
    let longer = now.zip(calm).map(|(now, calm)| now / calm.max(1e-5));
    let so = longer
        .zip(now)
        .zip(longest)
        .map(|((longer, now), longest)| longer >= 3.0 && now > 1.5 * longest);
    case.weigh(so, 5.0, -6.0, "how long the origin takes", || {
        format!(
            "it takes {}, {} while it was calm",
            or_unknown(now, time),
            or_unknown(calm, time)
        )
    });
    let more = asked(situation, origin);
    case.weigh(
        more.map(|more| more < 1.3).filter(|_| so == Some(true)),
        2.5,
        -1.0,
        "",
        || {
            format!(
                "it is asked for {} as much as while it was calm",
                times(more.unwrap_or(1.0))
            )
        },
    );
    let fewer = let_in_fewer(situation, origin);
    case.supports(fewer == Some(true), -6.0, || {
        "it lets fewer in than while it was calm, so calls wait for a connection".to_owned()
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
    let fullness = origin.fullness.mean(situation.now.clone());
    let (used, limit) = (
        origin.connections.mean(situation.now.clone()),
        origin.limit.last(situation.now.clone()),
    );
    case.weigh(
        fullness.map(|share| share >= 0.95),
        5.0,
        -6.0,
        "how many connections the origin lets in",
        || {
            format!(
                "{} of {} connections are taken, {} at the fullest server",
                or_unknown(used, count),
                or_unknown(limit, count),
                or_unknown(fullness, share)
            )
        },
    );
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
    let fewer = let_in_fewer(situation, origin);
    case.weigh(fewer, 4.0, -2.0, "", || match fewer {
        Some(true) => "it lets fewer in than while it was calm".to_owned(),
        _ => "it lets as many in as while it was calm".to_owned(),
    });
    let felt = situation.impact().is_felt();
    case.weigh(Some(felt), 0.5, -4.0, "", || {
        let said = if felt {
            "calls are lost, or wait much longer"
        } else {
            "everybody is answered as before"
        };
        said.to_owned()
    });
    case.close()
}

/// Whether the origin's limit of connections is lower than it was.
fn let_in_fewer(situation: &Situation, origin: &Origin) -> Option<bool> {
    let now = origin.limit.last(situation.now.clone())?;
    Some(now < 0.9 * origin.limit.median(situation.calm)?)
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
