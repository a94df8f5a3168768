//! What the clients ask for, what the service makes of it, and what goes on when its reason is over.

use super::words::{count, or_unknown, share, times};
use crate::failure::Failure;
use crate::finding::{Case, Finding};
use crate::line::Line;
use crate::situation::Situation;
use crate::view::{Client, Service};

pub(super) fn examine(situation: &Situation, findings: &mut Vec<Finding>) {
    for client in &situation.view.clients {
        findings.push(traffic_spike(situation, client));
    }
    for service in &situation.view.services {
        findings.push(instances_down(situation, service));
        findings.push(starved(situation, service));
    }
    findings.push(fallback(situation));
    findings.push(retry_storm(situation));
}

/// How many times as many calls end as while it was calm.
fn asked(situation: &Situation, client: &Client) -> Option<f64> {
    situation.grown(&client.ended, 1.0)
}

fn traffic_spike(situation: &Situation, client: &Client) -> Finding {
    let mut case = Case::new(Failure::TrafficSpike, &client.name);
    let usual = client.ended.quantile(situation.calm, 0.95);
    let now = client.ended.mean(situation.now.clone());
    let grown = usual.map(|usual| now.unwrap_or(0.0) / usual.max(1.0));
    case.weigh(
        grown.map(|grown| grown >= 1.4),
        7.0,
        -7.0,
        "how many calls end",
        || {
            format!(
                "{} calls end a second, at most {} while it was calm",
                or_unknown(now.map(|now| now / situation.view.period), count),
                or_unknown(usual.map(|usual| usual / situation.view.period), count)
            )
        },
    );
    let felt = situation.impact().is_felt();
    case.weigh(Some(felt), 1.0, -3.0, "", || {
        if felt {
            "calls are lost, or wait much longer".to_owned()
        } else {
            "everybody is answered as before: it is busy, and that is all".to_owned()
        }
    });
    case.close()
}

fn instances_down(situation: &Situation, service: &Service) -> Finding {
    let mut case = Case::new(Failure::InstancesDown, &service.name);
    let up = service.up.least(situation.lately.clone());
    let before = service.up.median(situation.calm);
    case.weigh(
        up.zip(before).map(|(up, before)| up < before - 0.5),
        7.0,
        -8.0,
        "how many copies serve",
        || {
            format!(
                "{} copies serve, {} while it was calm",
                or_unknown(up, count),
                or_unknown(before, count)
            )
        },
    );
    case.close()
}

/// The mean time that something takes, compared with the calm, over all that the service calls.
fn callees_are_quick(situation: &Situation) -> Option<bool> {
    let view = situation.view;
    let mut quick: Option<bool> = None;
    let mut judge = |so: Option<bool>| quick = so.map(|so| quick.unwrap_or(true) && so).or(quick);
    for origin in &view.origins {
        let longer = situation.grown(&origin.typical, 1e-5);
        judge(longer.map(|longer| longer < 2.0));
        let (failed, asked) = (
            origin.errors.sum(situation.now.clone()),
            origin.requests.sum(situation.now.clone()),
        );
        judge(failed.zip(asked).map(|(failed, asked)| failed <= 0.2 * asked));
    }
    for cache in &view.caches {
        judge(situation.reached(cache));
        for node in &cache.probed {
            judge(situation.grown(&node.reply, 1e-4).map(|longer| longer < 5.0));
        }
        let (now, calm) = situation.hit_rates(cache);
        judge(now.zip(calm).map(|(now, calm)| now > 0.7 * calm));
    }
    quick
}

fn starved(situation: &Situation, service: &Service) -> Finding {
    let mut case = Case::new(Failure::ServiceStarved, &service.name);
    // Threads that are held at an instant vary much: what counts is more than there ever were while it was calm.
    let busy = service.busy.mean(situation.now.clone());
    let usual = service.busy.quantile(situation.calm, 1.0);
    let held = busy.zip(usual).map(|(busy, usual)| busy > 2.0 * usual + 4.0);
    let waiting = service.waiting.mean(situation.now.clone());
    let usually = service.waiting.quantile(situation.calm, 1.0);
    let line = waiting
        .zip(usually)
        .map(|(waiting, usually)| waiting > 2.0 * usually + 4.0);
    let so = match (held, line) {
        (None, None) => None,
        (held, line) => Some(held == Some(true) || line == Some(true)),
    };
    case.weigh(
        so,
        3.0,
        -7.0,
        "the threads of the service and the line before them",
        || {
            format!(
                "{} threads are held and {} requests wait; while it was calm at most {} and {}",
                or_unknown(busy, count),
                or_unknown(waiting, count),
                or_unknown(usual, count),
                or_unknown(usually, count)
            )
        },
    );
    let felt = situation.impact().is_felt();
    case.weigh(Some(felt), 0.5, -4.0, "", || {
        if felt {
            "calls are lost, or wait much longer".to_owned()
        } else {
            "everybody is answered as before".to_owned()
        }
    });
    let quick = callees_are_quick(situation);
    case.weigh(
        quick.filter(|_| so == Some(true)),
        4.0,
        -6.0,
        "how long what it calls takes",
        || match quick {
            Some(true) => "what it calls is as quick as ever".to_owned(),
            _ => "what it calls is slower, or finds less".to_owned(),
        },
    );
    let more = situation
        .view
        .clients
        .iter()
        .filter_map(|client| asked(situation, client))
        .reduce(f64::max);
    case.weigh(
        more.map(|more| more < 1.3).filter(|_| so == Some(true)),
        1.0,
        -4.0,
        "",
        || {
            format!(
                "{} as much is asked as while it was calm",
                times(more.unwrap_or(1.0))
            )
        },
    );
    case.close()
}

