//! "Semantics that others got wrong", one test a clause.

use super::driver::{World, at, local, ms, tier};
use crate::breaker;
use crate::coalesce;
use crate::deadline;
use crate::gate::Reason;
use crate::guard::*;
use crate::limit;
use crate::policies::Policies;
use crate::retry;
use crate::stale;
use crate::ttl;
use crate::warm;

fn breaking() -> Policies {
    Policies {
        breaker: Some(breaker::Settings::default()),
        ..Policies::default()
    }
}

fn coalescing() -> Policies {
    Policies {
        coalesce: Some(coalesce::Settings::default()),
        ..Policies::default()
    }
}

fn fresh_load(version: u64) -> Outcome {
    Outcome::Answer {
        from: Source::Load,
        kind: Kind::Fresh,
        version,
    }
}

fn stale_hit(version: u64) -> Outcome {
    Outcome::Answer {
        from: Source::Tier(0),
        kind: Kind::Stale,
        version,
    }
}

/// A world whose breaker has just opened.
fn opened(policies: Policies) -> World {
    let mut world = World::new(vec![tier()], policies);
    world.cache_fault[0] = Some(CacheFault::Refused);
    for token in 1000..1005 {
        world.read(token, u64::from(token));
    }
    world.run(at(200));
    assert!(
        (world.guard.breaker_state(world.now) - 2.0).abs() < 1e-9,
        "it is open"
    );
    world
}

// "A miss is a success for the breaker."
#[test]
fn a_miss_is_a_success() {
    let mut world = World::new(vec![tier()], breaking());
    // Nothing is stored, so that nothing but the miss succeeds.
    world.origin_fault = Some(OriginFault::Error);
    for round in 0..20 {
        // Four failures, then a miss: without its success, the fifth failure would open the breaker.
        world.cache_fault[0] = Some(CacheFault::Refused);
        for call in 0..4 {
            world.read(round * 10 + call, u64::from(round * 10 + call));
        }
        world.run(world.now + ms(200));
        world.cache_fault[0] = None;
        world.read(round * 10 + 4, 1_000_000 + u64::from(round));
        world.run(world.now + ms(200));
    }
    assert_eq!(world.guard.breaker_transitions(), 0);
    world.assert_quiet();
}

// "Half-open permits are taken atomically and given back on drop."
#[test]
fn an_abandoned_probe_gives_its_permit_back() {
    let mut world = opened(breaking());
    world.run(at(6_000));
    world.cache_fault[0] = None;
    world.lookups.clear();
    world.read(1, 1);
    world.abandon(1);
    world.read(2, 2);
    assert_eq!(world.lookups.len(), 2, "the next one may probe at once");
    world.run(at(6_200));
    assert!(world.guard.breaker_state(world.now) < 1e-9, "and closes it");
}

// "Late results of an earlier generation are ignored."
#[test]
fn late_timeouts_do_not_open_a_breaker_that_has_closed() {
    let mut world = World::new(
        vec![Tier {
            timeout: ms(8_000),
            ..tier()
        }],
        breaking(),
    );
    // Ten look-ups hang, and time out only after the breaker has opened and closed again.
    world.cache_latency[0] = Span::secs(100);
    for token in 0..10 {
        world.read(token, u64::from(token));
    }
    world.cache_latency[0] = ms(1);
    world.cache_fault[0] = Some(CacheFault::Reset);
    for token in 10..15 {
        world.read(token, u64::from(token));
    }
    world.run(at(5_500));
    world.cache_fault[0] = None;
    world.read(20, 20);
    world.run(at(7_900));
    assert!(world.guard.breaker_state(world.now) < 1e-9, "closed by a probe");
    world.run(at(9_000));
    assert!(
        world.guard.breaker_state(world.now) < 1e-9,
        "the ten timeouts do not count"
    );
}

// "One probe only, or a counted few: never a herd."
#[test]
fn one_probe_and_no_herd() {
    let mut world = opened(breaking());
    world.run(at(6_000));
    world.lookups.clear();
    for token in 0..100 {
        world.read(token, u64::from(token));
    }
    assert_eq!(world.lookups.len(), 1);
}

