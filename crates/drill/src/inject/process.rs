//! Processes: stopped in their tracks, or killed.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::door::Knock;
use super::lease::{Lease, ask};
use super::{
    Answer, Door, Evidence, Failed, Fault, Injection, LEASE_MAX, NoEffect, NotUndone, Refused, SILENCE, until,
};
use crate::keeper::{Keeper, Mending, Pid};
use crate::stack::{NoServer, Postgres, Redis};

/// A process that the keeper has started, and where it is felt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// The process; what it has started itself goes with it.
    pub pid: Pid,
    /// Where it listens.
    pub door: Door,
}

impl From<&Redis> for Victim {
    fn from(redis: &Redis) -> Victim {
        Victim {
            pid: redis.pid(),
            door: Door::redis(redis.address()),
        }
    }
}

impl From<&Postgres> for Victim {
    fn from(postgres: &Postgres) -> Victim {
        Victim {
            pid: postgres.pid(),
            door: Door::postgres(postgres.address()),
        }
    }
}

/// Stops processes and all that they have started (SIGSTOP): they accept connections and never answer. A pause is the
/// same and no more, for they go on where they stopped.
///
/// # Errors
/// When one of them does not run or was not started by the keeper.
pub async fn stop(keeper: &Arc<Keeper>, victims: &[Victim], max: Duration) -> Result<Injection, Refused> {
    let mut stopped = Stopped {
        victims: victims.to_vec(),
        leases: Vec::new(),
    };
    for victim in victims {
        let pid = victim.pid;
        stopped
            .leases
            .push(Lease::take(keeper, Mending::Continue(pid), max).await?);
        let done = ask(keeper, move |keeper| keeper.signal(pid, "STOP")).await;
        if let Err(error) = done {
            for lease in &stopped.leases {
                let _ = lease.end().await;
            }
            return Err(error.into());
        }
    }
    Ok(Injection::new(stopped))
}

struct Stopped {
    victims: Vec<Victim>,
    leases: Vec<Lease>,
}

impl Stopped {
    fn pids(&self) -> String {
        let pids: Vec<String> = self.victims.iter().map(|victim| victim.pid.to_string()).collect();
        pids.join(", ")
    }
}

impl Fault for Stopped {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            for victim in &self.victims {
                let Door { address, .. } = victim.door;
                match victim.door.knock(SILENCE).await {
                    Knock::Silent => {}
                    Knock::Answered(..) => return Err(NoEffect(format!("{address} still answers"))),
                    Knock::Nobody(why) | Knock::HungUp(why) => {
                        return Err(NoEffect(format!("{address} does not let in: {why}")));
                    }
                }
            }
            Ok(Evidence::new(
                format!("stopped process {}", self.pids()),
                format!(
                    "{} let in and gave no answer within {} ms",
                    self.victims.len(),
                    SILENCE.as_millis()
                ),
            ))
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            let mut failed = None;
            // One that does not go on keeps no other from it.
            for lease in &self.leases {
                failed = lease.end().await.err().or(failed);
            }
            if let Some(error) = failed {
                return Err(error.into());
            }
            for victim in &self.victims {
                until(|| answers(victim.door)).await?;
            }
            Ok(Evidence::new(
                format!("let process {} go on", self.pids()),
                format!("{} of {0} answer", self.victims.len()),
            ))
        })
    }
}

async fn answers(door: Door) -> Result<(), Failed> {
    match door.knock(SILENCE * 5).await {
        Knock::Answered(..) => Ok(()),
        Knock::Silent => Err(Failed::new(format!("{} does not answer", door.address))),
        Knock::Nobody(why) | Knock::HungUp(why) => {
            Err(Failed::new(format!("{} does not let in: {why}", door.address)))
        }
    }
}

/// How what was killed is started again.
pub type Revive = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), NoServer>> + Send>> + Send + Sync>;

/// Kills a process at once (SIGKILL): nobody listens any more. It is started again with `revive` when this is undone or
/// its time is over; should the drill be gone by then, the keeper has ended everything.
///
/// # Errors
/// When it does not run or was not started by the keeper.
pub async fn kill(
    keeper: &Arc<Keeper>,
    victim: Victim,
    revive: Revive,
    max: Duration,
) -> Result<Injection, Refused> {
    let pid = victim.pid;
    ask(keeper, move |keeper| {
        keeper.signal(pid, "KILL")?;
        keeper.end(pid, Duration::ZERO)
    })
    .await?;
    Ok(killed(victim, revive, max))
}

/// It is gone, and comes back when its time is over.
fn killed(victim: Victim, revive: Revive, max: Duration) -> Injection {
    let reviver = Arc::new(Mutex::new(Some(revive)));
    let late = reviver.clone();
    let waiting = tokio::spawn(async move {
        tokio::time::sleep(max.min(LEASE_MAX)).await;
        // What fails now fails again when it is undone, and is told then.
        let _ = revived(&late).await;
    });
    Injection::new(Killed {
        victim,
        reviver,
        waiting,
    })
}

/// Kills a Redis, which comes back on its port and empty.
///
/// # Errors
/// When it does not run.
pub async fn kill_redis(keeper: &Arc<Keeper>, redis: &Redis, max: Duration) -> Result<Injection, Refused> {
    let (house, again) = (keeper.clone(), redis.clone());
    let revive: Revive = Box::new(move || {
        let (house, again) = (house.clone(), again.clone());
        Box::pin(async move { again.restart(&house).await })
    });
    kill(keeper, redis.into(), revive, max).await
}

/// Ends a PostgreSQL with all its sessions, and without a word to them. It comes back on its port with what it holds.
///
/// # Errors
/// When it does not run.
pub async fn kill_postgres(
    keeper: &Arc<Keeper>,
    postgres: &Postgres,
    max: Duration,
) -> Result<Injection, Refused> {
    let (house, again) = (keeper.clone(), postgres.clone());
    let revive: Revive = Box::new(move || {
        let (house, again) = (house.clone(), again.clone());
        Box::pin(async move { again.restart(&house).await })
    });
    // A kill would leave shared memory behind, which keeps the next one from starting.
    let ended = postgres.clone();
    let victim = Victim::from(postgres);
    ask(keeper, move |keeper| ended.kill(keeper)).await?;
    Ok(killed(victim, revive, max))
}

struct Killed {
    victim: Victim,
    reviver: Arc<Mutex<Option<Revive>>>,
    /// Whoever revives it when its time is over.
    waiting: JoinHandle<()>,
}

/// Starts it again, unless somebody has.
async fn revived(reviver: &Mutex<Option<Revive>>) -> Result<(), NoServer> {
    let mut held = reviver.lock().await;
    if let Some(revive) = held.as_ref() {
        revive().await?;
        *held = None;
    }
    Ok(())
}

impl Fault for Killed {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            let Door { address, .. } = self.victim.door;
            match self.victim.door.knock(SILENCE).await {
                Knock::Nobody(why) | Knock::HungUp(why) => Ok(Evidence::new(
                    format!("killed process {}", self.victim.pid),
                    format!("{address} does not let in: {why}"),
                )),
                Knock::Answered(..) => Err(NoEffect(format!("{address} answers"))),
                Knock::Silent => Err(NoEffect(format!("{address} lets in"))),
            }
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            revived(&self.reviver).await?;
            self.waiting.abort();
            let _ = self.waiting.await;
            until(|| answers(self.victim.door)).await?;
            Ok(Evidence::new(
                "started it again",
                format!("{} answers", self.victim.door.address),
            ))
        })
    }
}
