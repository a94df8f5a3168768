//! Alerts over real sockets: ours to a receiver that is written from the public definition of the webhook, and those of a real
//! Alertmanager (Debian's `prometheus-alertmanager`) to us.

#![cfg(feature = "live")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use seawall_core::record::Metric;
use seawall_core::time::Span;
use seawall_diagnose::incident::alerts::{Alert, Ear, Herald, Told, notice};
use seawall_diagnose::incident::{Course, Incident, Utc};
use seawall_diagnose::probe::Point;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a receiver of version 4 is sent, by the documentation of Alertmanager: all of it, and nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Received {
    version: String,
    group_key: String,
    truncated_alerts: u64,
    status: String,
    #[expect(dead_code, reason = "it has to be there")]
    receiver: String,
    #[expect(dead_code, reason = "it has to be there, as texts by name")]
    group_labels: BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    #[expect(dead_code, reason = "it has to be there")]
    external_url: String,
    alerts: Vec<ReceivedAlert>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ReceivedAlert {
    status: String,
    labels: BTreeMap<String, String>,
    #[expect(dead_code, reason = "it has to be there, as texts by name")]
    annotations: BTreeMap<String, String>,
    starts_at: Utc,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    #[expect(dead_code, reason = "it has to be there")]
    generator_url: String,
    fingerprint: String,
}

/// An incident as it is made: a cache that refuses, for ten seconds, and is well again when `whole`.
fn incident(whole: bool) -> Incident {
    let mut course = Course::new(Span::secs(1));
    let began = Utc::from_millis(1_795_312_800_000);
    for second in 0..if whole { 80 } else { 40 } {
        let refused = f64::from(u8::from((30..40).contains(&second)));
        let point = |metric, label: Option<&str>, value| Point {
            metric,
            component: "redis".to_owned(),
            instance: None,
            label: label.map(str::to_owned),
            value,
        };
        let sample = [
            point(Metric::CacheHits, None, 900.0 * (1.0 - refused)),
            point(Metric::CacheMisses, None, 100.0 * (1.0 - refused)),
            point(Metric::Probes, None, 1.0),
            point(Metric::ProbeFailures, Some("connect_refused"), refused),
        ];
        course.observe(began.after_s(f64::from(second)), &sample);
    }
    course.incident().expect("it refused").clone()
}

/// Reads one request: its head and its body.
async fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.expect("a request");
        assert!(read > 0, "it ended early: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
        if bytes.len() >= end + 4 + length {
            return (head, bytes[end + 4..].to_vec());
        }
    }
}

/// Answers posts with these states in turn, and gives back what was posted.
async fn receiver(states: &'static [u16]) -> (String, tokio::task::JoinHandle<Vec<(String, Vec<u8>)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(async move {
        let mut posts = Vec::new();
        for state in states {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            posts.push(request(&mut stream).await);
            let answer = format!("HTTP/1.1 {state} .\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("it is there");
        }
        posts
    });
    (format!("http://user:hush@{address}/hook?channel=ops"), task)
}

#[tokio::test]
async fn a_receiver_takes_what_we_post() {
    let (url, posts) = receiver(&[503, 200, 200]).await;
    let herald = Herald::new(url.parse().expect("an address"));
    assert!(
        herald.send(notice(&incident(false))),
        "the first is refused once and sent again"
    );
    assert!(herald.send(notice(&incident(true))));
    let posts = timeout(PATIENCE, posts)
        .await
        .expect("in time")
        .expect("three posts");
    let (head, _) = &posts[0];
    assert!(head.starts_with("post /hook?channel=ops http/1.1"), "{head}");
    assert!(head.contains("authorization: basic dxnlcjpodxno"), "{head}");
    let read = |at: usize| -> Received { serde_json::from_slice(&posts[at].1).expect("the public form") };
    let (again, firing, resolved) = (read(0), read(1), read(2));
    assert_eq!(again.group_key, firing.group_key);
    assert_eq!((firing.version.as_str(), firing.truncated_alerts), ("4", 0));
    assert_eq!(
        (firing.status.as_str(), resolved.status.as_str()),
        ("firing", "resolved")
    );
    assert_eq!(firing.group_key, resolved.group_key);
    let (one, other) = (&firing.alerts[0], &resolved.alerts[0]);
    assert_eq!(
        (one.status.as_str(), other.status.as_str()),
        ("firing", "resolved")
    );
    assert_eq!(one.fingerprint, other.fingerprint);
    assert_eq!(one.starts_at, other.starts_at);
    assert!(
        one.ends_at.starts_with("0001-") && other.ends_at.parse::<Utc>().is_ok_and(|end| end > one.starts_at)
    );
    assert_eq!(one.labels.get("failure").map(String::as_str), Some("refused"));
    assert_eq!(one.labels, firing.common_labels);
    assert!(firing.common_annotations.contains_key("summary"));
    assert_eq!(herald.end(PATIENCE).await, [Told::Taken, Told::Taken]);
}

#[tokio::test]
async fn a_receiver_that_does_not_want_it_is_not_asked_again() {
    let (url, posts) = receiver(&[400]).await;
    let herald = Herald::new(url.parse().expect("an address"));
    assert!(herald.send(notice(&incident(true))));
    timeout(PATIENCE, posts)
        .await
        .expect("in time")
        .expect("one post");
    let told = herald.end(PATIENCE).await;
    assert_eq!(told, [Told::Lost("status 400".to_owned())]);
}