// "When the breaker opens, falling through is a decision bounded by the origin's limit; what does not fit is shed."
#[test]
fn falling_through_is_bounded_and_the_rest_is_shed() {
    let limit = limit::Settings {
        max: 3,
        places: 2,
        timeout: ms(1_000),
        ..limit::Settings::default()
    };
    let mut world = opened(Policies {
        limit: Some(limit),
        ..breaking()
    });
    world.run(at(1_000));
    (world.inside_max, world.lookups) = (0, Vec::new());
    for token in 0..20 {
        world.read(token, u64::from(token));
    }
    world.run(at(2_000));
    assert!(world.lookups.is_empty(), "the cache is not asked");
    assert_eq!(world.inside_max, 3);
    let shed = (0..20)
        .filter(|&token| world.outcome(token) == Outcome::Shed(Reason::OriginLimit))
        .count();
    assert_eq!(shed, 15);
    assert_eq!(world.guard.counters().shed[Reason::OriginLimit as usize], 15);
    world.assert_quiet();
}

// "A coalesced load runs detached from its callers."
#[test]
fn a_load_outlives_its_callers() {
    let mut world = World::new(vec![tier()], coalescing());
    world.read(1, 7);
    world.run(at(10));
    world.abandon(1);
    world.read(2, 7);
    world.run(at(1_000));
    assert_eq!(world.outcome(2), fresh_load(1));
    assert_eq!(
        world.fetches.len(),
        1,
        "who comes after the leader left joins its load"
    );
    assert_eq!(world.stores[0][&7].version, 1);
    world.assert_quiet();
}

// "Each waiter has its own deadline."
#[test]
fn each_waiter_has_its_own_deadline() {
    let mut world = World::new(vec![tier()], coalescing());
    for (token, deadline) in [(1, at(50)), (2, at(70)), (3, Time::NEVER)] {
        world.call(
            token,
            &Call {
                deadline,
                ..Call::read(7)
            },
        );
    }
    world.run(at(1_000));
    assert_eq!(world.ended(1), (at(50), Outcome::TimedOut));
    assert_eq!(world.ended(2), (at(70), Outcome::TimedOut));
    assert_eq!(world.ended(3), (at(101), fresh_load(1)));
    world.assert_quiet();
}

// "The leader's panic or cancellation is an error or a re-election, never a hang": cancellation.
#[test]
fn the_leader_leaves_and_nobody_hangs() {
    let deadline = deadline::Settings {
        cancel: true,
        ..deadline::Settings::default()
    };
    let mut world = World::new(
        vec![tier()],
        Policies {
            deadline,
            ..coalescing()
        },
    );
    (1..=3).for_each(|token| world.read(token, 7));
    world.run(at(10));
    world.abandon(1);
    world.run(at(1_000));
    assert!(world.cancelled.is_empty());
    assert_eq!(
        (world.outcome(2), world.outcome(3)),
        (fresh_load(1), fresh_load(1))
    );
    world.assert_quiet();
}

// "The leader's panic …": the load fails, and so do all who wait for it, at once.
#[test]
fn a_failed_load_fails_all_who_wait() {
    let mut world = World::new(vec![tier()], coalescing());
    world.origin_fault = Some(OriginFault::Error);
    (1..=3).for_each(|token| world.read(token, 7));
    world.run(at(1_000));
    for token in 1..=3 {
        assert_eq!(world.ended(token), (at(101), Outcome::Failed));
    }
    world.origin_fault = None;
    world.read(4, 7);
    world.run(at(2_000));
    assert_eq!(world.outcome(4), fresh_load(1), "the key is free again");
    world.assert_quiet();
}

// "A hard timeout frees the key and cancels the work."
#[test]
fn a_hard_timeout_frees_the_key_and_cancels_the_work() {
    let deadline = deadline::Settings {
        hard: Some(ms(300)),
        ..deadline::Settings::default()
    };
    let limit = Some(limit::Settings {
        max: 1,
        ..limit::Settings::default()
    });
    let mut world = World::new(
        vec![tier()],
        Policies {
            deadline,
            limit,
            ..coalescing()
        },
    );
    world.origin_latency = Span::MAX;
    world.read(1, 7);
    world.run(at(300));
    world.origin_latency = ms(100);
    world.run(at(301));
    assert_eq!(world.ended(1), (at(301), Outcome::TimedOut));
    assert_eq!(world.cancelled.len(), 1);
    world.read(2, 7);
    world.run(at(600));
    assert_eq!(
        world.outcome(2),
        fresh_load(1),
        "neither the key nor the place is held"
    );
    world.assert_quiet();
}

