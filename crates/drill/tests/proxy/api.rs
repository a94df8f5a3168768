//! The HTTP API, route by route: what is asked, which status comes, and what is said.

use seawall_core::rng::Seed;
use seawall_drill::proxy::{Api, Proxies};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Asks, and returns status, content type and body.
async fn ask(api: &Api, method: &str, path: &str, agent: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(api.address()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: "));
    (status, kind.unwrap_or_default().to_owned(), body.to_owned())
}

/// Whether all that is expected is said; what else is said is not looked at.
fn says(expected: &Value, said: &Value) -> bool {
    match (expected, said) {
        (Value::Object(expected), Value::Object(said)) => expected
            .iter()
            .all(|(key, value)| said.get(key).is_some_and(|said| says(value, said))),
        (Value::Array(expected), Value::Array(said)) => {
            expected.len() == said.len() && expected.iter().zip(said).all(|(a, b)| says(a, b))
        }
        (expected, said) => expected == said,
    }
}

/// An exchange of the table.
struct Exchange {
    method: String,
    path: String,
    body: String,
    status: u16,
    said: Option<Value>,
}

/// The table, with a port that is taken.
fn table(port: &str) -> Vec<Exchange> {
    let text = include_str!("api.txt").replace("PORT", port);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let exchanges = lines.chunks(2).map(|pair| {
        let mut asked = pair[0].splitn(3, ' ').map(str::to_owned);
        let (status, said) = pair[1].trim().split_once(' ').unwrap_or((pair[1].trim(), ""));
        let mut word = || asked.next().unwrap_or_default();
        Exchange {
            method: word(),
            path: word(),
            body: word(),
            status: status.parse().expect("a status"),
            said: (!said.is_empty()).then(|| serde_json::from_str(said).expect("JSON")),
        }
    });
    exchanges.collect()
}

#[tokio::test]
async fn each_route_answers_as_clients_expect() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let api = Api::start("127.0.0.1:0", Proxies::new(Seed(1))).await.unwrap();
    let table = table(&port);
    assert!(table.len() > 60);
    for exchange in table {
        let Exchange {
            method, path, body, ..
        } = &exchange;
        let (status, kind, said) = ask(&api, method, path, "test", body).await;
        let line = format!("{method} {path} {body}: {status} {said}");
        assert_eq!(status, exchange.status, "{line}");
        if status == 204 {
            assert_eq!(said, "", "{line}");
        }
        if let Some(expected) = exchange.said {
            assert_eq!(kind, "application/json", "{line}");
            let said: Value = serde_json::from_str(&said).unwrap();
            assert!(says(&expected, &said), "{line}, not {expected}");
        }
    }
    api.end().await;
}

#[tokio::test]
async fn browsers_are_refused() {
    let api = Api::start("127.0.0.1:0", Proxies::new(Seed(1))).await.unwrap();
    for path in ["/proxies", "/version", "/nothing"] {
        let (status, _, body) = ask(&api, "GET", path, "Mozilla/5.0 (X11)", "").await;
        assert_eq!((status, &body[..]), (403, "User agent not allowed\n"));
    }
    assert_eq!(ask(&api, "GET", "/proxies", "toxiproxy-cli", "").await.0, 200);
}

#[tokio::test]
async fn bodies_and_numbers_are_bounded() {
    let api = Api::start("127.0.0.1:0", Proxies::new(Seed(1))).await.unwrap();
    let body = format!("\"{}\"", "x".repeat(2 << 20));
    let mut stream = TcpStream::connect(api.address()).await.unwrap();
    let head = format!(
        "POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = vec![0; 12];
    stream.read_exact(&mut response).await.unwrap();
    assert_eq!(response, b"HTTP/1.1 413");
    let body = r#"{"name":"p","upstream":"a:1"}"#;
    assert_eq!(ask(&api, "POST", "/proxies", "test", body).await.0, 201);
    let mut last = (0, String::new(), String::new());
    for n in 0..=64 {
        let toxic = format!(r#"{{"name":"{n}","type":"noop"}}"#);
        last = ask(&api, "POST", "/proxies/p/toxics", "test", &toxic).await;
    }
    assert_eq!((last.0, last.2.contains("too many toxics")), (400, true));
}

#[tokio::test]
async fn metrics_have_toxiproxys_names() {
    let api = Api::start("127.0.0.1:0", Proxies::new(Seed(1))).await.unwrap();
    let body = r#"{"name":"p","listen":"127.0.0.1:0","upstream":"a\"b:1"}"#;
    let (_, _, made) = ask(&api, "POST", "/proxies", "test", body).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let listen = made["listen"].as_str().unwrap();
    let (status, _, page) = ask(&api, "GET", "/metrics", "test", "").await;
    assert_eq!(status, 200);
    let line = format!(
        "toxiproxy_proxy_sent_bytes_total{{direction=\"upstream\",proxy=\"p\",listener=\"{listen}\",upstream=\"a\\\"b:1\"}} 0"
    );
    assert!(page.lines().any(|had| had == line), "{page}");
}
