//! The path itself: what is asked, loaded, kept and answered, policy by policy.

use super::driver::{World, at, local, ms, tier};
use crate::coalesce;
use crate::deadline;
use crate::early;
use crate::gate::Reason;
use crate::guard::*;
use crate::lease;
use crate::limit;
use crate::policies::Policies;
use crate::retry;
use crate::sketch;
use crate::stale;
use crate::ttl;
use crate::{breaker, warm};

fn from_tier(tier: u8, kind: Kind, version: u64) -> Outcome {
    Outcome::Answer {
        from: Source::Tier(tier),
        kind,
        version,
    }
}

fn fresh_load(version: u64) -> Outcome {
    Outcome::Answer {
        from: Source::Load,
        kind: Kind::Fresh,
        version,
    }
}

fn stale() -> Policies {
    Policies {
        stale: Some(stale::Settings::default()),
        ..Policies::default()
    }
}

fn coalescing() -> Policies {
    Policies {
        coalesce: Some(coalesce::Settings::default()),
        ..Policies::default()
    }
}

#[test]
fn a_miss_is_loaded_and_then_found() {
    let mut world = World::new(vec![tier()], Policies::default());
    world.read(1, 7);
    world.run(at(1_000));
    world.read(2, 7);
    world.run(at(60_000));
    world.read(3, 7);
    world.run(at(61_000));
    world.read(4, 7);
    world.run(at(62_000));
    assert_eq!(world.ended(1), (at(101), fresh_load(1)));
    assert_eq!(world.ended(2), (at(1_001), from_tier(0, Kind::Fresh, 1)));
    assert_eq!(
        world.outcome(3),
        from_tier(0, Kind::Fresh, 1),
        "a TTL from when it was answered"
    );
    assert_eq!(world.outcome(4), fresh_load(1), "and no longer");
    world.assert_quiet();
}

#[test]
fn without_coalescing_every_miss_loads() {
    let mut world = World::new(vec![tier()], Policies::default());
    (0..10).for_each(|token| world.read(token, 7));
    world.run(at(1_000));
    assert_eq!((world.fetches.len(), world.stored.len()), (10, 10));
    assert_eq!(world.guard.counters().coalesced, 0);
    world.assert_quiet();
}

#[test]
fn faster_tiers_are_filled_from_slower_ones() {
    let mut world = World::new(vec![local(), tier()], Policies::default());
    world.put(1, 7, 3, at(60_000));
    world.read(1, 7);
    world.run(at(10));
    world.read(2, 7);
    world.run(at(20));
    assert_eq!(world.outcome(1), from_tier(1, Kind::Fresh, 3));
    assert_eq!(world.outcome(2), from_tier(0, Kind::Fresh, 3));
    assert_eq!(world.fills, 1);
    assert_eq!(
        world.stores[0][&7].fresh_until,
        at(5_002),
        "for no longer than the memory keeps anything"
    );
}

#[test]
fn only_hot_keys_are_kept_in_memory_when_those_are_told_apart() {
    let hot = Some(sketch::Settings {
        share: 0.5,
        ..sketch::Settings::default()
    });
    let mut world = World::new(
        vec![local(), tier()],
        Policies {
            hot,
            ..Policies::default()
        },
    );
    for token in 0..200 {
        let key = if token % 4 == 0 { u64::from(token) } else { 7 };
        world.read(token, key);
        world.run(world.now + ms(200));
    }
    assert!(world.stores[0].contains_key(&7));
    assert!(world.stores[0].len() < 10, "{} keys", world.stores[0].len());
    assert!(world.stores[1].len() > 40);
}

