//! An upstream, a gateway and a client, all on loopback and free ports.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use seawall_gateway::{Config, Gateway};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// No answer takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that is deleted in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("seawall-gateway-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder for this test");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What an upstream was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// An upstream that does as it is told.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) inside: Arc<AtomicUsize>,
    pub(crate) most: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    /// Answers each request as `answer` says, after the time that it says.
    pub(crate) async fn new(
        answer: impl Fn(&Seen) -> (Duration, Response<Full<Bytes>>) + Send + Sync + 'static,
    ) -> Origin {
        Origin::on("127.0.0.1:0", answer).await
    }

    pub(crate) async fn on(
        address: &str,
        answer: impl Fn(&Seen) -> (Duration, Response<Full<Bytes>>) + Send + Sync + 'static,
    ) -> Origin {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (inside, most): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let answer = Arc::new(answer);
        let task = {
            let (seen, inside, most) = (Arc::clone(&seen), Arc::clone(&inside), Arc::clone(&most));
            tokio::spawn(async move {
                // Its connections end with it.
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                    let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
                    connections.spawn(async move {
                        let service = service_fn(move |request: Request<Incoming>| {
                            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                            let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
                            async move {
                                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                                let (parts, body) = request.into_parts();
                                let body = body.collect().await.map(http_body_util::Collected::to_bytes);
                                let request = Seen {
                                    method: parts.method.to_string(),
                                    target: parts.uri.to_string(),
                                    headers: parts.headers,
                                    body: body.unwrap_or_default(),
                                };
                                let (after, response) = answer(&request);
                                seen.lock().expect("nobody panics").push(request);
                                tokio::time::sleep(after).await;
                                inside.fetch_sub(1, Ordering::SeqCst);
                                Ok::<_, Infallible>(response)
                            }
                        });
                        let http = hyper::server::conn::http1::Builder::new();
                        let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            })
        };
        Origin {
            address,
            seen,
            inside,
            most,
            task,
        }
    }

    /// One that says what it was asked for, with these fields.
    pub(crate) async fn saying(fields: &'static [(&'static str, &'static str)]) -> Origin {
        Origin::new(move |seen| (Duration::ZERO, response(200, fields, &seen.target))).await
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("nobody panics").len()
    }

    pub(crate) fn last(&self) -> Seen {
        let seen = self.seen.lock().expect("nobody panics");
        seen.last().cloned().expect("it was asked")
    }
}

pub(crate) fn response(status: u16, fields: &[(&str, &str)], body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    response.body(body).expect("the fields are sound")
}

/// A gateway before these servers, with more of a document.
pub(crate) async fn gateway(servers: &[SocketAddr], more: &str) -> Gateway {
    let document = document(servers, more);
    Gateway::start(Config::of_text("test.toml", document))
        .await
        .expect("it starts")
}

/// A document; where `more` has no `[gateway]`, on free ports.
pub(crate) fn document(servers: &[SocketAddr], more: &str) -> String {
    let addresses: Vec<String> = servers.iter().map(|address| format!("\"{address}\"")).collect();
    let listen = "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
    let more = if more.contains("[gateway]") {
        more.replace("[gateway]", &format!("[gateway]\n{listen}"))
    } else {
        format!("[gateway]\n{listen}{more}")
    };
    let upstream = format!("[upstream.api]\naddresses = [{}]\n", addresses.join(", "));
    if more.contains("[upstream.api]") {
        return more.replace("[upstream.api]\n", &upstream);
    }
    format!("{more}\n{upstream}")
}

/// An answer, read to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn read(bytes: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Answer::default();
        };
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name = name.to_ascii_lowercase();
            let before = fields
                .remove(&name)
                .map_or_else(String::new, |before| before + ", ");
            fields.insert(name, before + value);
        }
        let chunked = fields
            .get("transfer-encoding")
            .is_some_and(|coding| coding == "chunked");
        Answer {
            status: status.and_then(|status| status.parse().ok()).unwrap_or(0),
            fields,
            body: if chunked { unchunked(body) } else { body.to_owned() },
        }
    }
}

fn unchunked(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// Sends these bytes and reads until the other side closes. Status 0 when it closed without an answer.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> Answer {
    let work = async {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        // Who refuses may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        Answer::read(&answer)
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it answers or closes in time")
}

/// One request on a connection of its own.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut text = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    if !fields.iter().any(|(name, _)| *name == "host") {
        text += "host: test\r\n";
    }
    for (name, value) in fields {
        text.extend([*name, ": ", *value, "\r\n"]);
    }
    if !body.is_empty() {
        text.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
    }
    text += "\r\n";
    text += body;
    raw(address, text.as_bytes()).await
}

pub(crate) async fn fetch(address: SocketAddr, target: &str) -> Answer {
    ask(address, "GET", target, &[], "").await
}

/// A request to the admin API with a JSON body.
pub(crate) async fn admin(gateway: &Gateway, method: &str, target: &str, body: &str) -> Answer {
    let fields = [("host", "localhost"), ("content-type", "application/json")];
    ask(gateway.admin(), method, target, &fields, body).await
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, wait).await.is_ok(),
        "in vain: {what}"
    );
}
