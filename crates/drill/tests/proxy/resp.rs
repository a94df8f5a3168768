//! Commands of a real Redis fail and take long, and the others do not.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::ends::{LONG, World, hear};

/// A Redis of its own, gone when this is.
struct Redis {
    child: Child,
    address: String,
}

impl Redis {
    async fn start() -> Redis {
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let port = free.port().to_string();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port,
                "--save",
                "",
                "--appendonly",
                "no",
                "--bind",
                "127.0.0.1",
            ])
            .args(["--dir", env!("CARGO_TARGET_TMPDIR")])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Redis {
            child,
            address: free.to_string(),
        };
        let began = Instant::now();
        loop {
            if let Ok(mut stream) = TcpStream::connect(free).await {
                stream.write_all(b"PING\r\n").await.unwrap();
                hear(&mut stream, b"+PONG\r\n").await;
                return redis;
            }
            assert!(began.elapsed() < LONG, "it does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(text, "${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}

async fn ask(stream: &mut TcpStream, words: &[&str], expected: &str) -> Duration {
    let began = Instant::now();
    stream.write_all(&command(words)).await.unwrap();
    hear(stream, expected.as_bytes()).await;
    began.elapsed()
}

#[tokio::test]
async fn errors_come_in_their_places() {
    let redis = Redis::start().await;
    let world = World::before(&redis.address).await;
    let mut stream = world.connect().await;
    // The connection lives before the toxic does.
    ask(&mut stream, &["SET", "user:1", "a"], "+OK\r\n").await;
    let error = "LOADING Redis is loading the dataset in memory";
    let name = world
        .add(
            "resp",
            json!({ "command": "GET", "key": "user:*", "error": error }),
        )
        .await;
    let line = format!("-{error}\r\n");
    ask(&mut stream, &["GET", "user:1"], &line).await;
    ask(&mut stream, &["SET", "user:1", "b"], "+OK\r\n").await;
    ask(&mut stream, &["GET", "other"], "$-1\r\n").await;
    // Many at once: what they answer stands in the order of asking.
    let many = [
        command(&["GET", "user:1"]),
        command(&["STRLEN", "user:1"]),
        command(&["GET", "user:2"]),
        command(&["GET", "user:3"]),
        command(&["ECHO", "x"]),
        command(&["GET", "user:4"]),
    ];
    stream.write_all(&many.concat()).await.unwrap();
    let expected = format!("{line}:1\r\n{line}{line}$1\r\nx\r\n{line}");
    hear(&mut stream, expected.as_bytes()).await;
    world.remove(&name).await;
    ask(&mut stream, &["GET", "user:1"], "$1\r\nb\r\n").await;
}

#[tokio::test]
async fn delays_are_of_their_commands() {
    let redis = Redis::start().await;
    let world = World::before(&redis.address).await;
    let mut stream = world.connect().await;
    let name = world.add("resp", json!({ "command": "set", "delay": 120 })).await;
    assert!(ask(&mut stream, &["SET", "k", "v"], "+OK\r\n").await >= Duration::from_millis(120));
    ask(&mut stream, &["GET", "k"], "$1\r\nv\r\n").await;
    let change = json!({ "attributes": { "error": "OOM full", "delay": 600_000 } });
    world.proxies.change_toxic("p", &name, &change).await.unwrap();
    stream.write_all(&command(&["SET", "k", "w"])).await.unwrap();
    crate::ends::hear_nothing(&mut stream, 100).await;
    world.remove(&name).await;
    // The decision stands; only the waiting is over.
    hear(&mut stream, b"-OOM full\r\n").await;
    ask(&mut stream, &["GET", "k"], "$1\r\nv\r\n").await;
}

#[tokio::test]
async fn the_same_commands_fail_again() {
    let redis = Redis::start().await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let world = World::before(&redis.address).await;
        world
            .add("resp", json!({ "error": "ERR drawn", "rate": 0.3, "seed": 4 }))
            .await;
        let mut stream = world.connect().await;
        let asked: Vec<u8> = (0..200).flat_map(|_| command(&["INCRBY", "n", "0"])).collect();
        stream.write_all(&asked).await.unwrap();
        let mut run = Vec::new();
        for _ in 0..200 {
            let failed = crate::ends::read(&mut stream, 1).await == b"-";
            let rest = if failed { &b"ERR drawn\r\n"[..] } else { b"0\r\n" };
            hear(&mut stream, rest).await;
            run.push(failed);
        }
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    let failed = runs[0].iter().filter(|failed| **failed).count();
    assert!((40..=80).contains(&failed), "{failed} of 200");
}
