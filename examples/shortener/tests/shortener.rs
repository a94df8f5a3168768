//! The shortener as it is run: on SQLite alone, and on Redis and PostgreSQL while they fall.
//!
//! The machine needs `redis-server` and `postgres` (Debian's packages `redis-server` and `postgresql`).

#[path = "../../../crates/runtime/tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use support::postgres::PostgresServer;
use support::redis::RedisServer;
use support::{Folder, Process};

/// No answer may take longer, whatever happens: the deadline of the cache, and what a busy machine adds.
const ANSWER_MAX: Duration = Duration::from_millis(1_500);

struct Shortener {
    process: Process,
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

#[derive(Debug)]
struct Said {
    status: u16,
    location: Option<String>,
    retry_after: Option<String>,
    body: String,
    took: Duration,
}

impl Shortener {
    fn start(variables: &[(&str, &str)]) -> Shortener {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shortener"))
            .env_clear()
            .env("LISTEN", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        let mut log = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
        let process = Process::of(child);
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("listening on ")?;
            Some(address.trim().to_owned())
        });
        // A full pipe would stop it.
        std::thread::spawn(move || log.for_each(drop));
        Shortener {
            process,
            base: format!("http://{}", address.expect("it listens")),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    async fn ask(&self, method: &str, uri: &str, body: &str) -> Said {
        let began = Instant::now();
        let request = hyper::Request::builder()
            .method(method)
            .uri(uri)
            .body(Full::from(body.to_owned()))
            .expect("a request");
        let response = self.client.request(request).await.expect("it answers");
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let (location, retry_after) = (header("location"), header("retry-after"));
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("it says all of it");
        Said {
            status,
            location,
            retry_after,
            body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            took: began.elapsed(),
        }
    }

    async fn get(&self, path: &str) -> Said {
        self.ask("GET", &format!("{}{path}", self.base), "").await
    }

    async fn create(&self, url: &str) -> String {
        let said = self.ask("POST", &format!("{}/", self.base), url).await;
        assert_eq!(said.status, 201, "{said:?}");
        let link = said.body.trim().to_owned();
        assert_eq!(said.location.as_ref(), Some(&link));
        link.strip_prefix(&self.base)
            .expect("it is a link of ours")
            .to_owned()
    }

    /// The value of a counter, all its labels together.
    async fn metric(&self, name: &str) -> u64 {
        let page = self.get("/metrics").await.body;
        let lines = page
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        values.sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_alone_it_creates_redirects_refuses_and_leaves_in_order() {
    let folder = Folder::new();
    let database = format!("sqlite:{}/links.db?mode=rwc", folder.path().display());
    let mut shortener = Shortener::start(&[("DATABASE_URL", &database)]);

    let path = shortener.create("https://example.com/a?b=c").await;
    let said = shortener.get(&path).await;
    assert_eq!(
        (said.status, said.location.as_deref()),
        (302, Some("https://example.com/a?b=c"))
    );

    // Refused before anything is touched, in both directions.
    let loads = shortener.metric("origin_requests_total").await;
    for path in [
        "/nothing",
        "/00000001",
        "/%2e%2e%2fpasswd",
        "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        assert_eq!(shortener.get(path).await.status, 404, "{path}");
    }
    assert_eq!(shortener.metric("origin_requests_total").await, loads);
    // One that fits is asked for once, and then remembered as absent.
    for _ in 0..5 {
        assert_eq!(shortener.get("/00000000").await.status, 404);
    }
    assert_eq!(shortener.metric("origin_requests_total").await, loads + 1);
    let root = format!("{}/", shortener.base);
    assert_eq!(
        shortener.ask("POST", &root, "javascript:alert(1)").await.status,
        400
    );
    let long = format!("https://example.com/{}", "a".repeat(5_000));
    assert_eq!(shortener.ask("POST", &root, &long).await.status, 413);

    assert_eq!(shortener.get("/health/live").await.status, 200);
    assert_eq!(shortener.get("/health/ready").await.body, "ok\n");
    shortener.process.signal(Signal::SIGTERM);
    assert!(shortener.process.wait(), "it ends well");

    // Another process finds in the file what this one left.
    let again = Shortener::start(&[("DATABASE_URL", &database), ("DRAIN_NOTICE", "1")]);
    let said = again.get(&path).await;
    assert_eq!(
        (said.status, said.location.as_deref()),
        (302, Some("https://example.com/a?b=c"))
    );
    // It says that it leaves before it does, and still answers.
    again.process.signal(Signal::SIGTERM);
    let began = Instant::now();
    while again.get("/health/ready").await.status != 503 {
        assert!(began.elapsed() < Duration::from_secs(1), "it never says so");
    }
    assert_eq!(again.get(&path).await.status, 302);
}

/// Asks for all links, once at least and then for so long, and says how many were answered and how many were turned away.
async fn visit(shortener: &Shortener, paths: &[String], phase: Duration) -> (u32, u32) {
    let (mut answered, mut turned_away) = (0, 0);
    let began = Instant::now();
    loop {
        for (number, path) in paths.iter().enumerate() {
            let said = shortener.get(path).await;
            assert!(said.took < ANSWER_MAX, "{said:?}");
            match said.status {
                302 => {
                    let url = format!("https://example.com/{number}");
                    assert_eq!(said.location, Some(url), "the right one");
                    answered += 1;
                }
                503 => {
                    assert!(said.retry_after.is_some(), "{said:?}");
                    turned_away += 1;
                }
                _ => panic!("{said:?}"),
            }
        }
        if began.elapsed() >= phase {
            return (answered, turned_away);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_go_on_when_redis_falls_and_what_is_known_when_postgres_does() {
    let mut redis = RedisServer::start(&[]);
    let mut postgres = PostgresServer::start(&[]);
    let (redis_url, postgres_url) = (redis.url(), postgres.url());
    let variables = [("REDIS_URL", &*redis_url), ("DATABASE_URL", &*postgres_url)];
    let one = Shortener::start(&variables);

    let mut paths = Vec::new();
    for number in 0..20 {
        paths.push(one.create(&format!("https://example.com/{number}")).await);
    }
    // One reads one's own writes, from the cache: nothing was loaded.
    assert_eq!(visit(&one, &paths, Duration::ZERO).await, (20, 0));
    assert_eq!(one.metric("origin_requests_total").await, 0);

    // A second copy has nothing in memory. Redis falls before it has asked for the second half of the links.
    let two = Shortener::start(&variables);
    assert_eq!(visit(&two, &paths[..10], Duration::ZERO).await, (10, 0));
    assert_eq!(two.metric("origin_requests_total").await, 0, "Redis had them");
    tokio::task::block_in_place(|| redis.kill());
    let (answered, turned_away) = visit(&two, &paths, Duration::from_secs(1)).await;
    assert!(
        answered >= 20 && turned_away == 0,
        "{answered} answered, {turned_away} turned away"
    );
    // At first each copy finds out by itself. It is degraded then, and stays in rotation.
    let ready = two.get("/health/ready").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(
        ready.body.starts_with("degraded") && ready.body.contains("redis"),
        "{ready:?}"
    );
    paths.push(two.create("https://example.com/20").await);
    assert_eq!(visit(&two, &paths, Duration::ZERO).await, (21, 0));

    // Both are gone: what is known goes on, the rest is told to come later, and soon.
    tokio::task::block_in_place(|| postgres.kill());
    assert_eq!(visit(&two, &paths, Duration::ZERO).await, (21, 0));
    let unknown = two.get("/00000000").await;
    assert_eq!(unknown.status, 503, "{unknown:?}");
    assert!(
        unknown.retry_after.is_some() && unknown.took < ANSWER_MAX,
        "{unknown:?}"
    );
    let root = format!("{}/", two.base);
    let created = two.ask("POST", &root, "https://example.com/").await;
    assert!(created.status == 503 && created.took < ANSWER_MAX, "{created:?}");

    // And back, with nobody restarting the shortener. Redis is empty.
    tokio::task::block_in_place(|| postgres.restart());
    tokio::task::block_in_place(|| redis.restart(&[]));
    let began = Instant::now();
    loop {
        let ready = two.get("/health/ready").await;
        if ready.body == "ok\n" && two.get("/00000000").await.status == 404 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{ready:?}");
        sleep(Duration::from_millis(50)).await;
    }
    paths.push(two.create("https://example.com/21").await);
    assert_eq!(visit(&two, &paths, Duration::ZERO).await, (22, 0));
}
