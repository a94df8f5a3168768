//! What a prober sees of the system while it is drilled: the questions that `seawall watch` asks of a living one.
//!
//! It goes the way of the calls, through the proxies of the links, so that what is done to a link is done to it. What it
//! tells that is measured better here (what callers count themselves) is left out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seawall_core::record::Metric;
use seawall_diagnose::probe::{Options, Place, Point, Prober, Target};
use tokio::time::{Instant, MissedTickBehavior};

use super::system::{CacheNode, System};
use crate::stack::POSTGRES_USER;

/// A round of questions begins this often.
const EVERY: Duration = Duration::from_secs(1);
/// No round takes longer.
const PATIENCE: Duration = Duration::from_millis(900);
/// So many numbers wait to be noted.
const POINTS_MAX: usize = 16_384;

/// Asks once a second, until it is dropped.
pub(crate) struct Probing {
    told: Arc<Mutex<Vec<Point>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Probing {
    /// Begins to ask.
    pub(crate) fn start(system: &System) -> Probing {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (into, mut prober) = (told.clone(), prober(system));
        let task = tokio::spawn(async move {
            let mut beat = tokio::time::interval_at(Instant::now(), EVERY);
            beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                beat.tick().await;
                let points = prober.round().await.points;
                let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
                let room = POINTS_MAX.saturating_sub(into.len());
                into.extend(points.into_iter().filter(is_new).take(room));
            }
        });
        Probing { told, task }
    }

    /// What was told since the last time.
    pub(crate) fn take(&self) -> Vec<Point> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn prober(system: &System) -> Prober {
    let options = Options {
        patience: PATIENCE,
        ..Options::default()
    };
    let scenario = &system.scaled.scenario;
    let mut prober = Prober::of_nothing(options);
    for (cache, nodes) in scenario.caches.iter().zip(&system.caches) {
        let servers: Vec<_> = nodes.iter().flat_map(CacheNode::all).collect();
        for (number, server) in servers.iter().enumerate() {
            let Ok(target) = format!("redis://{}", server.door).parse::<Target>() else {
                continue;
            };
            prober = prober.with_cache(target, place(&cache.name, number, servers.len()));
        }
    }
    if system.postgres.is_none() {
        // What stands in for it speaks another language.
        return prober;
    }
    for (database, nodes) in scenario.databases.iter().zip(&system.databases) {
        for (number, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_ours()) {
            let address = format!(
                "postgres://{POSTGRES_USER}@{}/postgres?sslmode=disable",
                node.door
            );
            let Ok(target) = address.parse::<Target>() else {
                continue;
            };
            prober = prober.with_database(target, place(&database.name, number, nodes.len()));
        }
    }
    prober
}

fn place(component: &str, number: usize, of: usize) -> Place {
    Place {
        component: component.to_owned(),
        instance: (of > 1).then_some(number as u32),
    }
}

/// Whether nobody else tells it: callers count their own look-ups and loads, and doors the connections through them.
fn is_new(point: &Point) -> bool {
    !matches!(
        point.metric,
        Metric::CacheHits
            | Metric::CacheMisses
            | Metric::CacheSets
            | Metric::CacheErrors
            | Metric::CacheEntries
            | Metric::CacheEvictions
            | Metric::OriginRequests
            | Metric::OriginErrors
            | Metric::OriginInFlight
            | Metric::OriginConnections
            | Metric::OriginConnectionsLimit
    )
}
