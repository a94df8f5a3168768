//! The cache server beside a real Redis, both under `redis-benchmark`, in turn. `cargo bench -p seawall-drill --bench
//! server`.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::process::Command;

use seawall_drill::server::{Server, Settings};

#[path = "../tests/support/redis_server.rs"]
mod redis_server;

const ROUNDS: usize = 3;

/// Requests a second of each test that was asked for.
fn measure(port: u16, pipeline: &str) -> Vec<(String, f64)> {
    let output = Command::new("redis-benchmark")
        .args([
            "-p",
            &port.to_string(),
            "-t",
            "set,get,mset",
            "-n",
            "100000",
            "-c",
            "50",
        ])
        .args(["-r", "10000", "-P", pipeline, "--csv"])
        .output()
        .expect("it comes with redis-tools");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = |line: &str| {
        let mut cells = line.split(',').map(|cell| cell.trim_matches('"'));
        let name = cells.next()?.to_owned();
        Some((name, cells.next()?.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

fn main() {
    // `cargo test` runs benches too, with this argument, to see that they start.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let real = redis_server::RedisServer::start();
    let ours = Server::start(&Settings::default()).expect("it starts");
    println!("requests a second, best of {ROUNDS} rounds, 50 connections\n");
    for pipeline in ["1", "16"] {
        let mut best: Vec<(String, f64, f64)> = Vec::new();
        for _ in 0..ROUNDS {
            let theirs = measure(real.address.port(), pipeline);
            let mine = measure(ours.address().port(), pipeline);
            for ((name, theirs), (_, mine)) in theirs.into_iter().zip(mine) {
                match best.iter_mut().find(|(known, _, _)| *known == name) {
                    Some((_, a, b)) => (*a, *b) = (a.max(theirs), b.max(mine)),
                    None => best.push((name, theirs, mine)),
                }
            }
        }
        println!("pipeline of {pipeline}");
        for (name, theirs, mine) in best {
            println!(
                "  {name:<24} redis {theirs:>9.0}   ours {mine:>9.0}   ratio {:.2}",
                mine / theirs
            );
        }
    }
}