// "A lock has an age as well as a wait": the age.
#[test]
fn an_old_load_is_not_joined() {
    let settings = coalesce::Settings {
        age_max: ms(1_000),
        ..coalesce::Settings::default()
    };
    let mut world = World::new(
        vec![tier()],
        Policies {
            coalesce: Some(settings),
            ..Policies::default()
        },
    );
    world.origin_latency = Span::secs(100);
    world.read(1, 7);
    world.run(at(999));
    world.read(2, 7);
    world.run(at(1_100));
    world.origin_latency = ms(100);
    world.read(3, 7);
    world.run(at(2_000));
    assert_eq!(world.outcome(3), fresh_load(1));
    assert_eq!(world.fetches.len(), 2);
    assert!(!world.outcomes.contains_key(&1));
}

// "A lock has an age as well as a wait": the wait.
#[test]
fn who_joins_waits_no_longer_than_allowed() {
    let settings = coalesce::Settings {
        wait_max: ms(200),
        ..coalesce::Settings::default()
    };
    let mut world = World::new(
        vec![tier()],
        Policies {
            coalesce: Some(settings),
            ..Policies::default()
        },
    );
    world.origin_latency = ms(900);
    world.read(1, 7);
    world.read(2, 7);
    world.run(at(2_000));
    assert_eq!(world.ended(2), (at(201), Outcome::TimedOut));
    assert_eq!(
        world.ended(1),
        (at(901), fresh_load(1)),
        "the one who leads waits for its own load"
    );
}

// "One write to L2 per flight."
#[test]
fn one_store_a_tier_for_each_flight() {
    let mut world = World::new(vec![local(), tier()], coalescing());
    (0..50).for_each(|token| world.read(token, 7));
    world.run(at(1_000));
    assert_eq!(world.fetches.len(), 1);
    let tiers: Vec<u8> = world.stored.iter().map(|(_, tier, ..)| *tier).collect();
    assert_eq!(tiers, [0, 1]);
    assert_eq!(world.guard.counters().coalesced, 49);
    assert!(
        world.ended(0).0 < world.stored[0].0,
        "answers go out before the stores are written"
    );
    world.assert_quiet();
}

// "One deadline is spent across all tiers: four slow tiers never add up to four timeouts."
#[test]
fn four_slow_tiers_share_one_deadline() {
    let deadline = deadline::Settings {
        total: Some(ms(800)),
        ..deadline::Settings::default()
    };
    let mut world = World::new(
        vec![tier(), tier(), tier(), tier()],
        Policies {
            deadline,
            ..Policies::default()
        },
    );
    world.cache_latency = vec![Span::MAX; 4];
    world.read(1, 7);
    world.run(at(5_000));
    assert_eq!(world.ended(1), (at(800), Outcome::TimedOut));
    assert_eq!(
        world.lookups.len(),
        2,
        "500 ms for the first, what is left for the second"
    );
    world.assert_quiet();
}

// "Jitter shortens a TTL by default, so the freshness bound holds." "Warm-up is jittered too."
#[test]
fn jitter_shortens_ttls_of_warmed_entries_too() {
    let ttl = ttl::Settings {
        jitter: Some(ttl::Jitter::Share(0.5)),
        ..ttl::Settings::default()
    };
    let warm = Some(warm::Settings {
        pace: 100.0,
        ..warm::Settings::default()
    });
    let mut world = World::new(
        vec![tier()],
        Policies {
            ttl,
            warm,
            ..Policies::default()
        },
    );
    world.guard.warm(world.now, (0..50).collect());
    world.run(at(5_000));
    let lives: Vec<f64> = world
        .stored
        .iter()
        .map(|(at, _, key, _)| (world.stores[0][key].fresh_until.since(*at) + ms(1)).as_secs_f64())
        .collect();
    assert_eq!((lives.len(), world.guard.counters().warmed), (50, 50));
    assert!(
        lives.iter().all(|life| (29.9..=60.002).contains(life)),
        "{lives:?}"
    );
    let spread =
        lives.iter().copied().fold(f64::MIN, f64::max) - lives.iter().copied().fold(f64::MAX, f64::min);
    assert!(
        spread > 15.0,
        "entries that were warmed together do not expire together"
    );
}

