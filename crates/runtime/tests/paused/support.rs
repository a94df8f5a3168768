//! A store and an origin that take time and fail as they are told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use seawall::envelope::{DIGEST_AT, VERSION_AT};
use seawall::{Address, Boxed, Cache, CacheFault, LoadError, Loaded, OriginFault, Sealed, Store};

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Trouble {
    #[default]
    None,
    Fault(CacheFault),
    Hangs,
}

#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) held: BTreeMap<String, Bytes>,
    pub(crate) leases: BTreeMap<String, u32>,
    pub(crate) trouble: Trouble,
    pub(crate) latency: Duration,
    /// What deletes take besides.
    pub(crate) delete_latency: Duration,
    pub(crate) calls: Vec<(&'static str, String)>,
}

/// A store in this process that several caches may share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    shelf: Arc<Mutex<Shelf>>,
    name: &'static str,
    process: u32,
}

impl Shared {
    pub(crate) fn new(name: &'static str) -> Shared {
        Shared {
            shelf: Arc::default(),
            name,
            process: 0,
        }
    }

    /// The same store as another process sees it.
    pub(crate) fn of_process(&self, process: u32) -> Shared {
        Shared {
            process,
            ..self.clone()
        }
    }

    pub(crate) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("no test panics with the shelf in hand")
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.shelf().trouble = trouble;
    }

    pub(crate) fn calls(&self, what: &str) -> usize {
        self.shelf()
            .calls
            .iter()
            .filter(|(call, _)| *call == what)
            .count()
    }

    async fn enter(&self, what: &'static str, key: &Address) -> Result<(), CacheFault> {
        let (trouble, latency) = {
            let mut inner = self.shelf();
            inner.calls.push((what, key.text.to_string()));
            let deletes = if what == "delete" {
                inner.delete_latency
            } else {
                Duration::ZERO
            };
            (inner.trouble, inner.latency + deletes)
        };
        tokio::time::sleep(latency).await;
        match trouble {
            Trouble::None => Ok(()),
            Trouble::Fault(fault) => Err(fault),
            Trouble::Hangs => std::future::pending().await,
        }
    }
}

fn version(bytes: &Bytes) -> u64 {
    let mut version = [0; 8];
    version.copy_from_slice(&bytes[VERSION_AT]);
    u64::from_be_bytes(version)
}

impl Store for Shared {
    fn name(&self) -> &str {
        self.name
    }

    fn get<'a>(
        &'a self,
        _: u16,
        key: &'a Address,
        _: Duration,
    ) -> Boxed<'a, Result<Option<Bytes>, CacheFault>> {
        Box::pin(async move {
            self.enter("get", key).await?;
            Ok(self.shelf().held.get(&*key.text).cloned())
        })
    }

    fn put<'a>(
        &'a self,
        _: u16,
        key: &'a Address,
        value: Sealed,
        _: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            self.enter("put", key).await?;
            let mut inner = self.shelf();
            let ours = |held: &&Bytes| {
                held.starts_with(b"SWL")
                    && held.len() >= DIGEST_AT.end
                    && held[DIGEST_AT] == value.bytes[DIGEST_AT]
            };
            let newer = inner
                .held
                .get(&*key.text)
                .filter(ours)
                .is_some_and(|held| version(held) > value.version);
            if !newer {
                inner.held.insert(key.text.to_string(), value.bytes);
            }
            Ok(())
        })
    }

    fn delete<'a>(
        &'a self,
        _: u16,
        key: &'a Address,
        below: u64,
        _: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            self.enter("delete", key).await?;
            let mut inner = self.shelf();
            if below == u64::MAX
                || inner
                    .held
                    .get(&*key.text)
                    .is_some_and(|held| version(held) < below)
            {
                inner.held.remove(&*key.text);
            }
            Ok(())
        })
    }

    fn lease<'a>(
        &'a self,
        _: u16,
        key: &'a Address,
        _: Duration,
        _: Duration,
    ) -> Boxed<'a, Result<bool, CacheFault>> {
        Box::pin(async move {
            self.enter("lease", key).await?;
            let mut inner = self.shelf();
            let holder = *inner.leases.entry(key.text.to_string()).or_insert(self.process);
            Ok(holder == self.process)
        })
    }

    fn give_back<'a>(&'a self, _: u16, key: &'a Address, _: Duration) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            self.enter("give back", key).await?;
            self.shelf().leases.remove(&*key.text);
            Ok(())
        })
    }
}

/// An origin that counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Db {
    pub(crate) loads: Arc<AtomicU64>,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    latency: Duration,
    fails: bool,
    value: Option<String>,
}

impl Db {
    pub(crate) fn new(latency: Duration) -> Db {
        let db = Db::default();
        db.state().latency = latency;
        db.says("one");
        db
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the state in hand")
    }

    pub(crate) fn says(&self, value: &str) {
        self.state().value = Some(value.to_owned());
    }

    pub(crate) fn has_nothing(&self) {
        self.state().value = None;
    }

    pub(crate) fn fails(&self, fails: bool) {
        self.state().fails = fails;
    }

    pub(crate) fn takes(&self, latency: Duration) {
        self.state().latency = latency;
    }

    pub(crate) fn count(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    pub(crate) async fn load(self) -> Result<Loaded<String>, LoadError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let state = self.state().clone();
        tokio::time::sleep(state.latency).await;
        if state.fails {
            return Err(LoadError::new(OriginFault::Error, "the database is down"));
        }
        Ok(state.value.into())
    }

    /// Something to call with each read.
    pub(crate) fn loader(
        &self,
    ) -> impl Fn() -> Boxed<'static, Result<Loaded<String>, LoadError>> + Send + Sync + 'static + use<> {
        let db = self.clone();
        move || Box::pin(db.clone().load())
    }
}

pub(crate) type Users = Cache<u64, String>;

/// Lets everything that is ready run.
pub(crate) async fn calm() {
    tokio::time::sleep(ms(50)).await;
}

/// Nothing may be left when all is quiet.
pub(crate) fn assert_quiet(cache: &Users) {
    let stats = cache.stats();
    assert_eq!(
        (stats.requests, stats.in_flight, stats.queued),
        (0, 0, 0),
        "all has ended"
    );
}
