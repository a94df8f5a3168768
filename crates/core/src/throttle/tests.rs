use super::*;
use crate::rng::Seed;
use proptest::prelude::*;

fn at(secs: u64) -> Time {
    Time::ZERO + Span::secs(secs)
}

fn news(millis: u64, cache_up: bool, since: Time) -> Signals {
    Signals {
        origin_latency: Some(Span::millis(millis)),
        cache_up,
        since,
    }
}

/// Decides every 5 s for `decisions` times, on the same news each time; says what the shares were.
fn decide(throttle: &mut Throttle, decisions: usize, millis: u64, cache_up: bool) -> Vec<f64> {
    let mut shares = Vec::new();
    for _ in 0..decisions {
        let now = throttle.next_decision();
        throttle.observe(now, &news(millis, cache_up, now - Span::secs(5)));
        shares.push((throttle.share() * 1000.0).round() / 1000.0);
    }
    shares
}

/// An origin that does `capacity` (as a share of the load) and queues what is above; what the shares are at each
/// second.
fn closed_loop(secs: u64, capacity: impl Fn(u64) -> f64) -> Vec<f64> {
    let mut throttle = Throttle::new(at(0), Settings::default());
    let (mut backlog, mut latencies, mut shares) = (0.0_f64, Vec::new(), Vec::new());
    for second in 1..=secs {
        let capacity = capacity(second);
        backlog = (backlog + throttle.share() - capacity).clamp(0.0, 5.0);
        latencies.push(Span::millis(10) + Span::from_secs_f64(backlog / capacity));
        let now = at(second);
        let origin_latency = latencies.iter().rev().take(5).max().copied();
        throttle.observe(
            now,
            &Signals {
                origin_latency,
                cache_up: true,
                since: now - Span::secs(5),
            },
        );
        throttle.invariants();
        shares.push(throttle.share());
    }
    shares
}

#[test]
fn writes_pass_and_an_open_throttle_draws_nothing() {
    let mut throttle = Throttle::new(
        at(0),
        Settings {
            min: 0.0,
            decrease: 0.0,
            ..Settings::default()
        },
    );
    let mut rng = Seed(1).stream("throttle", 0);
    let next = rng.clone().bits();
    assert!(throttle.admit(at(0), true, &mut rng));
    decide(&mut throttle, 1, 900, true);
    assert!(throttle.share() <= 0.0);
    assert!(throttle.admit(at(5), false, &mut rng));
    assert_eq!(rng.bits(), next, "nothing was drawn");
    assert!(!throttle.admit(at(5), true, &mut rng));
}

#[test]
fn the_share_is_the_share_that_passes() {
    let mut throttle = Throttle::new(at(0), Settings::default());
    decide(&mut throttle, 1, 900, true);
    let mut rng = Seed(1).stream("throttle", 0);
    let passed = (0..10_000)
        .filter(|_| throttle.admit(at(5), true, &mut rng))
        .count();
    assert!((5_850..6_150).contains(&passed), "{passed}");
}

#[test]
fn news_from_before_the_last_change_is_no_news() {
    let mut throttle = Throttle::new(at(0), Settings::default());
    throttle.observe(at(5), &news(900, true, at(0)));
    assert!((throttle.share() - 0.6).abs() < 1e-9);
    // Measured over 8 s, so it began before the change at 5 s.
    throttle.observe(at(10), &news(900, true, at(2)));
    assert!(
        (throttle.share() - 0.6).abs() < 1e-9,
        "it would close twice for one overload"
    );
    throttle.observe(at(15), &news(900, true, at(7)));
    assert!((throttle.share() - 0.36).abs() < 1e-9);
}

#[test]
fn it_decides_only_when_it_is_time() {
    let mut throttle = Throttle::new(at(0), Settings::default());
    throttle.observe(at(4), &news(900, true, at(0)));
    assert!(throttle.share() >= 1.0);
    assert_eq!(throttle.next_decision(), at(5));
    throttle.observe(at(5), &news(900, true, at(0)));
    assert_eq!((throttle.next_decision(), throttle.share() < 1.0), (at(10), true));
}

#[test]
fn it_closes_by_a_factor_and_opens_by_steps_after_a_hold() {
    let mut throttle = Throttle::new(at(0), Settings::default());
    assert_eq!(
        decide(&mut throttle, 8, 900, true),
        [0.6, 0.36, 0.216, 0.13, 0.078, 0.05, 0.05, 0.05]
    );
    // Well for 10 s each. All that was wrong began at a share of 1, so that is what is neared by halves.
    let shares = decide(&mut throttle, 400, 10, true);
    assert_eq!(&shares[..6], [0.05, 0.1, 0.1, 0.15, 0.15, 0.2]);
    let steps: Vec<f64> = shares.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        steps.iter().all(|step| (0.0..0.0511).contains(step)),
        "never at once"
    );
    assert_eq!(&shares[36..42], [0.95, 0.975, 0.975, 0.988, 0.988, 0.994]);
    assert!(shares[60] >= 1.0, "{shares:?}");
}

#[test]
fn it_settles_beside_what_the_origin_can_do() {
    for capacity in [0.15, 0.29, 0.5, 0.8, 0.97] {
        let shares = closed_loop(1_800, |_| capacity);
        let late = &shares[600..];
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        let (low, high) = late.iter().fold((1.0_f64, 0.0_f64), |(low, high), share| {
            (low.min(*share), high.max(*share))
        });
        assert!(
            mean > capacity * 0.9 && mean < capacity * 1.02,
            "{capacity}: {mean}"
        );
        assert!(
            low > capacity * 0.9 && high < capacity + 0.03,
            "{capacity}: {low} to {high}"
        );
    }
}