#[test]
fn stale_is_served_while_it_is_refreshed_and_refreshes_are_bounded() {
    let settings = stale::Settings {
        refreshes_max: 3,
        ..stale::Settings::default()
    };
    let mut world = World::new(
        vec![tier()],
        Policies {
            stale: Some(settings),
            ..Policies::default()
        },
    );
    for key in 0..10 {
        world.put(0, key, 1, at(10));
        world.versions.insert(key, 2);
    }
    world.run(at(1_000));
    for token in 0..20 {
        world.read(token, u64::from(token % 10));
    }
    world.run(at(2_000));
    assert!((0..20).all(|token| world.ended(token) == (at(1_001), from_tier(0, Kind::Stale, 1))));
    assert_eq!(world.fetches.len(), 3, "one for each key, three at a time");
    assert_eq!(world.guard.counters().refreshes, 3);
    assert_eq!(
        world.stores[0]
            .values()
            .filter(|entry| entry.version == 2)
            .count(),
        3
    );
    world.assert_quiet();
}

#[test]
fn stale_is_the_last_resort_within_its_bound() {
    let mut world = World::new(vec![tier()], stale());
    world.put(0, 7, 1, at(10));
    world.origin_fault = Some(OriginFault::Error);
    world.run(at(100_000));
    world.read(1, 7);
    world.run(at(400_000));
    world.read(2, 7);
    world.run(at(500_000));
    assert_eq!(world.ended(1), (at(100_101), from_tier(0, Kind::Stale, 1)));
    assert_eq!(world.outcome(2), Outcome::Failed, "it is too old for that now");
}

#[test]
fn a_soft_timeout_answers_stale_and_the_load_goes_on() {
    let deadline = deadline::Settings {
        soft: Some(ms(50)),
        cancel: true,
        ..deadline::Settings::default()
    };
    let mut world = World::new(vec![tier()], Policies { deadline, ..stale() });
    world.put(0, 7, 1, at(10));
    world.versions.insert(7, 2);
    world.run(at(100_000));
    world.read(1, 7);
    world.read(2, 8);
    world.run(at(101_000));
    assert_eq!(world.ended(1), (at(100_051), from_tier(0, Kind::Stale, 1)));
    assert_eq!(
        world.ended(2),
        (at(100_101), fresh_load(1)),
        "without a stale answer it waits on"
    );
    assert_eq!(world.stores[0][&7].version, 2);
    assert!(world.cancelled.is_empty());
    world.assert_quiet();
}

#[test]
fn work_that_nobody_waits_for_is_cancelled_when_the_policy_says_so() {
    for cancel in [false, true] {
        let deadline = deadline::Settings {
            cancel,
            ..deadline::Settings::default()
        };
        let limit = Some(limit::Settings {
            max: 1,
            timeout: ms(1_000),
            ..limit::Settings::default()
        });
        let mut world = World::new(
            vec![tier()],
            Policies {
                deadline,
                limit,
                ..Policies::default()
            },
        );
        world.read(1, 1);
        world.read(2, 2);
        world.read(3, 3);
        world.run(at(51));
        world.abandon(1);
        world.abandon(2);
        world.run(at(1_000));
        let (cancelled, ended) = if cancel { (1, at(151)) } else { (0, at(301)) };
        assert_eq!(
            world.cancelled.len(),
            cancelled,
            "the one that was launched, not the one in line"
        );
        assert_eq!(world.ended(3), (ended, fresh_load(1)));
        world.assert_quiet();
    }
}

#[test]
fn who_finds_no_place_waits_in_line_and_not_for_too_long() {
    let limit = Some(limit::Settings {
        max: 1,
        places: 10,
        timeout: ms(250),
        ..limit::Settings::default()
    });
    let mut world = World::new(
        vec![tier()],
        Policies {
            limit,
            ..Policies::default()
        },
    );
    for token in 0..5 {
        world.read(token, u64::from(token));
    }
    world.run(at(50));
    assert_eq!((world.guard.queued(), world.guard.in_flight()), (4, 1));
    world.run(at(1_000));
    for token in 0..3 {
        assert_eq!(
            world.ended(token),
            (at(101 + 100 * u64::from(token)), fresh_load(1))
        );
    }
    for token in 3..5 {
        assert_eq!(
            world.ended(token),
            (at(251), Outcome::Shed(Reason::OriginTimeout))
        );
    }
    world.assert_quiet();
}

