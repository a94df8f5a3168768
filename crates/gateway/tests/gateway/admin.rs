//! The admin API: who may use it, what it changes, what it remembers.

use std::time::Duration;

use seawall_gateway::{Config, Gateway, StartError};

use crate::kit::{Origin, admin, ask, document, fetch, gateway, response, until};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const FRESH: (&str, &str) = ("cache-control", "max-age=100");

#[tokio::test]
async fn beyond_this_machine_only_with_a_token() {
    let origin = Origin::saying(&[]).await;
    let text = document(&[origin.address], "").replace("admin = \"127.0.0.1:0\"", "admin = \"0.0.0.0:0\"");
    let config = Config::of_text("test.toml", text);
    let refused = Gateway::start(config.clone()).await.unwrap_err();
    assert!(matches!(refused, StartError::OpenAdmin(_)), "{refused}");
    let short = config
        .clone()
        .environment(vec![("SEAWALL_ADMIN_TOKEN".into(), "short".into())]);
    assert!(matches!(
        Gateway::start(short).await.unwrap_err(),
        StartError::ShortToken
    ));
    let config = config.environment(vec![("SEAWALL_ADMIN_TOKEN".into(), TOKEN.into())]);
    let gateway = Gateway::start(config).await.unwrap();
    let address = ([127, 0, 0, 1], gateway.admin().port()).into();
    let with = async |authorization: &str, method: &str, target: &str| {
        ask(address, method, target, &[("authorization", authorization)], "")
            .await
            .status
    };
    for target in ["/state", "/policies", "/audit", "/metrics"] {
        assert_eq!(
            with(&format!("Bearer {TOKEN}"), "GET", target).await,
            200,
            "{target}"
        );
        for wrong in [
            "",
            "Bearer x",
            &format!("Bearer {TOKEN}x"),
            &format!("Basic {TOKEN}"),
        ] {
            assert_eq!(with(wrong, "GET", target).await, 401, "{target} with {wrong}");
        }
    }
    assert_eq!(with("", "POST", "/breakers/api/open").await, 401);
    assert_eq!(
        fetch(gateway.address(), "/").await.status,
        200,
        "nothing was changed"
    );
    assert_eq!(with("", "GET", "/health/live").await, 200);
    assert_eq!(with("", "GET", "/health/ready").await, 200);
}

#[tokio::test]
async fn pages_in_a_browser_change_nothing() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "").await;
    for fields in [
        vec![("host", "localhost"), ("origin", "https://evil.example")],
        vec![("host", "evil.example")],
    ] {
        let answer = ask(gateway.admin(), "POST", "/breakers/api/open", &fields, "").await;
        assert_eq!(answer.status, 403, "{fields:?}");
    }
    assert_eq!(fetch(gateway.address(), "/").await.status, 200);
}

#[tokio::test]
async fn the_public_listener_has_no_admin_api() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "").await;
    let fields = [("host", "localhost")];
    let answer = ask(gateway.address(), "GET", "/policies", &fields, "").await;
    assert_eq!(
        answer.body, "/policies",
        "it is the upstream's like any other address"
    );
}

