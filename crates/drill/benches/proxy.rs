//! The fault proxy without a fault beside a bare splice: what carrying costs. `cargo bench -p seawall-drill --bench proxy`.
//!
//! Throughput of one connection, and time of a ping and its pong over one, in turns: straight to the server, through
//! `tokio::io::copy_bidirectional` between two sockets, and through the proxy. Then with a toxic that delays nothing, which
//! is what judging costs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and says so"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use seawall_core::rng::Seed;
use seawall_drill::proxy::{Draft, Kind, Latency, Proxies, Side, Toxic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bytes a round, and rounds.
const BYTES: usize = 128 << 20;
const ROUNDS: usize = 9;
const PINGS: usize = 5_000;

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime
        .map_err(Failed::from)
        .and_then(|runtime| runtime.block_on(compare()))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn compare() -> Result<(), Failed> {
    let server = serve().await?;
    let proxies = Proxies::new(Seed(1));
    let mut listens = Vec::new();
    for name in ["plain", "judging"] {
        let draft = Draft {
            name: name.into(),
            upstream: server.clone(),
            ..Draft::default()
        };
        listens.push(proxies.add(&draft).await?.listen);
    }
    for side in [Side::Upstream, Side::Downstream] {
        let nothing = Toxic::new(side, Kind::Latency(Latency::default()));
        proxies.add_toxic("judging", nothing).await?;
    }
    let ways = [
        ("straight", server.clone()),
        ("bare splice", splice(server).await?),
        ("proxy", listens[0].clone()),
        ("proxy, a latency of 0", listens[1].clone()),
    ];
    let mut speeds = [0.0_f64; 4];
    let mut times = [[f64::INFINITY; 2]; 4];
    for _ in 0..ROUNDS {
        for (index, (_, address)) in ways.iter().enumerate() {
            speeds[index] = speeds[index].max(speed(address).await?);
            let round = pings(address).await?;
            for (best, percent) in times[index].iter_mut().zip([50, 99]) {
                *best = best.min(quantile(&round, percent));
            }
        }
    }
    println!(
        "{:<22} {:>8} {:>7} {:>9} {:>9} {:>10} {:>10}",
        "", "GB/s", "ratio", "p50", "p99", "added p50", "added p99"
    );
    for (index, (name, _)) in ways.iter().enumerate() {
        let ([p50, p99], [bare50, bare99]) = (times[index], times[1]);
        println!(
            "{name:<22} {:>8.2} {:>7.2} {:>6.1} µs {:>6.1} µs {:>+7.1} µs {:>+7.1} µs",
            speeds[index] / 1e9,
            speeds[index] / speeds[1],
            p50,
            p99,
            p50 - bare50,
            p99 - bare99,
        );
    }
    println!(
        "ratio and added: to the bare splice; the best of {ROUNDS} rounds of {} MB, {PINGS} pings each",
        BYTES >> 20
    );
    Ok(())
}

/// A server: after `s` it swallows what comes and says when it has had all, after `p` it answers each byte.
async fn serve() -> Result<String, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let mut buffer = vec![0; 256 << 10];
                let Ok(kind) = stream.read_u8().await else { return };
                let mut left = BYTES;
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    left = left.saturating_sub(count);
                    if (kind == b'p' || left == 0) && stream.write_all(b"!").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// What anybody would write who only wants to carry.
async fn splice(server: String) -> Result<String, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(server).await else {
                    return;
                };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let _ =
                    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut server, 128 << 10, 128 << 10)
                        .await;
            });
        }
    });
    Ok(address)
}

/// Bytes a second.
async fn speed(address: &str) -> Result<f64, Failed> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"s").await?;
    let chunk = vec![b'x'; 256 << 10];
    let began = Instant::now();
    for _ in 0..BYTES / chunk.len() {
        stream.write_all(&chunk).await?;
    }
    stream.read_u8().await?;
    Ok(BYTES as f64 / began.elapsed().as_secs_f64())
}

/// The times of pings, in order of their length.
async fn pings(address: &str) -> Result<Vec<Duration>, Failed> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(b"p").await?;
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let began = Instant::now();
        stream.write_all(b"?").await?;
        stream.read_u8().await?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// In microseconds.
fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[sorted.len() * percent / 100].as_secs_f64() * 1e6
}
