//! `redis-server`: alone, as a cluster, behind sentinels.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::{Folder, Process, free_port};

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server of our own.
#[derive(Debug)]
pub(crate) struct RedisServer {
    process: Process,
    folder: Folder,
    pub(crate) port: u16,
    args: Vec<String>,
}

impl RedisServer {
    /// Starts one that keeps nothing on disk, with these settings beside (`--name`, value, …).
    pub(crate) fn start(args: &[&str]) -> RedisServer {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let folder = Folder::new();
        for _ in 0..10 {
            let port = free_port();
            if let Some(process) = launch(&folder, port, &args) {
                return RedisServer {
                    process,
                    folder,
                    port,
                    args,
                };
            }
        }
        panic!("redis-server does not start with {args:?}");
    }

    /// A URL for [`seawall::redis::Redis::url`].
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn stop(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    pub(crate) fn go_on(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Kills it. Nobody listens any more.
    pub(crate) fn kill(&mut self) {
        self.process.end();
    }

    /// Starts it again on its port, with other settings beside its own.
    pub(crate) fn restart(&mut self, more: &[&str]) {
        self.process.end();
        let args = self.args.iter().cloned();
        let args: Vec<String> = args.chain(more.iter().map(|arg| (*arg).to_owned())).collect();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(process) = launch(&self.folder, self.port, &args) {
                self.process = process;
                return;
            }
        }
        panic!("redis-server does not start again with {args:?}");
    }

    /// Asks it, as somebody with nothing to do with what is tested.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_connection_with_timeout(PATIENCE)?;
        let mut cmd = redis::cmd(words[0]);
        for word in &words[1..] {
            cmd.arg(*word);
        }
        cmd.query(&mut connection)
    }

    /// The same, where it is expected to answer.
    pub(crate) fn tell(&self, words: &[&str]) {
        let result: redis::RedisResult<redis::Value> = self.ask(words);
        result.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }
}

/// Starts a server and waits until it accepts connections; `None` when it ended.
fn launch(folder: &Folder, port: u16, args: &[String]) -> Option<Process> {
    let own = [
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--dir",
        &folder.path().to_string_lossy(),
        "--save",
        "",
        "--appendonly",
        "no",
        "--daemonize",
        "no",
        "--repl-diskless-sync-delay",
        "0",
    ]
    .map(str::to_owned);
    let args: Vec<String> = own.into_iter().chain(args.iter().cloned()).collect();
    listening(Process::server("redis-server", &args), port)
}

fn listening(mut process: Process, port: u16) -> Option<Process> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if process.has_ended() {
            return None;
        }
        let address = ([127, 0, 0, 1], port).into();
        if std::net::TcpStream::connect_timeout(&address, PATIENCE).is_ok() {
            // It may be somebody else who listens.
            std::thread::sleep(Duration::from_millis(20));
            return (!process.has_ended()).then_some(process);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it never comes to be: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Three masters with a replica each. The replicas take over after a second.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    /// The first three are the masters.
    pub(crate) servers: Vec<RedisServer>,
}

impl RedisCluster {
    pub(crate) fn start() -> RedisCluster {
        let server = |_| {
            let bus = free_port().to_string();
            RedisServer::start(&[
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-port",
                &bus,
                "--cluster-replica-validity-factor",
                "0",
            ])
        };
        let servers: Vec<RedisServer> = (0..6).map(server).collect();
        let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let output = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .expect("redis-cli comes with redis-server");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        until("the cluster is whole", || {
            servers.iter().all(|server| {
                let info: redis::RedisResult<String> = server.ask(&["CLUSTER", "INFO"]);
                info.is_ok_and(|info| info.contains("cluster_state:ok"))
            })
        });
        until("the replicas follow", || {
            servers[3..].iter().all(|server| {
                let info: redis::RedisResult<String> = server.ask(&["INFO", "replication"]);
                info.is_ok_and(|info| info.contains("master_link_status:up"))
            })
        });
        RedisCluster { servers }
    }

    pub(crate) fn url(&self) -> String {
        let ports = self
            .servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port));
        format!("redis-cluster://{}", ports.collect::<Vec<_>>().join(","))
    }
}

/// A master and a replica, and three sentinels that watch them.
#[derive(Debug)]
pub(crate) struct Sentinels {
    pub(crate) master: RedisServer,
    pub(crate) replica: RedisServer,
    watchers: Vec<(Process, Folder, u16)>,
}

impl Sentinels {
    pub(crate) fn start() -> Sentinels {
        let master = RedisServer::start(&[]);
        let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        let watchers = (0..3).map(|_| sentinel(master.port)).collect();
        let trio = Sentinels {
            master,
            replica,
            watchers,
        };
        until("the sentinels know each other and the replica", || {
            trio.watchers.iter().all(|(_, _, port)| {
                let says = |words: &[&str]| {
                    ask(*port, words).is_ok_and(|info| info.contains("slaves=1,sentinels=3"))
                };
                says(&["INFO", "sentinel"])
            })
        });
        trio
    }

    pub(crate) fn url(&self) -> String {
        let ports = self
            .watchers
            .iter()
            .map(|(_, _, port)| format!("127.0.0.1:{port}"));
        format!("redis-sentinel://{}/cache", ports.collect::<Vec<_>>().join(","))
    }
}

fn ask(port: u16, words: &[&str]) -> redis::RedisResult<String> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut cmd = redis::cmd(words[0]);
    cmd.arg(&words[1..]).query(&mut client.get_connection()?)
}

fn sentinel(master: u16) -> (Process, Folder, u16) {
    for _ in 0..10 {
        let (folder, port) = (Folder::new(), free_port());
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor cache 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds cache 500\nsentinel failover-timeout cache 3000\n",
            folder.path().display()
        );
        std::fs::write(&file, text).expect("the folder is writable");
        let args = [file.to_string_lossy().into_owned(), "--sentinel".to_owned()];
        if let Some(process) = listening(Process::server("redis-server", &args), port) {
            return (process, folder, port);
        }
    }
    panic!("the sentinel does not start");
}
