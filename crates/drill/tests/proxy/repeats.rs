//! With a seed, a run repeats: the same bytes meet the same fate, however TCP cuts them.

use std::time::Duration;

use seawall_drill::proxy::Toxic;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::ends::{World, ping, read, read_all};

/// Says these bytes in parts of this size, with pauses so that they are parts.
async fn say(stream: &mut tokio::net::TcpStream, bytes: &[u8], size: usize) {
    for part in bytes.chunks(size) {
        stream.write_all(part).await.unwrap();
        if size < bytes.len() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn the_same_bytes_are_damaged() {
    let mut runs = Vec::new();
    for (seed, size) in [(1, 5_000), (1, 900), (1, 333), (2, 5_000)] {
        let world = World::echoing().await;
        world.add("corrupt", json!({ "rate": 0.01, "seed": seed })).await;
        let mut stream = world.connect().await;
        say(&mut stream, &[0; 5_000], size).await;
        runs.push(read(&mut stream, 5_000).await);
    }
    assert!(runs[0] == runs[1] && runs[0] == runs[2]);
    assert!(runs[0] != runs[3], "another seed does something else");
    assert!(runs[0].iter().any(|byte| *byte != 0));
}

/// A server that answers a message of 200 bytes when it has all of it.
async fn patient() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut message = [0; 200];
        while stream.read_exact(&mut message).await.is_ok() {
            stream.write_all(&message).await.unwrap();
        }
    });
    address
}

/// Which of some messages stall, when they come in parts of this size.
async fn stalls(world: &World, size: usize) -> Vec<bool> {
    let mut stream = world.connect().await;
    let mut run = Vec::new();
    for _ in 0..10 {
        let began = tokio::time::Instant::now();
        say(&mut stream, &[1; 200], size).await;
        read(&mut stream, 200).await;
        run.push(began.elapsed() >= Duration::from_millis(200));
    }
    run
}

#[tokio::test]
async fn the_same_messages_stall() {
    let mut runs = Vec::new();
    for size in [200, 60] {
        let world = World::before(&patient().await).await;
        world.add("stall", json!({ "rate": 0.2, "seed": 3 })).await;
        runs.push(stalls(&world, size).await);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(
        runs[0].contains(&true) && runs[0].contains(&false),
        "{:?}",
        runs[0]
    );
}

#[tokio::test]
async fn without_turns_the_same_bytes_stall_when_both_speak_at_once() {
    let mut runs = Vec::new();
    for size in [200, 60] {
        let world = World::echoing().await;
        world
            .add("stall", json!({ "rate": 0.5, "seed": 9, "turns": false }))
            .await;
        runs.push(stalls(&world, size).await);
    }
    assert_eq!(runs[0], runs[1]);
    let stalled = runs[0].iter().filter(|stalled| **stalled).count();
    assert!(
        (1..=2).contains(&stalled),
        "2 000 bytes are two packets: {:?}",
        runs[0]
    );
}

#[tokio::test]
async fn the_same_connections_are_spared() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let world = World::echoing().await;
        for round in 0..2 {
            let toxic = json!({ "type": "limit_data", "toxicity": 0.5, "attributes": { "bytes": 0 } });
            world
                .proxies
                .add_toxic("p", Toxic::read(&toxic).unwrap())
                .await
                .unwrap();
            let mut run = Vec::new();
            for _ in 0..16 {
                let mut stream = world.connect().await;
                stream.write_all(b"ping").await.unwrap();
                stream.shutdown().await.unwrap();
                run.push(read_all(&mut stream).await.unwrap_or_default().is_empty());
            }
            runs.push(run);
            if round == 0 {
                // Connections are numbered from the beginning again.
                world.proxies.reset().await.unwrap();
                ping_all_again(&world).await;
            }
        }
    }
    assert!(runs.iter().all(|run| *run == runs[0]), "{runs:?}");
    let closed = runs[0].iter().filter(|closed| **closed).count();
    assert!((2..=14).contains(&closed), "{closed} of 16");
}

/// Nothing is wrong after a reset; and the numbers begin again once more.
async fn ping_all_again(world: &World) {
    for _ in 0..4 {
        ping(&mut world.connect().await).await;
    }
    world.proxies.reset().await.unwrap();
}
