//! The connections to one server: few, shared by all calls, and opened in the background.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use seawall_core::guard::CacheFault;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::dial::{Dial, Place};
use super::faults::fault_of;

/// After an attempt to connect that failed, calls fail at once for so long. How long a server is left alone is the
/// breaker's decision; this only keeps a rush of calls from becoming a rush of attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection on which so many calls in a row got no answer is given up. The client remembers each of them until it is
/// answered, and a stopped server answers none.
const UNANSWERED_MAX: u32 = 64;

/// Why a call failed, where the caller may know what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Fault(CacheFault),
    /// The server does not know the script of this hash.
    NoScript,
    /// The slot lives there now.
    Moved {
        slot: u16,
        to: Place,
    },
    /// The key may be there already.
    Ask {
        to: Place,
    },
}

impl Failure {
    pub(super) fn fault(&self) -> CacheFault {
        match self {
            Failure::Fault(fault) => *fault,
            Failure::NoScript => CacheFault::Error,
            Failure::Moved { .. } | Failure::Ask { .. } => CacheFault::Moved,
        }
    }

    fn of(error: &RedisError, asked: &Place) -> Failure {
        let to = || {
            let (place, slot) = error.redirect_node()?;
            // A node that does not know its own name leaves it out.
            let place = if place.starts_with(':') {
                format!("{}{place}", asked.host)
            } else {
                place.to_owned()
            };
            Some((Place::parse(&place, asked.port)?, slot))
        };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => Failure::NoScript,
            ErrorKind::Server(ServerErrorKind::Moved) => match to() {
                Some((to, slot)) => Failure::Moved { slot, to },
                None => CacheFault::Moved.into(),
            },
            ErrorKind::Server(ServerErrorKind::Ask) => match to() {
                Some((to, _)) => Failure::Ask { to },
                None => CacheFault::Moved.into(),
            },
            _ => fault_of(error).into(),
        }
    }
}

impl From<CacheFault> for Failure {
    fn from(fault: CacheFault) -> Failure {
        Failure::Fault(fault)
    }
}

/// The connections to one server.
#[derive(Debug)]
pub(super) struct Link {
    lanes: Box<[Arc<Lane>]>,
    next: AtomicUsize,
}

impl Link {
    pub(super) fn new(dial: Dial) -> Link {
        let dial = Arc::new(dial);
        let lane = |_| {
            Arc::new(Lane {
                in_flight: Semaphore::new(dial.wire.in_flight_max),
                dial: Arc::clone(&dial),
                unanswered: AtomicU32::new(0),
                state: Mutex::new(State::Idle),
            })
        };
        Link {
            lanes: (0..dial.wire.lanes).map(lane).collect(),
            next: AtomicUsize::new(0),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.lanes[0].dial.place
    }

    fn lane(&self) -> &Arc<Lane> {
        &self.lanes[self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len()]
    }

    /// Makes a call. It has no end of its own but the response timeout: who calls it waits as long as it likes.
    pub(super) async fn call(&self, cmd: &Cmd) -> Result<Value, Failure> {
        self.lane().call(cmd, false).await
    }

    /// Makes a call for a slot that is on its way here.
    pub(super) async fn call_asking(&self, cmd: &Cmd) -> Result<Value, Failure> {
        self.lane().call(cmd, true).await
    }
}

/// One connection.
struct Lane {
    dial: Arc<Dial>,
    in_flight: Semaphore,
    /// Calls in a row that got no answer.
    unanswered: AtomicU32,
    state: Mutex<State>,
}

type Attempt = Option<Result<MultiplexedConnection, CacheFault>>;

enum State {
    Idle,
    Connecting(watch::Receiver<Attempt>),
    Up(MultiplexedConnection, u64),
    Failed(CacheFault, Instant),
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state() {
            State::Idle => "idle",
            State::Connecting(_) => "connecting",
            State::Up(..) => "up",
            State::Failed(..) => "failed",
        };
        write!(f, "Lane({:?}, {state})", self.dial)
    }
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(self: &Arc<Lane>, cmd: &Cmd, asking: bool) -> Result<Value, Failure> {
        // It is never closed.
        let _place = self.in_flight.acquire().await.map_err(|_| CacheFault::Reset)?;
        let (mut connection, serial) = self.connection().await?;
        let watch = Unanswered { lane: self, serial };
        let result = if asking {
            let mut pipe = ::redis::pipe();
            pipe.cmd("ASKING").ignore().add_command(cmd.clone());
            let replies: Result<Vec<Value>, _> = pipe.query_async(&mut connection).await;
            replies.map(|mut replies| replies.pop().unwrap_or(Value::Nil))
        } else {
            cmd.query_async::<Value>(&mut connection).await
        };
        let error = match result {
            Ok(value) => {
                watch.answered();
                return Ok(value);
            }
            Err(error) => error,
        };
        if error.is_timeout() {
            drop(watch);
            return Err(CacheFault::TimedOut.into());
        }
        watch.answered();
        let failure = Failure::of(&error, &self.dial.place);
        let broken = error.is_unrecoverable_error() || failure.fault() == CacheFault::NoAuth;
        if broken {
            self.give_up(serial);
        }
        Err(failure)
    }

    /// The connection, once there is one. Whoever comes first has it opened; it is opened even if that one leaves.
    async fn connection(self: &Arc<Lane>) -> Result<(MultiplexedConnection, u64), CacheFault> {
        let mut attempt = {
            let mut state = self.state();
            match &*state {
                State::Up(connection, serial) => return Ok((connection.clone(), *serial)),
                State::Failed(fault, until) if Instant::now() < *until => return Err(*fault),
                // The runtime of an attempt may have ended before the attempt.
                State::Connecting(attempt) if attempt.has_changed().is_ok() => attempt.clone(),
                _ => {
                    let (done, attempt) = watch::channel(None);
                    *state = State::Connecting(attempt.clone());
                    tokio::spawn(Arc::clone(self).open(done));
                    attempt
                }
            }
        };
        // When it is gone it is done, or will never be.
        let _ = attempt.wait_for(Option::is_some).await;
        match &*self.state() {
            State::Up(connection, serial) => Ok((connection.clone(), *serial)),
            State::Failed(fault, _) => Err(*fault),
            State::Idle | State::Connecting(_) => Err(CacheFault::Reset),
        }
    }

    async fn open(self: Arc<Lane>, done: watch::Sender<Attempt>) {
        let result = self.dial.connect().await;
        let mut state = self.state();
        *state = match &result {
            Ok(connection) => {
                self.unanswered.store(0, Ordering::Relaxed);
                State::Up(connection.clone(), next_serial())
            }
            Err(fault) => State::Failed(*fault, Instant::now() + PAUSE),
        };
        drop(state);
        // Nobody may be waiting any more.
        let _ = done.send(Some(result));
    }

    /// This connection is of no use any more.
    fn give_up(&self, serial: u64) {
        let mut state = self.state();
        if matches!(&*state, State::Up(_, present) if *present == serial) {
            *state = State::Idle;
        }
    }
}

fn next_serial() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A call that was sent; dropped without an answer, it counts.
struct Unanswered<'a> {
    lane: &'a Lane,
    serial: u64,
}

impl Unanswered<'_> {
    fn answered(self) {
        self.lane.unanswered.store(0, Ordering::Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.lane.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED_MAX {
            self.lane.give_up(self.serial);
        }
    }
}
