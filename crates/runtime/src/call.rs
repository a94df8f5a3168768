//! A call on its way: the future that performs its steps. When it is dropped, the guard is told.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use seawall_core::gate::Reason;
use seawall_core::guard::{
    self, Entry, Kind, Mode, OriginFault, Outcome, Reply, Request, Source as From, Step, TIERS_MAX,
};
use seawall_core::time::{Span, Time};

use crate::answer::{Answer, Error, Freshness, Source};
use crate::effects::Context;
use crate::engine::Engine;
use crate::far::{Delete, FarWork, Look};
use crate::flight::{Errand, Flight, Found};
use crate::key::Key;
use crate::options::Options;
use crate::origin::{LoadError, Loader};
use tracing::Instrument as _;

/// A key that meets others with its hash is tried under so many.
const SALTS: u32 = 8;

/// A call that has begun.
pub(crate) struct Ticket<'a, K: Key, V: Clone + Send + Sync + 'static> {
    engine: &'a Engine<K, V>,
    errand: Errand<K, V>,
    request: Request,
    /// What each tier held.
    found: [Option<Found<K, V>>; TIERS_MAX],
    /// The load that is waited for.
    flight: Option<Arc<Flight<K, V>>>,
    /// Whether that load was there before.
    joined: bool,
    began: Time,
    /// What tiers are to be told, where the call waits until they are.
    pub(crate) deletes: Vec<Delete>,
}

/// What a step came to.
pub(crate) enum Turn {
    Next(Step),
    /// The load belongs to another key with the same hash.
    Collision,
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    /// Reads through the guard.
    pub(crate) async fn read(
        &self,
        key: &K,
        options: &Options,
        loader: Option<Loader<V>>,
    ) -> Result<Answer<V>, Error> {
        let span = tracing::debug_span!("read", cache = &*self.name, outcome = tracing::field::Empty);
        let result = self
            .read_through(key, options, loader)
            .instrument(span.clone())
            .await;
        if !span.is_disabled() {
            span.record("outcome", outcome_name(&result));
        }
        result
    }

    async fn read_through(
        &self,
        key: &K,
        options: &Options,
        loader: Option<Loader<V>>,
    ) -> Result<Answer<V>, Error> {
        let began = self.clock.now();
        let deadline = deadline(began, options);
        let mut salt = 0;
        loop {
            let errand = self.errand(key, options, salt, loader.clone());
            if self.fast.observes.load(Ordering::Relaxed) != 0 && self.origin.is_some() {
                self.names.read(errand.address.hash, key);
            }
            let (mut ticket, mut turn) = Ticket::begin(self, errand, options, (began, deadline), true);
            let outcome = loop {
                match turn {
                    Turn::Next(Step::Done(outcome)) => break Some(outcome),
                    Turn::Next(step) => turn = ticket.perform(step).await,
                    Turn::Collision => break None,
                }
            };
            let Some(outcome) = outcome else {
                salt += 1;
                if salt == SALTS {
                    return Err(Error::TimedOut);
                }
                continue;
            };
            if ticket.is_overtaken() {
                // No answer to this call, nor to any later one.
                self.purge(&ticket.errand, true)
                    .for_each(|delete| self.spawn_work(FarWork::Delete(delete)));
                continue;
            }
            let result = ticket.result(outcome);
            let worth = result.as_ref().map(|answer| answer.freshness);
            self.meters.ended(self.clock.now().since(began), worth);
            return result;
        }
    }

    /// Purges a key here, and returns what the tiers beyond memory are to be told (nothing unless `tell`).
    pub(crate) fn purge(
        &self,
        errand: &Errand<K, V>,
        tell: bool,
    ) -> impl Iterator<Item = Delete> + use<K, V> {
        let mut core = self.core();
        let now = self.clock.now();
        core.guard.purge(now, errand.address.hash);
        let context = Context {
            errand: Some(errand),
            found: None,
            tell,
        };
        let after = self.settle(&mut core, now, &context);
        drop(core);
        let mut deletes = Vec::new();
        self.perform_all_but_deletes(after, |delete| deletes.push(delete));
        deletes.into_iter()
    }

    pub(crate) fn errand(
        &self,
        key: &K,
        options: &Options,
        salt: u32,
        loader: Option<Loader<V>>,
    ) -> Errand<K, V> {
        let hash = self.hash(key, salt);
        Errand {
            key: key.clone(),
            address: Arc::new(self.namer.address(key, hash)),
            loader,
            classed: options.class.is_some(),
            alone: salt > 0,
            tags: options.tags.iter().map(|tag| self.namer.tag(tag)).collect(),
        }
    }
}

