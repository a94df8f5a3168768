//! The end: not ready first, then closed, and what is under way ends.

use std::time::Duration;

use crate::kit::{Origin, admin, fetch, gateway, response, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_ends_and_nothing_new_begins() {
    let origin = Origin::new(|_| (Duration::from_millis(700), response(200, &[], "whole"))).await;
    let gateway = gateway(&[origin.address], "[gateway]\ndrain_delay = \"400ms\"\n").await;
    let (address, private) = (gateway.address(), gateway.admin());
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    let early = tokio::spawn(async move { fetch(address, "/early").await });
    until("it is under way", async || {
        origin.inside.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    assert_eq!(admin(&gateway, "GET", "/health/ready", "").await.status, 200);
    let draining = tokio::spawn(gateway.drain());
    until("it says that it is not ready", async || {
        let fields = [("host", "localhost")];
        crate::kit::ask(private, "GET", "/health/ready", &fields, "")
            .await
            .status
            == 503
    })
    .await;
    // It goes on serving until whoever asks for its health has had the time to notice.
    let late = fetch(address, "/late").await;
    assert_eq!((late.status, late.body.as_str()), (200, "whole"));
    assert_eq!(early.await.unwrap().body, "whole");
    assert!(draining.await.unwrap(), "all ended in time");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_not_wait_for_ever() {
    let origin = Origin::new(|_| (Duration::from_mins(1), response(200, &[], "x"))).await;
    let gateway = gateway(&[origin.address], "[gateway]\ndrain = \"200ms\"\n").await;
    let address = gateway.address();
    let client = tokio::spawn(async move { fetch(address, "/").await });
    until("it is under way", async || {
        origin.inside.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    assert!(!gateway.drain().await);
    client.abort();
}