#[tokio::test]
async fn what_waits_is_bounded_and_so_is_the_end() {
    // It accepts, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let herald = Herald::new(url.parse().expect("an address"));
    let whole = incident(true);
    let taken = (0..100).filter(|_| herald.send(notice(&whole))).count();
    assert!((16..=64).contains(&taken), "{taken}");
    let begun = Instant::now();
    herald.end(Duration::from_millis(200)).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// Posts to the ear: the state of its answer.
async fn posted(ear: std::net::SocketAddr, head: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(ear).await.expect("it listens");
    let head = format!(
        "{head}host: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    // It may answer before all was sent.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("in time");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let state = answer.split(' ').nth(1).map(str::parse);
    state.unwrap_or_else(|| panic!("{answer:?}")).expect("a number")
}

const POST: &str = "POST /alerts HTTP/1.1\r\n";

#[tokio::test]
async fn only_what_is_a_post_is_heard() {
    let address = "127.0.0.1:0".parse().expect("an address");
    let mut ear = Ear::open(address, Some("hush".to_owned())).await.expect("a port");
    let at = ear.address();
    let allowed = format!("{POST}authorization: Bearer hush\r\n");
    let body = br#"{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"A"}}]}"#;
    assert_eq!(posted(at, "GET /-/healthy HTTP/1.1\r\n", b"").await, 200);
    assert_eq!(posted(at, "GET /alerts HTTP/1.1\r\n", b"").await, 405);
    assert_eq!(posted(at, "POST / HTTP/1.1\r\n", body).await, 404);
    assert_eq!(posted(at, POST, body).await, 401);
    assert_eq!(
        posted(at, &format!("{POST}authorization: Bearer husk\r\n"), body).await,
        401
    );
    assert_eq!(posted(at, &allowed, b"{}").await, 400);
    assert_eq!(posted(at, &allowed, &vec![b' '; 2 << 20]).await, 413);
    let (state, heard) = tokio::join!(posted(at, &allowed, body), async {
        let heard = ear.next().await;
        let alerts = heard.alerts.clone();
        heard.kept();
        alerts
    });
    assert_eq!((state, heard.len()), (200, 1));
    // What could not be kept is to be sent again.
    let (state, ()) = tokio::join!(posted(at, &allowed, body), async { drop(ear.next().await) });
    assert_eq!(state, 503);
}

/// A real Alertmanager that posts to an address; it is killed with the test.
struct Alertmanager {
    child: tokio::process::Child,
    folder: PathBuf,
    port: u16,
}

impl Alertmanager {
    async fn start(hook: std::net::SocketAddr) -> Alertmanager {
        let folder = std::env::temp_dir().join(format!("seawall-alertmanager-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let config = folder.join("alertmanager.yml");
        let text = format!(
            "route: {{ receiver: seawall, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h }}\n\
             receivers:\n- name: seawall\n  webhook_configs:\n  - url: http://{hook}/alerts\n    send_resolved: true\n"
        );
        std::fs::write(&config, text).expect("room");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let child = tokio::process::Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus-alertmanager is installed (./test installs it)");
        let manager = Alertmanager { child, folder, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not start");
            sleep(Duration::from_millis(50)).await;
        }
        manager
    }

    /// Tells it of an alert, as Prometheus does.
    async fn tell(&self, name: &str, ends: Option<Utc>) {
        let ends = ends
            .map(|ends| format!(r#","endsAt":"{ends}""#))
            .unwrap_or_default();
        let body = format!(
            r#"[{{"labels":{{"alertname":"{name}","severity":"critical"}},"annotations":{{"summary":"it is down"}}{ends}}}]"#
        );
        let head = "POST /api/v2/alerts HTTP/1.1\r\ncontent-type: application/json\r\n";
        let address = format!("127.0.0.1:{}", self.port).parse().expect("an address");
        let begun = Instant::now();
        while posted(address, head, body.as_bytes()).await != 200 {
            assert!(begun.elapsed() < PATIENCE, "it is not ready");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn heard(ear: &mut Ear) -> Alert {
    let heard = timeout(PATIENCE, ear.next()).await.expect("it posts");
    let alert = heard.alerts.first().expect("one alert").clone();
    heard.kept();
    alert
}

#[tokio::test]
async fn a_real_alertmanager_is_heard() {
    let mut ear = Ear::open("127.0.0.1:0".parse().expect("an address"), None)
        .await
        .expect("a port");
    let manager = Alertmanager::start(ear.address()).await;
    manager.tell("RedisDown", None).await;
    let firing = heard(&mut ear).await;
    assert_eq!((firing.name.as_str(), firing.firing), ("RedisDown", true));
    assert_eq!(firing.severity.as_deref(), Some("critical"));
    assert_eq!(firing.summary.as_deref(), Some("it is down"));
    assert_eq!(firing.fingerprint.len(), 16, "{firing:?}");
    let starts = firing.starts.expect("it says since when");
    // It belongs to an incident, and ends it.
    let mut course = Course::new(Span::secs(1));
    let now = starts.after_s(5.0);
    assert!(course.hear(now, &firing) && !course.hear(now, &firing));
    assert_eq!(course.open().map(|incident| incident.began), Some(starts));
    manager.tell("RedisDown", Some(starts.after_s(0.001))).await;
    let resolved = heard(&mut ear).await;
    assert_eq!(
        (resolved.firing, &resolved.fingerprint),
        (false, &firing.fingerprint)
    );
    assert!(course.hear(now, &resolved));
    course.observe(now.after_s(1.0), &[]);
    assert!(course.open().is_none());
}
