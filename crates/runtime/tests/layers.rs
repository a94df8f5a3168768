//! The layers for tower, under a paused clock: what they let in, whom they turn away, and that nothing is lost on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use seawall::core::policies::Policies;
use seawall::core::{breaker, limit, queue, rate, retry, shed, throttle, time::Span};
use seawall::layers::{
    Ask, BoxError, BreakerLayer, DeadlineLayer, GateLayer, LimitLayer, RetryLayer, refusal, time_left,
};
use seawall::{Error, Priority, Reason};
use tokio::time::Instant;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A service that takes its time, fails when told to, and counts.
#[derive(Clone, Default)]
struct Backend {
    takes_ms: Arc<AtomicU32>,
    fails: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    inside: Arc<AtomicU32>,
    most: Arc<AtomicU32>,
}

struct Inside(Arc<AtomicU32>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Backend {
    fn new(takes_ms: u32) -> Backend {
        let backend = Backend::default();
        backend.takes(takes_ms);
        backend
    }

    fn takes(&self, takes_ms: u32) {
        self.takes_ms.store(takes_ms, Ordering::SeqCst);
    }

    fn fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    fn service(&self) -> BoxCloneService<u32, u32, std::io::Error> {
        let backend = self.clone();
        BoxCloneService::new(tower::service_fn(move |request: u32| {
            let backend = backend.clone();
            async move {
                backend.calls.fetch_add(1, Ordering::SeqCst);
                let inside = backend.inside.fetch_add(1, Ordering::SeqCst) + 1;
                backend.most.fetch_max(inside, Ordering::SeqCst);
                let _inside = Inside(Arc::clone(&backend.inside));
                tokio::time::sleep(ms(backend.takes_ms.load(Ordering::SeqCst).into())).await;
                if backend.fails.load(Ordering::SeqCst) {
                    return Err(std::io::Error::other("it is broken"));
                }
                Ok(request)
            }
        }))
    }
}

fn fixed(max: u32, places: u32, timeout_ms: u64) -> limit::Settings {
    limit::Settings {
        max,
        initial: max,
        places,
        timeout: Span::millis(timeout_ms),
        ..limit::Settings::default()
    }
}

/// Why a call was turned away, and when it is worth coming back.
fn told(result: Result<u32, BoxError>) -> Result<u32, (Option<Reason>, Option<Duration>)> {
    result.map_err(|error| {
        let refusal =
            refusal(&*error).unwrap_or_else(|| panic!("it was not turned away but failed: {error}"));
        let reason = match refusal {
            Error::Shed { reason, .. } => Some(*reason),
            _ => None,
        };
        (reason, refusal.retry_after())
    })
}

async fn at_once<S>(service: &S, requests: std::ops::Range<u32>) -> Vec<Result<u32, BoxError>>
where
    S: Service<u32, Response = u32, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    let tasks: Vec<_> = requests
        .map(|request| tokio::spawn(service.clone().oneshot(request)))
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("it ran"));
    }
    results
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_and_its_line_is_bounded_in_places_and_in_time() {
    let backend = Backend::new(100);
    let layer = LimitLayer::new(fixed(2, 3, 150));
    let service = layer.layer(backend.service());
    let began = Instant::now();
    let results: Vec<_> = at_once(&service, 0..8).await.into_iter().map(told).collect();
    let full = Err((Some(Reason::QueueFull), Some(ms(150))));
    let late = Err((Some(Reason::QueueTimeout), Some(ms(150))));
    assert_eq!(results, [Ok(0), Ok(1), Ok(2), Ok(3), late, full, full, full]);
    assert_eq!(began.elapsed(), ms(200), "nobody waited longer than anyone may");
    assert_eq!((backend.most.load(Ordering::SeqCst), backend.calls()), (2, 4));
    let standing = layer.standing();
    assert_eq!((standing.in_flight, standing.queued, standing.shed), (0, 0, 4));
}