fn stale_policy() -> Policies {
    Policies {
        stale: Some(stale::Settings::default()),
        ..coalescing()
    }
}

// "An explicit purge beats every kind of staleness": an entry that the purge has not reached yet.
#[test]
fn a_purged_entry_is_not_served_though_the_store_still_holds_it() {
    let mut world = World::new(vec![tier()], stale_policy());
    world.put(0, 1, 1, at(60_000));
    world.put(0, 2, 1, at(10));
    world.invalidation_latency = Span::MAX;
    world.run(at(1_000));
    world.versions = [(1, 2), (2, 2)].into();
    world.purge(1);
    world.purge(2);
    world.read(1, 1);
    world.read(2, 2);
    world.run(at(2_000));
    assert_eq!(world.outcome(1), fresh_load(2), "neither fresh");
    assert_eq!(world.outcome(2), fresh_load(2), "nor stale");
}

// "An explicit purge beats every kind of staleness": a stale entry that a request remembers.
#[test]
fn a_stale_entry_that_is_purged_meanwhile_is_no_answer() {
    let mut world = World::new(vec![tier()], stale_policy());
    world.put(0, 7, 1, at(10));
    world.run(at(100_000));
    world.origin_fault = Some(OriginFault::Error);
    world.read(1, 7);
    world.read(2, 7);
    world.run(at(100_050));
    world.purge(7);
    world.run(at(101_000));
    assert_eq!(world.outcome(1), Outcome::Failed);
    assert_eq!(world.outcome(2), Outcome::Failed);
}

// "An explicit purge beats every kind of staleness": a load that began before it.
#[test]
fn a_load_from_before_a_purge_is_neither_joined_nor_stored() {
    let window = Some(coalesce::Settings {
        window: ms(1_000),
        ..coalesce::Settings::default()
    });
    let mut world = World::new(
        vec![tier()],
        Policies {
            coalesce: window,
            ..Policies::default()
        },
    );
    world.read(1, 7);
    world.run(at(50));
    world.purge(7);
    world.versions.insert(7, 2);
    world.read(2, 7);
    world.run(at(110));
    assert_eq!(world.outcome(1), fresh_load(1), "it asked before the purge");
    assert!(world.stores[0].is_empty(), "but nothing of it is kept");
    world.run(at(1_000));
    assert_eq!(world.outcome(2), fresh_load(2));
    assert_eq!(world.stores[0][&7].version, 2);
    assert_eq!(world.guard.counters().stores_overtaken, 1);
}

// "A slow old write never overwrites a newer value."
#[test]
fn a_slow_load_does_not_overwrite_what_was_written_meanwhile() {
    let mut world = World::new(vec![tier()], coalescing());
    world.origin_latency = ms(500);
    world.read(1, 7);
    world.run(at(50));
    world.origin_latency = ms(100);
    world.call(2, &Call::write(7));
    world.run(at(200));
    assert_eq!(world.outcome(2), Outcome::Written { version: 2 });
    world.read(3, 7);
    world.run(at(400));
    assert_eq!(
        world.outcome(3),
        fresh_load(2),
        "who reads after the write sees it"
    );
    assert_eq!(world.stores[0][&7].version, 2);
    world.run(at(1_000));
    assert_eq!(world.outcome(1), fresh_load(1));
    assert_eq!(world.stores[0][&7].version, 2, "the slow one was not stored");
    world.assert_quiet();
}

// "Lost invalidations start a new epoch: entries become stale-eligible and are refreshed at a pace."
#[test]
fn a_new_epoch_flushes_nothing_and_refreshes_at_a_pace() {
    let stale = Some(stale::Settings {
        refreshes_max: 10,
        ..stale::Settings::default()
    });
    let mut world = World::new(
        vec![tier()],
        Policies {
            stale,
            ..coalescing()
        },
    );
    for key in 0..1_000 {
        world.put(0, key, 1, at(600_000));
    }
    world.run(at(1_000));
    world.guard.bump_epoch(world.now);
    for round in 0..10 {
        for key in 0..1_000_u32 {
            world.read(round * 1_000 + key, u64::from(key));
        }
        world.run(world.now + ms(100));
    }
    world.run(at(3_000));
    assert!(
        (0..1_000).all(|token| world.outcome(token) == stale_hit(1)),
        "everybody is answered"
    );
    let fetches = world.fetches.len();
    assert!(
        (9..=11).contains(&fetches),
        "10 a second are refreshed, and here {fetches} in one second"
    );
    let (_, refreshed) = world.fetches[0];
    world.read(99_999, refreshed);
    world.run(at(4_000));
    let fresh = Outcome::Answer {
        from: Source::Tier(0),
        kind: Kind::Fresh,
        version: 1,
    };
    assert_eq!(world.outcome(99_999), fresh);
}

