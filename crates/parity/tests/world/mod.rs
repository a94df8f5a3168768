//! The library's world, which is made to be as the simulator's is: a store and an origin by the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use seawall::envelope::VERSION_AT;
use seawall::{
    Address, Boxed, Cache, CacheFault, Class, Json, LoadError, Loaded, Options, OriginFault, Sealed, Store,
};
use seawall_core::guard::journal::{self, Line};
use seawall_core::guard::{Effect, Entry, LoadId, Outcome, Reply, Source, Step};
use seawall_core::policies::Policies;
use seawall_core::time::{Span, Time};
use seawall_scenario::{AS_WRITTEN, Cache as Cached, CacheKind, Document, Place, Scenario};
use seawall_sim::Engine;
use tokio::time::Instant;

const SEED: u64 = 7;

/// What is wrong in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    Refused,
    Hangs,
    /// At the start of the window everything is gone.
    Flushed,
}

type Windows = Vec<(u64, u64, Outage)>;

/// A scenario, and what is wrong in it in the library's words.
pub(crate) struct Parity {
    scenario: Scenario,
    cache: Windows,
    origin: Windows,
}

impl Parity {
    pub(crate) fn new(document: &str) -> Parity {
        let text = format!("title = \"parity\"\n{document}");
        let document = Document::parse("parity.toml", &text).unwrap_or_else(|mistakes| {
            panic!("{:?}", mistakes.list());
        });
        let scenario = document.scenario(AS_WRITTEN, &[]);
        Parity {
            scenario: scenario.unwrap_or_else(|mistakes| panic!("{:?}", mistakes.list())),
            cache: Vec::new(),
            origin: Vec::new(),
        }
    }

    pub(crate) fn cache(mut self, from_ms: u64, to_ms: u64, outage: Outage) -> Parity {
        self.cache.push((from_ms, to_ms, outage));
        self
    }

    pub(crate) fn origin(mut self, from_ms: u64, to_ms: u64, outage: Outage) -> Parity {
        self.origin.push((from_ms, to_ms, outage));
        self
    }

    /// Plays it in both worlds and compares.
    pub(crate) fn compare(&self) {
        journal::listen();
        let options = seawall_sim::Options {
            seed: SEED,
            run: 0,
            scale: 1.0,
            engine: Engine::Exact,
        };
        seawall_sim::simulate(&self.scenario, &options, &|_| {}).expect("it can be played");
        let simulated = journal::take();
        let end = simulated.last().expect("something happened").0;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = runtime.expect("there is a runtime");
        let real = runtime.block_on(self.library(&simulated));
        let memory = self.memory().is_some();
        let (simulated, real) = (told(&simulated, end, memory), told(&real, end, memory));
        for (index, (left, right)) in simulated.iter().zip(&real).enumerate() {
            assert_eq!(
                left,
                right,
                "line {index} differs:\n{}",
                around(index, &simulated, &real)
            );
        }
        assert_eq!(simulated.len(), real.len());
        assert!(
            simulated.len() > 1_000,
            "{} lines say too little",
            simulated.len()
        );
    }

    /// The local cache, where there is one.
    fn memory(&self) -> Option<&Cached> {
        let mut caches = self.scenario.caches.iter();
        caches.find(|cache| cache.kind == CacheKind::Local)
    }

