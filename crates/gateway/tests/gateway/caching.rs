//! What is kept, beyond the vectors: stampedes, failures, what is for one client alone, what is too large.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::kit::{Origin, admin, ask, fetch, gateway, response, until};

const FRESH: (&str, &str) = ("cache-control", "max-age=100");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_make_one_fetch() {
    let origin = Origin::new(|_| (Duration::from_millis(300), response(200, &[FRESH], "once"))).await;
    let gateway = gateway(&[origin.address], "").await;
    let address = gateway.address();
    let clients: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(async move { fetch(address, "/page").await }))
        .collect();
    let mut collapsed = 0;
    for client in clients {
        let answer = client.await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "once"));
        collapsed += usize::from(answer.field("cache-status").contains("collapsed"));
    }
    assert_eq!(origin.count(), 1);
    assert!(collapsed > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_for_one_client_is_given_to_no_other() {
    // The upstream says only in its answer that it is for one client; all ask at once.
    let count = AtomicUsize::new(0);
    let origin = Origin::new(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst).to_string();
        let fields = [("cache-control", "private, max-age=100")];
        (Duration::from_millis(100), response(200, &fields, &number))
    })
    .await;
    let gateway = gateway(&[origin.address], "").await;
    let address = gateway.address();
    let clients: Vec<_> = (0..30)
        .map(|_| tokio::spawn(async move { fetch(address, "/account").await }))
        .collect();
    let mut given = std::collections::BTreeSet::new();
    for client in clients {
        let answer = client.await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(
            given.insert(answer.body.clone()),
            "{} was given twice",
            answer.body
        );
    }
    assert_eq!(origin.count(), 30);
    // From then on nobody waits for another's.
    assert!(origin.most.load(Ordering::SeqCst) > 5);
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_an_upstream_that_is_gone() {
    let fields = [("cache-control", "max-age=1"), ("etag", "\"a\"")];
    let origin = Origin::new(move |_| (Duration::ZERO, response(200, &fields, "kept"))).await;
    let strict = [("cache-control", "max-age=1, must-revalidate")];
    let gateway = gateway(&[origin.address], "").await;
    assert_eq!(fetch(gateway.address(), "/a").await.body, "kept");
    let address = origin.address;
    drop(origin);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let stale = fetch(gateway.address(), "/a").await;
    assert_eq!((stale.status, stale.body.as_str()), (200, "kept"));
    assert!(
        stale.field("cache-status").contains("stale-if-error"),
        "{stale:?}"
    );
    assert!(stale.field("age").parse::<u64>().unwrap() >= 1);
    assert_eq!(
        fetch(gateway.address(), "/b").await.status,
        502,
        "nothing stands in for what was never kept"
    );
    // Back again, without a restart.
    let back = Origin::on(&address.to_string(), move |_| {
        (Duration::ZERO, response(200, &strict, "new"))
    })
    .await;
    until("the new one answers", async || {
        fetch(gateway.address(), "/a").await.body == "new"
    })
    .await;
    drop(back);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(
        fetch(gateway.address(), "/a").await.status >= 502,
        "it said that it must not be used stale"
    );
}

#[tokio::test]
async fn stale_while_revalidate_answers_at_once_and_asks_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let origin = Origin::new(move |_| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        let age = if number == 0 { "200" } else { "0" };
        let fields = [
            ("cache-control", "max-age=100, stale-while-revalidate=200"),
            ("age", age),
        ];
        let wait = if number == 0 {
            Duration::ZERO
        } else {
            Duration::from_millis(300)
        };
        (wait, response(200, &fields, &number.to_string()))
    })
    .await;
    let gateway = gateway(&[origin.address], "").await;
    fetch(gateway.address(), "/").await;
    for _ in 0..5 {
        let stale = fetch(gateway.address(), "/").await;
        assert_eq!(stale.body, "0");
        assert!(
            stale.field("cache-status").contains("stale-while-revalidate"),
            "{stale:?}"
        );
    }
    until("the refresh is over", async || {
        fetch(gateway.address(), "/").await.body == "1"
    })
    .await;
    assert_eq!(count.load(Ordering::SeqCst), 2, "five stale answers, one refresh");
}

