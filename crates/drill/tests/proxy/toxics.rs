//! Each toxic does what it says, on connections that live when it comes, and is undone at once.

use std::io::ErrorKind;
use std::time::Duration;

use seawall_drill::proxy::Draft;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::ends::{LONG, World, echo, hear, hear_nothing, ping, read, read_all};

const MS: fn(u64) -> Duration = Duration::from_millis;
/// Longer than any test.
const AGES: i64 = 600_000;

#[tokio::test]
async fn latency_adds_up_and_is_undone_at_once() {
    let world = World::echoing().await;
    let mut stream = world.connect().await;
    ping(&mut stream).await;
    let down = world.add("latency", json!({ "latency": 60 })).await;
    assert!(ping(&mut stream).await >= MS(60));
    world
        .add_to("upstream", "latency", json!({ "latency": 50 }))
        .await;
    assert!(ping(&mut stream).await >= MS(110));
    // What is on its way when it is changed or taken away meets what is there then.
    let change = json!({ "attributes": { "latency": AGES } });
    world.proxies.change_toxic("p", &down, &change).await.unwrap();
    stream.write_all(b"late").await.unwrap();
    hear_nothing(&mut stream, 150).await;
    world.remove(&down).await;
    hear(&mut stream, b"late").await;
}

#[tokio::test]
async fn bandwidth_makes_a_line() {
    let world = World::echoing().await;
    let mut stream = world.connect().await;
    let name = world.add("bandwidth", json!({ "rate": 100 })).await;
    let sent = vec![7; 40_000];
    let began = Instant::now();
    stream.write_all(&sent).await.unwrap();
    assert_eq!(read(&mut stream, 20_000).await, sent[..20_000]);
    assert!(began.elapsed() >= MS(190));
    assert_eq!(read(&mut stream, 20_000).await, sent[20_000..]);
    assert!(began.elapsed() >= MS(390));
    for rate in [0, 1] {
        let change = json!({ "attributes": { "rate": rate } });
        world.proxies.change_toxic("p", &name, &change).await.unwrap();
        // At a kilobyte a second the first packet takes more than one.
        stream.write_all(&sent).await.unwrap();
        hear_nothing(&mut stream, 100).await;
        let change = json!({ "attributes": { "rate": 100_000 } });
        world.proxies.change_toxic("p", &name, &change).await.unwrap();
        assert_eq!(read(&mut stream, sent.len()).await, sent);
    }
}

#[tokio::test]
async fn slow_close_tells_the_end_late() {
    let world = World::echoing().await;
    let name = world.add("slow_close", json!({ "delay": 100 })).await;
    let mut stream = world.connect().await;
    ping(&mut stream).await;
    let began = Instant::now();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await.unwrap(), b"");
    assert!(began.elapsed() >= MS(100));
    let change = json!({ "attributes": { "delay": AGES } });
    world.proxies.change_toxic("p", &name, &change).await.unwrap();
    let mut stream = world.connect().await;
    ping(&mut stream).await;
    stream.shutdown().await.unwrap();
    hear_nothing(&mut stream, 100).await;
    world.remove(&name).await;
    assert_eq!(read_all(&mut stream).await.unwrap(), b"");
}

#[tokio::test]
async fn a_timeout_takes_all_and_closes() {
    let world = World::echoing().await;
    let mut stream = world.connect().await;
    ping(&mut stream).await;
    let name = world.add("timeout", json!({ "timeout": 150 })).await;
    let began = Instant::now();
    stream.write_all(b"lost").await.unwrap();
    assert_eq!(read_all(&mut stream).await.unwrap(), b"");
    assert!(began.elapsed() >= MS(140));
    world.remove(&name).await;
    // Without a time it stays open until the toxic goes.
    let name = world.add("timeout", json!({ "timeout": 0 })).await;
    let mut stream = world.connect().await;
    stream.write_all(b"lost").await.unwrap();
    hear_nothing(&mut stream, 150).await;
    world.remove(&name).await;
    assert_eq!(read_all(&mut stream).await.unwrap(), b"");
    ping(&mut world.connect().await).await;
}

#[tokio::test]
async fn a_reset_is_read_as_one() {
    let world = World::echoing().await;
    let mut old = world.connect().await;
    ping(&mut old).await;
    let name = world.add("reset_peer", json!({ "timeout": 50 })).await;
    for mut stream in [old, world.connect().await] {
        let began = Instant::now();
        stream.write_all(b"cut").await.unwrap();
        let error = read_all(&mut stream).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(began.elapsed() >= MS(50));
    }
    world.remove(&name).await;
    ping(&mut world.connect().await).await;
}

