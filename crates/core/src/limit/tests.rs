use super::*;
use proptest::prelude::*;

fn at(millis: u64) -> Time {
    Time::ZERO + Span::millis(millis)
}

fn aimd(initial: u32) -> Settings {
    let latency = Span::millis(100);
    Settings {
        mode: Mode::Aimd {
            latency,
            decrease: 0.5,
        },
        initial,
        ..Settings::default()
    }
}

fn gradient(initial: u32) -> Settings {
    Settings {
        mode: Mode::Gradient { tolerance: 1.5 },
        initial,
        ..Settings::default()
    }
}

/// Keeps up to `demand` calls inside for `rounds` round trips; `latency` is what a call takes with that many inside.
fn drive(limiter: &mut Limiter, rounds: u64, demand: u32, latency: impl Fn(u32) -> u64) {
    let mut now = at(0);
    for _ in 0..rounds {
        let mut permits = Vec::new();
        while limiter.in_flight() < demand {
            let Some(permit) = limiter.acquire(now) else { break };
            permits.push(permit);
        }
        now += Span::millis(latency(limiter.in_flight()));
        for permit in permits {
            limiter.release(now, permit, Outcome::Ok);
            limiter.invariants();
        }
    }
}

#[test]
fn a_fixed_limit_stays() {
    let mut limiter = Limiter::new(Settings::default());
    let permits: Vec<Permit> = (0..100).map(|_| limiter.acquire(at(0)).unwrap()).collect();
    assert!(limiter.acquire(at(0)).is_none());
    for permit in permits {
        limiter.release(at(900), permit, Outcome::Failed);
    }
    assert_eq!((limiter.limit(), limiter.in_flight()), (100, 0));
}

#[test]
fn aimd_falls_once_a_round_trip() {
    let mut limiter = Limiter::new(aimd(40));
    let permits: Vec<Permit> = (0..40).map(|_| limiter.acquire(at(0)).unwrap()).collect();
    for permit in permits {
        limiter.release(at(10), permit, Outcome::Failed);
    }
    assert_eq!(limiter.limit(), 20, "forty failures of one round are one sign");
    let permit = limiter.acquire(at(20)).unwrap();
    limiter.release(at(121), permit, Outcome::Ok);
    assert_eq!(limiter.limit(), 10, "slow is bad too");
}

#[test]
fn what_began_before_a_change_is_no_sample() {
    let mut limiter = Limiter::new(aimd(4));
    let old: Vec<Permit> = (0..3).map(|_| limiter.acquire(at(0)).unwrap()).collect();
    let failed = limiter.acquire(at(0)).unwrap();
    limiter.release(at(1), failed, Outcome::Failed);
    assert_eq!(limiter.limit(), 2);
    for permit in old {
        limiter.release(at(2), permit, Outcome::Ok);
    }
    assert_eq!(limiter.limit(), 2, "three good calls, all of before the change");
    drive(&mut limiter, 1, 2, |_| 5);
    assert_eq!(limiter.limit(), 3);
}

#[test]
fn a_dropped_call_says_nothing() {
    for settings in [aimd(1), gradient(1)] {
        let mut limiter = Limiter::new(settings);
        for _ in 0..100 {
            let permit = limiter.acquire(at(0)).unwrap();
            limiter.release(at(1), permit, Outcome::Dropped);
        }
        assert_eq!(limiter.limit(), 1);
    }
}

#[test]
fn an_unused_limit_does_not_grow() {
    for settings in [aimd(20), gradient(20)] {
        let mut limiter = Limiter::new(settings.clone());
        drive(&mut limiter, 2_000, 5, |_| 10);
        assert_eq!(limiter.limit(), 20);
        let mut limiter = Limiter::new(settings);
        drive(&mut limiter, 2_000, 1_000, |_| 10);
        assert_eq!(limiter.limit(), 100, "used, it grows to its ceiling");
    }
}

#[test]
fn both_settle_where_the_origin_saturates() {
    // 32 servers of 10 ms each, fair shares: 48 inside take 15 ms, which is the tolerance of 1.5.
    let origin = |inside: u32| u64::from(inside.max(32)) * 10 / 32;
    let mut limiter = Limiter::new(gradient(8));
    drive(&mut limiter, 100, 1_000, origin);
    for _ in 0..50 {
        drive(&mut limiter, 100, 1_000, origin);
        assert!((40..=60).contains(&limiter.limit()), "{}", limiter.limit());
    }
    let latency = Span::millis(15);
    let mode = Mode::Aimd {
        latency,
        decrease: 0.9,
    };
    let mut limiter = Limiter::new(Settings { mode, ..aimd(8) });
    drive(&mut limiter, 5_000, 1_000, origin);
    assert!((40..=53).contains(&limiter.limit()), "{}", limiter.limit());
}

