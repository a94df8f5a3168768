//! The library's world, which is made to be as the simulator's is: a store and an origin by the clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use seawall::{
    Address, Boxed, Cache, CacheFault, Class, Json, LoadError, Loaded, Options, OriginFault, Sealed, Store,
};
use seawall_core::guard::journal::{self, Line};
use seawall_core::guard::{Effect, LoadId, LoadReply, Reply};
use seawall_core::policies::Policies;
use seawall_core::time::{Span, Time};
use seawall_scenario::{AS_WRITTEN, Document, Place, Scenario};
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
        let (simulated, real) = (told(&simulated, end), told(&real, end));
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
            simulated.len() > 2_500,
            "{} lines say too little",
            simulated.len()
        );
    }

    async fn library(&self, simulated: &[(Time, Line)]) -> Vec<(Time, Line)> {
        let policies: Policies = self.scenario.policies(Place::Service(0));
        let cache = &self.scenario.caches[0];
        let store = Shelf {
            windows: self.cache.clone(),
            started: Instant::now(),
            held: Mutex::default(),
        };
        let timeout = Duration::from(cache.timeout);
        let cache: Cache<u64, u64> = Cache::builder("app")
            .no_memory()
            .layer(Arc::new(store), cache.ttl.map(Duration::from), timeout)
            .codec(Json)
            .policies(policies)
            .starting_at(Time::ZERO)
            .hashed_by(|key| *key)
            .seed(SEED)
            .build();
        let origin = Arc::new((self.origin.clone(), Instant::now(), brought(simulated)));
        journal::listen();
        let mut calls = Vec::new();
        for (at, line) in simulated {
            let Line::Begin { key, .. } = *line else { continue };
            tokio::time::sleep_until(origin.1 + Duration::from(at.since(Time::ZERO))).await;
            let (cache, origin) = (cache.clone(), Arc::clone(&origin));
            calls.push(tokio::spawn(async move {
                let load = move || load(Arc::clone(&origin));
                let options = Options::new().class(Class::Regular);
                // How it ends is in the journal.
                let _ = cache.get_or_load(&key, &options, load).await;
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

/// The version that the simulated origin gives.
fn brought(simulated: &[(Time, Line)]) -> u64 {
    let mut versions = simulated.iter().filter_map(|(_, line)| match line {
        Line::Load(_, LoadReply::Fetched { version, .. }, _) => Some(*version),
        _ => None,
    });
    versions.next().expect("something was loaded")
}

async fn load(origin: Arc<(Windows, Instant, u64)>) -> Result<Loaded<u64>, LoadError> {
    let (windows, started, version) = &*origin;
    match outage(windows, *started) {
        Some(Outage::Refused) => Err(LoadError::new(OriginFault::Error, "refused")),
        Some(Outage::Hangs) => std::future::pending().await,
        _ => {
            tokio::time::sleep(Duration::from_millis(24)).await;
            Ok(Loaded::new(1).version(*version))
        }
    }
}

/// What is wrong now.
fn outage(windows: &Windows, started: Instant) -> Option<Outage> {
    let now = started.elapsed().as_millis() as u64;
    let window = windows.iter().find(|(from, to, _)| (*from..*to).contains(&now));
    window.map(|(.., outage)| *outage)
}

/// What is held: since when, for how long, and what.
type Held = (Instant, Option<Duration>, Bytes);

/// A cache node like the simulator's: a hit is there at once, everything else takes its time.
#[derive(Debug)]
struct Shelf {
    windows: Windows,
    started: Instant,
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
            match outage(&self.windows, self.started) {
                Some(Outage::Refused) => Err(CacheFault::Refused),
                Some(Outage::Hangs) => Err(CacheFault::TimedOut),
                _ => {
                    let mut held = self.held.lock().expect("nobody panics with it");
                    held.insert(key.hash, (Instant::now(), value.keep, value.bytes));
                    Ok(())
                }
            }
        })
    }

    fn delete<'a>(
        &'a self,
        _: u16,
        key: &'a Address,
        _: u64,
        _: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            self.held.lock().expect("nobody panics with it").remove(&key.hash);
            Ok(())
        })
    }
}

/// Of whom a line is. What one of them says has an order; what several say at one instant has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Speaker {
    Request(usize),
    Load(LoadId),
    Guard,
}

/// The journal up to an instant, with requests by the order in which they began.
fn told(journal: &[(Time, Line)], end: Time) -> Vec<String> {
    let mut names: BTreeMap<u32, usize> = BTreeMap::new();
    let mut count = 0;
    let mut lines = Vec::new();
    for (now, line) in journal.iter().filter(|(now, _)| *now + Span::secs(1) < end) {
        if let Line::Begin { token, .. } = line {
            names.insert(*token, count);
            count += 1;
        }
        let name = |token: &u32| names.get(token).copied().unwrap_or(usize::MAX);
        let (speaker, text) = match line {
            Line::Begin {
                token,
                key,
                read,
                step,
                ..
            } => (
                Speaker::Request(name(token)),
                format!("begins with {key}, {read}: {step:?}"),
            ),
            Line::Resume { token, reply, step } => (
                Speaker::Request(name(token)),
                format!("{:?}: {step:?}", in_us(reply)),
            ),
            Line::Abandon(token) => (Speaker::Request(name(token)), "leaves".to_owned()),
            Line::Load(load, reply, step) => (Speaker::Load(*load), format!("{reply:?}: {step:?}")),
            Line::Effect(Effect::Wake(token)) => (Speaker::Guard, format!("wakes {}", name(token))),
            Line::Effect(effect) => (Speaker::Guard, format!("{effect:?}")),
        };
        lines.push((*now, speaker, text));
    }
    // It keeps the order of each speaker's lines.
    lines.sort_by_key(|(now, speaker, _)| (*now, *speaker));
    let line = |(now, speaker, text): &(Time, Speaker, String)| format!("{now:?} {speaker:?} {text}");
    lines.iter().map(line).collect()
}

/// What was found, as an envelope keeps it: in whole microseconds.
fn in_us(reply: &Reply) -> Reply {
    let floor = |at: Time| Time::from_nanos(at.as_nanos() / 1_000 * 1_000);
    match *reply {
        Reply::Found(mut entry) => {
            entry.fresh_until = floor(entry.fresh_until);
            entry.refresh_at = floor(entry.refresh_at);
            Reply::Found(entry)
        }
        reply => reply,
    }
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