#[test]
fn what_is_shed_is_answered_stale_where_that_is_allowed() {
    let limit = Some(limit::Settings {
        max: 1,
        places: 0,
        ..limit::Settings::default()
    });
    let mut world = World::new(vec![tier()], Policies { limit, ..stale() });
    world.put(0, 7, 1, at(10));
    world.run(at(100_000));
    world.read(1, 8);
    world.run(at(100_010));
    world.read(2, 7);
    world.read(3, 9);
    world.run(at(101_000));
    assert_eq!(world.outcome(2), from_tier(0, Kind::Stale, 1));
    assert_eq!(world.outcome(3), Outcome::Shed(Reason::OriginLimit));
}

#[test]
fn writes_do_not_stand_in_line_behind_reads() {
    let limit = Some(limit::Settings {
        max: 1,
        places: 10,
        timeout: ms(9_000),
        ..limit::Settings::default()
    });
    let mut world = World::new(
        vec![tier()],
        Policies {
            limit,
            ..Policies::default()
        },
    );
    world.put(0, 100, 1, at(60_000));
    for token in 0..5 {
        world.read(token, u64::from(token));
    }
    world.run(at(50));
    world.call(9, &Call::write(100));
    assert_eq!(world.guard.in_flight(), 2, "but they count");
    world.run(at(2_000));
    assert_eq!(world.ended(9), (at(150), Outcome::Written { version: 2 }));
    assert!(
        !world.stores[0].contains_key(&100),
        "what was written is invalidated"
    );
    world.assert_quiet();
}

#[test]
fn a_write_of_unknown_fate_invalidates() {
    let mut world = World::new(vec![tier()], Policies::default());
    world.put(0, 1, 1, at(60_000));
    world.put(0, 2, 1, at(60_000));
    world.origin_fault = Some(OriginFault::TimedOut);
    world.call(1, &Call::write(1));
    world.call(2, &Call::write(2));
    world.abandon(2);
    world.run(at(1_000));
    assert_eq!(world.outcome(1), Outcome::TimedOut);
    assert!(world.stores[0].is_empty());
    world.assert_quiet();
}

#[test]
fn failed_loads_are_tried_again_with_a_pause() {
    let settings = retry::Settings {
        jitter: false,
        ..retry::Settings::default()
    };
    let mut world = World::new(
        vec![tier()],
        Policies {
            retry: Some(settings),
            ..Policies::default()
        },
    );
    world.origin_fault = Some(OriginFault::Error);
    world.read(1, 7);
    world.run(at(200));
    world.origin_fault = None;
    world.run(at(1_000));
    // 1 + 100, a pause of 50, 100, a pause of 100, 100.
    assert_eq!(world.ended(1), (at(451), fresh_load(1)));
    assert_eq!(
        (world.guard.counters().retries, world.guard.counters().loads),
        (2, 1)
    );
    world.assert_quiet();
}

#[test]
fn nothing_there_is_remembered_only_for_its_own_ttl() {
    for negative in [None, Some(Span::secs(2))] {
        let ttl = ttl::Settings {
            negative,
            ..ttl::Settings::default()
        };
        let mut world = World::new(
            vec![tier()],
            Policies {
                ttl,
                ..Policies::default()
            },
        );
        world.absent.insert(7);
        for token in 0..4 {
            world.read(token, 7);
            world.run(world.now + ms(1_000));
        }
        let loads = if negative.is_some() { 2 } else { 4 };
        assert_eq!(world.fetches.len(), loads);
        assert_eq!(
            world.outcome(0),
            Outcome::Answer {
                from: Source::Load,
                kind: Kind::Negative,
                version: 1
            }
        );
    }
}

#[test]
fn what_is_gone_at_the_origin_does_not_stay_in_the_store() {
    let mut world = World::new(vec![tier()], stale());
    world.put(0, 7, 1, at(10));
    world.versions.insert(7, 2);
    world.absent.insert(7);
    world.run(at(1_000));
    world.read(1, 7);
    world.run(at(2_000));
    assert_eq!(world.outcome(1), from_tier(0, Kind::Stale, 1));
    assert!(world.stores[0].is_empty());
}

