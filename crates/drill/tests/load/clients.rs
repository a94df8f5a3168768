//! What is sent, and how it ends: as the simulated clients have it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall_core::arrivals::{Change, Spacing};
use seawall_core::keys::{Law, MISSING};
use seawall_core::record::{Ending, Metric};
use seawall_core::time::{Span, Time};
use seawall_drill::load::{Call, Function, Load, Reply, Report, Settings, Target, Truth};
use tokio::time::sleep;

fn settings(rate: f64, millis: u64) -> Settings {
    Settings {
        rate,
        spacing: Spacing::Even,
        duration: Span::millis(millis),
        period: Span::millis(100),
        ..Settings::default()
    }
}

async fn run(settings: Settings, target: impl Target, truth: Truth) -> Report {
    let load = Load::start(settings, target, Arc::new(truth)).expect("it starts");
    load.finish().await
}

/// A target that says the value of each key at version 0.
fn origin() -> impl Target {
    let truth = Truth::new(40);
    Function(move |call: Call| {
        let reply = if call.key & MISSING == 0 {
            Reply::Value(truth.value(call.key, 0).into())
        } else {
            Reply::Absent
        };
        async move { reply }
    })
}

#[tokio::test]
async fn every_call_that_is_due_is_sent() {
    let report = run(settings(1_000.0, 500), origin(), Truth::new(40)).await;
    assert_eq!(
        (report.calls(), report.of(Ending::Fresh)),
        (500, 500),
        "{}",
        report.text()
    );
    assert!(report.is_sound() || report.lag(0.99) > Span::millis(10));
    let changes = vec![Change {
        at: Time::ZERO + Span::millis(200),
        rate: 1_000.0,
        over: Span::ZERO,
    }];
    let rising = Settings {
        changes,
        ..settings(100.0, 400)
    };
    assert_eq!(run(rising, origin(), Truth::new(40)).await.calls(), 220);
}

#[tokio::test]
async fn the_same_seed_asks_for_the_same_keys() {
    let ask = async |seed: u64| {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let target = Function(move |call: Call| {
            log.lock()
                .expect("nobody panics")
                .push((call.key, call.write.is_some()));
            async { Reply::Done }
        });
        let settings = Settings {
            keys: Law::Zipf {
                count: 1_000,
                exponent: 0.9,
            },
            writes: 0.3,
            missing: 0.2,
            seed,
            ..settings(2_000.0, 150)
        };
        run(settings, target, Truth::unknown()).await;
        let mut asked = asked.lock().expect("nobody panics").clone();
        // Who runs first is the runtime's choice.
        asked.sort_unstable();
        asked
    };
    let (one, again, other) = (ask(1).await, ask(1).await, ask(2).await);
    assert_eq!(one.len(), 300);
    assert_eq!(one, again);
    assert_ne!(one, other);
    let missing = one.iter().filter(|(key, _)| key & MISSING != 0).count();
    let writes = one.iter().filter(|(_, writes)| *writes).count();
    assert!(
        (20..70).contains(&missing) && (50..120).contains(&writes),
        "{missing} {writes}"
    );
}

#[tokio::test]
async fn a_call_is_tried_again_after_a_pause_and_its_time_counts_from_the_first() {
    let tries = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&tries);
    // Hangs, fails, and then answers.
    let target = Function(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match number {
                0 => sleep(Duration::from_mins(1)).await,
                1 => return Reply::Failed("down".to_owned()),
                _ => {}
            }
            Reply::Value(Truth::new(40).value(0, 0).into())
        }
    });
    let patient = Settings {
        keys: Law::Single,
        timeout: Some(Span::millis(80)),
        retries: 2,
        backoff: Span::millis(50),
        ..settings(10.0, 50)
    };
    let report = run(patient.clone(), target, Truth::new(40)).await;
    assert_eq!(
        (report.calls(), report.retries, report.of(Ending::Fresh)),
        (1, 2, 1)
    );
    let took = report.latency(1.0);
    assert!(
        took >= Span::millis(180) && took < Span::millis(400),
        "80 + 50 + 0 + 50 ms: {took}"
    );
    // All tries used up; a timeout is as long as it was to be, however late the timer is.
    let hangs = Function(|_| async {
        sleep(Duration::from_mins(1)).await;
        Reply::Done
    });
    let report = run(patient, hangs, Truth::new(40)).await;
    assert_eq!((report.of(Ending::Timeout), report.retries), (1, 2));
    let took = report.latency(1.0).as_secs_f64();
    assert!((0.34..0.5).contains(&took), "3 × 80 + 2 × 50 ms: {took}");
}

#[tokio::test]
async fn what_is_shed_is_not_tried_again() {
    let settings = Settings {
        retries: 5,
        ..settings(100.0, 100)
    };
    let report = run(settings, Function(|_| async { Reply::Shed }), Truth::new(40)).await;
    assert_eq!((report.of(Ending::Shed), report.retries), (10, 0));
}

