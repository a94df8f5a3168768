use super::*;
use crate::rng::Seed;
use proptest::prelude::*;

fn at(millis: u64) -> Time {
    Time::ZERO + Span::millis(millis)
}

fn stream() -> Stream {
    Seed(1).stream("breaker", 0)
}

fn pass(breaker: &mut Breaker, now: Time) -> Permit {
    match breaker.admit(now, &mut stream()) {
        Admission::Pass(permit) => permit,
        Admission::Refuse { retry_at } => panic!("refused until {retry_at}"),
    }
}

fn call(breaker: &mut Breaker, now: Time, verdict: Verdict) {
    let permit = pass(breaker, now);
    breaker.record(now, permit, verdict, Span::ZERO);
}

fn opened(settings: Settings) -> Breaker {
    let mut breaker = Breaker::new(settings);
    for _ in 0..5 {
        call(&mut breaker, at(0), Verdict::Failure);
    }
    assert_eq!(breaker.state(at(0)), State::Open);
    breaker
}

#[test]
fn opens_after_failures_in_a_row_within_the_window() {
    let mut breaker = Breaker::new(Settings::default());
    for second in 0..100 {
        // Five in a row take 12 s: never five within 10 s.
        call(&mut breaker, at(second * 3_000), Verdict::Failure);
    }
    assert_eq!(breaker.state(at(300_000)), State::Closed);
    for _ in 0..20 {
        for _ in 0..4 {
            call(&mut breaker, at(400_000), Verdict::Failure);
        }
        call(&mut breaker, at(400_000), Verdict::Success);
    }
    assert_eq!(breaker.state(at(400_000)), State::Closed);
    for _ in 0..5 {
        call(&mut breaker, at(400_000), Verdict::Failure);
    }
    assert_eq!(breaker.state(at(400_000)), State::Open);
    assert_eq!(breaker.transitions(), 1);
}

#[test]
fn lets_a_counted_few_probe_and_closes_when_all_succeed() {
    let mut breaker = opened(Settings {
        probes: 3,
        ..Settings::default()
    });
    let probes: Vec<Permit> = (0..3).map(|_| pass(&mut breaker, at(5_000))).collect();
    assert!(matches!(
        breaker.admit(at(5_000), &mut stream()),
        Admission::Refuse { .. }
    ));
    for (index, probe) in probes.iter().enumerate() {
        assert_eq!(breaker.state(at(5_001)), State::HalfOpen, "{index} proven");
        breaker.record(at(5_001), *probe, Verdict::Success, Span::ZERO);
    }
    assert_eq!(breaker.state(at(5_001)), State::Closed);
}

#[test]
fn a_released_or_lost_probe_gives_its_place_back() {
    let mut breaker = opened(Settings::default());
    let probe = pass(&mut breaker, at(5_000));
    breaker.release(at(5_000), probe);
    let lost = pass(&mut breaker, at(5_000));
    assert_eq!(
        breaker.admit(at(9_999), &mut stream()),
        Admission::Refuse { retry_at: at(10_000) }
    );
    let next = pass(&mut breaker, at(10_000));
    // The lost one comes back after all: it has no say, and takes no place away.
    breaker.record(at(10_000), lost, Verdict::Failure, Span::ZERO);
    assert_eq!(breaker.state(at(10_000)), State::HalfOpen);
    breaker.record(at(10_000), next, Verdict::Success, Span::ZERO);
    assert_eq!(breaker.state(at(10_000)), State::Closed);
}

#[test]
fn late_results_of_an_earlier_generation_are_ignored() {
    let mut breaker = Breaker::new(Settings::default());
    let late: Vec<Permit> = (0..20).map(|_| pass(&mut breaker, at(0))).collect();
    for permit in &late[..5] {
        breaker.record(at(500), *permit, Verdict::Failure, Span::millis(500));
    }
    assert_eq!(breaker.state(at(500)), State::Open);
    let probe = pass(&mut breaker, at(5_500));
    for permit in &late[5..10] {
        breaker.record(at(5_500), *permit, Verdict::Success, Span::ZERO);
    }
    assert_eq!(
        breaker.state(at(5_500)),
        State::HalfOpen,
        "a late success proves nothing"
    );
    breaker.record(at(5_500), probe, Verdict::Success, Span::ZERO);
    for permit in &late[10..] {
        breaker.record(at(5_501), *permit, Verdict::Failure, Span::secs(5));
    }
    assert_eq!(
        breaker.state(at(5_501)),
        State::Closed,
        "late failures do not open it"
    );
}

#[test]
fn stays_open_longer_each_time_in_a_row() {
    let mut breaker = opened(Settings {
        backoff: 2.0,
        open_max: Span::secs(15),
        ..Settings::default()
    });
    let mut now = at(0);
    for seconds in [5, 10, 15, 15] {
        let Admission::Refuse { retry_at } = breaker.admit(now, &mut stream()) else {
            panic!("it is open")
        };
        assert_eq!(retry_at, now + Span::secs(seconds));
        now = retry_at;
        call(&mut breaker, now, Verdict::Failure);
    }
    breaker.reset(now);
    for _ in 0..5 {
        call(&mut breaker, now, Verdict::Failure);
    }
    let retry_at = now + Span::secs(5);
    assert_eq!(breaker.admit(now, &mut stream()), Admission::Refuse { retry_at });
}

