//! What breaks a real server, for a while.
//!
//! Each function of the modules here does one harm and returns an [`Injection`]: the fault in force. It can be asked
//! whether it is felt ([`Injection::probe`]), and it is taken back with [`Injection::undo`], which looks whether all is
//! as it was. Three things hold for all of them:
//!
//! - What this machine or server cannot do is refused with the reason before anything is changed. [`possible`] answers
//!   that for a whole run before anything is even started.
//! - A fault is a lease. The [keeper](crate::keeper) is told how to undo it *before* it is done, and undoes it when its
//!   time is over or the drill is gone; where the server itself can end it (a session's timeout, a pause), it is the
//!   server that does.
//! - A probe asks as a client would, from outside: what counts is what callers feel, not what a setting says.
//!
//! Every call that changes something takes a `max`: the time after which it ends by itself, an hour at most. An
//! injection that is dropped is not undone before that.
//!
//! What is no fault of a server is not here: links are broken by the [proxy](crate::proxy), traffic by
//! [load](crate::load), caching rules by the application, and slow queries by [paced](crate::paced) or by [`cgroup`],
//! because nothing else slows the queries that an application really asks.

pub mod cgroup;
pub mod disk;
mod door;
mod lease;
mod means;
pub mod postgres;
pub mod process;
pub mod redis;

pub(crate) use door::Knock;
pub use door::{Door, Speaks};
pub use means::{Means, possible};

use std::pin::Pin;
use std::time::Duration;

use crate::keeper::Broken;
use crate::stack::NoServer;

/// What was done and what was seen of it, in a short sentence each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What was done.
    pub done: String,
    /// What was seen from outside.
    pub seen: String,
}

impl Evidence {
    fn new(done: impl Into<String>, seen: impl Into<String>) -> Evidence {
        let (done, seen) = (done.into(), seen.into());
        Evidence { done, seen }
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.done, self.seen)
    }
}

/// Why a fault is not begun. Nothing has been changed, or it has been changed back.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// This machine or this server cannot do it.
    #[error("{0}")]
    Impossible(String),
    /// It could, and failed.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// The keeper does not do its part.
    #[error(transparent)]
    Keeper(#[from] Broken),
    /// A server did not come back.
    #[error(transparent)]
    Server(#[from] NoServer),
    /// PostgreSQL refuses.
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] sqlx::Error),
}

/// Something that was asked of a server or of this machine and was not had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(String);

impl Failed {
    fn new(what: impl Into<String>) -> Failed {
        Failed(what.into())
    }
}

/// The fault was done, and nothing is felt of it.
#[derive(Debug, thiserror::Error)]
#[error("no effect: {0}")]
pub struct NoEffect(String);

/// The fault may still be in force.
#[derive(Debug, thiserror::Error)]
#[error("not undone: {0}")]
pub struct NotUndone(String);

/// What goes wrong on the way to an answer is the answer's own trouble.
macro_rules! troubles {
    ($($to:ident: $($from:ty),*;)*) => { $($(
        impl From<$from> for $to {
            fn from(error: $from) -> $to {
                $to(error.to_string())
            }
        }
    )*)* };
}

troubles! {
    NoEffect: Failed, Broken, NoServer, sqlx::Error;
    NotUndone: Failed, Broken, NoServer, sqlx::Error;
    Failed: std::io::Error, Broken;
}

/// What a fault in force has to be able to do.
trait Fault: Send {
    fn probe(&mut self) -> Answer<'_, NoEffect>;
    fn undo(self: Box<Self>) -> Answer<'static, NotUndone>;
}

/// An answer that takes a while.
type Answer<'a, E> = Pin<Box<dyn Future<Output = Result<Evidence, E>> + Send + 'a>>;

/// One fault in force.
pub struct Injection(Box<dyn Fault>);

impl std::fmt::Debug for Injection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Injection")
    }
}

impl Injection {
    fn new(fault: impl Fault + 'static) -> Injection {
        Injection(Box::new(fault))
    }

    /// Looks whether the fault is felt by a client. It takes up to a few seconds and may be asked again.
    ///
    /// # Errors
    /// When it is not felt, or no longer.
    pub async fn probe(&mut self) -> Result<Evidence, NoEffect> {
        self.0.probe().await
    }

    /// Takes it back, and looks whether all is as it was. What has ended by itself is no failure.
    ///
    /// # Errors
    /// When it is not as it was.
    pub async fn undo(self) -> Result<Evidence, NotUndone> {
        self.0.undo().await
    }
}

/// No fault lasts longer.
const LEASE_MAX: Duration = Duration::from_hours(1);
/// Who does not answer within this time is silent.
const SILENCE: Duration = Duration::from_millis(200);
/// How long it may take until a server is as it was.
const HEALING: Duration = Duration::from_secs(10);
/// How often is looked.
const GLANCE: Duration = Duration::from_millis(20);

/// Asks until the answer is yes; after [`HEALING`] the last no counts.
async fn until<F, G, E>(mut asked: F) -> Result<(), E>
where
    F: FnMut() -> G,
    G: Future<Output = Result<(), E>>,
{
    let begun = tokio::time::Instant::now();
    loop {
        match asked().await {
            Err(error) if begun.elapsed() > HEALING => return Err(error),
            Err(_) => tokio::time::sleep(GLANCE).await,
            Ok(()) => return Ok(()),
        }
    }
}