#[tokio::test]
async fn wrong_and_stale_answers_are_found_out() {
    let truth = Truth::new(40);
    let damaged = Function(move |call: Call| {
        let mut value = truth.value(call.key, 0);
        match call.key {
            1 => value[39] ^= 4,
            2 => value = truth.value(3, 0),
            3 => value = truth.value(3, 9),
            4 => return std::future::ready(Reply::Absent),
            _ => {}
        }
        std::future::ready(Reply::Value(value.into()))
    });
    let settings = Settings {
        keys: Law::Uniform { count: 6 },
        ..settings(2_000.0, 200)
    };
    let report = run(settings, damaged, Truth::new(40)).await;
    assert!(
        report.wrong() > 200 && report.of(Ending::Fresh) > 80,
        "{}",
        report.text()
    );
    assert_eq!(report.wrongs.len(), 4, "{:?}", report.wrongs);
    let mut keys = report.examples.clone();
    keys.sort_unstable();
    assert_eq!(keys, [1, 2, 3, 4]);
    assert!(report.text().starts_with("WRONG: "), "{}", report.text());
    assert_eq!(report.json()["outcomes"]["wrong"], report.wrong());

    // A cache in which writes show a quarter of a second late.
    let old = Truth::new(40);
    let target = Function(move |call: Call| {
        let reply = if call.write.is_some() {
            Reply::Done
        } else {
            Reply::Value(old.value(call.key, 0).into())
        };
        std::future::ready(reply)
    });
    let settings = Settings {
        keys: Law::Single,
        writes: 0.02,
        ..super::clients::settings(1_000.0, 400)
    };
    let limit = Truth::new(40).stale_at_most(Span::millis(100));
    let report = run(settings, target, limit).await;
    assert!(report.of(Ending::Stale) > 10, "{}", report.text());
    assert!(
        report.wrongs.contains_key("older than permitted"),
        "{}",
        report.text()
    );
    assert!(Span::nanos(report.staleness.max()) <= Span::millis(101));
}

#[tokio::test]
async fn what_cannot_be_sent_is_an_overrun() {
    let settings = Settings {
        in_flight_max: 20,
        timeout: None,
        ..settings(1_000.0, 200)
    };
    let slow = Function(|_| async {
        sleep(Duration::from_millis(500)).await;
        Reply::Done
    });
    let report = run(settings, slow, Truth::unknown()).await;
    assert_eq!((report.calls(), report.overruns), (20, 180));
    assert!(
        !report.is_sound() && report.text().starts_with("NOT SOUND: 180 calls"),
        "{}",
        report.text()
    );
}

#[tokio::test]
async fn load_changes_while_it_runs() {
    let (missing, hot) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counts = (Arc::clone(&missing), Arc::clone(&hot));
    let target = Function(move |call: Call| {
        if call.key & MISSING != 0 {
            counts.0.fetch_add(1, Ordering::Relaxed);
        } else if call.key == 0 {
            counts.1.fetch_add(1, Ordering::Relaxed);
        }
        async { Reply::Done }
    });
    let load = Load::start(settings(100.0, 60_000), target, Arc::new(Truth::unknown())).expect("it starts");
    load.set_factor(20.0);
    load.hot_key(0.5);
    load.missing(0.5);
    let began = tokio::time::Instant::now();
    while load.progress().of(Ending::Fresh) < 400 {
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", load.progress());
        sleep(Duration::from_millis(10)).await;
    }
    load.stop();
    let report = load.finish().await;
    assert!(report.lasted < Span::secs(4));
    let share = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64 / report.calls() as f64;
    assert!((0.35..0.65).contains(&share(&missing)), "{}", share(&missing));
    assert!(
        (0.15..0.4).contains(&share(&hot)),
        "half of what is left: {}",
        share(&hot)
    );
}

#[tokio::test]
async fn the_record_has_the_series_of_a_simulated_client() {
    let report = run(settings(500.0, 1_000), origin(), Truth::new(40)).await;
    let record = &report.record;
    assert_eq!((record.periods, record.period), (10, Span::millis(100)));
    let names: Vec<(&str, Option<&str>)> = record
        .series()
        .iter()
        .map(|series| (series.metric.name(), series.label.as_deref()))
        .collect();
    let endings = Ending::ALL.map(|ending| (Metric::Requests.name(), Some(ending.name())));
    let rest = [
        ("goodput_total", None),
        ("retries_total", None),
        ("request_duration_seconds", Some("0.5")),
        ("request_duration_seconds", Some("0.9")),
        ("request_duration_seconds", Some("0.99")),
    ];
    assert_eq!(names, [&endings[..], &rest].concat());
    let goodput: f64 = record.values(Metric::Goodput, "load", None).iter().sum();
    assert!(
        (490.0..=500.0).contains(&goodput),
        "the last ones may end after the run: {goodput}"
    );
}

#[tokio::test]
async fn a_target_that_panics_holds_nobody_up() {
    let target = Function(|call: Call| async move {
        assert!(call.key != 0, "on purpose");
        Reply::Done
    });
    let settings = Settings {
        keys: Law::Uniform { count: 2 },
        ..settings(200.0, 100)
    };
    let report = run(settings, target, Truth::unknown()).await;
    assert!(report.calls() < 20);
}