#[test]
fn a_corrupt_entry_is_a_miss_where_checksums_are_kept() {
    for integrity in [false, true] {
        let mut world = World::new(
            vec![tier()],
            Policies {
                integrity,
                ..Policies::default()
            },
        );
        world.put(0, 7, 1, at(60_000));
        world.stores[0].get_mut(&7).expect("just put").intact = false;
        world.read(1, 7);
        world.run(at(1_000));
        let expected = if integrity {
            fresh_load(1)
        } else {
            from_tier(0, Kind::Fresh, 1)
        };
        assert_eq!(world.outcome(1), expected);
        let corrupt = world.guard.counters().cache_errors[CacheFault::Corrupt as usize];
        assert_eq!(corrupt, u64::from(integrity));
    }
}

#[test]
fn entries_are_refreshed_before_they_expire() {
    let early = Some(early::Settings { beta: 1.0 });
    let stagger = ttl::Settings {
        stagger: Some(Span::secs(30)),
        ..ttl::Settings::default()
    };
    let policies = [
        Policies {
            early,
            ..coalescing()
        },
        Policies {
            ttl: stagger,
            ..coalescing()
        },
    ];
    for policies in policies {
        let mut world = World::new(vec![tier()], policies);
        for token in 0..12_000 {
            world.read(token, 7);
            world.run(world.now + ms(10));
        }
        let late = (1..12_000)
            .filter(|&token| token > 20 && world.outcome(token) == fresh_load(1))
            .count();
        assert_eq!(late, 0, "after the first load nobody waits");
        assert!(
            (2..=5).contains(&world.fetches.len()),
            "{} loads in two minutes",
            world.fetches.len()
        );
    }
}

#[test]
fn a_result_is_shared_with_those_who_come_just_too_late() {
    let settings = coalesce::Settings {
        window: ms(500),
        ..coalesce::Settings::default()
    };
    // Nothing is stored: there is no cache.
    let mut world = World::new(
        Vec::new(),
        Policies {
            coalesce: Some(settings),
            ..Policies::default()
        },
    );
    world.read(1, 7);
    world.run(at(500));
    world.read(2, 7);
    world.run(at(700));
    world.read(3, 7);
    world.run(at(1_000));
    assert_eq!(
        (world.ended(2), world.ended(3)),
        ((at(500), fresh_load(1)), (at(800), fresh_load(1)))
    );
}

#[test]
fn too_many_waiters_are_shed() {
    let settings = coalesce::Settings {
        waiters_max: 3,
        ..coalesce::Settings::default()
    };
    let mut world = World::new(
        vec![tier()],
        Policies {
            coalesce: Some(settings),
            ..Policies::default()
        },
    );
    (0..5).for_each(|token| world.read(token, 7));
    world.run(at(1_000));
    assert_eq!(world.outcome(2), fresh_load(1));
    assert_eq!(world.outcome(3), Outcome::Shed(Reason::Waiters));
}

#[test]
fn another_process_loads_and_this_one_looks_again() {
    let lease = Some(lease::Settings::default());
    let mut world = World::new(
        vec![tier()],
        Policies {
            lease,
            ..Policies::default()
        },
    );
    world.leased_elsewhere.insert(7);
    world.read(1, 7);
    world.run(at(200));
    world.put(0, 7, 9, at(60_000));
    world.run(at(1_000));
    assert_eq!(world.outcome(1), fresh_load(9));
    assert!(world.fetches.is_empty());

    // A holder that hangs stops nobody for ever.
    world.leased_elsewhere.insert(8);
    world.read(2, 8);
    world.run(at(5_000));
    assert_eq!(world.outcome(2), fresh_load(1));
    assert!(
        world.given_back.is_empty(),
        "what was not granted is not given back"
    );

    world.read(3, 9);
    world.run(at(6_000));
    assert_eq!(world.outcome(3), fresh_load(1));
    assert_eq!(world.given_back, [9]);
    world.assert_quiet();
}