#[test]
fn it_tries_carefully_what_lies_beyond_a_share_that_was_too_much() {
    let shares = closed_loop(1_800, |second| if second < 900 { 0.3 } else { 0.34 });
    let highest = shares[900..].iter().fold(0.0_f64, |high, share| high.max(*share));
    assert!((0.34..0.375).contains(&highest), "{highest}");
}

#[test]
fn steps_are_halved_up_to_a_share_that_was_too_much_and_doubled_beyond() {
    let mut throttle = Throttle::new(at(0), Settings::default());
    decide(&mut throttle, 8, 900, true);
    decide(&mut throttle, 16, 10, true);
    assert_eq!(decide(&mut throttle, 1, 900, true), [0.35], "0.45 was too much");
    let mut shares = decide(&mut throttle, 20, 10, true);
    shares.dedup();
    assert_eq!(
        shares,
        [
            0.35, 0.4, 0.425, 0.437, 0.444, 0.45, 0.462, 0.488, 0.538, 0.588, 0.638
        ]
    );
}

#[test]
fn after_all_was_well_the_next_overload_is_met_with_the_factor() {
    let mut throttle = Throttle::new(at(0), Settings::default());
    decide(&mut throttle, 1, 900, true);
    let shares = decide(&mut throttle, 100, 10, true);
    assert!(shares[99] >= 1.0);
    assert_eq!(decide(&mut throttle, 1, 900, true), [0.6]);
}

#[test]
fn a_step_that_was_too_much_is_taken_back_and_then_more_and_more() {
    let mut throttle = Throttle::new(at(0), Settings::default());
    decide(&mut throttle, 8, 900, true);
    assert_eq!(decide(&mut throttle, 16, 10, true).last(), Some(&0.45));
    // Back by two steps, then by eight (but no more than the factor), and no further while latency falls.
    assert_eq!(decide(&mut throttle, 2, 900, true), [0.35, 0.21]);
    assert_eq!(decide(&mut throttle, 1, 700, true), [0.21]);
    assert_eq!(decide(&mut throttle, 1, 690, true), [0.126]);
}

#[test]
fn it_opens_again_when_the_origin_can_do_more() {
    let shares = closed_loop(1_800, |second| if second < 900 { 0.3 } else { 2.0 });
    assert!(shares[899] < 0.35);
    let full = shares.iter().skip(900).position(|share| *share >= 1.0).unwrap();
    assert!((100..400).contains(&full), "{full} s to open");
}

#[test]
fn a_lost_cache_closes_it_at_once_and_keeps_it_closed() {
    let settings = Settings {
        on_cache_down: true,
        hold: Span::secs(5),
        ..Settings::default()
    };
    let mut throttle = Throttle::new(at(0), settings.clone());
    let shares = decide(&mut throttle, 5, 10, false);
    assert_eq!(
        shares, [0.6; 5],
        "latency is fine, so once is enough, and no more while it is gone"
    );
    let shares = decide(&mut throttle, 30, 10, true);
    assert!(shares[0] < 0.7 && shares[29] >= 1.0, "{shares:?}");
    let mut throttle = Throttle::new(
        at(0),
        Settings {
            latency: None,
            ..settings
        },
    );
    assert_eq!(
        decide(&mut throttle, 3, 900, false),
        [0.6, 0.36, 0.216],
        "nothing else to go by"
    );
}

#[test]
fn retuning_keeps_the_share_within_the_new_floor() {
    let mut throttle = Throttle::new(at(0), Settings::default());
    decide(&mut throttle, 10, 900, true);
    throttle.retune(
        at(100),
        Settings {
            min: 0.3,
            ..Settings::default()
        },
    );
    assert!((throttle.share() - 0.3).abs() < 1e-9);
    assert!(throttle.next_decision() <= at(105));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn it_closes_on_bad_news_only_and_opens_no_faster_than_it_may(
        least in 0.0..0.5_f64,
        decrease in 0.1..1.0_f64,
        increase in 0.01..0.5_f64,
        on_cache_down in any::<bool>(),
        steps in prop::collection::vec((0_u64..200, any::<bool>(), 0_u64..8, 0_u64..20), 1..200),
    ) {
        let settings = Settings { min: least, decrease, increase, on_cache_down, ..Settings::default() };
        let hold = settings.hold;
        let mut throttle = Throttle::new(at(0), settings);
        let (mut now, mut changed) = (at(0), at(0));
        for (millis, cache_up, wait, age) in steps {
            now += Span::secs(wait);
            let (before, since) = (throttle.share(), now - Span::secs(age));
            throttle.observe(now, &news(millis, cache_up, since));
            throttle.invariants();
            let after = throttle.share();
            if after.to_bits() == before.to_bits() {
                continue;
            }
            prop_assert!(since >= changed, "acted on old news");
            if after < before {
                prop_assert!(millis > 100 || (on_cache_down && !cache_up));
                prop_assert!(after >= before * decrease - 1e-9);
            } else {
                prop_assert!(millis <= 100 && after <= before + increase + 1e-9);
                prop_assert!(now.since(changed) >= hold);
            }
            changed = now;
        }
    }
}
