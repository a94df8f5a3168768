//! What is passed through takes the upstream's places like what is kept, and is news of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::kit::{Origin, admin, ask, fetch, gateway, response};

const PRIVATE: (&str, &str) = ("cache-control", "no-store");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_are_passed_stand_in_line_with_the_loads() {
    let slow = |_: &_| (Duration::from_millis(100), response(200, &[PRIVATE], "x"));
    let origin = Origin::new(slow).await;
    let limit = "[upstream.api]\n[protect.limit]\nmax = 3\nplaces = 100\ntimeout = \"10s\"\n";
    let gateway = gateway(&[origin.address], limit).await;
    let address = gateway.address();
    let mut clients = Vec::new();
    for number in 0..16 {
        // HEAD and Range are passed without a look into memory; GET is found not to be for keeping.
        clients.push(tokio::spawn(async move {
            let target = format!("/{number}");
            let fields: &[(&str, &str)] = if number % 3 == 0 {
                &[("range", "bytes=0-")]
            } else {
                &[]
            };
            let method = if number % 3 == 1 { "HEAD" } else { "GET" };
            ask(address, method, &target, fields, "").await.status
        }));
    }
    for client in clients {
        assert_eq!(client.await.expect("nobody panics"), 200);
    }
    assert_eq!(origin.most.load(Ordering::SeqCst), 3);
    let seen = origin.seen.lock().expect("nobody panics");
    let heads = seen.iter().filter(|seen| seen.method == "HEAD").count();
    assert_eq!(heads, 5, "who waited is asked for as it was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_too_long_is_told_so() {
    let slow = |_: &_| (Duration::from_secs(2), response(200, &[PRIVATE], "x"));
    let origin = Origin::new(slow).await;
    let limit = "[upstream.api]\n[protect.limit]\nmax = 1\nplaces = 1\ntimeout = \"100ms\"\n";
    let gateway = gateway(&[origin.address], limit).await;
    let address = gateway.address();
    let first = tokio::spawn(async move { ask(address, "HEAD", "/1", &[], "").await });
    crate::kit::until("it is inside", async || origin.inside.load(Ordering::SeqCst) == 1).await;
    let late = ask(address, "HEAD", "/2", &[], "").await;
    assert_eq!(late.status, 503);
    assert!(!late.field("retry-after").is_empty());
    // A write goes on when the reads have taken all the places.
    let write = ask(address, "POST", "/3", &[], "x").await;
    assert_eq!(write.status, 200);
    assert_eq!(first.await.expect("nobody panics").status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_take_places_and_are_news_for_the_breaker() {
    let origin = Origin::new(|seen| {
        let after = if seen.target == "/slow" { 500 } else { 0 };
        let status = if seen.target == "/bad" { 503 } else { 200 };
        (Duration::from_millis(after), response(status, &[], "x"))
    })
    .await;
    let more = "[upstream.api]\n[protect.limit]\nmax = 2\nplaces = 1\ntimeout = \"50ms\"\n\
                [protect.origin_breaker]\nfailures = 3\nwindow = \"10s\"\nopen_for = \"60s\"\n";
    let gateway = gateway(&[origin.address], more).await;
    let address = gateway.address();
    let writes: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { ask(address, "POST", "/slow", &[], "x").await.status }))
        .collect();
    crate::kit::until("they are inside", async || {
        origin.inside.load(Ordering::SeqCst) == 2
    })
    .await;
    let state = admin(&gateway, "GET", "/state", "").await;
    assert_eq!(state.json()["sites"][0]["loads_in_flight"], 2, "{}", state.body);
    let read = fetch(address, "/read").await;
    assert_eq!(
        (read.status, read.body.contains("origin_limit")),
        (503, true),
        "{read:?}"
    );
    for write in writes {
        assert_eq!(write.await.expect("nobody panics"), 200);
    }
    assert_eq!(fetch(address, "/read").await.status, 200);
    for _ in 0..3 {
        assert_eq!(ask(address, "POST", "/bad", &[], "x").await.status, 503);
    }
    let before = origin.count();
    for method in ["GET", "HEAD", "POST"] {
        let refused = ask(address, method, "/good", &[], "").await;
        assert_eq!(refused.status, 503, "{method}");
        assert!(!refused.field("retry-after").is_empty());
    }
    assert_eq!(
        origin.count(),
        before,
        "it is not asked while its breaker is open"
    );
    admin(&gateway, "POST", "/breakers/api/close", "").await;
    assert_eq!(ask(address, "POST", "/good", &[], "x").await.status, 200);
}
