//! What a call may ask for, how long a load's value lives, and what comes by another way than a load.

use super::driver::*;
use crate::guard::*;
use crate::policies::Policies;
use crate::time::{Span, Time};
use crate::ttl::Class;
use crate::{breaker, coalesce, early, sketch, stale, ttl};

fn stale_allowed() -> Policies {
    Policies {
        stale: Some(stale::Settings::default()),
        coalesce: Some(coalesce::Settings::default()),
        ..Policies::default()
    }
}

fn ask(world: &mut World, token: u32, mode: Mode) {
    let call = Call {
        mode,
        ..Call::read(7)
    };
    world.call(token, &call);
}

#[test]
fn a_load_may_say_how_long_its_value_lives() {
    let policies = Policies {
        ttl: ttl::Settings {
            regular: Some(Span::secs(20)),
            ..ttl::Settings::default()
        },
        ..Policies::default()
    };
    for (life, shared, own) in [
        (Life::Class, Some(20_000), Some(5_000)),
        (Life::Tier, Some(60_000), Some(5_000)),
        (Life::For(Span::secs(2)), Some(2_000), Some(2_000)),
        (Life::For(Span::secs(900)), Some(900_000), Some(5_000)),
        (Life::Unkept, None, None),
    ] {
        let mut world = World::new(vec![local(), tier()], policies.clone());
        world.life = life;
        world.read(1, 7);
        world.run(at(1_000));
        let held = |tier: usize, latency: u64| {
            let entry = world.stores[tier].get(&7)?;
            Some(entry.fresh_until.since(at(102 + latency)).as_nanos() / 1_000_000)
        };
        assert_eq!((held(1, 1), held(0, 0)), (shared, own), "{life:?}");
        assert!(matches!(world.outcome(1), Outcome::Answer { version: 1, .. }));
        world.assert_quiet();
    }
}

#[test]
fn what_is_not_kept_answers_those_who_wait_and_nobody_after() {
    let policies = Policies {
        coalesce: Some(coalesce::Settings {
            window: Span::secs(10),
            ..coalesce::Settings::default()
        }),
        ..Policies::default()
    };
    let mut world = World::new(vec![tier()], policies);
    world.life = Life::Unkept;
    world.read(1, 7);
    world.run(at(50));
    world.read(2, 7);
    world.run(at(500));
    world.read(3, 7);
    world.run(at(1_000));
    assert_eq!(
        (world.ended(1).0, world.ended(2).0, world.ended(3).0),
        (at(101), at(101), at(601))
    );
    assert_eq!(world.fetches.len(), 2);
}

#[test]
fn a_read_may_pass_the_caches_by_or_ask_only_them() {
    let mut world = World::new(vec![tier()], Policies::default());
    ask(&mut world, 1, Mode::OnlyIfCached);
    world.run(at(100));
    assert_eq!((world.outcome(1), world.fetches.len()), (Outcome::Absent, 0));
    world.read(2, 7);
    world.run(at(1_000));
    world.versions.insert(7, 2);
    ask(&mut world, 3, Mode::OnlyIfCached);
    ask(&mut world, 4, Mode::NoCache);
    world.run(at(2_000));
    ask(&mut world, 5, Mode::OnlyIfCached);
    world.run(at(3_000));
    let version = |token| match world.outcome(token) {
        Outcome::Answer { version, .. } => version,
        other => panic!("{token} ended with {other:?}"),
    };
    assert_eq!((version(3), version(4), version(5)), (1, 2, 2));
    world.assert_quiet();
}

#[test]
fn who_only_looks_refreshes_nothing() {
    let mut world = World::new(vec![tier()], stale_allowed());
    world.put(0, 7, 1, at(10));
    world.run(at(1_000));
    ask(&mut world, 1, Mode::OnlyIfCached);
    world.run(at(2_000));
    assert!(matches!(
        world.outcome(1),
        Outcome::Answer {
            kind: Kind::Stale,
            ..
        }
    ));
    assert_eq!(world.fetches.len(), 0);
}