#[test]
fn an_open_breaker_before_the_origin_sheds() {
    let origin_breaker = Some(breaker::Settings::default());
    let mut world = World::new(
        vec![tier()],
        Policies {
            origin_breaker,
            ..Policies::default()
        },
    );
    world.origin_fault = Some(OriginFault::Error);
    for token in 0..5 {
        world.read(token, u64::from(token));
    }
    world.run(at(1_000));
    world.origin_fault = None;
    world.read(10, 10);
    world.call(11, &Call::write(11));
    world.run(at(6_000));
    assert_eq!(world.outcome(10), Outcome::Shed(Reason::OriginOpen));
    assert_eq!(world.outcome(11), Outcome::Shed(Reason::OriginOpen));
    world.read(12, 12);
    world.run(at(7_000));
    assert_eq!(world.outcome(12), fresh_load(1), "a probe closes it");
    world.assert_quiet();
}

#[test]
fn what_was_popular_is_warmed_when_a_cache_comes_back_empty() {
    let warm = Some(warm::Settings {
        pace: 10.0,
        threshold: 0.5,
        ..warm::Settings::default()
    });
    let breaker = Some(breaker::Settings::default());
    let mut world = World::new(
        vec![tier()],
        Policies {
            breaker,
            warm,
            ..Policies::default()
        },
    );
    for token in 0..200_u32 {
        world.read(token, u64::from(token % 10 / 8 * 10 + token % 2));
        world.run(world.now + ms(10));
    }
    world.cache_fault[0] = Some(CacheFault::Refused);
    for token in 200..210 {
        world.read(token, u64::from(token));
    }
    world.run(world.now + ms(6_000));
    world.stores[0].clear();
    world.cache_fault[0] = None;
    world.read(300, 300);
    world.run(world.now + ms(5_000));
    assert!(world.guard.counters().warmed >= 1);
    assert!(
        world.stores[0].contains_key(&0) || world.stores[0].contains_key(&1),
        "{:?}",
        world.stores[0].keys()
    );
    world.assert_quiet();
}

#[test]
fn deadlines_that_have_passed_cost_nothing() {
    let mut world = World::new(vec![tier()], Policies::default());
    world.run(at(10));
    world.call(
        1,
        &Call {
            deadline: at(10),
            ..Call::read(7)
        },
    );
    assert_eq!(world.outcome(1), Outcome::Shed(Reason::Deadline));
    assert!(world.lookups.is_empty());
    world.assert_quiet();
}

#[test]
fn keys_are_looked_for_on_the_nodes_they_were_moved_to() {
    let setup = Setup {
        tiers: vec![tier()],
        instances: 1,
        policies: Policies {
            breaker: Some(breaker::Settings::default()),
            ..Policies::default()
        },
    };
    let mut guard = Guard::new(at(0), &setup);
    let mut rng = crate::rng::Seed(1).stream("guard", 0);
    let mut nodes = |guard: &mut Guard| {
        let mut asked = [0_u32; 8];
        for key in 0..800 {
            let call = Call::read(key);
            let mut request = Request::new(1, &call);
            let step = guard.begin(at(0), &mut rng, &mut request);
            let Step::Lookup { node, .. } = step else {
                panic!("the cache is asked first, not {step:?}")
            };
            asked[node as usize] += 1;
            guard.abandon(at(0), request);
        }
        guard.invariants();
        asked
    };
    assert_eq!(nodes(&mut guard)[0], 800);
    guard.respread(0, crate::ring::Sharding::Ring, 8);
    assert!(nodes(&mut guard).iter().all(|asked| *asked > 50));
    guard.respread(0, crate::ring::Sharding::Ring, 2);
    let asked = nodes(&mut guard);
    assert!(asked[0] > 200 && asked[1] > 200 && asked[2..].iter().all(|asked| *asked == 0));
    guard.respread(7, crate::ring::Sharding::Ring, 2);
}
