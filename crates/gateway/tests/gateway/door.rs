//! The door: limits, queue, throttle, shedding, and what those who are turned away are told.

use std::time::Duration;

use crate::kit::{Origin, admin, ask, fetch, gateway, response, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_bounded_in_places_and_in_time() {
    let origin = Origin::new(|_| (Duration::from_millis(800), response(200, &[], "x"))).await;
    let more = "[gateway]\nconcurrency = 2\n[protect]\nshed = { on = false }\n\
        [protect.queue]\nplaces = 3\ntimeout = \"300ms\"\n";
    let gateway = gateway(&[origin.address], more).await;
    let address = gateway.address();
    let clients: Vec<_> = (0..10)
        .map(|_| tokio::spawn(async move { ask(address, "POST", "/", &[], "x").await }))
        .collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.unwrap());
    }
    let of = |status, word: &str| {
        let fits = |answer: &&crate::kit::Answer| answer.status == status && answer.body.contains(word);
        answers.iter().filter(fits).count()
    };
    assert_eq!(
        (of(200, "x"), of(503, "queue_full"), of(503, "queue_timeout")),
        (2, 5, 3),
        "two inside, three that waited in vain, five for whom there was no place"
    );
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 || answer.field("retry-after") == "1")
    );
    assert_eq!(origin.most.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_rate_is_limited_and_who_is_over_it_is_told_when_to_come_back() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "[protect.rate]\nrate = \"1/m\"\nburst = 3\n").await;
    for _ in 0..3 {
        assert_eq!(fetch(gateway.address(), "/").await.status, 200);
    }
    let refused = fetch(gateway.address(), "/").await;
    assert_eq!(refused.status, 503);
    let after: u64 = refused.field("retry-after").parse().unwrap();
    assert!((50..=60).contains(&after), "{after}");
    let metrics = admin(&gateway, "GET", "/metrics", "").await.body;
    assert!(
        metrics.contains("shed_total{component=\"gateway\",reason=\"rate\"} 1\n"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_throttled_while_the_upstream_is_slow_and_writes_are_not() {
    let origin = Origin::new(|_| (Duration::from_millis(60), response(200, &[], "x"))).await;
    let more = "[protect.throttle]\nlatency = \"20ms\"\nevery = \"150ms\"\ndecrease = \"0%\"\nmin = \"0%\"\n";
    let gateway = gateway(&[origin.address], more).await;
    until("reads are held back", async || {
        let answer = fetch(gateway.address(), "/").await;
        answer.status == 503 && answer.body.contains("throttle") && !answer.field("retry-after").is_empty()
    })
    .await;
    for _ in 0..5 {
        assert_eq!(
            ask(gateway.address(), "POST", "/", &[], "x").await.status,
            200,
            "a write"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn low_priority_is_shed_first_and_high_priority_not_at_all() {
    let origin = Origin::new(|seen| {
        let wait = if seen.target == "/hold" { 1_500 } else { 0 };
        (Duration::from_millis(wait), response(200, &[], "x"))
    })
    .await;
    let routes = |places: u32| {
        format!(
            "[gateway]\nconcurrency = {places}\n\
            [[route]]\npath = \"/low\"\npriority = \"low\"\nupstream = \"api\"\n\
            [[route]]\npath = \"/high\"\npriority = \"high\"\nupstream = \"api\"\n\
            [[route]]\nupstream = \"api\"\n"
        )
    };
    // Above 80% of its places, level 1; above 87%, level 2.
    for (held, normal) in [(17, 200), (18, 503)] {
        let gateway = gateway(&[origin.address], &routes(20)).await;
        let address = gateway.address();
        let holding: Vec<_> = (0..held)
            .map(|_| tokio::spawn(async move { ask(address, "POST", "/hold", &[], "x").await }))
            .collect();
        until("it is degraded", async || {
            let state = admin(&gateway, "GET", "/state", "").await.json();
            state["door"]["inside"] == held && state["door"]["degradation_level"] != 0
        })
        .await;
        let low = fetch(address, "/low").await;
        assert_eq!((low.status, low.body.contains("degraded")), (503, true));
        assert!(!low.field("retry-after").is_empty());
        assert_eq!(fetch(address, "/x").await.status, normal, "{held} of 20");
        assert_eq!(fetch(address, "/high").await.status, 200);
        for client in holding {
            client.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_connections_to_a_server_than_its_pool_has() {
    let origin = Origin::new(|_| (Duration::from_millis(50), response(200, &[], "x"))).await;
    let gateway = gateway(&[origin.address], "[upstream.api]\npool = 4\n").await;
    let address = gateway.address();
    let clients: Vec<_> = (0..40)
        .map(|_| tokio::spawn(async move { ask(address, "POST", "/", &[], "x").await.status }))
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), 200);
    }
    assert_eq!(origin.most.load(std::sync::atomic::Ordering::SeqCst), 4);
}
