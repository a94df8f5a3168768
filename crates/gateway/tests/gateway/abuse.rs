//! Clients that mean harm, or are broken: each is refused or bounded.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{Origin, PATIENCE, admin, ask, fetch, gateway, raw, response};

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "").await;
    let post = "POST /x HTTP/1.1\r\nHost: a\r\n";
    let shapes = [
        (
            "length and coding",
            format!("{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "coding and length",
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
        ),
        (
            "two lengths",
            format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ),
        (
            "two equal lengths",
            format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
        ),
        (
            "a list of lengths",
            format!("{post}Content-Length: 1, 1\r\n\r\na"),
        ),
        ("a signed length", format!("{post}Content-Length: +1\r\n\r\na")),
        ("identity", format!("{post}Transfer-Encoding: identity\r\n\r\n")),
        (
            "xchunked",
            format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunked twice",
            format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "chunked under HTTP/1.0",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "vertical tab before chunked",
            format!("{post}Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "space before the colon",
            format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("folded", format!("{post}X: a\r\n b\r\n\r\n")),
        ("folded first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_owned()),
        ("line feeds alone", "GET / HTTP/1.1\nHost: a\n\n".to_owned()),
        (
            "one line feed alone",
            "GET / HTTP/1.1\r\nHost: a\n\r\n".to_owned(),
        ),
        (
            "a carriage return alone",
            "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n".to_owned(),
        ),
        ("zero byte", "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n".to_owned()),
        (
            "two hosts",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (
            "a host that is none",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(),
        ),
        ("an odd version", "GET / HTTP/1.7\r\nHost: a\r\n\r\n".to_owned()),
        ("four words", "GET / x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
    ];
    for (what, text) in &shapes {
        // A second request is behind each one, for whoever reads them otherwise.
        let answer = raw(
            gateway.address(),
            format!("{text}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert!(
            !answer.body.contains("HTTP/1.1"),
            "{what} was answered twice: {answer:?}"
        );
    }
    assert_eq!(origin.count(), 0, "{:?}", origin.seen);
    // In a body, where the answer may have begun, the connection ends.
    for (what, text) in [
        ("no size", "zz\r\nabc\r\n0\r\n\r\n"),
        ("a size in another way", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("too large a size", "ffffffffffffffffff\r\n"),
        ("longer than it says", "3\r\nabcdef\r\n0\r\n\r\n"),
        ("line feeds alone", "3\nabc\n0\n\n"),
    ] {
        let text = format!(
            "{post}Transfer-Encoding: chunked\r\n\r\n{text}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let answer = raw(gateway.address(), text.as_bytes()).await;
        assert!(matches!(answer.status, 0 | 400 | 502), "{what}: {answer:?}");
    }
    let seen = origin.seen.lock().unwrap();
    assert!(seen.iter().all(|seen| seen.target != "/smuggled"), "{seen:?}");
}

#[tokio::test]
async fn what_is_sound_is_not_refused() {
    let origin = Origin::new(|seen| {
        (
            Duration::ZERO,
            response(200, &[], std::str::from_utf8(&seen.body).unwrap()),
        )
    })
    .await;
    let gateway = gateway(&[origin.address], "").await;
    let text = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n\
        POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let answer = raw(gateway.address(), text.as_bytes()).await;
    assert_eq!(answer.status, 200);
    let seen = origin.seen.lock().unwrap();
    let bodies: Vec<_> = seen
        .iter()
        .map(|seen| (seen.target.as_str(), seen.body.clone()))
        .collect();
    assert_eq!(bodies, [("/a", "abcde".into()), ("/b", "hi".into())]);
}

#[tokio::test]
async fn heads_are_bounded() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "[gateway]\nhead = \"16384b\"\nheaders = 40\n").await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert!(matches!(
        raw(gateway.address(), long.as_bytes()).await.status,
        400 | 431
    ));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(41));
    assert_eq!(raw(gateway.address(), many.as_bytes()).await.status, 431);
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    assert!(matches!(
        raw(gateway.address(), target.as_bytes()).await.status,
        400 | 414 | 431
    ));
    assert_eq!(origin.count(), 0);
    let fits = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n",
        "x".repeat(10_000)
    );
    assert_eq!(raw(gateway.address(), fits.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "[gateway]\nbody = \"100kb\"\n").await;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    let told = raw(
        gateway.address(),
        format!("{post}Content-Length: 100001\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(told.status, 413, "before a byte of it was sent");
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000));
    let text = format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(
        raw(gateway.address(), text.as_bytes()).await.status,
        413,
        "while it comes"
    );
    let text = format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
    assert_eq!(raw(gateway.address(), text.as_bytes()).await.status, 200);
}

/// How long a connection lives on which `bytes` come one by one.
async fn lives(address: std::net::SocketAddr, bytes: &'static [u8], pause: Duration) -> Duration {
    let began = Instant::now();
    let (mut read, mut write) = TcpStream::connect(address)
        .await
        .expect("it listens")
        .into_split();
    let slow = tokio::spawn(async move {
        for byte in bytes.iter().cycle() {
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    });
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, read.read_to_end(&mut answer)).await;
    slow.abort();
    assert!(read.is_ok(), "it is still open");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_given_up() {
    let origin = Origin::saying(&[]).await;
    let more = "[gateway]\nhead_timeout = \"400ms\"\nidle_timeout = \"700ms\"\nbody_timeout = \"400ms\"\n";
    let gateway = gateway(&[origin.address], more).await;
    let address = gateway.address();
    let most = Duration::from_secs(5);
    assert!(lives(address, b"", Duration::ZERO).await < most, "nothing came");
    assert!(
        lives(address, b"x", Duration::from_millis(50)).await < most,
        "a head byte by byte"
    );
    // A body that stands still, and an answer after it or none.
    let began = Instant::now();
    let stands = raw(
        address,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx",
    )
    .await;
    assert!(matches!(stands.status, 0 | 408), "{stands:?}");
    assert!(began.elapsed() < most);
    // Between two requests.
    let began = Instant::now();
    let idle = raw(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(idle.status, 200);
    assert!(
        (Duration::from_millis(600)..most).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(fetch(address, "/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_given_up() {
    let origin = Origin::new(|_| (Duration::ZERO, response(200, &[], &"x".repeat(20_000_000)))).await;
    let more = "[gateway]\nbody_timeout = \"300ms\"\n";
    let gateway = gateway(&[origin.address], more).await;
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    crate::kit::until("it is closed", async || {
        let state = admin(&gateway, "GET", "/state", "").await.json();
        state["connections"] == 0 && state["door"]["inside"] == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_small_pieces_does_not_buy_time_for_ever() {
    let origin = Origin::saying(&[]).await;
    let more = "[gateway]\nbody_timeout = \"400ms\"\nbody_rate = \"1000b\"\n";
    let gateway = gateway(&[origin.address], more).await;
    let post = async |pieces: usize, size: usize| {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            pieces * size
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let began = Instant::now();
        let mut answer = [0; 12];
        for _ in 0..pieces {
            if stream.write_all(&vec![b'x'; size]).await.is_err() {
                break;
            }
            let early =
                tokio::time::timeout(Duration::from_millis(100), stream.read_exact(&mut answer)).await;
            if early.is_ok() {
                break;
            }
        }
        if answer[0] == 0 {
            stream.read_exact(&mut answer).await.unwrap();
        }
        (
            String::from_utf8_lossy(&answer[9..]).into_owned(),
            began.elapsed(),
        )
    };
    // Each piece comes in time, and all of them would take 20 seconds.
    let (status, took) = post(200, 1).await;
    assert_eq!(status, "408");
    assert!(took < Duration::from_secs(3), "{took:?}");
    // As slow, and fast enough.
    assert_eq!(post(10, 500).await.0, "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_in_small_pieces_is_given_up() {
    let origin = Origin::new(|_| (Duration::ZERO, response(200, &[], &"x".repeat(30_000_000)))).await;
    let more = "[gateway]\nbody_timeout = \"500ms\"\nbody_rate = \"100mb\"\n";
    let gateway = gateway(&[origin.address], more).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(gateway.address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let reading = tokio::spawn(async move {
        let mut piece = vec![0; 100_000];
        while let Ok(1..) = stream.read(&mut piece).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // What is in the buffers of the kernel already may take longer to be read.
    crate::kit::until("it is closed", async || {
        let state = admin(&gateway, "GET", "/state", "").await.json();
        state["connections"] == 0 && state["door"]["inside"] == 0
    })
    .await;
    reading.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_no_window_is_given_up() {
    use http_body_util::Empty;
    let origin = Origin::new(|_| (Duration::ZERO, response(200, &[], &"x".repeat(1_000_000)))).await;
    let more = "[gateway]\nbody_timeout = \"300ms\"\nidle_timeout = \"60s\"\n";
    let gateway = gateway(&[origin.address], more).await;
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let mut http2 = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    http2
        .initial_stream_window_size(1_000)
        .initial_connection_window_size(1_000_000);
    let (mut sender, connection) = http2
        .handshake::<_, Empty<bytes::Bytes>>(hyper_util::rt::TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://test/").body(Empty::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    // The body is held and not read, so no window is opened.
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    assert!(ended.is_ok(), "it is still open");
    crate::kit::until("its place is free", async || {
        let state = admin(&gateway, "GET", "/state", "").await.json();
        state["connections"] == 0 && state["door"]["inside"] == 0
    })
    .await;
    drop(response);
}

#[tokio::test]
async fn websockets_are_refused_and_not_lost() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "").await;
    let upgrade = async |to: &str| {
        let fields = [("upgrade", to), ("sec-websocket-version", "13")];
        let text = ask(gateway.address(), "GET", "/", &fields, "").await;
        (text.status, text.body)
    };
    let (status, told) = upgrade("websocket").await;
    assert_eq!((status, told.contains("WebSocket")), (501, true), "{told}");
    assert_eq!(upgrade("WebSocket").await.0, 501);
    assert_eq!(origin.count(), 0);
    assert_eq!(upgrade("h2c").await.0, 200, "the request itself is answered");
    assert!(!origin.last().headers.contains_key("upgrade"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "[gateway]\nconnections = 5\n").await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        open.push(stream);
    }
    assert_eq!(
        fetch(gateway.address(), "/").await.status,
        0,
        "the sixth is closed"
    );
    drop(open);
    crate::kit::until("there is room again", async || {
        fetch(gateway.address(), "/").await.status == 200
    })
    .await;
}

#[tokio::test]
async fn methods_that_are_not_passed_on() {
    let origin = Origin::saying(&[]).await;
    let gateway = gateway(&[origin.address], "").await;
    for text in [
        "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        assert!(
            matches!(raw(gateway.address(), text.as_bytes()).await.status, 400 | 405),
            "{text}"
        );
    }
    assert_eq!(origin.count(), 0);
}
