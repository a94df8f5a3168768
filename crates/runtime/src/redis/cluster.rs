//! A cluster: which of its nodes has a slot, learnt from the cluster and corrected by it.
//!
//! A redirection is followed once. Whatever says that the map is old has it fetched anew in the background, by one task at
//! a time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::redis::{Cmd, Value, cmd};
use seawall_core::guard::CacheFault;

use super::config::ConfigError;
use super::dial::{Dial, Place, Wire};
use super::lane::{Failure, Link};
use super::slot::{self, SLOTS};
use super::turns::Turns;

/// Between two attempts to fetch the map.
const PAUSE: Duration = Duration::from_millis(200);
/// One node is given so long to tell the map.
const ASK_FOR: Duration = Duration::from_millis(500);
/// A cluster has at most so many masters; what a node says beyond that is not believed.
const MASTERS_MAX: usize = 1024;

pub(super) struct Cluster {
    wire: Arc<Wire>,
    seeds: Vec<Arc<Link>>,
    /// Tag and slot of each partition.
    partitions: Vec<(String, u16)>,
    map: RwLock<Map>,
    fetches: Turns,
}

#[derive(Default)]
struct Map {
    masters: BTreeMap<Place, Arc<Link>>,
    /// The last slot of each range, and who has it.
    ranges: BTreeMap<u16, (u16, Arc<Link>)>,
    /// Slots that moved since.
    moved: BTreeMap<u16, Arc<Link>>,
}

impl Map {
    fn link(&self, slot: u16) -> Option<Arc<Link>> {
        if let Some(link) = self.moved.get(&slot) {
            return Some(Arc::clone(link));
        }
        let (_, (first, link)) = self.ranges.range(slot..).next()?;
        (*first <= slot).then(|| Arc::clone(link))
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Cluster")
            .field("seeds", &self.seeds)
            .field("masters", &map.masters)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    pub(super) fn new(
        wire: Arc<Wire>,
        seeds: &[Place],
        partitions: u16,
    ) -> Result<Arc<Cluster>, ConfigError> {
        let seed = |place: &Place| Dial::new(&wire, place).map(|dial| Arc::new(Link::new(dial)));
        let seeds = seeds.iter().map(seed).collect::<Result<_, _>>()?;
        let tags = slot::tags(partitions).into_iter();
        Ok(Arc::new(Cluster {
            wire,
            seeds,
            partitions: tags
                .map(|tag| {
                    let slot = slot::of(tag.as_bytes());
                    (tag, slot)
                })
                .collect(),
            map: RwLock::default(),
            fetches: Turns::new(),
        }))
    }

    pub(super) fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }

    pub(super) fn tag(&self, partition: u16) -> &str {
        &self.partitions[usize::from(partition)].0
    }

    pub(super) async fn call(self: &Arc<Cluster>, partition: u16, cmd: &Cmd) -> Result<Value, Failure> {
        let slot = self.partitions[usize::from(partition)].1;
        let link = self.link(slot).await?;
        let result = match link.call(cmd).await {
            Err(Failure::Moved { slot, to }) => {
                let link = self.moved(slot, &to)?;
                self.refresh();
                link.call(cmd).await
            }
            Err(Failure::Ask { to }) => self.link_to(&to)?.call_asking(cmd).await,
            result => result,
        };
        if let Err(failure) = &result
            && let CacheFault::Refused
            | CacheFault::TimedOut
            | CacheFault::Reset
            | CacheFault::Moved
            | CacheFault::ReadOnly
            | CacheFault::Unavailable = failure.fault()
        {
            self.refresh();
        }
        result
    }

    /// Who has this slot; when nobody is known to have it, after the map was fetched.
    async fn link(self: &Arc<Cluster>, slot: u16) -> Result<Arc<Link>, CacheFault> {
        let find = || {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            map.link(slot)
        };
        if let Some(link) = find() {
            return Ok(link);
        }
        let mut fetched = self.fetches.watch();
        self.refresh();
        // A caller's own time ends the wait.
        let _ = fetched.changed().await;
        find().ok_or(CacheFault::Unavailable)
    }

    fn link_to(&self, place: &Place) -> Result<Arc<Link>, CacheFault> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = map.masters.get(place) {
            return Ok(Arc::clone(link));
        }
        if map.masters.len() >= MASTERS_MAX {
            return Err(CacheFault::Moved);
        }
        let dial = Dial::new(&self.wire, place).map_err(|_| CacheFault::Moved)?;
        let link = Arc::new(Link::new(dial));
        map.masters.insert(place.clone(), Arc::clone(&link));
        Ok(link)
    }

    fn moved(&self, slot: u16, to: &Place) -> Result<Arc<Link>, CacheFault> {
        let link = self.link_to(to)?;
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if slot < SLOTS {
            map.moved.insert(slot, Arc::clone(&link));
        }
        Ok(link)
    }

    /// Has the map fetched, unless it is being fetched.
    fn refresh(self: &Arc<Cluster>) {
        if self.fetches.want() {
            tokio::spawn(Fetch(Arc::clone(self)).run());
        }
    }

    /// Asks one node after the other, and takes the first map.
    async fn fetch(&self) {
        let mut links: Vec<Arc<Link>> = {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            map.masters.values().cloned().collect()
        };
        links.extend(self.seeds.iter().cloned());
        for link in links {
            let mut slots = cmd("CLUSTER");
            slots.arg("SLOTS");
            let Ok(Ok(answer)) = tokio::time::timeout(ASK_FOR, link.call(&slots)).await else {
                continue;
            };
            let ranges = ranges(&answer, link.place());
            if !ranges.is_empty() {
                self.take(ranges);
                return;
            }
        }
    }

    fn take(&self, ranges: Vec<(u16, u16, Place)>) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::take(&mut *map);
        for (first, last, place) in ranges {
            let known = map.masters.get(&place).or_else(|| old.masters.get(&place));
            let link = match known.map(Arc::clone) {
                Some(link) => link,
                None if map.masters.len() >= MASTERS_MAX => continue,
                None => match Dial::new(&self.wire, &place) {
                    Ok(dial) => Arc::new(Link::new(dial)),
                    Err(_) => continue,
                },
            };
            map.masters.insert(place, Arc::clone(&link));
            map.ranges.insert(last, (first, link));
        }
    }
}

/// The task that fetches the map. However it ends, another one may begin.
struct Fetch(Arc<Cluster>);

impl Fetch {
    async fn run(self) {
        loop {
            self.0.fetch().await;
            self.0.fetches.done();
            tokio::time::sleep(PAUSE).await;
            if !self.0.fetches.again() {
                std::mem::forget(self);
                return;
            }
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.0.fetches.end();
    }
}

/// First slot, last slot and master of each range in the answer to `CLUSTER SLOTS`. A master without an address is who
/// was asked.
fn ranges(answer: &Value, asked: &Place) -> Vec<(u16, u16, Place)> {
    let Value::Array(ranges) = answer else {
        return Vec::new();
    };
    let read = |range: &Value| {
        let Value::Array(range) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else {
            return None;
        };
        let [host, Value::Int(port), ..] = &master[..] else {
            return None;
        };
        let host = match host {
            Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
            _ => asked.host.clone(),
        };
        let port = u16::try_from(*port).ok()?;
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        (first <= last && last < SLOTS).then_some((first, last, Place { host, port }))
    };
    ranges.iter().take(usize::from(SLOTS)).filter_map(read).collect()
}
