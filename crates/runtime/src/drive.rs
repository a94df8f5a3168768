//! A load on its way: the task that performs its steps, detached from all who wait for it.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use seawall_core::guard::{Entry, Life, LoadReply, LoadStep, OriginFault};
use seawall_core::time::Span;

use crate::clock::timeout;
use crate::effects::Context;
use crate::engine::Engine;
use crate::far::Look;
use crate::flight::{Flight, Found};
use crate::key::Key;
use crate::origin::{LoadError, Loaded};

/// The span of a load. It is a part of the read that began it; one that somebody else's end let in is nobody's part.
pub(crate) fn span<K, V>(cache: &str, flight: &Flight<K, V>, own: bool) -> tracing::Span {
    let key = &*flight.errand.address.text;
    if own {
        tracing::debug_span!("load", cache, key)
    } else {
        tracing::debug_span!(parent: None, "load", cache, key)
    }
}

/// Drives a load to its end, or until it has to wait for a place; from `step` on, where its first step was taken.
pub(crate) async fn drive<K: Key, V: Clone + Send + Sync + 'static>(
    engine: Arc<Engine<K, V>>,
    flight: Arc<Flight<K, V>>,
    step: Option<LoadStep>,
) {
    let mut driver = Driver {
        engine,
        flight,
        ended: false,
    };
    let mut step = step.unwrap_or_else(|| driver.engine.load_step(&driver.flight, LoadReply::Launched));
    while let Some(reply) = driver.perform(step).await {
        step = driver.engine.load_step(&driver.flight, reply);
    }
    driver.ended = true;
}

/// Whatever ends the task ends the load too: those who wait are told.
struct Driver<K: Key, V: Clone + Send + Sync + 'static> {
    engine: Arc<Engine<K, V>>,
    flight: Arc<Flight<K, V>>,
    ended: bool,
}