#[tokio::test]
async fn a_slicer_cuts() {
    let world = World::echoing().await;
    let mut stream = world.connect().await;
    let name = world
        .add(
            "slicer",
            json!({ "average_size": 10, "size_variation": 3, "delay": 20_000 }),
        )
        .await;
    let sent: Vec<u8> = (0..80).collect();
    let began = Instant::now();
    stream.write_all(&sent).await.unwrap();
    let mut first = [0; 80];
    let count = stream.read(&mut first).await.unwrap();
    assert!((7..=13).contains(&count), "{count}");
    let rest = read(&mut stream, 80 - count).await;
    assert_eq!([&first[..count], &rest].concat(), sent);
    assert!(began.elapsed() >= MS(100), "80 bytes are seven parts at least");
    let change = json!({ "attributes": { "delay": 600_000_000 } });
    world.proxies.change_toxic("p", &name, &change).await.unwrap();
    stream.write_all(&sent).await.unwrap();
    let mut first = [0; 80];
    let count = stream.read(&mut first).await.unwrap();
    hear_nothing(&mut stream, 100).await;
    world.remove(&name).await;
    hear(&mut stream, &sent[count..]).await;
}

#[tokio::test]
async fn limited_data_ends_behind_its_last_byte() {
    let world = World::echoing().await;
    let mut stream = world.connect().await;
    ping(&mut stream).await;
    let name = world.add("limit_data", json!({ "bytes": 100 })).await;
    for mut stream in [stream, world.connect().await] {
        stream.write_all(&[1; 60]).await.unwrap();
        hear(&mut stream, &[1; 60]).await;
        stream.write_all(&[2; 60]).await.unwrap();
        hear(&mut stream, &[2; 40]).await;
        // Nothing more comes, whether the end is told or the connection cut with bytes unread.
        let rest = read_all(&mut stream).await;
        assert!(rest.as_deref().unwrap_or_default().is_empty(), "{rest:?}");
    }
    world.remove(&name).await;
    let mut stream = world.connect().await;
    stream.write_all(&[1; 200]).await.unwrap();
    hear(&mut stream, &[1; 200]).await;
}

#[tokio::test]
async fn a_stalled_packet_comes_after_a_resending() {
    let world = World::echoing().await;
    let mut stream = world.connect().await;
    let name = world.add("stall", json!({ "rate": 0.2, "seed": 3 })).await;
    let mut slow = 0;
    for _ in 0..10 {
        let took = ping(&mut stream).await;
        slow += u32::from(took >= MS(200));
        assert!(
            took < MS(100) || took >= MS(200),
            "{took:?} is neither at once nor a resending"
        );
    }
    assert!((1..=6).contains(&slow), "{slow} of 10");
    let change = json!({ "attributes": { "rate": 1 } });
    world.proxies.change_toxic("p", &name, &change).await.unwrap();
    stream.write_all(b"held").await.unwrap();
    hear_nothing(&mut stream, 300).await;
    world.remove(&name).await;
    hear(&mut stream, b"held").await;
}

#[tokio::test]
async fn through_a_partition_nothing_comes_until_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap().to_string();
    let world = World::before(&upstream).await;
    let mut live = world.connect().await;
    let (mut server, _) = listener.accept().await.unwrap();
    let name = world.add_to("upstream", "partition", json!({})).await;
    live.write_all(b"held").await.unwrap();
    // The other direction is not cut.
    server.write_all(b"heard").await.unwrap();
    hear(&mut live, b"heard").await;
    hear_nothing(&mut server, 100).await;
    let mut fresh = Box::pin(world.connect());
    let made = tokio::time::timeout(MS(300), &mut fresh).await;
    assert!(made.is_err(), "nothing that is sent arrives, the first packet neither");
    world.remove(&name).await;
    hear(&mut server, b"held").await;
    // Its first packet is sent again after a second.
    let mut fresh = tokio::time::timeout(LONG, fresh).await.unwrap();
    fresh.write_all(b"new").await.unwrap();
    let (mut server, _) = tokio::time::timeout(LONG, listener.accept())
        .await
        .unwrap()
        .unwrap();
    hear(&mut server, b"new").await;
    // Those that filled the listener are nobody's: the next one is a client's again.
    let mut next = world.connect().await;
    next.write_all(b"next").await.unwrap();
    let (mut server, _) = tokio::time::timeout(LONG, listener.accept())
        .await
        .unwrap()
        .unwrap();
    hear(&mut server, b"next").await;
}

#[tokio::test]
async fn corruption_changes_its_share_of_the_bytes() {
    let world = World::echoing().await;
    let mut stream = world.connect().await;
    let name = world.add("corrupt", json!({ "rate": 0.1 })).await;
    let sent = vec![0; 20_000];
    stream.write_all(&sent).await.unwrap();
    let changed = read(&mut stream, sent.len())
        .await
        .iter()
        .filter(|byte| **byte != 0)
        .count();
    assert!((1_700..2_300).contains(&changed), "{changed} of 20 000");
    world.remove(&name).await;
    stream.write_all(&sent).await.unwrap();
    hear(&mut stream, &sent).await;
}