    async fn library(&self, simulated: &[(Time, Line)]) -> Vec<(Time, Line)> {
        let policies: Policies = self.scenario.policies(Place::Service(0));
        let mut caches = self.scenario.caches.iter();
        let cache = caches.find(|cache| cache.kind == CacheKind::Shared);
        let cache = cache.expect("there is a shared cache");
        let timeout = Duration::from(cache.timeout);
        let store = Shelf {
            windows: self.cache.clone(),
            started: Instant::now(),
            patience: timeout,
            held: Mutex::default(),
        };
        let builder = match self.memory().map(|memory| memory.ttl) {
            Some(ttl) => Cache::builder("app").memory_ttl(ttl.expect("it has a TTL").into()),
            None => Cache::builder("app").no_memory(),
        };
        let cache: Cache<u64, u64> = builder
            .layer(Arc::new(store), cache.ttl.map(Duration::from), timeout)
            .codec(Json)
            .policies(policies)
            .starting_at(Time::ZERO)
            .hashed_by(|key| *key)
            .seed(SEED)
            .build();
        let origin = Arc::new(Origin {
            windows: self.origin.clone(),
            started: Instant::now(),
            versions: Mutex::default(),
        });
        journal::listen();
        let mut calls = Vec::new();
        for (at, line) in simulated {
            let Line::Begin { key, read, .. } = *line else {
                continue;
            };
            let at = origin.started + Duration::from(at.since(Time::ZERO));
            tokio::time::sleep_until(at).await;
            let (cache, origin) = (cache.clone(), Arc::clone(&origin));
            calls.push(tokio::spawn(async move {
                let options = Options::new().class(Class::Regular);
                // How it ends is in the journal.
                if read {
                    let load = move || Arc::clone(&origin).load(key);
                    let _ = cache.get_or_load(&key, &options, load).await;
                } else {
                    let _ = cache.write_versioned(&key, &options, || origin.write(key)).await;
                }
            }));
            tokio::task::yield_now().await;
        }
        for call in calls {
            call.await.expect("no call panics");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        journal::take()
    }
}

/// An origin like the simulator's: every call takes the same time, and each write makes the next version.
struct Origin {
    windows: Windows,
    started: Instant,
    /// By key; and the last one that was made.
    versions: Mutex<(BTreeMap<u64, u64>, u64)>,
}

impl Origin {
    async fn work(&self) -> Result<(), LoadError> {
        match outage(&self.windows, self.started) {
            Some(Outage::Refused) => Err(LoadError::new(OriginFault::Error, "refused")),
            Some(Outage::Hangs) => std::future::pending().await,
            _ => {
                tokio::time::sleep(Duration::from_millis(24)).await;
                Ok(())
            }
        }
    }

    async fn load(self: Arc<Self>, key: u64) -> Result<Loaded<u64>, LoadError> {
        self.work().await?;
        let versions = self.versions.lock().expect("nobody panics with it");
        let version = versions.0.get(&key).copied().unwrap_or(0);
        Ok(Loaded::new(key).version(version))
    }

    async fn write(&self, key: u64) -> Result<((), u64), LoadError> {
        self.work().await?;
        let mut versions = self.versions.lock().expect("nobody panics with it");
        versions.1 += 1;
        let version = versions.1;
        versions.0.insert(key, version);
        Ok(((), version))
    }
}

/// What is wrong now.
fn outage(windows: &Windows, started: Instant) -> Option<Outage> {
    under_way(windows, started).map(|(outage, _)| outage)
}

/// An outage that is under way, and for how long.
fn under_way(windows: &Windows, started: Instant) -> Option<(Outage, Duration)> {
    let elapsed = started.elapsed();
    let now = elapsed.as_millis() as u64;
    let window = windows.iter().find(|(from, to, _)| (*from..*to).contains(&now));
    window.map(|(from, _, outage)| (*outage, elapsed.saturating_sub(Duration::from_millis(*from))))
}

/// What is held: since when, for how long, and what.
type Held = (Instant, Option<Duration>, Bytes);

/// A cache node like the simulator's: a hit is there at once, everything else takes its time.
#[derive(Debug)]
struct Shelf {
    windows: Windows,
    started: Instant,
    patience: Duration,
    held: Mutex<BTreeMap<u64, Held>>,
}

impl Shelf {
    fn read(&self, key: u64) -> Option<Bytes> {
        let held = self.held.lock().expect("nobody panics with it");
        let (stored, keep, bytes) = held.get(&key)?;
        let flushed = self.windows.iter().any(|(at, _, outage)| {
            let at = self.started + Duration::from_millis(*at);
            *outage == Outage::Flushed && *stored < at && at <= Instant::now()
        });
        let alive = keep.is_none_or(|keep| stored.elapsed() < keep);
        (alive && !flushed).then(|| bytes.clone())
    }
}

impl Store for Shelf {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn get<'a>(
        &'a self,
        _: u16,
        key: &'a Address,
        _: Duration,
    ) -> Boxed<'a, Result<Option<Bytes>, CacheFault>> {
        let found = self.read(key.hash);
        let outage = outage(&self.windows, self.started);
        Box::pin(async move {
            match outage {
                Some(Outage::Hangs) => std::future::pending().await,
                None | Some(Outage::Flushed) if found.is_some() => Ok(found),
                outage => {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    let refused = outage == Some(Outage::Refused);
                    if refused {
                        Err(CacheFault::Refused)
                    } else {
                        Ok(None)
                    }
                }
            }
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
            let outage = under_way(&self.windows, self.started);
            let hangs = match outage {
                Some((Outage::Refused, _)) => return Err(CacheFault::Refused),
                Some((Outage::Hangs, since)) => Some(since),
                _ => None,
            };
            if hangs.is_some_and(|since| since > self.patience) {
                // Its connections are given up by then, and there are no others.
                return std::future::pending().await;
            }
            self.held
                .lock()
                .expect("nobody panics with it")
                .insert(key.hash, (Instant::now(), value.keep, value.bytes));
            // A process that stood still reads its socket to the end when it goes on: it is written, and too late.
            if hangs.is_some() {
                return std::future::pending().await;
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
            let mut held = self.held.lock().expect("nobody panics with it");
            if held
                .get(&key.hash)
                .is_some_and(|(.., bytes)| version(bytes) < below)
            {
                held.remove(&key.hash);
            }
            Ok(())
        })
    }
}

