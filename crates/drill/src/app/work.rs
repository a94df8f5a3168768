//! What becomes of a call: the gate, a thread, the cache, and the service's own work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use seawall::{Error, Options};
use seawall_core::dist::Dist;
use seawall_core::gate::{Gate, Reason};
use seawall_core::keys::MISSING;
use seawall_core::policies::Policies;
use seawall_core::queue::Cause;
use seawall_core::rng::{Seed, Stream};
use seawall_core::shed::Priority;
use seawall_core::time::{Span, Time};
use seawall_core::ttl::Class;
use seawall_scenario::{Scaled, Trips};
use tokio::time::Instant;

use super::App;
use super::floor::{Floor, Turned};
use super::origin::Behind;
use crate::load::Call;

/// Bodies of writes are no larger.
const BODY_MAX: usize = 1 << 20;

/// The service's own part of the work.
pub(crate) struct Work {
    pub(super) floor: Floor,
    also: Vec<Behind>,
    ways: Mutex<Ways>,
    origin: Instant,
    in_progress: AtomicU64,
    served: AtomicU64,
    clients: Vec<(String, Class, Priority)>,
}

/// How it works now: what events change.
pub(super) struct Ways {
    pub(super) gate: Gate,
    gate_rng: Stream,
    rng: Stream,
    /// As the document has them, for events that change single ones.
    pub(super) policies: Policies,
    pub(super) service_time: Dist,
    pub(super) places: Option<u32>,
    pub(super) availability: f64,
    pub(super) trips: Option<Trips>,
    tripped_until: Time,
    /// The instance crashes after so many calls.
    pub(super) leak: Option<u64>,
    /// Work takes this many times as long.
    pub(super) slow: f64,
    pub(super) shed: [u64; Reason::ALL.len()],
    /// A call that nobody waits for any more is given up.
    pub(super) cancels: bool,
}

/// What a call comes to.
enum Done {
    Value(Bytes),
    Absent,
    Written,
    Shed(Option<Duration>),
    Failed(&'static str),
}

impl Work {
    pub(super) fn new(
        scaled: &Scaled,
        index: usize,
        policies: &Policies,
        instance: u32,
        also: Vec<Behind>,
    ) -> Work {
        let service = &scaled.scenario.services[index];
        let entity = ((index as u64) << 32) | u64::from(instance);
        let seed = Seed(scaled.scenario.run.seed);
        let clients = &scaled.scenario.clients;
        Work {
            floor: Floor::new(service.threads, policies.line(service.queue)),
            also,
            ways: Mutex::new(Ways {
                gate: Gate::new(Time::ZERO, policies),
                gate_rng: seed.stream("gate", entity),
                rng: seed.stream("work", entity),
                policies: scaled.scenario.policies(seawall_scenario::Place::Service(index)),
                service_time: service.service_time,
                places: service.queue,
                availability: service.availability,
                // The whole service trips; an instance knows of its own calls only.
                trips: service.trips.clone().map(|trips| Trips {
                    above: trips.above / service.instances.max(1),
                    ..trips
                }),
                tripped_until: Time::ZERO,
                leak: service.leak.as_ref().map(|leak| leak.after),
                slow: 1.0,
                shed: [0; Reason::ALL.len()],
                cancels: policies.deadline.cancel,
            }),
            origin: Instant::now(),
            in_progress: AtomicU64::new(0),
            served: AtomicU64::new(0),
            clients: clients
                .iter()
                .map(|client| (client.name.clone(), client.class, client.priority))
                .collect(),
        }
    }

    pub(super) fn ways(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Time {
        Time::ZERO + Span::from(self.origin.elapsed())
    }

    /// How long the service's own work takes now.
    fn draw(&self) -> Span {
        let mut ways = self.ways();
        let (law, slow) = (ways.service_time, ways.slow);
        law.draw(&mut ways.rng).scaled(slow)
    }

    /// Whether what the service makes now is worth anything.
    fn succeeds(&self) -> bool {
        let now = self.now();
        let mut ways = self.ways();
        let share = ways.availability;
        now >= ways.tripped_until && (share >= 1.0 || ways.rng.chance(share))
    }

    fn shed(&self, reason: Reason, after: Option<Duration>) -> Done {
        self.ways().shed[reason as usize] += 1;
        Done::Shed(after)
    }

    /// A thread is held: too much at once trips the service, and a leak crashes it.
    fn begin(&self) -> Begun<'_> {
        let in_progress = self.in_progress.fetch_add(1, Ordering::Relaxed) + 1;
        let served = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.now();
        let mut ways = self.ways();
        let trips = ways.trips.as_ref();
        let tripped = trips.filter(|trips| in_progress > u64::from(trips.above) + 1);
        if let Some(length) = tripped.map(|trips| trips.for_)
            && now >= ways.tripped_until
        {
            ways.tripped_until = now + length;
        }
        if ways.leak.is_some_and(|after| served >= after) {
            // As the kernel ends a process that has eaten all memory: no farewell to anybody.
            std::process::abort();
        }
        Begun(&self.in_progress)
    }
}

/// Work in progress.
struct Begun<'a>(&'a AtomicU64);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call as it came: of which client, for what.
struct Asked {
    class: Class,
    priority: Priority,
    call: Call,
}

