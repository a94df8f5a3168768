//! The servers of a drill: real ones, in the drill's folder, on free ports of the loopback address.
//!
//! Each is started by the [keeper](crate::keeper), waits until it lets somebody in, and can be stopped in its tracks,
//! killed, and started again on the same port, empty or with what it held.

mod postgres;
mod redis;

pub use postgres::Postgres;
pub(crate) use postgres::{USER as POSTGRES_USER, USERS as POSTGRES_USERS};
pub use redis::Redis;
pub(crate) use redis::SNAPSHOT;

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::keeper::{Broken, Keeper, Pid, Program};

/// A server that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NoServer {
    /// Its program is not on this machine.
    #[error(
        "there is no {program} on this machine: install {package}, or let the drill use its embedded stand-ins (--embedded)"
    )]
    Missing {
        /// The program.
        program: String,
        /// The package of Debian that has it.
        package: String,
    },
    /// It ended, or does not let anybody in.
    #[error("{name} does not start: {why}{log}")]
    Silent {
        /// What it is called in the drill.
        name: String,
        /// What was seen.
        why: String,
        /// The end of what it wrote.
        log: String,
    },
    /// The keeper refuses.
    #[error(transparent)]
    Keeper(#[from] Broken),
}

/// A server that runs: what starts it again, where it listens, and its process. Copies are of the same server.
#[derive(Clone, Debug)]
struct Server {
    program: Program,
    address: SocketAddr,
    pid: Arc<AtomicI32>,
}

impl Server {
    /// Starts it and waits until it lets somebody in.
    async fn start<F, G>(
        keeper: &Keeper,
        program: Program,
        address: SocketAddr,
        lets_in: F,
    ) -> Result<Server, NoServer>
    where
        F: FnMut() -> G,
        G: Future<Output = bool>,
    {
        let pid = launch(keeper, &program, lets_in).await?;
        Ok(Server {
            program,
            address,
            pid: Arc::new(AtomicI32::new(pid.0)),
        })
    }

    fn pid(&self) -> Pid {
        Pid(self.pid.load(Ordering::Relaxed))
    }

    /// Ends it if it still runs, and starts it again at its address, told this besides.
    async fn restart<F, G>(
        &self,
        keeper: &Keeper,
        patience: Duration,
        more: &[String],
        lets_in: F,
    ) -> Result<(), NoServer>
    where
        F: FnMut() -> G,
        G: Future<Output = bool>,
    {
        keeper.end(self.pid(), patience)?;
        let mut program = self.program.clone();
        program.args.extend_from_slice(more);
        let pid = launch(keeper, &program, lets_in).await?;
        self.pid.store(pid.0, Ordering::Relaxed);
        Ok(())
    }
}

/// How long a server may take until it lets somebody in.
const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(20);
/// So often another free port is tried when somebody was faster.
const PORTS: u32 = 8;
/// So much of a log is shown.
const LOG_MAX: usize = 1_000;

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The file of a program: in `PATH`, or in one of these folders besides.
fn program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(folders.iter().cloned());
    all.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The end of a program's log, as an addition to a message.
fn log_of(folder: &Path, name: &str) -> String {
    let log = std::fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
    let log = log.trim();
    if log.is_empty() {
        return String::new();
    }
    let from = log.len().saturating_sub(LOG_MAX);
    let from = (from..log.len())
        .find(|at| log.is_char_boundary(*at))
        .unwrap_or(0);
    format!("; the end of what it wrote:\n{}", &log[from..])
}

/// Starts a server and waits until `lets_in` holds. A program that ends at once may have found its port taken.
async fn launch<F, G>(keeper: &Keeper, program: &Program, mut lets_in: F) -> Result<Pid, NoServer>
where
    F: FnMut() -> G,
    G: Future<Output = bool>,
{
    let silent = |why: String| NoServer::Silent {
        name: program.name.clone(),
        why,
        log: log_of(keeper.folder(), &program.name),
    };
    let pid = keeper.run(program)?;
    let begun = Instant::now();
    loop {
        if let Some(how) = keeper.ended(pid)? {
            return Err(silent(format!("it ended ({how})")));
        }
        if lets_in().await {
            return Ok(pid);
        }
        if begun.elapsed() > PATIENCE {
            keeper.end(pid, Duration::ZERO)?;
            return Err(silent(format!("nobody was let in for {} s", PATIENCE.as_secs())));
        }
        sleep(GLANCE).await;
    }
}

/// Starts a server on one free port after another, until it has one.
async fn on_a_port<T, F, G>(name: &str, mut start: F) -> Result<T, NoServer>
where
    F: FnMut(SocketAddr) -> G,
    G: Future<Output = Result<T, NoServer>>,
{
    let mut last = None;
    for _ in 0..PORTS {
        let port = free_port().map_err(|error| NoServer::Silent {
            name: name.to_owned(),
            why: format!("there is no free port: {error}"),
            log: String::new(),
        })?;
        match start(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
            // Only a taken port is worth another try.
            Err(NoServer::Silent { name, why, log }) if log.to_lowercase().contains("in use") => {
                last = Some(NoServer::Silent { name, why, log });
            }
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| NoServer::Silent {
        name: name.to_owned(),
        why: "no port was free".into(),
        log: String::new(),
    }))
}

/// Folders in which Debian keeps programs of PostgreSQL, newest version first.
fn debian_postgres() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let mut found: Vec<(u32, PathBuf)> = versions
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = OsStr::to_str(&entry.file_name())?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let mut folders: Vec<PathBuf> = found.into_iter().map(|(_, path)| path).collect();
    folders.extend(["/usr/local/pgsql/bin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from));
    folders
}