#[tokio::test]
async fn writes_invalidate_what_they_change() {
    let fields = [FRESH, ("location", "/list?page=1")];
    let origin = Origin::new(move |seen| {
        let status = if seen.target == "/refused" && seen.method == "POST" {
            409
        } else {
            200
        };
        (Duration::ZERO, response(status, &fields, "x"))
    })
    .await;
    let gateway = gateway(&[origin.address], "").await;
    let hit = async |target: &str| {
        let answer = fetch(gateway.address(), target).await;
        answer.field("cache-status").contains("; hit")
    };
    for target in ["/item", "/list?page=1", "/list?page=2", "/refused"] {
        assert!(!hit(target).await && hit(target).await);
    }
    ask(gateway.address(), "PUT", "/item", &[], "new").await;
    ask(gateway.address(), "POST", "/refused", &[], "new").await;
    assert!(!hit("/item").await, "its target");
    assert!(!hit("/list?page=1").await, "what it names");
    assert!(hit("/list?page=2").await, "and nothing else");
    assert!(hit("/refused").await, "a write that was refused changed nothing");
}

#[tokio::test]
async fn what_is_too_large_goes_through_and_is_not_kept() {
    let large = "x".repeat(300_000);
    let body = large.clone();
    let origin = Origin::new(move |_| (Duration::ZERO, response(200, &[FRESH], &body))).await;
    let gateway = gateway(&[origin.address], "[cache]\nbody_max = \"100kb\"\n").await;
    for asked in 1..3 {
        let answer = fetch(gateway.address(), "/").await;
        assert!(answer.body == large, "{} bytes", answer.body.len());
        assert_eq!(origin.count(), asked);
    }
}

#[tokio::test]
async fn ranges_and_heads() {
    let origin = Origin::new(|seen| {
        let status = if seen.headers.contains_key("range") {
            206
        } else {
            200
        };
        (
            Duration::ZERO,
            response(
                status,
                &[FRESH, ("content-range", "bytes 0-1/4")][..if status == 206 { 2 } else { 1 }],
                "body",
            ),
        )
    })
    .await;
    let gateway = gateway(&[origin.address], "").await;
    for _ in 0..2 {
        assert_eq!(
            ask(gateway.address(), "GET", "/", &[("range", "bytes=0-1")], "")
                .await
                .status,
            206
        );
    }
    assert_eq!(origin.count(), 2, "a range is passed through");
    fetch(gateway.address(), "/").await;
    let head = ask(gateway.address(), "HEAD", "/", &[], "").await;
    assert_eq!(
        (head.status, head.field("content-length"), head.body.as_str()),
        (200, "4", "")
    );
    assert_eq!(origin.count(), 3, "a HEAD is answered by what a GET brought");
}

#[tokio::test]
async fn a_route_may_say_how_long_and_may_say_not_at_all() {
    let origin = Origin::saying(&[]).await;
    let more = "[[route]]\npath = \"/never\"\ncache = false\nupstream = \"api\"\n\
        [[route]]\npath = \"/\"\nclass = \"regular\"\nupstream = \"api\"\n";
    let gateway = gateway(&[origin.address], more).await;
    for target in ["/never", "/x"] {
        for _ in 0..2 {
            fetch(gateway.address(), target).await;
        }
    }
    assert_eq!(origin.count(), 3);
    let hit = fetch(gateway.address(), "/x").await;
    assert!(hit.field("cache-status").contains("ttl=900") || hit.field("cache-status").contains("ttl=899"));
}

#[tokio::test]
async fn a_breaker_opens_and_closes_by_itself() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let origin = Origin::new(move |_| {
        let status = if is_broken.load(Ordering::SeqCst) {
            503
        } else {
            200
        };
        (Duration::ZERO, response(status, &[FRESH], "x"))
    })
    .await;
    let more = "[protect.origin_breaker]\nfailures = 3\nwindow = \"10s\"\nopen_for = \"300ms\"\n";
    let gateway = gateway(&[origin.address], more).await;
    let mut refused = 0;
    for count in 0..10 {
        let answer = fetch(gateway.address(), &format!("/{count}")).await;
        assert_eq!(answer.status, 503);
        refused += usize::from(answer.field("retry-after") == "1" && answer.body.contains("origin_open"));
    }
    assert_eq!((origin.count(), refused), (3, 7));
    let state = admin(&gateway, "GET", "/state", "").await.json();
    assert_eq!(state["sites"][0]["breaker"], "open");
    broken.store(false, Ordering::SeqCst);
    until("it closes", async || {
        fetch(gateway.address(), "/later").await.status == 200
    })
    .await;
}
