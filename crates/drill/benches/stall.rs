//! A server that stands still for one second of five, as closed loops (`redis-benchmark`, `wrk`) tell it and as this load
//! generator tells it; and how late calls are sent at 20,000 a second. `cargo bench -p seawall-drill --bench stall`.

#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seawall_core::keys::Law;
use seawall_core::time::Span;
use seawall_drill::load::{Load, Pipeline, Report, Settings, Target, Truth, Web};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[path = "../tests/support/redis_server.rs"]
mod redis_server;

const KEYS: u64 = 1_000;

fn settings(rate: f64) -> Settings {
    Settings {
        rate,
        keys: Law::Uniform { count: KEYS },
        timeout: Some(Span::secs(5)),
        duration: Span::secs(5),
        in_flight_max: 50_000,
        ..Settings::default()
    }
}

/// Freezes a process from the second second to the third.
fn freeze(id: u32) {
    std::thread::spawn(move || {
        let id = Pid::from_raw(i32::try_from(id).expect("a process id"));
        sleep(Duration::from_secs(2));
        kill(id, Signal::SIGSTOP).expect("it is our own");
        sleep(Duration::from_secs(1));
        kill(id, Signal::SIGCONT).expect("it is our own");
    });
}

async fn ours(settings: Settings, target: impl Target, truth: Truth) -> Report {
    let load = Load::start(settings, target, Arc::new(truth)).expect("it starts");
    load.finish().await
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn redis() {
    let server = redis_server::RedisServer::start();
    let port = server.address.port().to_string();
    let pipeline = async || {
        let truth = Truth::new(100).of_cache();
        let target = Pipeline::new(server.address, 8, "");
        let filled = target.fill((0..KEYS).map(|key| (key, truth.value(key, 0)))).await;
        filled.expect("it takes them");
        (target, truth)
    };
    println!("== nothing is wrong, 20,000 calls a second\n");
    let (target, truth) = pipeline().await;
    println!("{}", ours(settings(20_000.0), target, truth).await.text());
    println!("== redis-server stands still for a second: redis-benchmark, a closed loop of 50\n");
    freeze(server.id());
    let args = ["-p", &port, "-t", "get", "-n", "400000", "-c", "50", "--csv"];
    println!("{}", output("redis-benchmark", &args).unwrap_or_default());
    // It may have been faster than the freeze is long.
    sleep(Duration::from_secs(3));
    println!("== the same, open loop, 20,000 calls a second\n");
    let (target, truth) = pipeline().await;
    freeze(server.id());
    println!("{}", ours(settings(20_000.0), target, truth).await.text());
}

async fn web() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let server = Own(Command::new(std::env::current_exe().expect("it runs"))
        .env(SERVE, address.to_string())
        .spawn()
        .expect("it starts again"));
    while std::net::TcpStream::connect(address).is_err() {
        sleep(Duration::from_millis(10));
    }
    let url = format!("http://{address}/");
    println!("== a service stands still for a second: wrk, a closed loop of 50\n");
    freeze(server.0.id());
    let wrk = output("wrk", &["-t1", "-c50", "-d5s", "--latency", &url]);
    println!("{}", wrk.unwrap_or_else(|| "wrk is not installed".to_owned()));
    println!("== the same, open loop, 2,000 calls a second\n");
    freeze(server.0.id());
    let target = Web::new(&url).expect("it is a URL");
    println!(
        "{}",
        ours(settings(2_000.0), target, Truth::unknown()).await.text()
    );
}

/// A process that ends with its handle.
struct Own(Child);

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where this program is to serve, when it is started as a service.
const SERVE: &str = "SEAWALL_BENCH_SERVE";

async fn serve(address: &str) {
    let listener = TcpListener::bind(address).await.expect("the port is free");
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(async move {
            let mut some = [0; 4_096];
            // A request comes in one piece here.
            while stream.read(&mut some).await.is_ok_and(|count| count > 0) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[tokio::main]
async fn main() {
    if let Ok(address) = std::env::var(SERVE) {
        return serve(&address).await;
    }
    // `cargo test` runs benches too, with this argument, to see that they start.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    redis().await;
    web().await;
}
