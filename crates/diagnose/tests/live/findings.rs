//! Real faults of a real Redis, asked by probes and named by the same rules that read simulated runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seawall_core::time::Span;
use seawall_diagnose::probe::{Options, Prober, Recording};
use seawall_diagnose::{Diagnosis, Failure, diagnose};

use super::support::Folder;
use super::support::redis::{RedisServer, until};

/// The length of a period.
const PERIOD: Duration = Duration::from_millis(500);
/// How many periods are calm, and how many are looked at after the fault.
const CALM: usize = 8;
const AFTER: usize = 5;

/// Readers with a connection of their own, until it is told to stop: keys that are not there are stored.
struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Load {
    fn on(port: u16) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let patience = Duration::from_millis(100);
            let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
            let mut connection = None;
            for number in 0_u64.. {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(4));
                if connection.is_none() {
                    connection = client.get_connection_with_timeout(patience).ok();
                }
                let Some(open) = &mut connection else { continue };
                let _ = open.set_read_timeout(Some(patience));
                let key = format!("k{}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54);
                let found: redis::RedisResult<Option<String>> = redis::cmd("GET").arg(&key).query(open);
                let went = match found {
                    Ok(Some(_)) => Ok(()),
                    Ok(None) => redis::cmd("SET").arg(&key).arg("v").arg("EX").arg(60).exec(open),
                    Err(error) => Err(error),
                };
                if went.is_err_and(|error| error.is_io_error() || error.is_timeout()) {
                    connection = None;
                }
            }
        });
        Load {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Calm, then the fault, then what is found.
async fn found(server: RedisServer, harm: impl AsyncFnOnce(&mut RedisServer)) -> Diagnosis {
    found_after(AFTER, server, harm).await
}

async fn found_after(
    after: usize,
    mut server: RedisServer,
    harm: impl AsyncFnOnce(&mut RedisServer),
) -> Diagnosis {
    server.tell(&[
        "EVAL",
        "for i = 0, 1023 do redis.call('SET', 'k' .. i, 'v', 'EX', 60) end",
        "0",
    ]);
    let target = server.url().parse().unwrap();
    let patience = Duration::from_millis(300);
    let mut prober = Prober::new(
        vec![target],
        Options {
            patience,
            ..Options::default()
        },
    );
    let mut recording = Recording::new(Span::millis(500), 900);
    let load = Load::on(server.port);
    let mut beat = tokio::time::interval(PERIOD);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for _ in 0..CALM {
        beat.tick().await;
        recording.push(prober.round().await);
    }
    harm(&mut server).await;
    for _ in 0..after {
        beat.tick().await;
        recording.push(prober.round().await);
    }
    drop(load);
    // The first period began in the middle of something.
    diagnose(&recording.record(), CALM + after - 1, 2..CALM)
}

fn first(diagnosis: &Diagnosis, expected: Failure) {
    let first = diagnosis.first().map(|finding| finding.failure);
    assert_eq!(first, Some(expected), "{:#?}", diagnosis.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_well() {
    let well = found(RedisServer::start(&["--maxmemory", "100mb"]), async |_| {}).await;
    assert!(well.is_healthy(), "{:#?}", well.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process() {
    first(
        &found(RedisServer::start(&[]), async |server| server.kill()).await,
        Failure::Refused,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process() {
    first(
        &found(RedisServer::start(&[]), async |server| server.stop()).await,
        Failure::Hung,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_clients() {
    let paused = async |server: &mut RedisServer| server.tell(&["CLIENT", "PAUSE", "20000", "ALL"]);
    first(&found(RedisServer::start(&[]), paused).await, Failure::Paused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_room_for_clients() {
    let crowd = async |server: &mut RedisServer| {
        let mut crowd = Vec::new();
        for _ in 0..10 {
            crowd.push(
                tokio::net::TcpStream::connect(("127.0.0.1", server.port))
                    .await
                    .unwrap(),
            );
        }
        // They stay until the server ends.
        std::mem::forget(crowd);
    };
    first(
        &found(RedisServer::start(&["--maxclients", "8"]), crowd).await,
        Failure::TooManyClients,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_room_for_entries() {
    let full = async |server: &mut RedisServer| server.tell(&["CONFIG", "SET", "maxmemory", "1"]);
    first(
        &found(RedisServer::start(&["--maxmemory", "100mb"]), full).await,
        Failure::OutOfMemory,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_became_a_replica() {
    let replica = async |server: &mut RedisServer| server.tell(&["REPLICAOF", "127.0.0.1", "1"]);
    first(
        &found(
            RedisServer::start(&["--replica-serve-stale-data", "yes"]),
            replica,
        )
        .await,
        Failure::ReadOnly,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_was_changed() {
    let changed = async |server: &mut RedisServer| {
        server.tell(&["CONFIG", "SET", "requirepass", "new"]);
        // Those who are in stay in; a new one is asked.
        let port = server.port.to_string();
        let kick = ["-p", &port, "-a", "new", "CLIENT", "KILL", "TYPE", "normal"];
        let _ = std::process::Command::new("redis-cli").args(kick).output();
    };
    first(&found(RedisServer::start(&[]), changed).await, Failure::Auth);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_written() {
    let folder = Folder::new();
    let path = folder.path().join("data");
    std::fs::create_dir(&path).unwrap();
    let server = RedisServer::start(&["--dir", &path.to_string_lossy(), "--save", "3600 1000000"]);
    let full = async |server: &mut RedisServer| {
        std::fs::remove_dir_all(&path).unwrap();
        server.tell(&["BGSAVE"]);
        until("it could not save", || {
            let info: String = server.ask(&["INFO", "persistence"]).unwrap();
            info.contains("rdb_last_bgsave_status:err")
        });
    };
    first(&found(server, full).await, Failure::DiskFull);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_cache() {
    let emptied = async |server: &mut RedisServer| server.tell(&["FLUSHALL"]);
    let diagnosis = found_after(2, RedisServer::start(&[]), emptied).await;
    let cold = diagnosis
        .first()
        .is_some_and(|finding| finding.failure == Failure::Cold);
    assert!(cold, "{:#?}", diagnosis.findings);
}
