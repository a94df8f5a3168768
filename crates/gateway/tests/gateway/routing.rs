//! Routes, what goes through and what does not, servers that fail.

use std::time::Duration;

use seawall_gateway::{Config, Gateway};

use crate::kit::{Origin, ask, document, fetch, gateway, response, until};

#[tokio::test]
async fn requests_go_where_their_route_says() {
    let (one, two) = (Origin::saying(&[]).await, Origin::saying(&[]).await);
    let more = format!(
        "[upstream.two]\naddresses = [\"{}\"]\n[[route]]\nhost = \"b.example\"\nupstream = \"two\"\n\
         [[route]]\npath = \"/two\"\nmethods = [\"GET\"]\nupstream = \"two\"\n[[route]]\npath = \"/one\"\nupstream = \"api\"\n",
        two.address
    );
    let gateway = gateway(&[one.address], &more).await;
    assert_eq!(fetch(gateway.address(), "/two/x").await.body, "/two/x");
    assert_eq!(fetch(gateway.address(), "/one").await.body, "/one");
    assert_eq!((one.count(), two.count()), (1, 1));
    assert_eq!(
        ask(gateway.address(), "GET", "/one", &[("host", "B.example:80")], "")
            .await
            .status,
        200
    );
    assert_eq!(two.count(), 2);
    assert_eq!(fetch(gateway.address(), "/twofold").await.status, 404);
    assert_eq!(
        ask(gateway.address(), "POST", "/two", &[], "x").await.status,
        404,
        "another method"
    );
}

#[tokio::test]
async fn what_is_for_one_hop_stays_and_the_rest_goes_through() {
    let origin = Origin::new(|seen| {
        let fields = [
            ("x-answer", "1"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "9"),
        ];
        (
            Duration::ZERO,
            response(200, &fields, std::str::from_utf8(&seen.body).unwrap()),
        )
    })
    .await;
    let gateway = gateway(&[origin.address], "").await;
    let fields = [
        ("x-request", "1"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic x"),
        ("x-forwarded-for", "6.6.6.6"),
    ];
    let answer = ask(gateway.address(), "PUT", "/x?y=1", &fields, "a body").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "a body"));
    assert_eq!(answer.field("x-answer"), "1");
    assert_eq!((answer.field("x-hop"), answer.field("keep-alive")), ("", ""));
    assert_eq!(answer.field("via"), "1.1 seawall");
    let seen = origin.last();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", "/x?y=1"));
    assert_eq!(seen.headers["x-request"], "1");
    assert_eq!(seen.headers["host"], "test");
    assert_eq!(
        seen.headers["x-forwarded-for"], "127.0.0.1",
        "a client's own word is not passed on"
    );
    assert_eq!(seen.headers["via"], "1.1 seawall");
    for name in ["te", "proxy-authorization", "connection"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_passed_over_and_left_out() {
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = dead.local_addr().unwrap();
    drop(dead);
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(
        &[gone, origin.address],
        "[upstream.api]\neject = { failures = 3 }\n",
    )
    .await;
    for count in 0..12 {
        assert_eq!(fetch(gateway.address(), &format!("/{count}")).await.status, 200);
    }
    let state = crate::kit::admin(&gateway, "GET", "/state", "").await.json();
    let servers = &state["sites"][0]["servers"];
    assert_eq!(
        (&servers[0]["ejected"], &servers[1]["ejected"]),
        (&true.into(), &false.into())
    );
    assert!(
        state["sites"][0]["errors"]
            .as_u64()
            .is_some_and(|errors| errors == 3),
        "{state}"
    );
    let ready = crate::kit::admin(&gateway, "GET", "/health/ready", "").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"degraded".into()));
    assert_eq!(ready.json()["impaired"][0], format!("api: {gone}"));
}

#[tokio::test]
async fn a_server_that_is_not_well_is_not_asked() {
    let sick = Origin::new(|seen| {
        let status = if seen.target == "/well" { 500 } else { 200 };
        (Duration::ZERO, response(status, &[], "sick"))
    })
    .await;
    let well = Origin::saying(&[]).await;
    let more = "[upstream.api]\nhealth = { path = \"/well\", every = \"20ms\", failures = 2 }\n";
    let gateway = gateway(&[sick.address, well.address], more).await;
    until("it is found not to be well", async || {
        let state = crate::kit::admin(&gateway, "GET", "/state", "").await.json();
        state["sites"][0]["servers"][0]["well"] == false
    })
    .await;
    for count in 0..10 {
        assert_eq!(
            fetch(gateway.address(), &format!("/{count}")).await.body,
            format!("/{count}")
        );
    }
}

#[tokio::test]
async fn nobody_behind_is_502_and_too_slow_is_504() {
    let slow = Origin::new(|_| (Duration::from_mins(1), response(200, &[], ""))).await;
    let slow_gateway = gateway(&[slow.address], "[upstream.api]\ntimeout = \"100ms\"\n").await;
    assert_eq!(fetch(slow_gateway.address(), "/").await.status, 504);
    assert_eq!(
        ask(slow_gateway.address(), "POST", "/", &[], "x").await.status,
        504
    );
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = dead.local_addr().unwrap();
    drop(dead);
    let gateway = gateway(&[gone], "").await;
    assert_eq!(fetch(gateway.address(), "/").await.status, 502);
    assert_eq!(ask(gateway.address(), "POST", "/", &[], "x").await.status, 502);
}

#[tokio::test]
async fn both_protocols_are_spoken_on_one_port() {
    use http_body_util::{BodyExt as _, Empty};
    let origin = Origin::saying(&[("cache-control", "max-age=100")]).await;
    let gateway = gateway(&[origin.address], "").await;
    let stream = tokio::net::TcpStream::connect(gateway.address()).await.unwrap();
    let http2 = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    let (mut sender, connection) = http2
        .handshake::<_, Empty<bytes::Bytes>>(hyper_util::rt::TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = http::Request::get("http://test/x").body(Empty::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "/x");
    }
    let over_http1 = fetch(gateway.address(), "/x").await;
    assert!(
        over_http1.field("cache-status").starts_with("seawall; hit"),
        "{over_http1:?}"
    );
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_document_that_is_wrong_starts_nothing() {
    let text = document(&["127.0.0.1:1".parse().unwrap()], "[protect.queue]\nplases = 3\n");
    let error = Gateway::start(Config::of_text("test.toml", text))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "there is a mistake in test.toml");
}