#[test]
fn ramps_up_after_a_recovery() {
    let mut breaker = opened(Settings {
        ramp: Span::secs(10),
        ..Settings::default()
    });
    call(&mut breaker, at(5_000), Verdict::Success);
    let mut rng = stream();
    let mut share = |now: Time| {
        let passed = (0..2_000)
            .filter(|_| matches!(breaker.admit(now, &mut rng), Admission::Pass(_)))
            .count();
        passed as f64 / 2_000.0
    };
    assert!(share(at(5_000)) < 0.01);
    assert!((share(at(10_000)) - 0.5).abs() < 0.05);
    assert!(share(at(15_000)) > 0.999);
}

#[test]
fn opens_on_a_share_of_failures_and_of_slow_calls() {
    let by_failures = Settings {
        failures: 0,
        failure_rate: Some(0.5),
        ..Settings::default()
    };
    let mut breaker = Breaker::new(by_failures);
    for index in 0..19 {
        let verdict = if index % 2 == 0 {
            Verdict::Failure
        } else {
            Verdict::Success
        };
        call(&mut breaker, at(index), verdict);
        assert_eq!(breaker.state(at(index)), State::Closed, "too few calls to tell");
    }
    call(&mut breaker, at(20), Verdict::Failure);
    assert_eq!(breaker.state(at(20)), State::Open);

    let slow_call = Some(Span::millis(100));
    let mut breaker = Breaker::new(Settings {
        slow_call,
        ..Settings::default()
    });
    for index in 0..20 {
        assert_eq!(breaker.state(at(index)), State::Closed);
        let permit = pass(&mut breaker, at(index));
        breaker.record(at(index), permit, Verdict::Success, Span::millis(101));
    }
    assert_eq!(breaker.state(at(20)), State::Open);
}

#[test]
fn what_left_the_window_does_not_count() {
    let settings = Settings {
        failures: 0,
        failure_rate: Some(0.5),
        ..Settings::default()
    };
    let mut breaker = Breaker::new(settings);
    for _ in 0..15 {
        call(&mut breaker, at(0), Verdict::Failure);
    }
    for index in 0..19 {
        call(&mut breaker, at(11_000 + index), Verdict::Success);
    }
    call(&mut breaker, at(11_020), Verdict::Failure);
    assert_eq!(breaker.state(at(11_020)), State::Closed);
}

#[derive(Clone, Debug)]
enum Operation {
    Wait(u16),
    Admit,
    Record(usize, bool),
    Release(usize),
    Trip,
    Reset,
    Retune(u32, u32, Option<f64>),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => any::<u16>().prop_map(Operation::Wait),
        8 => Just(Operation::Admit),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(which, ok)| Operation::Record(which, ok)),
        2 => any::<usize>().prop_map(Operation::Release),
        1 => Just(Operation::Trip),
        1 => Just(Operation::Reset),
        1 => (0_u32..6, 0_u32..4, prop::option::of(0.1_f64..1.0))
            .prop_map(|(failures, probes, rate)| Operation::Retune(failures, probes, rate)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_a_herd_and_always_a_way_back(operations in prop::collection::vec(operation(), 1..200)) {
        let mut breaker = Breaker::new(Settings { minimum_calls: 3, ..Settings::default() });
        let mut rng = stream();
        let mut now = Time::ZERO;
        let mut out: Vec<Permit> = Vec::new();
        for operation in operations {
            match operation {
                Operation::Wait(millis) => now += Span::millis(u64::from(millis)),
                Operation::Admit => match breaker.admit(now, &mut rng) {
                    Admission::Pass(permit) => out.push(permit),
                    Admission::Refuse { retry_at } => prop_assert!(retry_at > now),
                },
                Operation::Record(which, ok) if !out.is_empty() => {
                    let permit = out.swap_remove(which % out.len());
                    let verdict = if ok { Verdict::Success } else { Verdict::Failure };
                    breaker.record(now, permit, verdict, Span::ZERO);
                }
                Operation::Release(which) if !out.is_empty() => {
                    let permit = out.swap_remove(which % out.len());
                    breaker.release(now, permit);
                }
                Operation::Trip => breaker.trip(now),
                Operation::Reset => breaker.reset(now),
                Operation::Retune(failures, probes, failure_rate) => {
                    let settings = Settings { failures, probes, failure_rate, minimum_calls: 3, ..Settings::default() };
                    breaker.retune(now, settings);
                }
                Operation::Record(..) | Operation::Release(_) => {}
            }
            breaker.invariants();
        }
        // Whatever happened, successes close it in the end.
        for _ in 0..4 {
            now += Span::secs(61);
            while let Admission::Pass(permit) = breaker.admit(now, &mut rng) {
                breaker.record(now, permit, Verdict::Success, Span::ZERO);
                if breaker.state(now) == State::Closed {
                    break;
                }
            }
        }
        prop_assert_eq!(breaker.state(now), State::Closed);
    }
}
