//! What stands at both ends of a proxy in tests.

use std::time::Duration;

use seawall_core::rng::Seed;
use seawall_drill::proxy::{Draft, Proxies, Toxic, View};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// Nothing that works takes longer, on the slowest machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// One proxy named `p` before a server.
pub(crate) struct World {
    pub(crate) proxies: Proxies,
    pub(crate) proxy: View,
}

impl World {
    pub(crate) async fn before(upstream: &str) -> World {
        let proxies = Proxies::new(Seed(7));
        let draft = Draft {
            name: "p".into(),
            upstream: upstream.into(),
            ..Draft::default()
        };
        let proxy = proxies.add(&draft).await.expect("a free port");
        World { proxies, proxy }
    }

    pub(crate) async fn echoing() -> World {
        World::before(&echo().await).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.proxy.listen).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        stream
    }

    /// Adds a toxic of this type, downstream if nothing else is said, and returns its name.
    pub(crate) async fn add(&self, kind: &str, attributes: Value) -> String {
        self.add_to("downstream", kind, attributes).await
    }

    pub(crate) async fn add_to(&self, stream: &str, kind: &str, attributes: Value) -> String {
        let toxic = json!({ "type": kind, "stream": stream, "attributes": attributes });
        let toxic = Toxic::read(&toxic).expect("a toxic");
        self.proxies
            .add_toxic("p", toxic)
            .await
            .expect("a new toxic")
            .name
    }

    pub(crate) async fn remove(&self, toxic: &str) {
        self.proxies.remove_toxic("p", toxic).await.expect("a toxic");
    }
}

/// A server that says what it hears.
pub(crate) async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

/// Says something and hears it, and returns after how long.
pub(crate) async fn ping(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    stream.write_all(b"ping").await.expect("an open connection");
    hear(stream, b"ping").await;
    began.elapsed()
}

/// Hears exactly this.
pub(crate) async fn hear(stream: &mut TcpStream, expected: &[u8]) {
    assert_eq!(read(stream, expected.len()).await, expected);
}

/// Hears so many bytes.
pub(crate) async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let read = tokio::time::timeout(LONG, stream.read_exact(&mut bytes)).await;
    read.expect("in time").expect("an open connection");
    bytes
}

/// Hears all there is until the end.
pub(crate) async fn read_all(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut bytes)).await;
    read.expect("in time").map(|_| bytes)
}

/// Nothing comes for a while.
pub(crate) async fn hear_nothing(stream: &mut TcpStream, for_ms: u64) {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_millis(for_ms), stream.read(&mut byte)).await;
    assert!(read.is_err(), "something came: {read:?}");
}