// "`LOADING`, `READONLY`, `MOVED`, `OOM`, `NOAUTH` and `max number of clients` are different facts, not \"down\"."
#[test]
fn not_every_fault_of_a_cache_opens_its_breaker() {
    use CacheFault::{Loading, NoAuth, Refused, Reset, TimedOut, TooManyClients, Unavailable};
    for fault in CacheFault::ALL {
        let mut world = World::new(vec![tier()], breaking());
        world.cache_fault[0] = Some(fault);
        for token in 0..10 {
            world.read(token, u64::from(token));
        }
        world.run(at(1_000));
        let opens = world.guard.breaker_transitions() > 0;
        let outage = [
            Refused,
            TimedOut,
            Reset,
            Loading,
            TooManyClients,
            NoAuth,
            Unavailable,
        ]
        .contains(&fault);
        assert_eq!(opens, outage, "{fault:?}");
        assert!(world.guard.counters().cache_errors[fault as usize] >= 10);
    }
}

// "Retries in backoff count against the budget."
#[test]
fn retries_in_backoff_count_against_the_budget() {
    let settings = retry::Settings {
        attempts: 10,
        backoff: Span::secs(3_600),
        backoff_max: Span::secs(3_600),
        jitter: false,
        budget: Some(0.1),
        budget_min: 0.0,
    };
    let mut world = World::new(
        vec![tier()],
        Policies {
            retry: Some(settings),
            ..Policies::default()
        },
    );
    world.origin_fault = Some(OriginFault::Error);
    for token in 0..100 {
        world.read(token, u64::from(token));
    }
    world.run(at(1_000));
    // None of the retries has been made yet.
    assert_eq!(world.fetches.len(), 100);
    assert_eq!(world.guard.counters().retries, 10);
    assert_eq!(world.outcomes.len(), 90, "the others fail at once");
}

// A gutter: while a node is not asked, its keys are kept elsewhere, and for a short time only.
#[test]
fn a_spare_node_stands_in_for_a_lost_one_and_forgets_soon() {
    let mut world = World::new(vec![tier()], breaking());
    world.guard.spare(0, 2, ms(10_000));
    world.cache_fault[0] = Some(CacheFault::Reset);
    for token in 0..5 {
        world.read(token, u64::from(token));
        world.run(at(100 * u64::from(token) + 50));
    }
    world.cache_fault[0] = None;
    world.run(at(1_000));
    world.lookups.clear();
    world.stored.clear();
    for token in 10..14 {
        world.read(token, 70);
        world.run(world.now + ms(200));
    }
    let nodes: Vec<u16> = world.lookups.iter().map(|(.., node)| *node).collect();
    assert!(nodes.iter().all(|node| (1..=2).contains(node)), "{nodes:?}");
    assert_eq!(world.stored.len(), 1, "what the spare node has is a hit");
    let entry = world.stores[0][&70];
    let (written, ..) = world.stored[0];
    // The write itself took a millisecond.
    assert_eq!(entry.fresh_until, written + ms(9_999));

    let now = world.now;
    world.guard.purge(now, 70);
    let nodes: Vec<u16> = std::iter::from_fn(|| world.guard.poll())
        .filter_map(|effect| match effect {
            Effect::Invalidate { node, .. } => Some(node),
            _ => None,
        })
        .collect();
    assert_eq!((nodes.len(), nodes[0]), (2, 0), "both may hold it");

    world.run(at(7_000));
    world.lookups.clear();
    world.read(20, 71);
    world.run(world.now + ms(200));
    world.read(21, 72);
    world.run(world.now + ms(200));
    let nodes: Vec<u16> = world.lookups.iter().map(|(.., node)| *node).collect();
    assert_eq!(nodes, [0, 0], "the probe, and then all");
    world.guard.invariants();
}
