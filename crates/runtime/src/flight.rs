//! Loads on their way, as the driver keeps them: whose they are, how to load, and what came.

use std::sync::{Arc, Mutex, PoisonError};

use seawall_core::guard::{Entry, LoadId};
use tokio::task::AbortHandle;

use crate::key::Address;
use crate::origin::{LoadError, Loader};

/// A value with its key, as everything that holds it shares it.
#[derive(Debug)]
pub(crate) struct Body<K, V> {
    pub(crate) key: K,
    /// `None`: there is no such thing.
    pub(crate) value: Option<V>,
    /// Hashes of the tags.
    pub(crate) tags: Box<[u64]>,
    /// About how many bytes it takes in memory.
    pub(crate) weight: u32,
}

/// A value with what is known of it.
#[derive(Debug)]
pub(crate) struct Found<K, V> {
    pub(crate) body: Arc<Body<K, V>>,
    pub(crate) entry: Entry,
}

impl<K, V> Clone for Found<K, V> {
    fn clone(&self) -> Found<K, V> {
        Found {
            body: Arc::clone(&self.body),
            entry: self.entry,
        }
    }
}

/// What a load is for.
pub(crate) struct Errand<K, V> {
    pub(crate) key: K,
    pub(crate) address: Arc<Address>,
    /// How to load; not at all when absent.
    pub(crate) loader: Option<Loader<V>>,
    /// Whether the call named a class.
    pub(crate) classed: bool,
    /// Whether the key goes by other bits, because it met another key with its hash: then it is loaded alone, and
    /// neither looked up nor kept, because a purge would not find it.
    pub(crate) alone: bool,
    /// Hashes of the tags that the call named.
    pub(crate) tags: Vec<u64>,
}

impl<K: Clone, V> Clone for Errand<K, V> {
    fn clone(&self) -> Errand<K, V> {
        Errand {
            key: self.key.clone(),
            address: Arc::clone(&self.address),
            loader: self.loader.clone(),
            classed: self.classed,
            alone: self.alone,
            tags: self.tags.clone(),
        }
    }
}

/// What a load has come to so far.
pub(crate) type Landed<K, V> = Result<Found<K, V>, LoadError>;

/// A load on its way. Those who wait for it share it.
pub(crate) struct Flight<K, V> {
    pub(crate) id: LoadId,
    pub(crate) errand: Errand<K, V>,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    landed: Option<Landed<K, V>>,
    task: Option<AbortHandle>,
    cancelled: bool,
}

impl<K, V> Flight<K, V> {
    pub(crate) fn new(id: LoadId, errand: Errand<K, V>) -> Flight<K, V> {
        let state = State {
            landed: None,
            task: None,
            cancelled: false,
        };
        Flight {
            id,
            errand,
            state: Mutex::new(state),
        }
    }

    /// What came, so far.
    pub(crate) fn landed(&self) -> Option<Landed<K, V>> {
        self.state().landed.clone()
    }

    /// Something came. A later attempt may bring something else.
    pub(crate) fn land(&self, landed: Landed<K, V>) {
        self.state().landed = Some(landed);
    }

    /// The task that drives it.
    pub(crate) fn driven_by(&self, task: AbortHandle) {
        let mut state = self.state();
        if state.cancelled {
            task.abort();
        }
        state.task = Some(task);
    }

    /// Stops the task that drives it, also one that is only about to begin.
    pub(crate) fn cancel(&self) {
        let mut state = self.state();
        state.cancelled = true;
        if let Some(task) = state.task.take() {
            task.abort();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