#[tokio::test(start_paused = true)]
async fn places_come_back_however_a_call_ends() {
    let backend = Backend::new(100);
    let layer = LimitLayer::new(fixed(1, 2, 10_000));
    let service = layer.layer(backend.service());

    // A place that was taken by `poll_ready` and never used.
    let mut ready = service.clone();
    ready.ready().await.expect("there is room");
    assert_eq!(layer.standing().in_flight, 1);
    let copy = ready.clone();
    drop(ready);
    assert_eq!(layer.standing().in_flight, 0, "and its copy has none");
    drop(copy);

    // A call that is given up, with one behind it in the line, which gives up too.
    let first = tokio::spawn(service.clone().oneshot(1));
    tokio::time::sleep(ms(10)).await;
    let second = tokio::spawn(service.clone().oneshot(2));
    let third = tokio::spawn(service.clone().oneshot(3));
    tokio::time::sleep(ms(10)).await;
    assert_eq!((layer.standing().in_flight, layer.standing().queued), (1, 2));
    second.abort();
    first.abort();
    assert_eq!(third.await.expect("it ran").expect("its turn came"), 3);

    // One that was let in and dropped before it heard of it.
    let mut holder = service.clone();
    holder.ready().await.expect("there is room");
    let mut waiting = service.clone();
    let pending = std::future::poll_fn(|context| Poll::Ready(waiting.poll_ready(context).is_pending())).await;
    assert!(pending, "back-pressure, not an error");
    drop(holder);
    assert_eq!(layer.standing().in_flight, 1);
    drop(waiting);
    let standing = layer.standing();
    assert_eq!((standing.in_flight, standing.queued), (0, 0));

    // A panic is no way to keep a place either.
    let panics = layer.layer(tower::service_fn(|request: u32| async move {
        assert_eq!(request, 0, "on purpose");
        Ok::<u32, BoxError>(0)
    }));
    assert!(tokio::spawn(panics.oneshot(1)).await.is_err());
    assert_eq!(layer.standing().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_falls_when_it_gets_slow_and_a_line_may_serve_the_last_first() {
    let backend = Backend::new(10);
    let settings = limit::Settings {
        mode: limit::Mode::Aimd {
            latency: Span::millis(50),
            decrease: 0.5,
        },
        min: 2,
        max: 64,
        initial: 16,
        places: 100,
        timeout: Span::secs(10),
    };
    let layer = LimitLayer::new(settings);
    let service = layer.layer(backend.service());
    for _ in 0..20 {
        at_once(&service, 0..60).await;
    }
    let grown = layer.standing().limit;
    backend.takes(200);
    for _ in 0..20 {
        at_once(&service, 0..60).await;
    }
    assert!(
        grown > 16 && layer.standing().limit < 8,
        "{grown}, then {:?}",
        layer.standing()
    );

    let line = queue::Settings {
        places: 2,
        timeout: Span::secs(10),
        order: queue::Order::Lifo,
        codel: None,
    };
    let backend = Backend::new(100);
    let service = LimitLayer::with_line(fixed(1, 2, 10_000), line).layer(backend.service());
    let began = Instant::now();
    let calls: Vec<_> = (0..3)
        .map(|call| {
            let service = service.clone();
            tokio::spawn(async move { service.oneshot(call).await.map(|_| began.elapsed()) })
        })
        .collect();
    let mut ends = Vec::new();
    for call in calls {
        ends.push(call.await.expect("it ran").expect("its turn came"));
    }
    assert_eq!(ends, [ms(100), ms(300), ms(200)]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_can_be_changed_while_it_runs() {
    let backend = Backend::new(100);
    let layer = LimitLayer::new(fixed(1, 10, 10_000));
    let service = layer.layer(backend.service());
    let calls: Vec<_> = (0..4)
        .map(|call| tokio::spawn(service.clone().oneshot(call)))
        .collect();
    tokio::time::sleep(ms(10)).await;
    layer.retune(fixed(4, 10, 10_000));
    let began = Instant::now();
    for call in calls {
        call.await.expect("it ran").expect("its turn came");
    }
    assert_eq!(began.elapsed(), ms(100), "those in line came in at once");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_stops_asking_and_lets_one_ask_again() {
    let backend = Backend::new(10);
    let layer = BreakerLayer::new(breaker::Settings::default());
    let service = layer.layer(backend.service());
    backend.fails(true);
    for call in 0..5 {
        assert!(service.clone().oneshot(call).await.is_err());
    }
    assert_eq!(layer.state(), breaker::State::Open);
    assert_eq!(
        told(service.clone().oneshot(9).await),
        Err((None, Some(ms(5_000))))
    );
    assert_eq!(backend.calls(), 5);
    tokio::time::sleep(ms(5_000)).await;

    // The one that may ask leaves without having heard: the next one may.
    let probe = tokio::spawn(service.clone().oneshot(1));
    tokio::task::yield_now().await;
    assert!(told(service.clone().oneshot(2).await).is_err(), "one at a time");
    probe.abort();
    let _ = probe.await;
    backend.fails(false);
    assert_eq!(service.clone().oneshot(3).await.expect("it is well"), 3);
    assert_eq!(layer.state(), breaker::State::Closed);

    // What a response says may count too.
    let strict = BreakerLayer::new(breaker::Settings::default()).failing(|response: &u32| *response >= 500);
    let service = strict.layer(backend.service());
    for _ in 0..5 {
        assert_eq!(service.clone().oneshot(503).await.expect("it is an answer"), 503);
    }
    assert_eq!(strict.state(), breaker::State::Open);
}

#[tokio::test(start_paused = true)]
async fn being_turned_away_below_is_no_failure_of_what_was_not_asked() {
    let backend = Backend::new(100);
    let outer = BreakerLayer::new(breaker::Settings::default());
    let service = outer.layer(LimitLayer::new(fixed(1, 0, 0)).layer(backend.service()));
    let results = at_once(&service, 0..50).await;
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 49);
    assert_eq!(outer.state(), breaker::State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_gate_turns_away_by_rate_by_priority_and_reads_first() {
    let priority = |request: &u32| Ask {
        is_read: *request < 1_000,
        priority: if request.is_multiple_of(2) {
            Priority::High
        } else {
            Priority::Low
        },
    };
    let rate = Policies {
        rate: Some(rate::Settings {
            rate: 10.0,
            burst: 2.0,
            adaptive: None,
        }),
        ..Policies::default()
    };
    let backend = Backend::new(10);
    let service = GateLayer::new(&rate, 100).layer(backend.service());
    let results: Vec<_> = at_once(&service, 0..3).await.into_iter().map(told).collect();
    assert_eq!(results[..2], [Ok(0), Ok(1)]);
    let Err((Some(Reason::Rate), Some(after))) = results[2] else {
        panic!("{results:?}")
    };
    tokio::time::sleep(after).await;
    assert_eq!(
        told(service.clone().oneshot(7).await),
        Ok(7),
        "it is worth coming back then"
    );

    let shed = Policies {
        shed: Some(shed::Settings::default()),
        ..Policies::default()
    };
    let backend = Backend::new(100);
    let layer = GateLayer::new(&shed, 10).asking(priority);
    let service = layer.layer(backend.service());
    let results: Vec<_> = at_once(&service, 0..40).await.into_iter().map(told).collect();
    let refused = |request: &usize| results[*request].is_err();
    assert!(
        (0..8).all(|request| !refused(&request)),
        "there is capacity: {results:?}"
    );
    assert!(
        (12..40).all(|request| refused(&request) == (request % 2 == 1)),
        "then by priority: {results:?}"
    );
    assert!(
        results
            .iter()
            .filter_map(|result| result.err())
            .all(|why| why.0 == Some(Reason::Degraded))
    );
    assert_eq!(layer.level(), 3);

    let throttle = Policies {
        throttle: Some(throttle::Settings::default()),
        ..Policies::default()
    };
    let backend = Backend::new(5_000);
    let layer = GateLayer::new(&throttle, 1_000).asking(priority);
    let service = layer.layer(backend.service());
    for _ in 0..20 {
        at_once(&service, 0..40).await;
    }
    assert!(
        layer.share() < 0.7,
        "the slow origin closes it: {}",
        layer.share()
    );
    let reads = at_once(&service, 0..200).await;
    let writes = at_once(&service, 1_000..1_200).await;
    assert!(reads.iter().any(Result::is_err) && writes.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn one_deadline_is_spent_by_all_that_is_below_it() {
    let backend = Backend::new(300);
    let layer = DeadlineLayer::new(ms(100));
    let began = Instant::now();
    let error = layer
        .layer(backend.service())
        .oneshot(1)
        .await
        .expect_err("it is too late");
    assert!(matches!(refusal(&*error), Some(Error::TimedOut)) && began.elapsed() == ms(100));
    assert_eq!(backend.inside.load(Ordering::SeqCst), 0, "the work is stopped");

    // The one further out counts when it is nearer; a cache below keeps to it as well.
    let cache: seawall::Cache<u32, u32> = seawall::Cache::builder("numbers").build();
    let inner = tower::service_fn(move |request: u32| {
        let cache = cache.clone();
        async move {
            assert_eq!(time_left(), Some(ms(100)));
            tokio::time::sleep(ms(40)).await;
            assert_eq!(time_left(), Some(ms(60)));
            let load = || std::future::pending::<Result<u32, BoxError>>();
            let before = Instant::now();
            let read = cache.get_or_load(&request, &seawall::Options::new(), load).await;
            assert!(matches!(read, Err(Error::TimedOut)) && before.elapsed() == ms(60));
            read
        }
    });
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(ms(100)))
        .layer(DeadlineLayer::new(ms(5_000)))
        .service(inner);
    let error = service.oneshot(1).await.expect_err("it is too late");
    assert!(matches!(refusal(&*error), Some(Error::TimedOut)));
    assert_eq!(time_left(), None);
}

#[tokio::test(start_paused = true)]
async fn retries_are_within_the_budget_and_the_deadline_and_never_of_what_was_turned_away() {
    let settings = retry::Settings {
        attempts: 4,
        ..retry::Settings::default()
    };
    let backend = Backend::new(10);
    let layer = RetryLayer::new(settings.clone());
    let service = layer.layer(backend.service());
    let call = tokio::spawn(service.clone().oneshot(1));
    backend.fails(true);
    tokio::time::sleep(ms(15)).await;
    backend.fails(false);
    assert_eq!(call.await.expect("it ran").expect("the second one was well"), 1);
    assert_eq!((backend.calls(), layer.retries()), (2, 1));

    // A storm: what fails is tried again by a tenth of the calls, and the reserve of ten seconds.
    backend.fails(true);
    for call in 0..1_000 {
        assert!(service.clone().oneshot(call).await.is_err());
    }
    let retries = layer.retries();
    assert!(
        (60..=130).contains(&retries),
        "{retries} retries of a thousand calls"
    );

    // No copy, no retry.
    let backend = Backend::new(10);
    backend.fails(true);
    let never =
        RetryLayer::new(settings.clone()).copying(|request: &u32| (*request < 10).then_some(*request));
    let service = never.layer(backend.service());
    assert!(service.clone().oneshot(10).await.is_err());
    assert_eq!(backend.calls(), 1);
    assert!(service.clone().oneshot(9).await.is_err());
    assert_eq!(backend.calls(), 5);

    // A pause that would outlast the deadline is not begun.
    let plain = retry::Settings {
        backoff: Span::secs(1),
        jitter: false,
        ..settings.clone()
    };
    let hurried = ServiceBuilder::new()
        .layer(DeadlineLayer::new(ms(500)))
        .layer(RetryLayer::new(plain))
        .service(backend.service());
    let began = Instant::now();
    assert!(hurried.oneshot(1).await.is_err());
    assert_eq!(began.elapsed(), ms(10));

    // What was turned away is not asked for again.
    let backend = Backend::new(100);
    let limit = LimitLayer::new(fixed(1, 0, 0));
    let layer = RetryLayer::new(settings);
    let service = layer.layer(limit.layer(backend.service()));
    at_once(&service, 0..20).await;
    assert_eq!((layer.retries(), limit.standing().shed), (0, 19));
}

#[tokio::test(start_paused = true)]
async fn what_layers_do_is_on_a_page_under_the_usual_names() {
    let backend = Backend::new(100);
    backend.fails(true);
    let limit = LimitLayer::new(fixed(1, 0, 0));
    let breaker = BreakerLayer::new(breaker::Settings {
        failures: 1,
        ..breaker::Settings::default()
    });
    let gate = GateLayer::new(
        &Policies {
            rate: Some(rate::Settings {
                rate: 1.0,
                burst: 5.0,
                adaptive: None,
            }),
            ..Policies::default()
        },
        10,
    );
    let retry = RetryLayer::new(retry::Settings::default());
    let service = ServiceBuilder::new()
        .layer(gate.clone())
        .layer(retry.clone())
        .layer(limit.clone())
        .layer(breaker.clone())
        .service(backend.service());
    at_once(&service, 0..7).await;
    let mut page = seawall::MetricsPage::default();
    gate.write_metrics("door", &mut page);
    limit.write_metrics("door", &mut page);
    breaker.write_metrics("backend", &mut page);
    retry.write_metrics("backend", &mut page);
    let text = page.text();
    for line in [
        "shed_total{component=\"door\",reason=\"rate\"} 2",
        "shed_total{component=\"door\",reason=\"queue_full\"} 4",
        "shed_total{component=\"backend\",reason=\"origin_open\"} 1",
        "retries_total{component=\"backend\"} 1",
        "breaker_state{component=\"backend\"} 2",
        "limiter_limit{component=\"door\"} 1",
        "queue_depth{component=\"door\"} 0",
        "degradation_level{component=\"door\"} 0",
    ] {
        assert!(
            text.lines().any(|written| written == line),
            "{line} is not on\n{text}"
        );
    }
}