impl<'a, K: Key, V: Clone + Send + Sync + 'static> Ticket<'a, K, V> {
    pub(crate) fn begin(
        engine: &'a Engine<K, V>,
        errand: Errand<K, V>,
        options: &Options,
        (began, deadline): (Time, Time),
        read: bool,
    ) -> (Ticket<'a, K, V>, Turn) {
        let call = guard::Call {
            class: options.class.unwrap_or_default(),
            priority: options.priority,
            deadline,
            mode: if errand.alone { Mode::NoCache } else { options.mode },
            fresh_for: options.fresh_for,
            stale_max: options.stale_max,
            read,
            ..guard::Call::read(errand.address.hash)
        };
        let mut locked = engine.core();
        let core = &mut *locked;
        let now = engine.clock.now();
        let mut request = Request::new(core.slots.take(), &call);
        let step = core.guard.begin(now, &mut core.rng, &mut request);
        let mut ticket = Ticket {
            engine,
            errand,
            request,
            found: [const { None }; TIERS_MAX],
            flight: None,
            joined: false,
            began,
            deletes: Vec::new(),
        };
        let turn = ticket.go_on(locked, now, step);
        (ticket, turn)
    }

    pub(crate) fn resume(&mut self, reply: Reply) -> Turn {
        let mut locked = self.engine.core();
        let now = self.engine.clock.now();
        let core = &mut *locked;
        let step = core.guard.resume(now, &mut core.rng, &mut self.request, reply);
        self.go_on(locked, now, step)
    }

    /// Goes on as far as it can without waiting: look-ups in memory are settled under the lock.
    fn go_on(
        &mut self,
        mut locked: std::sync::MutexGuard<'_, crate::engine::Core<K, V>>,
        now: Time,
        mut step: Step,
    ) -> Turn {
        let core = &mut *locked;
        while let (Some(memory), Step::Lookup { tier: 0, .. }) = (&self.engine.memory, step) {
            let found = memory.find(self.errand.address.hash, &self.errand.key);
            let found = found.filter(|found| !self.engine.tags.purged(&found.body.tags, found.entry.stored));
            let reply = found
                .as_ref()
                .map_or(Reply::Missing, |found| Reply::Found(found.entry));
            self.found[0] = found;
            step = core.guard.resume(now, &mut core.rng, &mut self.request, reply);
        }
        if let (Step::Wait { .. } | Step::Done(_), Some(load)) = (step, self.request.load())
            && self.flight.as_ref().is_none_or(|flight| flight.id != load)
        {
            let known = core.flight(load);
            self.joined = known.is_some();
            self.flight = Some(match known {
                Some(flight) => flight,
                None => core.flight_for(load, &self.errand),
            });
        }
        let other = |flight: &Arc<Flight<K, V>>| flight.errand.key != self.errand.key;
        let collides = self.flight.as_ref().is_some_and(other);
        let found = match step {
            Step::Done(Outcome::Answer {
                from: From::Tier(tier),
                ..
            }) => self.found[tier as usize].as_ref(),
            _ => None,
        };
        let context = Context {
            errand: Some(&self.errand),
            found,
            tell: true,
        };
        let after = self.engine.settle(core, now, &context);
        drop(locked);
        if self.request.is_read() {
            self.engine.perform(after);
        } else {
            let deletes = &mut self.deletes;
            self.engine
                .perform_all_but_deletes(after, |delete| deletes.push(delete));
        }
        if collides {
            Turn::Collision
        } else {
            Turn::Next(step)
        }
    }

    /// Performs a step that takes time.
    async fn perform(&mut self, step: Step) -> Turn {
        match step {
            Step::Lookup { tier, node, timeout } => {
                let (key, address) = (&self.errand.key, &self.errand.address);
                let reply = match self.engine.look(tier, node, key, address, timeout).await {
                    Look::Found(found) => {
                        let entry = found.entry;
                        self.found[tier as usize] = Some(found);
                        Reply::Found(entry)
                    }
                    Look::Corrupt(entry) => Reply::Found(entry),
                    Look::Missing => Reply::Missing,
                    Look::Failed(fault) => Reply::CacheFailed(fault),
                };
                self.resume(reply)
            }
            Step::Wait { until } => {
                let reply = self.wait(until).await;
                self.resume(reply)
            }
            Step::Write { .. } => self.resume(Reply::WriteFailed(OriginFault::Refused)),
            Step::Done(_) => Turn::Next(step),
        }
    }

    async fn wait(&self, until: Time) -> Reply {
        let token = self.request.token();
        let woken = poll_fn(|context| {
            if self.engine.core().slots.poll(token, context.waker()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        match self.engine.clock.instant(until) {
            None => {
                woken.await;
                Reply::Woken
            }
            Some(at) => match tokio::time::timeout_at(at, woken).await {
                Ok(()) => Reply::Woken,
                Err(_) => Reply::Due,
            },
        }
    }

    /// Whether the load that it was answered with had begun before a tag of its value was invalidated, and the call
    /// began after that.
    fn is_overtaken(&self) -> bool {
        let Some(Ok(found)) = self
            .flight
            .as_ref()
            .filter(|_| self.joined)
            .and_then(|flight| flight.landed())
        else {
            return false;
        };
        let tags = &self.engine.tags;
        tags.purged(&found.body.tags, found.entry.stored) && !tags.purged(&found.body.tags, self.began)
    }

    pub(crate) fn result(&self, outcome: Outcome) -> Result<Answer<V>, Error> {
        let now = self.engine.clock.now();
        match outcome {
            Outcome::Answer { from, kind, version } => {
                let (found, source) = match from {
                    From::Tier(0) if self.engine.memory.is_some() => (self.found[0].clone(), Source::Memory),
                    From::Tier(tier) => (self.found[tier as usize].clone(), Source::Tier(tier)),
                    From::Load => {
                        let landed = self.flight.as_ref().and_then(|flight| flight.landed());
                        let source = if self.joined {
                            Source::Shared
                        } else {
                            Source::Origin
                        };
                        (landed.and_then(Result::ok), source)
                    }
                };
                // The guard answers with nothing that was not found.
                let found = found.ok_or(Error::TimedOut)?;
                Ok(answer(now, &found, source, kind, version))
            }
            Outcome::Absent => Err(Error::NotFound),
            Outcome::Shed(reason) => {
                let after = self.engine.core().guard.retry_after(now, reason);
                let after = after.map(Duration::from);
                Err(match (reason, after) {
                    (Reason::OriginOpen, Some(retry_after)) => Error::Open { retry_after },
                    (reason, retry_after) => Error::Shed { reason, retry_after },
                })
            }
            Outcome::TimedOut => Err(Error::TimedOut),
            Outcome::Failed | Outcome::Written { .. } => {
                match self.flight.as_ref().and_then(|flight| flight.landed()) {
                    Some(Err(error)) => Err(Error::Load(error)),
                    _ => Err(Error::Load(LoadError::new(
                        OriginFault::Error,
                        "the load ended before it was over",
                    ))),
                }
            }
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Drop for Ticket<'_, K, V> {
    fn drop(&mut self) {
        let mut core = self.engine.core();
        let now = self.engine.clock.now();
        core.slots.give_back(self.request.token());
        if self.request.ended() {
            return;
        }
        core.guard.abandon(now, self.request);
        let context = Context {
            errand: Some(&self.errand),
            found: None,
            tell: true,
        };
        let after = self.engine.settle(&mut core, now, &context);
        drop(core);
        self.engine.perform(after);
    }
}

/// How a read ended, in a word for its span.
fn outcome_name<V>(result: &Result<Answer<V>, Error>) -> &'static str {
    match result {
        Ok(answer) if answer.freshness == Freshness::Stale => "stale",
        Ok(answer) => match answer.source {
            Source::Memory => "memory",
            Source::Tier(_) => "tier",
            Source::Origin => "loaded",
            Source::Shared => "shared",
        },
        Err(Error::NotFound) => "missing",
        Err(Error::Shed { .. } | Error::Open { .. }) => "shed",
        Err(Error::TimedOut) => "timeout",
        Err(_) => "error",
    }
}

/// When the caller stops waiting.
pub(crate) fn deadline(began: Time, options: &Options) -> Time {
    let own = options.deadline;
    #[cfg(feature = "tower")]
    let own = own.into_iter().chain(crate::layers::time_left()).min();
    own.map_or(Time::NEVER, |deadline| began + Span::from(deadline))
}

/// What a value that was found is as an answer.
pub(crate) fn answer<K, V: Clone>(
    now: Time,
    found: &Found<K, V>,
    source: Source,
    kind: Kind,
    version: u64,
) -> Answer<V> {
    let Entry { stored, .. } = found.entry;
    Answer {
        value: found.body.value.clone(),
        source,
        freshness: match kind {
            Kind::Stale => Freshness::Stale,
            Kind::Fresh | Kind::Negative => Freshness::Fresh,
        },
        age: now.since(stored).into(),
        version,
    }
}
