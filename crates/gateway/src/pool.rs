//! The connections to one server: so many at a time, and those that nobody uses are used again.
//!
//! Who finds all of them in use waits in line. The one that was used last is used next, so that those that are too many
//! grow old. Here nobody is asked anything: [`crate::line`] is what a connection does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::line::Line;

/// Nobody waits for a connection that was not used for so long.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The connections to one server.
pub(crate) struct Pool {
    places: Arc<Semaphore>,
    /// Those that nobody uses, the last one used at the end. Each was put here before its place was given back, and is
    /// taken out after a place has been taken; a new one is opened only when there is none. So there are never more
    /// connections than places.
    idle: Mutex<Vec<Line>>,
}

impl Pool {
    pub(crate) fn new(places: u32) -> Pool {
        Pool {
            places: Arc::new(Semaphore::new(places as usize)),
            idle: Mutex::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Line>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to use one connection, as soon as it is one's turn; `None` when that is not in time.
    pub(crate) async fn place(&self, wait_max: Duration) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.places);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return Some(place);
        }
        let turn = tokio::time::timeout(wait_max, places.acquire_owned());
        turn.await.ok()?.ok()
    }

    /// A connection that is open, as far as can be seen.
    pub(crate) fn take(&self) -> Option<Line> {
        loop {
            let mut line = self.idle().pop()?;
            if line.is_well() {
                return Some(line);
            }
        }
    }

    /// Keeps a connection that nobody uses.
    pub(crate) fn put(&self, line: Line) {
        self.idle().push(line);
    }

    /// Closes what nobody has used for long, and what the server has closed.
    pub(crate) fn sweep(&self, now: Instant) {
        let is_gone = |line: &mut Line| line.idle(now) >= IDLE_MAX || !line.is_well();
        let gone: Vec<Line> = self.idle().extract_if(.., is_gone).collect();
        // Nobody waits for them to be closed.
        drop(gone);
    }
}
