//! The timer: one task that wakes the guard when it wants to be woken, and tells tiers again what they could not be
//! told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use seawall_core::time::{Span, Time};
use tokio::sync::Notify;

use crate::effects::Context;
use crate::engine::Engine;
use crate::far::Delete;
use crate::key::Key;

/// So many keys wait to be taken out of a tier that could not be told.
const REDO_MAX: usize = 4096;
/// How often it is tried.
const REDO_EVERY: Span = Span::secs(1);
/// For how long. Then the entry has outlived the longest default TTL.
const REDO_FOR: Span = Span::secs(86_400);

/// The task, and what it has to do beside waking.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    bell: Arc<Notify>,
    /// There is a task. It may go with the runtime that it runs on.
    lives: Arc<AtomicBool>,
    redo: Mutex<Redo>,
}

#[derive(Debug, Default)]
struct Redo {
    waiting: VecDeque<(Time, Delete)>,
    next: Option<Time>,
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    /// The timer has to come sooner than it thinks.
    pub(crate) fn ring(&self) {
        if let Some(runtime) = self.runtime()
            && !self.timer.lives.swap(true, Ordering::AcqRel)
        {
            let life = Life(Arc::clone(&self.timer.lives));
            runtime.spawn(run(self.me.clone(), Arc::clone(&self.timer.bell), life));
        }
        self.timer.bell.notify_one();
    }

    /// Wakes the guard if it is time, and says when the next time is.
    fn tick(&self) -> Time {
        let mut core = self.core();
        let now = self.clock.now();
        core.armed = Time::ZERO;
        let after = self.settle(&mut core, now, &Context::none());
        core.armed = core.guard.next_wake();
        let next = core.armed;
        drop(core);
        self.perform(after);
        next
    }

    /// A tier could not be told to take a key out: it is told again later.
    pub(crate) fn redo(&self, delete: Delete) {
        let now = self.clock.now();
        let mut redo = self.timer.redo.lock().unwrap_or_else(PoisonError::into_inner);
        if redo.waiting.len() >= REDO_MAX {
            redo.waiting.pop_front();
            self.meters.forgotten();
            if self.meters.may_log(now) {
                tracing::warn!(
                    cache = &*self.name,
                    "a tier cannot be told of so many invalidations: one is forgotten"
                );
            }
        }
        redo.waiting.push_back((now + REDO_FOR, delete));
        redo.next.get_or_insert(now + REDO_EVERY);
        drop(redo);
        self.ring();
    }

    /// How many invalidations a tier has not been told of.
    pub(crate) fn untold(&self) -> usize {
        let redo = self.timer.redo.lock().unwrap_or_else(PoisonError::into_inner);
        redo.waiting.len()
    }

    /// Tells tiers again. One that fails is left alone until the next time.
    async fn tell_again(self: Arc<Self>) {
        let count = self.untold();
        let mut failed = Vec::new();
        for _ in 0..count {
            let next = {
                let mut redo = self.timer.redo.lock().unwrap_or_else(PoisonError::into_inner);
                redo.waiting.pop_front()
            };
            let Some((until, delete)) = next else { break };
            let place = (delete.tier, delete.node);
            let told = !failed.contains(&place) && self.take_out(&delete).await.is_ok();
            if !told && self.clock.now() < until {
                failed.push(place);
                let mut redo = self.timer.redo.lock().unwrap_or_else(PoisonError::into_inner);
                redo.waiting.push_back((until, delete));
            }
        }
        let mut redo = self.timer.redo.lock().unwrap_or_else(PoisonError::into_inner);
        redo.next = (!redo.waiting.is_empty()).then(|| self.clock.now() + REDO_EVERY);
        drop(redo);
        self.ring();
    }

    /// Begins to tell tiers again if it is time. A tier that hangs must not hold up the timer.
    fn begin_to_tell(self: &Arc<Self>, now: Time) {
        let mut redo = self.timer.redo.lock().unwrap_or_else(PoisonError::into_inner);
        if redo.next.is_some_and(|at| at <= now) {
            redo.next = None;
            tokio::spawn(Arc::clone(self).tell_again());
        }
    }

    fn redo_at(&self) -> Time {
        let redo = self.timer.redo.lock().unwrap_or_else(PoisonError::into_inner);
        redo.next.unwrap_or(Time::NEVER)
    }
}

/// Says that the task has ended, however it ended.
struct Life(Arc<AtomicBool>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn run<K: Key, V: Clone + Send + Sync + 'static>(
    engine: Weak<Engine<K, V>>,
    bell: Arc<Notify>,
    _life: Life,
) {
    loop {
        let at = {
            let Some(engine) = engine.upgrade() else { return };
            let next = engine.tick();
            engine.begin_to_tell(engine.clock.now());
            let at = next.min(engine.redo_at());
            engine.clock.instant(at)
        };
        match at {
            Some(at) => {
                // Whichever comes first, the next round looks at both.
                let _ = tokio::time::timeout_at(at, bell.notified()).await;
            }
            None => bell.notified().await,
        }
    }
}

impl Timer {
    pub(crate) fn lives(&self) -> bool {
        self.lives.load(Ordering::Acquire)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The task wakes up, finds nobody, and ends.
        self.bell.notify_one();
    }
}