fn fallback(situation: &Situation) -> Finding {
    let name = situation
        .view
        .services
        .first()
        .map_or("service", |service| service.name.as_str());
    let mut case = Case::new(Failure::FallbackActive, name);
    let spared = situation.view.caches.iter().filter_map(|cache| {
        let (now, calm) = situation.hit_rates(cache);
        Some((now?, calm.filter(|calm| *calm > 0.2)?))
    });
    let spared = spared.reduce(|one, other| {
        if one.0 / one.1 < other.0 / other.1 {
            one
        } else {
            other
        }
    });
    case.weigh(
        spared.map(|(now, calm)| now < 0.2 * calm),
        4.0,
        -7.0,
        "hits of the cache",
        || {
            let (now, calm) = spared.unwrap_or_default();
            format!(
                "{} of the look-ups are hits, {} while it was calm",
                share(now),
                share(calm)
            )
        },
    );
    let more = situation
        .view
        .origins
        .iter()
        .filter_map(|origin| situation.grown(&origin.requests, 1.0))
        .reduce(f64::max);
    case.weigh(
        more.map(|more| more >= 1.5),
        2.0,
        -2.0,
        "how much the origin is asked for",
        || format!("the origin is asked for {} as much", times(more.unwrap_or(1.0))),
    );
    let good = situation.impact().good;
    case.weigh(
        good.map(|good| good >= 0.95),
        2.0,
        -2.0,
        "whether clients are answered",
        || format!("{} of the calls are answered well", share(good.unwrap_or(0.0))),
    );
    case.close()
}

/// A failure that outlives its cause: everything is reached, nobody asks for more, and hardly anybody is answered in time.
fn retry_storm(situation: &Situation) -> Finding {
    let name = situation
        .view
        .services
        .first()
        .map_or("service", |service| service.name.as_str());
    let mut case = Case::new(Failure::RetryStorm, name);
    let impact = situation.impact();
    let lost = impact.lost();
    case.weigh(
        lost.map(|lost| lost > 0.2),
        2.0,
        -6.0,
        "whether clients are answered",
        || format!("{} of the calls are lost", share(lost.unwrap_or(0.0))),
    );
    let tried = |range: std::ops::Range<usize>| -> Option<f64> {
        let clients = &situation.view.clients;
        let sum = |line: fn(&Client) -> &Line| -> f64 {
            clients
                .iter()
                .filter_map(|client| line(client).sum(range.clone()))
                .sum()
        };
        let ended = sum(|client| &client.ended);
        (ended > 0.0).then(|| sum(|client| &client.retries) / ended)
    };
    let again = tried(situation.now.clone());
    case.weigh(
        again.map(|again| again >= 0.3),
        3.0,
        -2.0,
        "how many calls are tried again",
        || format!("{:.1} retries for each call", again.unwrap_or(0.0)),
    );
    let wasted = situation
        .view
        .origins
        .iter()
        .filter_map(|origin| {
            let asked = origin
                .requests
                .sum(situation.now.clone())
                .filter(|asked| *asked > 0.0)?;
            Some(origin.wasted.sum(situation.now.clone())? / asked)
        })
        .reduce(f64::max);
    case.weigh(
        wasted.map(|wasted| wasted >= 0.3),
        3.0,
        -0.5,
        "work of the origin that nobody waits for any more",
        || {
            format!(
                "nobody waits any more for {} of what the origin does",
                share(wasted.unwrap_or(0.0))
            )
        },
    );
    let more = situation
        .view
        .clients
        .iter()
        .filter_map(|client| asked(situation, client))
        .reduce(f64::max);
    case.weigh(more.map(|more| more < 1.3), 1.5, -4.0, "", || {
        format!(
            "{} as much is asked as while it was calm",
            times(more.unwrap_or(1.0))
        )
    });
    let locked = situation.view.origins.iter().any(|origin| {
        origin
            .locks
            .mean(situation.now.clone())
            .is_some_and(|locks| locks >= 2.0)
    });
    case.weigh(Some(!locked), 0.5, -8.0, "", || {
        if locked {
            "queries wait for a lock: what began it is not over".to_owned()
        } else {
            "no query waits for a lock".to_owned()
        }
    });
    case.close()
}