#[test]
fn a_failing_origin_is_left_with_the_floor_and_recovers() {
    for settings in [aimd(64), gradient(64)] {
        let mut limiter = Limiter::new(Settings { min: 2, ..settings });
        for _ in 0..300 {
            let permit = limiter.acquire(at(0)).unwrap();
            limiter.release(at(1), permit, Outcome::Failed);
        }
        assert_eq!(limiter.limit(), 2);
        drive(&mut limiter, 3_000, 1_000, |_| 10);
        assert_eq!(limiter.limit(), 100);
    }
}

#[test]
fn an_origin_that_became_slower_for_good_is_followed() {
    let mut limiter = Limiter::new(gradient(50));
    drive(&mut limiter, 100, 1_000, |_| 10);
    assert_eq!(limiter.limit(), 100);
    let mut lowest = 100;
    for _ in 0..200 {
        drive(&mut limiter, 20, 1_000, |_| 60);
        lowest = lowest.min(limiter.limit());
    }
    assert!(
        lowest <= 2,
        "down to the floor first, for it looks like overload: {lowest}"
    );
    assert_eq!(limiter.limit(), 100);
}

#[test]
fn latency_that_this_limit_did_not_cause_does_not_lower_it() {
    let mut limiter = Limiter::new(gradient(20));
    drive(&mut limiter, 100, 5, |_| 10);
    drive(&mut limiter, 5, 5, |_| 500);
    assert_eq!(limiter.limit(), 20);
}

#[test]
fn half_a_round_of_failures_is_enough() {
    let mut limiter = Limiter::new(gradient(60));
    let permits: Vec<Permit> = (0..60).map(|_| limiter.acquire(at(0)).unwrap()).collect();
    for permit in &permits[..30] {
        assert_eq!(limiter.limit(), 60);
        limiter.release(at(1), *permit, Outcome::Failed);
    }
    assert_eq!(limiter.limit(), 30);
}

#[test]
fn a_few_failures_do_not_starve_a_gradient() {
    let mut limiter = Limiter::new(gradient(50));
    for call in 0..2_000 {
        let permits: Vec<Permit> = std::iter::from_fn(|| limiter.acquire(at(call))).collect();
        for (place, permit) in permits.into_iter().enumerate() {
            let fails = (call + place as u64).is_multiple_of(200);
            let outcome = if fails { Outcome::Failed } else { Outcome::Ok };
            limiter.release(at(call + 10), permit, outcome);
        }
    }
    assert!(limiter.limit() > 90, "{}", limiter.limit());
}

#[test]
fn retuning_keeps_permits_and_bounds() {
    let mut limiter = Limiter::new(aimd(40));
    let permits: Vec<Permit> = (0..40).map(|_| limiter.acquire(at(0)).unwrap()).collect();
    limiter.retune(at(1), Settings { max: 10, ..aimd(40) });
    assert_eq!((limiter.limit(), limiter.in_flight()), (10, 40));
    for permit in permits {
        limiter.release(at(2), permit, Outcome::Failed);
    }
    assert_eq!(
        (limiter.limit(), limiter.in_flight()),
        (10, 0),
        "they began before the change"
    );
    limiter.retune(
        at(3),
        Settings {
            max: 70,
            ..Settings::default()
        },
    );
    assert_eq!(limiter.limit(), 70);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_never_lets_in_more_than_its_limit(
        mode in 0_u8..3,
        bounds in (0_u32..20, 1_u32..60, 0_u32..80),
        steps in prop::collection::vec((0_u8..12, 0_u64..60), 1..500),
    ) {
        let latency = Span::millis(50);
        let mode = match mode {
            0 => Mode::Fixed,
            1 => Mode::Aimd { latency, decrease: 0.8 },
            _ => Mode::Gradient { tolerance: 2.0 },
        };
        let settings = Settings { mode, min: bounds.0, max: bounds.1, initial: bounds.2, ..Settings::default() };
        let mut limiter = Limiter::new(settings.clone());
        let (mut now, mut inside) = (at(0), Vec::new());
        for (what, wait) in steps {
            now += Span::millis(wait);
            let before = limiter.limit();
            match what {
                0..=5 => {
                    let room = inside.len() < limiter.limit() as usize;
                    let permit = limiter.acquire(now);
                    prop_assert_eq!(permit.is_some(), room);
                    inside.extend(permit);
                }
                11 => limiter.retune(now, settings.clone()),
                _ if inside.is_empty() => {}
                _ => {
                    let permit = inside.remove(wait as usize % inside.len());
                    let outcome = [Outcome::Ok, Outcome::Failed, Outcome::Dropped][usize::from(what) % 3];
                    limiter.release(now, permit, outcome);
                    match outcome {
                        Outcome::Dropped => prop_assert_eq!(limiter.limit(), before),
                        Outcome::Failed if settings.mode == Mode::Aimd { latency, decrease: 0.8 } => {
                            prop_assert!(limiter.limit() <= before);
                        }
                        _ => {}
                    }
                }
            }
            limiter.invariants();
            prop_assert_eq!(limiter.in_flight() as usize, inside.len());
        }
    }
}
