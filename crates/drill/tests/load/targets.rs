//! Real sockets: the cache server, and a small service that speaks HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seawall_core::keys::Law;
use seawall_core::record::Ending;
use seawall_core::time::Span;
use seawall_drill::load::{Load, Pipeline, Report, Settings, Target, Truth, Web};
use seawall_drill::server::{self, Condition, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

fn settings(rate: f64, millis: u64) -> Settings {
    Settings {
        rate,
        keys: Law::Uniform { count: 200 },
        duration: Span::millis(millis),
        ..Settings::default()
    }
}

async fn run(settings: Settings, target: impl Target, truth: Truth) -> Report {
    let load = Load::start(settings, target, Arc::new(truth)).expect("it starts");
    load.finish().await
}

fn cache() -> (Server, Pipeline) {
    let server = Server::start(&server::Settings::default()).expect("it starts");
    let target = Pipeline::new(server.address(), 3, "key:");
    (server, target)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_of_a_cache_are_right() {
    let (server, target) = cache();
    let truth = Truth::new(100);
    let filled = target.fill((0..200).map(|key| (key, truth.value(key, 0)))).await;
    assert_eq!((filled, server.keys()), (Ok(200), 200));
    let mixed = Settings {
        writes: 0.2,
        missing: 0.1,
        ..settings(3_000.0, 700)
    };
    let report = run(mixed, target, truth).await;
    assert_eq!(report.calls(), report.of(Ending::Fresh), "{}", report.text());
    assert!(report.calls() > 1_700, "{}", report.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_befalls_a_cache_is_told() {
    let (server, target) = cache();
    let report = run(settings(1_000.0, 100), target, Truth::new(40).of_cache()).await;
    assert_eq!(report.failures.keys().collect::<Vec<_>>(), ["not there"]);
    let (server, target) = {
        drop(server);
        cache()
    };
    let truth = Arc::new(Truth::new(40));
    target
        .fill((0..200).map(|key| (key, truth.value(key, 0))))
        .await
        .expect("it is filled");
    let long = Settings {
        timeout: Some(Span::millis(150)),
        ..settings(1_000.0, 1_600)
    };
    let load = Load::start(long, target, truth).expect("it starts");
    for condition in [Condition::Loading, Condition::Hanging, Condition::Refusing] {
        sleep(Duration::from_millis(200)).await;
        server.set_condition(condition);
        sleep(Duration::from_millis(200)).await;
        server.set_condition(Condition::Serving);
    }
    let report = load.finish().await;
    let failures: Vec<&str> = report.failures.keys().map(String::as_str).collect();
    assert!(
        failures.contains(&"LOADING") && failures.contains(&"refused"),
        "{failures:?}"
    );
    assert!(report.of(Ending::Timeout) > 20, "{}", report.text());
    assert!(
        report.of(Ending::Fresh) > 600,
        "it comes back each time: {}",
        report.text()
    );
    assert_eq!(report.wrong(), 0, "{}", report.text());
}

/// A service that answers by the last letters of the path, and counts connections.
async fn service(connections: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let truth = Truth::new(60);
    let (mut read, mut some) = (Vec::new(), [0; 4_096]);
    loop {
        while let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            read.drain(..end + 4);
            let key = head
                .split_whitespace()
                .nth(1)
                .and_then(|path| path.rsplit('/').next());
            let key: u64 = key.and_then(|key| key.parse().ok()).unwrap_or(u64::MAX);
            let value = String::from_utf8(truth.value(key, 0)).expect("it is text");
            let answer = match key % 5 {
                _ if key == u64::MAX => ("404 Not Found", "", String::new()),
                1 => ("503 Service Unavailable", "retry-after: 1\r\n", String::new()),
                2 => ("503 Service Unavailable", "", String::new()),
                3 => ("200 OK", "", "something else".to_owned()),
                _ => ("200 OK", "", value),
            };
            let (status, fields, body) = answer;
            let length = body.len();
            let text = format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\n\r\n{body}");
            if stream.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
        match stream.read(&mut some).await {
            Ok(count) if count > 0 => read.extend_from_slice(&some[..count]),
            _ => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_a_service_are_told_apart() {
    let connections = Arc::new(AtomicU64::new(0));
    let address = service(Arc::clone(&connections)).await;
    let web = Web::new(&format!("http://{address}/things/{{key}}")).expect("it is a URL");
    let mixed = Settings {
        missing: 0.2,
        ..settings(500.0, 1_000)
    };
    let report = run(mixed, web, Truth::new(60)).await;
    let of = |ending| report.of(ending) as f64 / report.calls() as f64;
    for (ending, share) in [
        (Ending::Fresh, 0.52),
        (Ending::Shed, 0.16),
        (Ending::Error, 0.16),
        (Ending::Wrong, 0.16),
    ] {
        assert!((of(ending) - share).abs() < 0.08, "{ending:?} {}", report.text());
    }
    assert_eq!(report.failures.keys().collect::<Vec<_>>(), ["status 503"]);
    let opened = connections.load(Ordering::Relaxed);
    assert!(
        opened < report.calls() / 4,
        "{opened} connections are kept for the next call"
    );
}
