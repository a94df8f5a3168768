//! The second tier on a real Redis: shared by gateways, purged in all of them, and never what an answer hangs on.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use seawall_gateway::{Config, Gateway, StartError};

use crate::kit::{Origin, admin, ask, document, fetch, until};

const KEPT: (&str, &str) = ("cache-control", "max-age=100");
const PASSWORD: &str = "hunter2hunter2";

/// A Redis of its own, which ends with it.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    async fn new() -> Redis {
        for _ in 0..20 {
            let port = {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
                listener.local_addr().expect("it is bound").port()
            };
            let child = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
                .args(["--requirepass", PASSWORD])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("redis-server is installed");
            let mut redis = Redis { child, port };
            for _ in 0..500 {
                if redis.child.try_wait().expect("it is ours").is_some() {
                    break;
                }
                if redis.cli(&["ping"]).contains("PONG") {
                    return redis;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        panic!("no Redis starts");
    }

    fn cli(&self, words: &[&str]) -> String {
        let done = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "--no-auth-warning", "-a", PASSWORD])
            .args(words)
            .output()
            .expect("redis-cli is installed");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}", self.port)
    }

    fn keys(&self) -> Vec<String> {
        self.cli(&["keys", "seawall:*"])
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn started(origin: &Origin, redis: &Redis) -> Gateway {
    let more = "[upstream.api]\n[cache.redis]\ntimeout = \"2s\"\n";
    let config = Config::of_text("test.toml", document(&[origin.address], more))
        .environment(vec![("SEAWALL_REDIS_URL".into(), redis.url())]);
    Gateway::start(config).await.expect("it starts")
}

fn is_hit(answer: &crate::kit::Answer) -> bool {
    answer.field("cache-status").starts_with("seawall; hit")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_share_what_they_keep_and_what_they_purge() {
    let (redis, origin) = (
        Redis::new().await,
        Origin::saying(&[KEPT, ("etag", "\"1\"")]).await,
    );
    let (one, other) = (started(&origin, &redis).await, started(&origin, &redis).await);
    let first = fetch(one.address(), "/a").await;
    assert_eq!((first.status, first.body.as_str()), (200, "/a"));
    until("it is stored", async || redis.keys().len() == 1).await;
    let second = fetch(other.address(), "/a").await;
    assert!(is_hit(&second), "{second:?}");
    assert_eq!((second.status, second.body.as_str()), (200, "/a"));
    assert_eq!(
        (second.field("etag"), second.field("cache-control")),
        ("\"1\"", "max-age=100")
    );
    assert_eq!(second.field("via"), "1.1 seawall");
    assert_eq!(origin.count(), 1, "one gateway asked, for both");

    // A purge on one reaches the other, and Redis.
    let purged = admin(&one, "POST", "/purge", "{\"keys\": [\"test/a\"]}").await;
    assert_eq!(purged.status, 200);
    assert_eq!(redis.keys().len(), 0);
    until("the other has heard", async || {
        !is_hit(&fetch(other.address(), "/a").await)
    })
    .await;
    assert_eq!(origin.count(), 2);

    // So does a write through one of them.
    until("it is stored again", async || redis.keys().len() == 1).await;
    assert!(is_hit(&fetch(one.address(), "/a").await));
    assert_eq!(ask(other.address(), "POST", "/a", &[], "x").await.status, 200);
    until("the first has heard", async || {
        !is_hit(&fetch(one.address(), "/a").await)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_outlives_gateways_and_no_answer_hangs_on_it() {
    let (redis, origin) = (Redis::new().await, Origin::saying(&[KEPT]).await);
    let first = started(&origin, &redis).await;
    fetch(first.address(), "/a").await;
    fetch(first.address(), "/b").await;
    until("they are stored", async || redis.keys().len() == 2).await;
    assert!(first.drain().await);
    let gateway = started(&origin, &redis).await;
    assert!(is_hit(&fetch(gateway.address(), "/a").await));
    assert_eq!(origin.count(), 2);

    // What is damaged is a miss.
    for key in redis.keys() {
        redis.cli(&["setrange", &key, "80", "damage"]);
    }
    let answer = fetch(gateway.address(), "/b").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "/b"));
    assert_eq!(origin.count(), 3);

    // Gone, it makes misses of what only it had.
    drop(redis);
    for target in ["/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h"] {
        let answer = fetch(gateway.address(), target).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, target));
    }
    let ready = admin(&gateway, "GET", "/health/ready", "").await;
    assert_eq!(
        (ready.status, ready.json()["status"].as_str()),
        (200, Some("degraded"))
    );
    assert!(ready.body.contains("api: redis"), "{}", ready.body);
}

#[tokio::test]
async fn its_password_is_shown_nowhere() {
    let origin = Origin::saying(&[KEPT]).await;
    let text = document(&[origin.address], "");
    let url = format!("redis://:{PASSWORD}@127.0.0.1:1");
    let config = Config::of_text("test.toml", text.clone())
        .environment(vec![("SEAWALL_REDIS_URL".into(), url.clone())]);
    assert!(!format!("{config:?}").contains(PASSWORD));
    let gateway = Gateway::start(config).await.expect("it starts without Redis too");
    assert_eq!(fetch(gateway.address(), "/").await.status, 200);
    for target in ["/state", "/policies", "/audit", "/metrics", "/health/ready"] {
        assert!(
            !admin(&gateway, "GET", target, "").await.body.contains(PASSWORD),
            "{target}"
        );
    }
    let wrong = Config::of_text("test.toml", text.clone())
        .environment(vec![("SEAWALL_REDIS_URL".into(), url.replace("redis", "http"))]);
    let error = Gateway::start(wrong).await.expect_err("it is no URL of Redis");
    assert!(
        matches!(error, StartError::Redis(_)) && !error.to_string().contains(PASSWORD),
        "{error}"
    );
    let written = document(
        &[origin.address],
        &format!("[upstream.api]\n[cache.redis]\nurl = \"{url}\"\n"),
    );
    let mistakes = Config::of_text("test.toml", written)
        .check()
        .expect_err("a password in the document");
    assert!(
        mistakes.list()[0]
            .help
            .as_deref()
            .is_some_and(|help| help.contains("SEAWALL_REDIS_URL"))
    );
}
