//! What breaks real servers, on real servers: that it is felt while it lasts, and that all is well afterwards.

mod keys;
mod leases;
mod machine;
mod postgres;
#[path = "../support/psql.rs"]
mod psql;
mod redis;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seawall_drill::inject::redis::Server;
use seawall_drill::inject::{Evidence, Injection, Means, possible};
use seawall_drill::keeper::Keeper;
use seawall_drill::stack::Redis;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any test: what ends, is ended.
const LONG: Duration = Duration::from_mins(10);

fn keeper() -> Arc<Keeper> {
    let keeper = Keeper::start(Path::new(env!("CARGO_BIN_EXE_seawall")), &["keeper"]);
    Arc::new(keeper.expect("a keeper"))
}

/// Everything is undone at the end, and nobody holds on to the keeper.
fn closed(keeper: Arc<Keeper>) {
    let keeper = Arc::try_unwrap(keeper).map_err(|_| "somebody still holds it");
    let left = keeper.expect("the last").close().expect("a keeper");
    assert_eq!(left, Vec::<String>::new());
}

async fn redis(keeper: &Keeper, settings: &[(&str, &str)]) -> (Redis, Server) {
    let redis = Redis::start(keeper, "redis", settings).await.expect("a Redis");
    let server = Server::at(redis.address());
    (redis, server)
}

async fn probed(fault: &mut Injection) -> Evidence {
    shown(fault.probe().await.expect("it is felt"))
}

async fn undone(fault: Injection) -> Evidence {
    shown(fault.undo().await.expect("it is undone"))
}

#[expect(
    clippy::print_stdout,
    reason = "what is said is for people, and they can look at it"
)]
fn shown(evidence: Evidence) -> Evidence {
    println!("{evidence}");
    evidence
}

/// Whether this machine can do it. For root it has to; anybody else is told why not.
async fn able(keeper: &Arc<Keeper>, means: Means) -> bool {
    let can = possible(keeper, means).await;
    if let Err(why) = &can {
        assert!(!rustix::process::geteuid().is_root(), "{why}");
    }
    can.is_ok()
}

/// What a Redis answers to a line on a new connection; nothing when it is silent for so long.
fn heard(address: SocketAddr, line: &str, patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(patience)).expect("it is no zero");
    stream
        .write_all(format!("{line}\r\n").as_bytes())
        .expect("it is connected");
    let mut said = [0; 4_096];
    let read = stream.read(&mut said).ok()?;
    Some(String::from_utf8_lossy(&said[..read]).trim().to_owned())
}

fn say(address: SocketAddr, line: &str) -> String {
    heard(address, line, PATIENCE).unwrap_or_else(|| panic!("{line}: no answer"))
}

/// Waits until a Redis says this.
async fn until_it_says(address: SocketAddr, line: &str, answer: &str) {
    let begun = Instant::now();
    loop {
        let said = heard(address, line, PATIENCE).unwrap_or_default();
        if said.starts_with(answer) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{line}: {said} and not {answer}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