/// Of whom a line is. What one of them says has an order; what several say at one instant has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Speaker {
    Request(Time, u64),
    Load(LoadId),
    Guard,
}

/// The version of the value in an envelope.
fn version(bytes: &Bytes) -> u64 {
    let mut version = [0; 8];
    version.copy_from_slice(&bytes[VERSION_AT]);
    u64::from_be_bytes(version)
}

/// The journal up to an instant. Requests go by when they began and for which key.
///
/// With `memory`, reads that it answered are left out: the library settles them without asking its guard.
fn told(journal: &[(Time, Line)], end: Time, memory: bool) -> Vec<String> {
    let mut names: BTreeMap<u32, Speaker> = BTreeMap::new();
    let mut lines = Vec::new();
    let mut hits = BTreeSet::new();
    for (now, line) in journal.iter().filter(|(now, _)| *now + Span::secs(1) < end) {
        if let Line::Begin { token, key, .. } = line {
            names.insert(*token, Speaker::Request(*now, *key));
        }
        let name = |token: &u32| names.get(token).copied().unwrap_or(Speaker::Guard);
        let (speaker, text) = match line {
            Line::Begin {
                token, read, step, ..
            } => (name(token), format!("begins, {read}: {step:?}")),
            Line::Resume { token, reply, step } => {
                if matches!(
                    step,
                    Step::Done(Outcome::Answer {
                        from: Source::Tier(0),
                        ..
                    })
                ) {
                    hits.insert(name(token));
                }
                (name(token), format!("{:?}: {step:?}", rounded_reply(reply)))
            }
            Line::Abandon(token) => (name(token), "leaves".to_owned()),
            Line::Load(load, reply, step) => (Speaker::Load(*load), format!("{reply:?}: {step:?}")),
            Line::Effect(Effect::Wake(token)) => (Speaker::Guard, format!("wakes {:?}", name(token))),
            Line::Effect(effect) => (Speaker::Guard, format!("{:?}", rounded_effect(*effect))),
        };
        lines.push((*now, speaker, text));
    }
    if memory {
        lines.retain(|(_, speaker, _)| !hits.contains(speaker));
        for (.., text) in &mut lines {
            // How long a look into memory may take, which takes no time.
            *text = text.replace(
                "tier: 0, node: 0, timeout: 500ms",
                "tier: 0, node: 0, timeout: for ever",
            );
        }
    }
    // It keeps the order of each speaker's lines.
    lines.sort_by_key(|(now, speaker, _)| (*now, *speaker));
    let line = |(now, speaker, text): &(Time, Speaker, String)| format!("{now:?} {speaker:?} {text}");
    lines.iter().map(line).collect()
}

/// An entry as an envelope keeps it: its instants in whole microseconds.
fn rounded(mut entry: Entry) -> Entry {
    let floor = |at: Time| Time::from_nanos(at.as_nanos() / 1_000 * 1_000);
    entry.fresh_until = floor(entry.fresh_until);
    entry.refresh_at = floor(entry.refresh_at);
    entry
}

fn rounded_reply(reply: &Reply) -> Reply {
    match *reply {
        Reply::Found(entry) => Reply::Found(rounded(entry)),
        reply => reply,
    }
}

fn rounded_effect(mut effect: Effect) -> Effect {
    if let Effect::Fill { entry, .. } = &mut effect {
        *entry = rounded(*entry);
    }
    effect
}

/// What was said before and after, on both sides.
fn around(index: usize, simulated: &[String], real: &[String]) -> String {
    let shown = index.saturating_sub(6)..index + 6;
    let side = |name: &str, lines: &[String]| {
        let lines: Vec<&str> = shown
            .clone()
            .filter_map(|at| lines.get(at))
            .map(String::as_str)
            .collect();
        format!("{name}:\n  {}\n", lines.join("\n  "))
    };
    side("simulated", simulated) + &side("library", real)
}