#[tokio::test]
async fn protections_are_switched_and_tuned_and_it_is_remembered_by_whom() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "").await;
    let off = admin(&gateway, "GET", "/policies/rate", "").await.json();
    assert_eq!(off["gateway"]["on"], false);
    let body = "{\"rate\": \"1/m\", \"burst\": 1}";
    let on = admin(&gateway, "PATCH", "/policies/rate", body).await;
    assert_eq!(
        (on.status, &on.json()["gateway"]["on"]),
        (200, &true.into()),
        "{}",
        on.body
    );
    assert_eq!(fetch(gateway.address(), "/").await.status, 200);
    assert_eq!(fetch(gateway.address(), "/").await.status, 503);
    assert_eq!(
        admin(&gateway, "PATCH", "/policies/rate", "{\"on\": false}")
            .await
            .status,
        200
    );
    assert_eq!(fetch(gateway.address(), "/").await.status, 200);
    let both = admin(
        &gateway,
        "PATCH",
        "/policies",
        "{\"coalesce\": {\"window\": \"5s\"}, \"breaker\": {\"on\": false}}",
    )
    .await;
    let api = &both.json()["upstreams"]["api"];
    assert_eq!(
        (&api["coalesce"]["window"], &api["breaker"]["on"]),
        (&"5s".into(), &false.into())
    );
    let changes = admin(&gateway, "GET", "/audit", "").await.json()["changes"].clone();
    let told: Vec<_> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["what"].as_str().unwrap())
        .collect();
    assert!(
        told.contains(&"protect.rate.burst") && told.contains(&"protect.breaker.on"),
        "{told:?}"
    );
    let switched = changes
        .as_array()
        .unwrap()
        .iter()
        .find(|change| change["what"] == "protect.rate.on")
        .unwrap();
    assert_eq!(
        (&switched["from"], &switched["to"]),
        (&serde_json::Value::Null, &"false".into())
    );
    assert_eq!(switched["who"], "127.0.0.1 (this machine)");
    // What a GET says, a PATCH understands.
    let all = admin(&gateway, "GET", "/policies", "").await.json();
    for (name, settings) in all["upstreams"]["api"].as_object().unwrap() {
        if settings.is_object() && settings["on"] == true {
            let answer = admin(
                &gateway,
                "PATCH",
                &format!("/policies/{name}"),
                &settings.to_string(),
            )
            .await;
            assert_eq!(answer.status, 200, "{name}: {settings}: {}", answer.body);
            assert_eq!(answer.json()["upstreams"]["api"], *settings, "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_change_is_said_and_nothing_is_changed() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "").await;
    let before = admin(&gateway, "GET", "/policies", "").await.body;
    for (target, body, status, told) in [
        (
            "/policies/queue",
            "{\"plases\": 1}",
            422,
            "did you mean `places`?",
        ),
        (
            "/policies/queue",
            "{\"places\": \"many\"}",
            422,
            "this is not a count",
        ),
        ("/policies/queue", "{\"a.b\": 1}", 422, "`a.b` is no setting"),
        ("/policies/queue", "{}", 422, "changes nothing"),
        ("/policies/queue", "[1]", 422, ""),
        ("/policies/queue", "{", 400, ""),
        (
            "/policies/origin_breaker",
            "{\"failures\": 1000}",
            422,
            "add `window",
        ),
        ("/policies/quene", "{\"places\": 1}", 404, ""),
        ("/policies", "{\"gateway\": {\"listen\": 1}}", 422, ""),
    ] {
        let answer = admin(&gateway, "PATCH", target, body).await;
        assert_eq!(answer.status, status, "{target} {body}: {}", answer.body);
        assert!(answer.body.contains(told), "{target} {body}: {}", answer.body);
    }
    assert_eq!(admin(&gateway, "GET", "/policies", "").await.body, before);
    for (target, body) in [
        ("/purge", "{\"key\": []}"),
        ("/purge", "{}"),
        ("/warm", "{\"keys\": [\"x\"]}"),
    ] {
        assert_eq!(
            admin(&gateway, "POST", target, body).await.status,
            422,
            "{target} {body}"
        );
    }
    let large = format!("{{\"keys\": [\"{}\"]}}", "x".repeat(2 << 20));
    assert_eq!(admin(&gateway, "POST", "/purge", &large).await.status, 413);
}

#[tokio::test]
async fn a_breaker_is_held_open_and_closed_and_let_go() {
    let origin = Origin::new(|seen| {
        let status = if seen.target.starts_with("/bad") { 503 } else { 200 };
        (Duration::ZERO, response(status, &[FRESH], "x"))
    })
    .await;
    let more = "[protect.origin_breaker]\nfailures = 2\nwindow = \"10s\"\nopen_for = \"60s\"\n";
    let gateway = gateway(&[origin.address], more).await;
    assert_eq!(fetch(gateway.address(), "/kept").await.status, 200);
    assert_eq!(
        admin(&gateway, "POST", "/breakers/api/open", "").await.json()["breaker"],
        "held open"
    );
    assert_eq!(
        fetch(gateway.address(), "/kept").await.status,
        200,
        "what is kept is answered"
    );
    assert_eq!(fetch(gateway.address(), "/other").await.status, 503);
    assert_eq!(
        ask(gateway.address(), "POST", "/other", &[], "x").await.status,
        503
    );
    assert_eq!(origin.count(), 1);
    assert_eq!(
        admin(&gateway, "GET", "/health/ready", "").await.json()["status"],
        "degraded"
    );
    admin(&gateway, "POST", "/breakers/api/close", "").await;
    for count in 0..6 {
        fetch(gateway.address(), &format!("/bad{count}")).await;
    }
    assert_eq!(origin.count(), 7, "held closed, it is asked whatever it answers");
    admin(&gateway, "POST", "/breakers/api/auto", "").await;
    for count in 0..6 {
        fetch(gateway.address(), &format!("/bad-{count}")).await;
    }
    assert_eq!(origin.count(), 9, "left to itself, it opens");
    assert_eq!(
        admin(&gateway, "POST", "/breakers/api/ajar", "").await.status,
        404
    );
    assert_eq!(
        admin(&gateway, "POST", "/breakers/other/open", "").await.status,
        404
    );
}

#[tokio::test]
async fn purges_by_address_prefix_and_word() {
    let fields = [
        FRESH,
        ("surrogate-key", "news sport"),
        ("vary", "accept-language"),
    ];
    let origin = Origin::new(move |_| (Duration::ZERO, response(200, &fields, "x"))).await;
    let gateway = gateway(&[origin.address], "").await;
    let address = gateway.address();
    let hit = async |target: &str, language: &str| {
        let answer = ask(address, "GET", target, &[("accept-language", language)], "").await;
        answer.field("cache-status").contains("; hit")
    };
    let keep = async || {
        for (target, language) in [("/a/b/c", "en"), ("/a/b/c", "de"), ("/a/d", "en")] {
            hit(target, language).await;
            assert!(hit(target, language).await, "{target} {language}");
        }
    };
    let purge = async |body: &str| assert_eq!(admin(&gateway, "POST", "/purge", body).await.status, 200);
    keep().await;
    purge("{\"keys\": [\"test/a/b/c\"]}").await;
    assert!(
        !hit("/a/b/c", "en").await && !hit("/a/b/c", "de").await,
        "all variants"
    );
    assert!(hit("/a/d", "en").await);
    keep().await;
    purge("{\"prefix\": \"test/a/b/\"}").await;
    assert!(!hit("/a/b/c", "en").await && hit("/a/d", "en").await);
    keep().await;
    purge("{\"tag\": \"sport\"}").await;
    assert!(!hit("/a/b/c", "en").await && !hit("/a/d", "en").await);
    let changes = admin(&gateway, "GET", "/audit", "").await.json()["changes"].clone();
    assert_eq!(changes.as_array().unwrap().len(), 3);
    assert_eq!(changes[0]["to"]["tag"], "sport");
}

#[tokio::test]
async fn what_is_warmed_is_a_hit() {
    let origin = Origin::saying(&[FRESH]).await;
    let gateway = gateway(&[origin.address], "").await;
    let warm = admin(
        &gateway,
        "POST",
        "/warm",
        "{\"keys\": [\"test/a\", \"test/b\", \"nowhere:x/b\"]}",
    )
    .await;
    assert_eq!(warm.status, 202, "{}", warm.body);
    until("it is warm", async || {
        let state = admin(&gateway, "GET", "/state", "").await.json();
        state["warming"]["done"] == 3 && state["warming"]["under_way"] == false
    })
    .await;
    for target in ["/a", "/b"] {
        assert!(
            fetch(gateway.address(), target)
                .await
                .field("cache-status")
                .contains("; hit")
        );
    }
}

#[tokio::test]
async fn metrics_are_bounded_in_number() {
    let origin = Origin::saying(&[FRESH]).await;
    let gateway = gateway(&[origin.address], "").await;
    let series = async || {
        let page = admin(&gateway, "GET", "/metrics", "").await.body;
        page.lines().filter(|line| !line.starts_with('#')).count()
    };
    for target in ["/0", "/0"] {
        fetch(gateway.address(), target).await;
    }
    let before = series().await;
    for count in 0..200 {
        let host = format!("host-{count}");
        ask(
            gateway.address(),
            "GET",
            &format!("/{count}"),
            &[("host", &host)],
            "",
        )
        .await;
    }
    assert_eq!(series().await, before);
    assert!(before < 250, "{before}");
}