impl<K: Key, V: Clone + Send + Sync + 'static> Driver<K, V> {
    /// Performs a step. `None` when there is nothing more to do for now.
    async fn perform(&self, step: LoadStep) -> Option<LoadReply> {
        let (engine, flight) = (&self.engine, &self.flight);
        let address = &flight.errand.address;
        Some(match step {
            LoadStep::Fetch { timeout, .. } => engine.fetch(flight, timeout).await,
            LoadStep::Pause { until } => {
                match engine.clock.instant(until) {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
                LoadReply::Due
            }
            LoadStep::Store {
                tier,
                node,
                keep,
                entry,
                ..
            } => match flight.landed() {
                Some(Ok(found)) => {
                    let body = found.body;
                    let found = Found { body, entry };
                    LoadReply::Stored(engine.put(tier, node, address, &found, keep).await)
                }
                // The guard stores nothing that did not come.
                _ => return None,
            },
            LoadStep::Lease { tier, node, hold, .. } => {
                LoadReply::Leased(engine.lease(tier, node, address, hold).await)
            }
            LoadStep::Look {
                tier, node, timeout, ..
            } => match engine
                .look(tier, node, &flight.errand.key, address, timeout)
                .await
            {
                Look::Found(found) => {
                    let entry = found.entry;
                    flight.land(Ok(found));
                    LoadReply::Found(entry)
                }
                Look::Corrupt(_) | Look::Missing | Look::Failed(_) => LoadReply::Missing,
            },
            LoadStep::Parked | LoadStep::Done => return None,
        })
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Drop for Driver<K, V> {
    fn drop(&mut self) {
        if !self.ended {
            self.engine.decline(self.flight.id);
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    /// The next step of a load that takes time; what is to be done in memory is done here.
    pub(crate) fn load_step(&self, flight: &Flight<K, V>, mut reply: LoadReply) -> LoadStep {
        let mut core = self.core();
        let now = self.clock.now();
        let step = loop {
            let core = &mut *core;
            let step = core.guard.load(now, &mut core.rng, flight.id, reply);
            match (&self.memory, step) {
                (
                    Some(memory),
                    LoadStep::Store {
                        tier: 0,
                        key,
                        keep,
                        entry,
                        ..
                    },
                ) => {
                    if let Some(Ok(found)) = flight.landed() {
                        memory.hold(now, key, found.body, entry, keep);
                        self.meters.set(0);
                    }
                    reply = LoadReply::Stored(Ok(()));
                }
                (_, step) => break step,
            }
        };
        if step == LoadStep::Done {
            core.over(now, flight.id);
        }
        let context = Context {
            errand: Some(&flight.errand),
            found: None,
            tell: true,
        };
        let after = self.settle(&mut core, now, &context);
        drop(core);
        self.perform(after);
        step
    }

    /// One attempt to load from the origin.
    async fn fetch(&self, flight: &Flight<K, V>, limit: Span) -> LoadReply {
        let Some(loader) = flight.errand.loader.clone() else {
            flight.land(Err(LoadError::new(
                OriginFault::Refused,
                "there is no way to load it",
            )));
            return LoadReply::FetchFailed(OriginFault::Refused);
        };
        let began = self.clock.now();
        self.meters.origin_begins();
        let attempt = caught(async move { loader().await });
        let result = match timeout(limit) {
            Some(limit) => match tokio::time::timeout(limit, attempt).await {
                Ok(result) => result,
                Err(_) => Err(LoadError::new(
                    OriginFault::TimedOut,
                    "the origin did not answer in time",
                )),
            },
            None => attempt.await,
        };
        let took = self.clock.now().since(began);
        self.meters.origin_ends(took, result.is_ok());
        if result.is_ok() && !self.core().guard.is_wanted(flight.id) {
            self.meters.origin_wasted();
        }
        match result {
            Ok(brought) => self.fetched(flight, began, took, brought),
            Err(error) => {
                let fault = error.fault();
                flight.land(Err(error));
                LoadReply::FetchFailed(fault)
            }
        }
    }

    fn fetched(
        &self,
        flight: &Flight<K, V>,
        began: seawall_core::time::Time,
        took: Span,
        loaded: Loaded<V>,
    ) -> LoadReply {
        let version = loaded.version.unwrap_or(began.as_nanos());
        let negative = loaded.value.is_none();
        let kept = loaded.store && !flight.errand.alone;
        let life = match (kept, loaded.ttl, loaded.class) {
            (false, ..) => Life::Unkept,
            (true, Some(ttl), _) => Life::For(ttl.into()),
            (true, None, Some(class)) => {
                let ttl = self.core().guard.class_ttl(class);
                ttl.map_or(Life::Tier, Life::For)
            }
            (true, None, None) if flight.errand.classed => Life::Class,
            (true, None, None) => Life::Tier,
        };
        let mut tags = flight.errand.tags.clone();
        tags.extend(loaded.tags.iter().map(|tag| self.namer.tag(tag)));
        tags.truncate(crate::envelope::TAGS_MAX);
        let body = self.body(&flight.errand.key, loaded.value, tags);
        let entry = Entry {
            stored: began,
            fresh_until: began,
            refresh_at: began,
            cost: took,
            version,
            negative,
            intact: true,
        };
        flight.land(Ok(Found { body, entry }));
        LoadReply::Fetched {
            version,
            negative,
            took,
            life,
        }
    }
}

/// Runs a loader; its panic is its error.
async fn caught<V>(load: impl Future<Output = Result<Loaded<V>, LoadError>>) -> Result<Loaded<V>, LoadError> {
    let mut load = pin!(load);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => {
                let what = said(panic.as_ref());
                tracing::error!("a loader panicked: {what}");
                let error = format!("the loader panicked: {what}");
                Poll::Ready(Err(LoadError::new(OriginFault::Error, error)))
            }
        },
    )
    .await
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("something that is no text")
}
