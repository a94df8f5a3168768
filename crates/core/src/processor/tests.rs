use std::collections::BTreeMap;

use crate::draw;
use crate::rng::Seed;
use proptest::prelude::*;

use super::*;

const SECOND: Span = Span::secs(1);

/// Poisson arrivals at `rate` a second, with this work; calls `done(work, time taken)` for each after a warm-up.
fn serve(
    run: u32,
    curve: Curve,
    rate: f64,
    queries: u64,
    mut work: impl FnMut(u64, &mut crate::rng::Stream) -> f64,
    mut done: impl FnMut(f64, f64),
) {
    let mut rng = Seed(5).replication(run).stream("processor", 0);
    let mut node = Processor::new(curve, 1.0);
    let mut begun: BTreeMap<u64, (Time, f64)> = BTreeMap::new();
    let mut arrival = Time::ZERO;
    let mut id = 0;
    while id < queries {
        match node.next() {
            Some(next) if next <= arrival => {
                let finished = node.finish(next).expect("the one that is due");
                let (since, work) = begun.remove(&finished).expect("it was begun");
                if finished > queries / 10 {
                    done(work, next.since(since).as_secs_f64());
                }
            }
            _ => {
                let seconds = work(id, &mut rng);
                node.begin(arrival, id, SECOND.scaled(seconds));
                begun.insert(id, (arrival, seconds));
                id += 1;
                arrival += SECOND.scaled(draw::exponential(&mut rng) / rate);
            }
        }
    }
}

/// Mean and half-width of a confidence interval of 99.9% (Student, 9 degrees of freedom) over ten runs.
fn over_runs(mut run: impl FnMut(u32) -> f64) -> (f64, f64) {
    let means: Vec<f64> = (0..10).map(&mut run).collect();
    let mean = means.iter().sum::<f64>() / 10.0;
    let variance = means.iter().map(|m| (m - mean) * (m - mean)).sum::<f64>() / 9.0;
    (mean, 4.781 * (variance / 10.0).sqrt())
}

#[test]
fn processor_sharing_takes_everyone_in_proportion_to_its_work() {
    // E[T(x)] = x / (1 − ρ), whatever the law of the works: here 0.5 or 3.
    let (rho, mean) = (0.7, 1.0);
    for size in [0.5, 3.0] {
        let (slowdown, error) = over_runs(|run| {
            let (mut sum, mut count) = (0.0, 0.0);
            serve(
                run,
                Curve::Servers(1.0),
                rho / mean,
                40_000,
                |_, rng| if rng.chance(0.2) { 3.0 } else { 0.5 },
                |work, took| {
                    if (work - size).abs() < 1e-9 {
                        sum += took / work;
                        count += 1.0;
                    }
                },
            );
            sum / count
        });
        let expected = 1.0 / (1.0 - rho);
        assert!(
            (slowdown - expected).abs() < error && error < 0.1 * expected,
            "{size}: {slowdown} ± {error}"
        );
    }
}

#[test]
fn servers_with_exponential_work_take_as_long_as_mmc() {
    // c = 10, a = 8: Wq = 0.204590; sharing leaves the mean as it is, for the number in the system is the same chain.
    let (mean, error) = over_runs(|run| {
        let (mut sum, mut count) = (0.0, 0.0);
        serve(
            run,
            Curve::Servers(10.0),
            8.0,
            20_000,
            |_, rng| draw::exponential(rng),
            |_, took| {
                sum += took;
                count += 1.0;
            },
        );
        sum / count
    });
    assert!(
        (mean - 1.204_590).abs() < error && error < 0.1,
        "{mean} ± {error}"
    );
}

/// Completions a second when `n` queries of 1 ms are always running.
fn closed(curve: Curve, scale: f64, n: u64) -> f64 {
    let mut rng = Seed(6).stream("processor", n);
    let mut node = Processor::new(curve, scale);
    let mut work = || Span::millis(1).scaled(draw::exponential(&mut rng));
    for id in 0..n {
        node.begin(Time::ZERO, id, work());
    }
    let mut now = Time::ZERO;
    let mut done = 0.0;
    while done < 40_000.0 {
        now = node.next().expect("something runs");
        while let Some(id) = node.finish(now) {
            done += 1.0;
            node.begin(now, id, work());
        }
    }
    done / now.as_secs_f64()
}

#[test]
fn throughput_follows_the_scalability_law() {
    let curve = Curve::Scalability {
        contention: 0.02,
        coherence: 0.000_5,
    };
    assert!((curve.best() - 44.0).abs() < 0.5, "{}", curve.best());
    for (n, expected) in [(1, 1_000.0), (44, 15_681.0), (200, 8_039.0)] {
        let found = closed(curve, 1.0, n);
        assert!((found / expected - 1.0).abs() < 0.02, "{n}: {found}");
    }
}

#[test]
fn a_scaled_processor_sees_the_whole_concurrency() {
    // A hundredth of 4 401 queries on 2 000 servers completes a hundredth.
    let found = closed(Curve::Servers(2_000.0), 0.01, 45);
    let expected = 45.0 * 1_000.0 * 2_000.0 / 4_401.0;
    assert!((found / expected - 1.0).abs() < 0.02, "{found} for {expected}");
}

#[test]
fn a_stopped_processor_finishes_nothing_until_it_goes_on() {
    let at = |ms| Time::ZERO + Span::millis(ms);
    let mut node = Processor::new(Curve::Servers(2.0), 1.0);
    node.begin(at(0), 7, Span::millis(10));
    node.set_pace(at(4), 0.0);
    assert_eq!((node.next(), node.finish(at(500))), (None, None));
    node.set_pace(at(1_000), 0.5);
    assert_eq!(node.next(), Some(at(1_012)));
    assert!(
        (node.busy(at(1_012)) - 0.506).abs() < 1e-9,
        "one of two servers was taken all the time"
    );
    assert_eq!(node.finish(at(1_012)), Some(7));
    assert!(!node.cancel(at(1_012), 7));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_query_ends_once_and_none_before_its_work_is_done(
        servers in 0.5..6.0_f64,
        ops in prop::collection::vec((0..8_u8, 0..50_u64, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut node = Processor::new(Curve::Servers(servers), 1.0);
        let mut running: Vec<(u64, Time, u64)> = Vec::new();
        let mut now = Time::ZERO;
        for (id, (op, size, pick)) in ops.into_iter().enumerate() {
            match op {
                0..=3 => {
                    node.begin(now, id as u64, Span::micros(size));
                    running.push((id as u64, now, size));
                }
                4 if !running.is_empty() => {
                    let (id, ..) = running.remove(pick.index(running.len()));
                    prop_assert!(node.cancel(now, id));
                }
                5 => node.set_curve(now, Curve::Scalability { contention: 0.1, coherence: 0.01 }),
                _ => {
                    let until = now + Span::micros(size);
                    while let Some(next) = node.next().filter(|next| *next <= until) {
                        now = next;
                        while let Some(id) = node.finish(now) {
                            let at = running.iter().position(|running| running.0 == id).expect("it runs");
                            let (_, began, work) = running.remove(at);
                            prop_assert!(now.since(began) + Span::nanos(1) >= Span::micros(work));
                        }
                        node.invariants();
                        prop_assert!(node.next().is_none_or(|next| next > now));
                    }
                    now = until;
                }
            }
            node.invariants();
            prop_assert_eq!(node.in_service(), running.len());
        }
        let ids: Vec<u64> = running.iter().map(|running| running.0).collect();
        prop_assert_eq!(node.clear(now), ids);
        prop_assert_eq!(node.next(), None);
    }
}