#[test]
fn a_caller_may_be_stricter_than_the_policy() {
    let mut world = World::new(vec![tier()], stale_allowed());
    world.put(0, 7, 1, at(60_000));
    world.put(0, 8, 1, at(10));
    world.run(at(5_000));
    let young = Call {
        fresh_for: Span::secs(5),
        ..Call::read(7)
    };
    let never_stale = Call {
        stale_max: Span::ZERO,
        ..Call::read(8)
    };
    let old = Call {
        fresh_for: Span::secs(6),
        ..Call::read(7)
    };
    let patient = Call {
        stale_max: Span::secs(1),
        ..young
    };
    world.call(
        1,
        &Call {
            stale_max: Span::ZERO,
            ..young
        },
    );
    world.call(2, &never_stale);
    world.call(3, &old);
    world.call(4, &patient);
    world.run(at(5_050));
    assert!(matches!(
        world.outcome(3),
        Outcome::Answer {
            kind: Kind::Fresh,
            ..
        }
    ));
    assert!(matches!(
        world.outcome(4),
        Outcome::Answer {
            kind: Kind::Stale,
            ..
        }
    ));
    world.run(at(6_000));
    for token in [1, 2] {
        let loaded = matches!(
            world.outcome(token),
            Outcome::Answer {
                from: Source::Load,
                ..
            }
        );
        assert!(loaded, "{token}: {:?}", world.outcome(token));
    }
    world.assert_quiet();
}

#[test]
fn a_caller_that_wants_nothing_stale_gets_nothing_of_an_older_epoch() {
    let mut world = World::new(vec![tier()], stale_allowed());
    world.put(0, 7, 1, at(60_000));
    world.run(at(1_000));
    world.guard.bump_epoch(world.now);
    world.read(1, 7);
    world.call(
        2,
        &Call {
            stale_max: Span::ZERO,
            ..Call::read(7)
        },
    );
    world.run(at(2_000));
    assert!(matches!(
        world.outcome(1),
        Outcome::Answer {
            kind: Kind::Stale,
            ..
        }
    ));
    assert!(matches!(
        world.outcome(2),
        Outcome::Answer {
            from: Source::Load,
            ..
        }
    ));
}

#[test]
fn a_value_that_came_by_another_way_ends_what_was_there() {
    let mut world = World::new(vec![local(), tier()], stale_allowed());
    world.read(1, 7);
    world.run(at(50));
    // A load of version 1 is under way, and must not come after version 5.
    let (load, _) = world
        .guard
        .insert(world.now, 7, Class::Regular, (5, false), Life::Class)
        .expect("it is taken");
    assert_eq!(world.guard.poll(), Some(Effect::Launch(load)));
    let step = world
        .guard
        .load(world.now, &mut world.rng, load, LoadReply::Launched);
    let LoadStep::Store {
        tier: 0,
        key: 7,
        entry,
        ..
    } = step
    else {
        panic!("{step:?}")
    };
    world.stores[0].insert(7, entry);
    let step = world
        .guard
        .load(world.now, &mut world.rng, load, LoadReply::Stored(Ok(())));
    let LoadStep::Store { tier: 1, entry, .. } = step else {
        panic!("{step:?}")
    };
    // A read that comes before the store is written shares it.
    world.call(
        2,
        &Call {
            mode: Mode::NoCache,
            ..Call::read(7)
        },
    );
    let shared = Outcome::Answer {
        from: Source::Load,
        kind: Kind::Fresh,
        version: 5,
    };
    assert_eq!(world.outcome(2), shared);
    world.stores[1].insert(7, entry);
    let end = world
        .guard
        .load(world.now, &mut world.rng, load, LoadReply::Stored(Ok(())));
    assert_eq!(end, LoadStep::Done);
    world.run(at(1_000));
    let kept = |tier: usize| world.stores[tier].get(&7).map(|entry| entry.version);
    assert_eq!((kept(0), kept(1)), (Some(5), Some(5)));
    assert!(
        matches!(world.outcome(1), Outcome::Answer { version: 1, .. }),
        "it had asked before"
    );
    assert_eq!(world.guard.counters().stores_overtaken, 1);
    world.assert_quiet();
}

