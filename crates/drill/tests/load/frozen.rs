//! A server that stands still for a second: an open loop meets it with all its calls, a closed one with a handful.

use std::sync::Arc;
use std::time::Duration;

use seawall_core::record::{Ending, Metric};
use seawall_core::time::Span;
use seawall_drill::load::{Load, Pipeline, Settings, Truth};
use tokio::time::{Instant, sleep};

use crate::redis_server::RedisServer;
use crate::wire::Wire;

const LASTS: Duration = Duration::from_secs(5);

/// Calls one after the other, as closed loops do. Gives the 99th percentile of how long they took.
fn closed_loop(mut wire: Wire) -> (usize, Duration) {
    let began = Instant::now();
    let mut took = Vec::new();
    while began.elapsed() < LASTS {
        let sent = Instant::now();
        wire.say("GET 1");
        took.push(sent.elapsed());
        // A thousand a second at most, so that it does not crowd out the other.
        std::thread::sleep(Duration::from_millis(1).saturating_sub(sent.elapsed()));
    }
    took.sort_unstable();
    (took.len(), took[took.len() * 99 / 100])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_shows_that_a_closed_loop_hides() {
    let server = RedisServer::start();
    let truth = Arc::new(Truth::new(100).of_cache());
    let target = Pipeline::new(server.address, 4, "");
    let values = (0..100).map(|key| (key, truth.value(key, 0)));
    assert_eq!(target.fill(values).await, Ok(100));
    let closed = std::thread::spawn({
        let wire = Wire::connect(server.address);
        move || closed_loop(wire)
    });
    let settings = Settings {
        rate: 1_000.0,
        keys: seawall_core::keys::Law::Uniform { count: 100 },
        timeout: Some(Span::secs(5)),
        duration: Span::from(LASTS),
        ..Settings::default()
    };
    let load = Load::start(settings, target, truth).expect("it starts");
    sleep(Duration::from_secs(2)).await;
    server.freeze(true);
    sleep(Duration::from_secs(1)).await;
    server.freeze(false);
    let report = load.finish().await;
    let (calls, closed) = closed.join().expect("it does not panic");
    assert!(calls > 500, "{calls}");
    assert!(
        closed < Duration::from_millis(200),
        "its p99 says nothing: {closed:?}"
    );
    // A fifth of the calls came while it stood still, and waited for half a second in the mean.
    let p99 = report.latency(0.99);
    assert!(p99 > Span::millis(700), "{}", report.text());
    assert!(report.latency(0.85) > Span::millis(50), "{}", report.text());
    assert_eq!(report.of(Ending::Fresh), report.calls(), "{}", report.text());
    // Nothing ended in the second of the stall, and twice as much in the next one.
    let ended = report.record.values(Metric::Requests, "load", None);
    let (stall, after) = (ended[2].min(ended[3]), ended[2].max(ended[3]));
    assert!(stall < 700.0 && after > 1_300.0, "{ended:?}");
    assert!(report.text().contains("own error: calls were sent late by"));
}