impl App {
    fn asked(&self, method: &Method, path: &str, body: Bytes) -> Option<Asked> {
        let (client, key) = path.strip_prefix('/')?.split_once('/')?;
        let key = match key.strip_prefix("missing-") {
            Some(key) => MISSING | key.parse::<u64>().ok()?,
            None => key.parse().ok()?,
        };
        let write = match *method {
            Method::GET => None,
            Method::PUT => Some(body),
            _ => return None,
        };
        let known = self.work.clients.iter().find(|(name, ..)| name == client);
        let (class, priority) =
            known.map_or_else(Default::default, |(_, class, priority)| (*class, *priority));
        Some(Asked {
            class,
            priority,
            call: Call { key, write },
        })
    }

    /// A call from its arrival to its answer.
    async fn answer(&self, asked: Asked) -> Done {
        let work = &self.work;
        let admitted = {
            let now = work.now();
            let mut ways = work.ways();
            let Ways { gate, gate_rng, .. } = &mut *ways;
            gate.admit(now, gate_rng, asked.call.write.is_none(), asked.priority)
        };
        if let Err(refusal) = admitted {
            return work.shed(refusal.reason, Some(refusal.retry_after.into()));
        }
        let _seat = match work.floor.enter().await {
            Ok(seat) => seat,
            Err(Turned::Out(Cause::Timeout)) => return work.shed(Reason::QueueTimeout, None),
            Err(Turned::Out(Cause::Delay)) => return work.shed(Reason::QueueDelay, None),
            // A house that is full by its nature fails; one that is full on purpose says when to come back.
            Err(Turned::Full) if work.ways().policies.queue.is_some() => {
                return work.shed(Reason::QueueFull, None);
            }
            Err(Turned::Full) => return Done::Failed("no thread is free, and the line is full"),
        };
        let _begun = work.begin();
        for aside in &work.also {
            let (aside, call) = (aside.clone(), asked.call.clone());
            // Nobody waits for it, and it may fail.
            tokio::spawn(async move { aside.call(call).await.map(drop) });
        }
        let done = match &self.cache {
            Some(cache) => self.through(cache, asked).await,
            // It makes the answer by itself: there is nothing behind it.
            None => Done::Value(Bytes::from(self.truth().value(asked.call.key, 0))),
        };
        let time = work.draw();
        if !time.is_zero() {
            tokio::time::sleep(time.into()).await;
        }
        if work.succeeds() {
            done
        } else {
            Done::Failed("the service fails")
        }
    }

    async fn through(&self, cache: &seawall::Cache<u64, Bytes>, asked: Asked) -> Done {
        let options = Options::new().class(asked.class).priority(asked.priority);
        let key = asked.call.key;
        if asked.call.write.is_some() {
            let Some(origin) = self.behind.first() else {
                return Done::Failed("nothing is written to");
            };
            let write = || async { origin.call(asked.call).await };
            return match cache.write(&key, &options, write).await {
                Ok(_) => Done::Written,
                Err(error) => refused(&error),
            };
        }
        match cache.read_full(&key, &options).await.map(|answer| answer.value) {
            Ok(Some(value)) => Done::Value(value),
            Ok(None) => Done::Absent,
            Err(error) => refused(&error),
        }
    }

    pub(super) fn truth(&self) -> crate::load::Truth {
        crate::load::Truth::new(self.duty.value_size)
    }
}

fn refused(error: &Error) -> Done {
    match error {
        // The cache itself has counted why.
        Error::Shed { retry_after, .. } => Done::Shed(*retry_after),
        Error::Open { retry_after } => Done::Shed(Some(*retry_after)),
        Error::NotFound => Done::Absent,
        Error::TimedOut => Done::Failed("no answer in time"),
        _ => Done::Failed("what stands behind fails"),
    }
}

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new().fallback(handle).with_state(app)
}

async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return status(StatusCode::PAYLOAD_TOO_LARGE, "");
    };
    let Some(asked) = app.asked(&head.method, head.uri.path(), body) else {
        return status(StatusCode::NOT_FOUND, "GET or PUT /client/key");
    };
    let cancels = app.work.ways().cancels;
    // A thread does not hear that its client has left: it goes on to the end, unless that is switched on.
    let done = if cancels {
        app.answer(asked).await
    } else {
        let task = tokio::spawn(async move { app.answer(asked).await });
        task.await
            .unwrap_or(Done::Failed("the call has ended in a panic"))
    };
    match done {
        Done::Value(value) => Response::new(Body::from(value)),
        Done::Written => status(StatusCode::NO_CONTENT, ""),
        Done::Absent => status(StatusCode::NOT_FOUND, "there is no such thing"),
        Done::Failed(why) => status(StatusCode::INTERNAL_SERVER_ERROR, why),
        Done::Shed(after) => {
            let mut response = status(StatusCode::SERVICE_UNAVAILABLE, "turned away");
            let seconds = after.map_or(1, |after| after.as_secs_f64().ceil().clamp(1.0, 3_600.0) as u64);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
    }
}

fn status(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