#[test]
fn what_is_purged_below_a_version_stays_from_there_on() {
    let mut world = World::new(vec![tier()], stale_allowed());
    world.put(0, 7, 4, at(60_000));
    world.put(0, 8, 5, at(60_000));
    for key in [7, 8] {
        world.guard.purge_below(world.now, key, 5);
        while let Some(effect) = world.guard.poll() {
            assert!(
                matches!(effect, Effect::Invalidate { version: 5, .. }),
                "{effect:?}"
            );
        }
    }
    world.read(1, 7);
    world.read(2, 8);
    world.run(at(1_000));
    assert!(matches!(
        world.outcome(1),
        Outcome::Answer {
            from: Source::Load,
            ..
        }
    ));
    assert!(matches!(
        world.outcome(2),
        Outcome::Answer {
            from: Source::Tier(0),
            version: 5,
            ..
        }
    ));
}

#[test]
fn hits_that_were_settled_alone_are_told_aside() {
    let policies = Policies {
        hot: Some(sketch::Settings::default()),
        early: Some(early::Settings::default()),
        ..Policies::default()
    };
    let mut world = World::new(vec![local(), tier()], policies);
    assert_eq!(world.guard.observes(), Some(1));
    assert_eq!(world.guard.freshness().beta, Some(1.0));
    for _ in 0..20 {
        world.guard.observe(at(0), 7);
    }
    world.guard.refresh_due(at(0), &mut world.rng, 7, Class::Regular);
    let Some(Effect::Launch(load)) = world.guard.poll() else {
        panic!("it is refreshed")
    };
    world.guard.load(at(0), &mut world.rng, load, LoadReply::Launched);
    let (took, life) = (ms(1), Life::Class);
    let fetched = LoadReply::Fetched {
        version: 1,
        negative: false,
        took,
        life,
    };
    let step = world.guard.load(at(1), &mut world.rng, load, fetched);
    assert!(
        matches!(step, LoadStep::Store { tier: 0, .. }),
        "it is hot, so memory keeps it: {step:?}"
    );
    world.guard.bump_epoch(at(2));
    assert_eq!(world.guard.freshness().epoch_began, at(2));
}

#[test]
fn a_disk_is_not_asked_for_the_lease_of_the_fleet() {
    let disk = Tier {
        shared: false,
        ..tier()
    };
    let policies = Policies {
        lease: Some(crate::lease::Settings::default()),
        ..Policies::default()
    };
    let mut world = World::new(vec![tier(), disk], policies);
    world.read(1, 7);
    world.run(at(10));
    world.run(at(1_000));
    assert_eq!(world.given_back, [7]);
    let mut alone = World::new(
        vec![Tier {
            shared: false,
            ..tier()
        }],
        world.guard.policies().clone(),
    );
    alone.read(1, 7);
    alone.run(at(1_000));
    assert!(alone.given_back.is_empty());
}

#[test]
fn breakers_can_be_seen_one_by_one() {
    let policies = Policies {
        breaker: Some(breaker::Settings {
            failures: 2,
            ..breaker::Settings::default()
        }),
        origin_breaker: Some(breaker::Settings {
            failures: 2,
            ..breaker::Settings::default()
        }),
        ..Policies::default()
    };
    let mut world = World::new(vec![tier()], policies);
    world.cache_fault[0] = Some(CacheFault::Refused);
    world.origin_fault = Some(OriginFault::Refused);
    for token in 0..4 {
        world.read(token, u64::from(token));
    }
    world.run(at(1_000));
    let states: Vec<_> = world.guard.node_states(at(1_000), 0).collect();
    assert_eq!(states, [breaker::State::Open]);
    assert_eq!(world.guard.origin_state(at(1_000)), Some(breaker::State::Open));
    assert_eq!(world.guard.origin_opens_in(at(1_101)), Span::secs(4));
    assert_eq!(world.guard.origin_opens_in(Time::NEVER), Span::ZERO);
}

#[test]
fn popularity_is_counted_also_where_one_comes_after_the_other() {
    let policies = Policies {
        warm: Some(crate::warm::Settings::default()),
        ..Policies::default()
    };
    let mut world = World::new(vec![tier()], policies);
    for turn in 0..160_u32 {
        world.read(turn, 7);
        world.run(at(u64::from(turn) * 200 + 199));
    }
    let sketch = world.guard.sketch.as_ref().expect("it is on");
    assert_eq!(sketch.reads(), 20, "one in eight");
}