#[tokio::test]
async fn a_disabled_proxy_is_not_there() {
    let world = World::echoing().await;
    let mut stream = world.connect().await;
    ping(&mut stream).await;
    let enabled = |enabled| Draft {
        enabled: Some(enabled),
        ..Draft::default()
    };
    world.proxies.update("p", &enabled(false)).await.unwrap();
    assert_eq!(read_all(&mut stream).await.unwrap(), b"");
    let refused = TcpStream::connect(&world.proxy.listen).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let view = world.proxies.update("p", &enabled(true)).await.unwrap();
    assert_eq!(view.listen, world.proxy.listen, "the port stays");
    ping(&mut world.connect().await).await;
}

#[tokio::test]
async fn bytes_are_whole_while_toxics_come_and_go() {
    let world = World::echoing().await;
    let stream = world.connect().await;
    let (mut from, mut to) = stream.into_split();
    let count = 10_000_000_usize;
    let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 13) as u8;
    let writer = tokio::spawn(async move {
        let bytes: Vec<u8> = (0..count).map(byte).collect();
        to.write_all(&bytes).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let reader = tokio::spawn(async move {
        let mut bytes = Vec::with_capacity(count);
        from.read_to_end(&mut bytes).await.unwrap();
        bytes
    });
    let kinds = [
        ("latency", json!({ "latency": 8, "jitter": 8 })),
        ("bandwidth", json!({ "rate": 3_000 })),
        (
            "slicer",
            json!({ "average_size": 900, "size_variation": 500, "delay": 100 }),
        ),
        ("stall", json!({ "rate": 0.01 })),
        ("partition", json!({})),
        ("noop", json!({})),
    ];
    let mut changes = 0;
    while !reader.is_finished() {
        for (index, (kind, attributes)) in kinds.iter().enumerate() {
            let stream = ["upstream", "downstream"][index % 2];
            let name = world.add_to(stream, kind, attributes.clone()).await;
            tokio::time::sleep(MS(4)).await;
            world.remove(&name).await;
            changes += 1;
        }
    }
    writer.await.unwrap();
    let heard = reader.await.unwrap();
    assert!(changes >= kinds.len());
    assert!(heard.len() == count && heard.iter().enumerate().all(|(at, heard)| *heard == byte(at)));
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let world = World::echoing().await;
    let mut stream = world.connect().await;
    ping(&mut stream).await;
    let name = world.add_to("upstream", "partition", json!({})).await;
    let mut written = 0;
    let chunk = vec![0; 1 << 20];
    // Whatever the sockets hold, it is far below a hundred megabytes.
    while let Ok(wrote) = tokio::time::timeout(MS(300), stream.write(&chunk)).await {
        written += wrote.unwrap();
        assert!(written < 100 << 20);
    }
    let received = "toxiproxy_proxy_received_bytes_total{direction=\"upstream\"";
    let metrics = world.proxies.metrics().await;
    let line = metrics.lines().find(|line| line.starts_with(received)).unwrap();
    let bytes: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(
        (1 << 20..=(1 << 20) + (128 << 10) + 4).contains(&bytes),
        "{bytes}"
    );
    world.remove(&name).await;
    let heard = read(&mut stream, 1 << 20).await;
    assert!(heard.iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn draining_waits_for_connections_to_end() {
    for ends in [true, false] {
        let world = World::echoing().await;
        let mut stream = world.connect().await;
        ping(&mut stream).await;
        let proxies = world.proxies.clone();
        let patience = if ends { LONG } else { MS(100) };
        let drained = tokio::spawn(async move { proxies.drain(patience).await });
        while TcpStream::connect(&world.proxy.listen).await.is_ok() {
            tokio::time::sleep(MS(2)).await;
        }
        if ends {
            ping(&mut stream).await;
            drop(stream);
        }
        assert_eq!(drained.await.unwrap(), ends);
    }
}

#[tokio::test]
async fn without_a_server_the_connection_is_closed() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap().to_string();
    drop(gone);
    let world = World::before(&address).await;
    let mut stream = world.connect().await;
    assert_eq!(read_all(&mut stream).await.unwrap(), b"");
    // Its address is looked up for each connection, and can be changed.
    let upstream = echo().await;
    let draft = Draft {
        upstream,
        ..Draft::default()
    };
    world.proxies.update("p", &draft).await.unwrap();
    ping(&mut world.connect().await).await;
}
