//! Connections to servers: how many, which is used again, and which is not. The server is a script, byte by byte.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall_gateway::{Config, Gateway};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::kit::{Folder, admin, ask, document, fetch, gateway, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 2\r\n\r\nok";

/// What a server does when a request has come.
enum Act {
    /// Says these, with a pause between them, and waits for the next request.
    Say(Vec<String>),
    /// The same, and closes.
    Last(String),
    /// Says this, and nothing more until the other side closes.
    Hang(String),
    /// Says this when it is told to.
    When(Arc<Notify>, &'static str),
}

fn say(text: &str) -> Act {
    Act::Say(vec![text.to_owned()])
}

/// A request: the connection's and its own number, from 0, and the first line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Came {
    connection: usize,
    line: String,
}

#[derive(Default)]
struct Seen {
    came: Mutex<Vec<Came>>,
    opened: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
}

struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Does as `act` says, which is told the connection's number and the request's on it.
    async fn new(act: impl Fn(usize, usize, &str) -> Act + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (seen, act) = (Arc::new(Seen::default()), Arc::new(act));
        let task = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let (seen, act) = (Arc::clone(&seen), Arc::clone(&act));
                    let number = seen.opened.fetch_add(1, Ordering::SeqCst);
                    let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
                    seen.most.fetch_max(open, Ordering::SeqCst);
                    connections.spawn(async move {
                        let _ = serve(stream, number, &seen, &*act).await;
                        seen.open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Server { address, seen, task }
    }

    fn opened(&self) -> usize {
        self.seen.opened.load(Ordering::SeqCst)
    }

    fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// On which connections requests came.
    fn used(&self) -> Vec<usize> {
        let came = self.seen.came.lock().expect("nobody panics");
        came.iter().map(|came| came.connection).collect()
    }

    fn lines(&self) -> Vec<String> {
        let came = self.seen.came.lock().expect("nobody panics");
        came.iter().map(|came| came.line.clone()).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    seen: &Seen,
    act: &(dyn Fn(usize, usize, &str) -> Act + Send + Sync),
) -> std::io::Result<()> {
    let mut read = Vec::new();
    for number in 0.. {
        let end = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let line = head.lines().next().unwrap_or("").to_owned();
        let early = line.contains("early");
        while !early && read.len() < end + length.unwrap_or(0) {
            stream.read_buf(&mut read).await?;
        }
        read.drain(..(end + length.unwrap_or(0)).min(read.len()));
        seen.came.lock().expect("nobody panics").push(Came {
            connection,
            line: line.clone(),
        });
        match act(connection, number, &line) {
            Act::Say(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    if index > 0 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    stream.write_all(part.as_bytes()).await?;
                }
            }
            Act::Last(text) => return stream.write_all(text.as_bytes()).await,
            Act::When(told, text) => {
                told.notified().await;
                stream.write_all(text.as_bytes()).await?;
            }
            Act::Hang(text) => {
                stream.write_all(text.as_bytes()).await?;
                let mut scrap = [0; 4096];
                while stream.read(&mut scrap).await? > 0 {}
                return Ok(());
            }
        }
    }
    Ok(())
}

/// How many requests have a server, or wait for a connection to it.
async fn in_flight(gateway: &Gateway) -> u64 {
    let state = admin(gateway, "GET", "/state", "").await.json();
    state["sites"][0]["servers"][0]["in_flight"]
        .as_u64()
        .expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_that_was_used_last_is_used_next() {
    let server = Server::new(|_, _, line| {
        if line.contains("slow") {
            return Act::Say(vec![String::new(), OK.to_owned()]);
        }
        say(OK)
    })
    .await;
    let gateway = gateway(&[server.address], "").await;
    let address = gateway.address();
    for _ in 0..10 {
        assert_eq!(fetch(address, "/").await.body, "ok");
    }
    assert_eq!(server.opened(), 1, "one after the other");
    let slow: Vec<_> = (0..4)
        .map(|_| tokio::spawn(async move { ask(address, "POST", "/slow", &[], "x").await.body }))
        .collect();
    for slow in slow {
        assert_eq!(slow.await.expect("nobody panics"), "ok");
    }
    let opened = server.opened();
    for _ in 0..10 {
        assert_eq!(ask(address, "POST", "/", &[], "x").await.body, "ok");
    }
    let used = server.used();
    let last = used.last().expect("it was asked");
    assert_eq!(used[used.len() - 9..], [*last; 9], "and not one after the other");
    assert_eq!(server.opened(), opened);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_more_connections_than_the_pool_has() {
    let server = Server::new(|_, _, _| Act::Say(vec![String::new(), OK.to_owned()])).await;
    let gateway = gateway(&[server.address], "[upstream.api]\npool = 3\n").await;
    let address = gateway.address();
    let clients: Vec<_> = (0..60)
        .map(|_| tokio::spawn(async move { ask(address, "POST", "/", &[], "x").await.status }))
        .collect();
    for client in clients {
        assert_eq!(client.await.expect("nobody panics"), 200);
    }
    assert_eq!((server.seen.most.load(Ordering::SeqCst), server.opened()), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_connection_gets_it_in_turn_or_is_told_in_time() {
    let go = Arc::new(Notify::new());
    let server = Server::new({
        let go = Arc::clone(&go);
        // The first one stays inside until all the others wait.
        move |_, number, _| match number {
            0 => Act::When(Arc::clone(&go), OK),
            _ => say(OK),
        }
    })
    .await;
    let more = "[upstream.api]\npool = 1\nconnect_timeout = \"10s\"\n";
    let gateway = gateway(&[server.address], more).await;
    let address = gateway.address();
    let mut clients = Vec::new();
    for number in 0..6_u64 {
        let target = format!("/{number}");
        clients.push(tokio::spawn(async move {
            ask(address, "POST", &target, &[], "x").await.status
        }));
        until("it waits", async || in_flight(&gateway).await == number + 1).await;
    }
    go.notify_one();
    for client in clients {
        assert_eq!(client.await.expect("nobody panics"), 200);
    }
    let turns: Vec<String> = (0..6).map(|number| format!("post /{number} http/1.1")).collect();
    assert_eq!(server.lines(), turns);

    let silent = Server::new(|_, _, _| Act::Hang(String::new())).await;
    let more = "[upstream.api]\npool = 1\nconnect_timeout = \"100ms\"\n";
    let gateway = crate::kit::gateway(&[silent.address], more).await;
    let address = gateway.address();
    let first = tokio::spawn(async move { ask(address, "POST", "/", &[], "x").await });
    until("it is inside", async || silent.used().len() == 1).await;
    let late = ask(address, "POST", "/", &[], "x").await;
    assert_eq!(late.status, 503, "{late:?}");
    assert!(!late.field("retry-after").is_empty());
    assert_eq!(silent.opened(), 1);
    first.abort();
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_not_used() {
    let server = Server::new(|_, _, _| Act::Last(OK.to_owned())).await;
    let gateway = gateway(&[server.address], "").await;
    for count in 1..=5 {
        // A request that may not be sent twice.
        assert_eq!(ask(gateway.address(), "POST", "/", &[], "x").await.status, 200);
        until("it is closed", async || server.open() == 0).await;
        assert_eq!(server.opened(), count);
    }
}

#[tokio::test]
async fn what_meets_a_closing_connection_is_sent_once_more_when_that_does_no_harm() {
    // It closes when the second request has come, as servers do whose idle time is over just then.
    let act = |connection, number, line: &str| match (number, line) {
        (0, line) if connection > 0 && line.contains("dead") => Act::Last(String::new()),
        (0, _) => say(OK),
        (_, line) if line.contains("half") => Act::Last("HTTP/1.1 200 OK\r\ncontent-le".to_owned()),
        _ => Act::Last(String::new()),
    };
    for (method, target, body, status, requests) in [
        ("GET", "/", "", 200, 2),
        ("DELETE", "/", "", 200, 2),
        ("POST", "/", "", 502, 1),
        ("PUT", "/", "a body", 502, 1),
        ("GET", "/half", "", 502, 1),
        // Once more, and not for ever.
        ("GET", "/dead", "", 502, 2),
    ] {
        let server = Server::new(act).await;
        let gateway = gateway(&[server.address], "").await;
        assert_eq!(fetch(gateway.address(), "/first").await.status, 200);
        let answer = ask(gateway.address(), method, target, &[], body).await;
        assert_eq!(answer.status, status, "{method} {target}");
        let used: Vec<usize> = server.used().drain(1..).collect();
        assert_eq!(used, [0, 1][..requests], "{method} {target}");
    }
}

#[tokio::test]
async fn what_comes_after_an_answer_is_nobodys_answer() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let acts = [
        Act::Say(vec![format!("{OK}{evil}")]),
        Act::Say(vec![OK.to_owned(), evil.to_owned()]),
        Act::Say(vec![OK.to_owned(), "x".to_owned()]),
        Act::Say(vec![OK.replace("2\r\n", "1\r\n")]),
    ];
    for (index, first) in acts.into_iter().enumerate() {
        let first = Mutex::new(Some(first));
        let server = Server::new(move |_, _, _| {
            let first = first.lock().expect("nobody panics").take();
            first.unwrap_or_else(|| say(OK))
        })
        .await;
        let gateway = gateway(&[server.address], "").await;
        assert!("ok".starts_with(&fetch(gateway.address(), "/1").await.body));
        // Either it is noticed at once, or when it has come.
        until("it is closed", async || server.open() == 0).await;
        for _ in 0..3 {
            let answer = ask(gateway.address(), "POST", "/2", &[], "x").await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{index}");
        }
        assert_eq!(server.used(), [0, 1, 1, 1], "{index}");
    }
}

#[tokio::test]
async fn who_leaves_takes_its_connection_along() {
    // Before the head, within the body, and with a body of which no end is known.
    for said in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes.",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let server = Server::new(|connection, _, _| match connection {
            0 => Act::Hang(said.to_owned()),
            _ => say(OK),
        })
        .await;
        let gateway = gateway(&[server.address], "[upstream.api]\npool = 1\n").await;
        let mut client = TcpStream::connect(gateway.address()).await.expect("it listens");
        let request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
        client.write_all(request).await.expect("it is open");
        until("it is there", async || server.used().len() == 1).await;
        if !said.is_empty() {
            let mut some = [0; 64];
            assert!(client.read(&mut some).await.expect("it is answered") > 0);
        }
        drop(client);
        until("it is closed", async || server.open() == 0).await;
        let next = ask(gateway.address(), "POST", "/", &[], "x").await;
        assert_eq!((next.status, next.body.as_str()), (200, "ok"));
        assert_eq!(server.used(), [0, 1]);
    }
}

#[tokio::test]
async fn an_answer_before_the_request_is_over_ends_the_connection() {
    let server = Server::new(|connection, _, _| match connection {
        0 => Act::Hang("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig".to_owned()),
        _ => say(OK),
    })
    .await;
    let gateway = gateway(&[server.address], "").await;
    let mut client = TcpStream::connect(gateway.address()).await.expect("it listens");
    let request = b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nsome";
    client.write_all(request).await.expect("it is open");
    let mut answer = Vec::new();
    while !answer.ends_with(b"big") {
        assert!(client.read_buf(&mut answer).await.expect("it is open") > 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 413"));
    until("it is closed", async || server.open() == 0).await;
    let next = ask(gateway.address(), "POST", "/", &[], "x").await;
    assert_eq!((next.status, next.body.as_str()), (200, "ok"));
    assert_eq!(server.used(), [0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_come_whole_however_they_come_in_parts() {
    let part = "0123456789abcdef".repeat(4_000);
    let act = {
        let part = part.clone();
        move |_, _, line: &str| {
            let length = 3 * part.len();
            let chunk = format!("{:x}\r\n{part}\r\n", part.len());
            let known = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
            let (part, chunk) = (part.clone(), chunk);
            if line.contains("known") {
                Act::Say(vec![known, part.clone(), part.clone(), part])
            } else if line.contains("chunks") {
                Act::Say(vec![
                    chunked,
                    chunk.clone(),
                    chunk.clone() + &chunk,
                    "0\r\n\r\n".to_owned(),
                ])
            } else if line.contains("cut") {
                Act::Last(known + &part)
            } else {
                Act::Last(format!("HTTP/1.1 200 OK\r\n\r\n{part}{part}{part}"))
            }
        }
    };
    let server = Server::new(act).await;
    let gateway = gateway(&[server.address], "").await;
    let whole = part.repeat(3);
    for target in ["/known", "/chunks", "/known", "/chunks", "/closed"] {
        for method in ["GET", "POST"] {
            let answer = ask(gateway.address(), method, target, &[], "").await;
            assert_eq!(answer.status, 200, "{target}");
            assert!(answer.body == whole, "{target}: {} bytes", answer.body.len());
        }
    }
    // Those that end with the connection took one each, and the first of them the one before.
    assert_eq!(server.opened(), 2);
    let cut = ask(gateway.address(), "POST", "/cut", &[], "").await;
    assert!(cut.body.len() < whole.len(), "what is not whole is not made so");
    assert_eq!(
        cut.field("content-length"),
        whole.len().to_string(),
        "and the client can tell"
    );
}

#[tokio::test]
async fn other_servers_are_asked_after_a_change_and_the_old_connections_closed() {
    let one = Server::new(|_, _, line| {
        if line.contains("slow") {
            return Act::Say(vec![String::new(), String::new(), OK.to_owned()]);
        }
        say(OK)
    })
    .await;
    let two = Server::new(|_, _, _| say(OK)).await;
    let folder = Folder::new("servers");
    let file = folder.path().join("seawall.toml");
    std::fs::write(&file, document(&[one.address], "")).expect("a file");
    let gateway = Gateway::start(Config::read(&file).expect("it was written"))
        .await
        .expect("it starts");
    let address = gateway.address();
    assert_eq!(fetch(address, "/").await.status, 200);
    assert_eq!((one.open(), two.open()), (1, 0));
    let stream = TcpStream::connect(address).await.expect("it listens");
    let under_way = tokio::spawn(async move {
        let mut stream = stream;
        let mut answer = Vec::new();
        let request = b"POST /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx";
        stream.write_all(request).await.expect("it is open");
        stream.read_to_end(&mut answer).await.expect("it is answered");
        String::from_utf8_lossy(&answer).into_owned()
    });
    std::fs::write(&file, document(&[two.address], "")).expect("a file");
    until("the other is asked", async || {
        fetch(address, "/").await;
        two.opened() == 1
    })
    .await;
    assert!(
        under_way
            .await
            .expect("nobody panics")
            .starts_with("HTTP/1.1 200")
    );
    until("its connections are closed", async || one.open() == 0).await;
    let asked = one.used().len();
    for _ in 0..3 {
        assert_eq!(fetch(address, "/").await.status, 200);
    }
    assert_eq!((one.used().len(), two.opened()), (asked, 1));
}
