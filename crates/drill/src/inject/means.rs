//! What faults need of this machine, asked before anything is started.

use std::process::{Command, Stdio};
use std::sync::Arc;

use super::cgroup::{Cgroups, Controller};
use super::{Refused, disk};
use crate::keeper::Keeper;
use crate::stack;

/// Something that a fault needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Means {
    /// A `redis-server` to start.
    Redis,
    /// One that can be told to load slowly, for [`redis::loading`](super::redis::loading).
    SlowLoading,
    /// A PostgreSQL to start.
    Postgres,
    /// Small file systems, for disks that are full.
    Disk,
    /// A control group that limits processors.
    Processor,
    /// A control group that limits memory.
    Memory,
}

/// Whether this machine can do it. What can only be found out by doing it is done on a small scale and undone.
///
/// # Errors
/// The reason why not.
pub async fn possible(keeper: &Arc<Keeper>, means: Means) -> Result<(), Refused> {
    match means {
        Means::Redis => stack::Redis::file().map(|_| ()).ok_or_else(|| {
            Refused::Impossible("there is no redis-server on this machine: install redis-server".into())
        }),
        Means::SlowLoading => tokio::task::spawn_blocking(loads_slowly)
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
            .map_err(Refused::Impossible),
        Means::Postgres => stack::Postgres::file().map(|_| ()).ok_or_else(|| {
            Refused::Impossible("there is no PostgreSQL on this machine: install postgresql".into())
        }),
        Means::Disk => disk::trial(keeper).await,
        Means::Processor => {
            Cgroups::of_this_machine()
                .trial(keeper, Controller::Processor)
                .await
        }
        Means::Memory => Cgroups::of_this_machine().trial(keeper, Controller::Memory).await,
    }
}

/// A server that knows the setting complains of its value, one that does not of its name; neither starts.
fn loads_slowly() -> Result<(), String> {
    let file =
        stack::Redis::file().ok_or("there is no redis-server on this machine: install redis-server")?;
    let said = Command::new(file)
        .args(["--port", "0", "--key-load-delay", "nonsense"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("redis-server does not run: {error}"))?;
    let said = [said.stdout, said.stderr].concat();
    if String::from_utf8_lossy(&said).contains("parsed into an integer") {
        Ok(())
    } else {
        Err("this redis-server has no key-load-delay: it cannot be kept loading (Redis 7 can)".into())
    }
}
