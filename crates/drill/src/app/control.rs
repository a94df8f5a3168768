//! The listener that clients do not know: counters are asked for, and events of the timeline are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use seawall::MetricsPage;
use seawall_core::gate::Reason;
use seawall_core::policies::Policies;
use seawall_core::record::Metric;
use seawall_core::time::Span;
use seawall_scenario::{Action, Event, Fault, Knob, Place, What};
use serde::{Deserialize, Serialize};

use super::App;

/// What took how long since it was asked last, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Took {
    /// Calls to what stands behind, by its name.
    pub origins: BTreeMap<String, Vec<u64>>,
    /// Waiting for a thread.
    pub waits: Vec<u64>,
}

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/took", post(took))
        .route("/begin/{event}", post(begin))
        .route("/end/{event}", post(end))
        .route("/active", get(active))
        .route("/prefill", post(prefill))
        .route("/rewrite", post(rewrite))
        .with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> String {
    let mut page = MetricsPage::default();
    if let Some(cache) = &app.cache {
        cache.write_metrics(&mut page);
    }
    let name = app.duty.service.as_str();
    let (busy, depth) = app.work.floor.inside();
    let ways = app.work.ways();
    for (metric, value) in [
        (Metric::ThreadsBusy, f64::from(busy)),
        (Metric::QueueDepth, depth as f64),
        (Metric::InFlight, f64::from(busy) + depth as f64),
        (Metric::ThrottleRatio, ways.gate.share()),
        (Metric::DegradationLevel, f64::from(ways.gate.level())),
    ] {
        page.add(metric, name, &[], value);
    }
    for (reason, count) in Reason::ALL.iter().zip(ways.shed) {
        page.add(Metric::Shed, name, &[("reason", reason.name())], count as f64);
    }
    drop(ways);
    for behind in &app.behind {
        let counted = behind.counted();
        let origin = behind.name();
        page.add(Metric::OriginRequests, origin, &[], counted.requests as f64);
        page.add(Metric::OriginErrors, origin, &[], counted.errors as f64);
        page.add(Metric::OriginInFlight, origin, &[], counted.in_flight as f64);
    }
    page.text()
}

async fn took(State(app): State<Arc<App>>) -> Json<Took> {
    let micros = |spans: Vec<Span>| spans.into_iter().map(|span| span.as_nanos() / 1_000).collect();
    Json(Took {
        origins: app
            .behind
            .iter()
            .map(|behind| (behind.name().to_owned(), micros(behind.took())))
            .collect(),
        waits: micros(app.work.floor.waits()),
    })
}

type Told = Result<StatusCode, (StatusCode, String)>;

async fn begin(State(app): State<Arc<App>>, Path(index): Path<usize>) -> Told {
    told(&app, index, true)
}

async fn end(State(app): State<Arc<App>>, Path(index): Path<usize>) -> Told {
    told(&app, index, false)
}

async fn active(State(app): State<Arc<App>>) -> Json<Vec<usize>> {
    let active = app
        .active
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    Json(active.iter().copied().collect())
}

async fn prefill(State(app): State<Arc<App>>) -> Json<u64> {
    Json(app.prefill().await)
}

/// Entries that are to be written again, with a time of life in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rewritten {
    /// Their keys.
    pub keys: Vec<u64>,
    /// How long all of them live from now on, in milliseconds.
    pub ttl_ms: u64,
}

async fn rewrite(State(app): State<Arc<App>>, Json(order): Json<Rewritten>) -> Json<u64> {
    Json(app.rewrite(&order).await)
}

fn told(app: &App, index: usize, begins: bool) -> Told {
    let Some(event) = app.scaled.scenario.timeline.get(index).cloned() else {
        return Err((StatusCode::NOT_FOUND, "the timeline has no such event".to_owned()));
    };
    match &event.what {
        What::Fault(_) => {
            let mut active = app
                .active
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if begins {
                active.insert(index);
            } else {
                active.remove(&index);
            }
            let events: Vec<Event> = active
                .iter()
                .map(|at| app.scaled.scenario.timeline[*at].clone())
                .collect();
            drop(active);
            app.remake(&events);
        }
        What::Action(action) if begins => app.act(&event, action),
        What::Action(_) => {}
    }
    Ok(StatusCode::NO_CONTENT)
}

impl App {
    /// Makes what the faults that are under way make of it.
    fn remake(&self, events: &[Event]) {
        let index = self.index();
        let service = &self.scaled.scenario.services[index];
        let (mut slow, mut leak) = (1.0, service.leak.as_ref().map(|leak| leak.after));
        let (mut never_stored, mut ttl_ignored) = (false, false);
        for event in events {
            let mine = event.on == Some(Place::Service(index));
            let cached = matches!(event.on, Some(Place::Cache(cache)) if service.caches.contains(&cache));
            match &event.what {
                What::Fault(Fault::Starve { share }) if mine => slow *= 1.0 / (1.0 - share).max(0.001),
                What::Fault(Fault::Slow { factor }) if mine => slow *= factor,
                What::Fault(Fault::Leak { after, .. }) if mine => leak = Some(*after),
                What::Fault(Fault::NeverStored) if cached => never_stored = true,
                What::Fault(Fault::TtlIgnored) if cached => ttl_ignored = true,
                _ => {}
            }
        }
        self.rule.set_never_stored(never_stored);
        self.rule.set_ttl_ignored(ttl_ignored);
        let mut ways = self.work.ways();
        ways.slow = slow;
        ways.leak = leak;
    }

    fn act(&self, event: &Event, action: &Action) {
        let place = Place::Service(self.index());
        match action {
            Action::Protect(protections) => self.retune(|policies| {
                for protection in protections.iter().filter(|one| one.at.contains(&place)) {
                    protection.setting.apply(policies);
                }
            }),
            Action::Unprotect(names) => self.retune(|policies| {
                for name in names {
                    name.remove(policies);
                }
            }),
            Action::Set(knob) if event.on == Some(place) => self.set(knob),
            Action::Warm { pace } if self.looks_into(event.on) => self.warm(*pace),
            _ => {}
        }
    }

    /// Whether it is a cache of this service.
    fn looks_into(&self, place: Option<Place>) -> bool {
        let service = &self.scaled.scenario.services[self.index()];
        matches!(place, Some(Place::Cache(cache)) if service.caches.contains(&cache))
    }

    pub(super) fn retune(&self, change: impl FnOnce(&mut Policies)) {
        let now = self.work.now();
        let mut ways = self.work.ways();
        change(&mut ways.policies);
        let place = Place::Service(self.index());
        let policies = self.scaled.resized(&ways.policies, place);
        ways.gate.retune(now, &policies);
        ways.cancels = policies.deadline.cancel;
        let line = policies.line(ways.places);
        drop(ways);
        self.work.floor.set_line(line);
        if let Some(cache) = &self.cache {
            cache.retune(&policies);
        }
    }

    fn set(&self, knob: &Knob) {
        let instances = self.scaled.scenario.services[self.index()].instances.max(1);
        let mut ways = self.work.ways();
        match knob {
            Knob::TripsAbove(above) => {
                if let Some(trips) = &mut ways.trips {
                    trips.above = above / instances;
                }
            }
            Knob::Availability(share) => ways.availability = *share,
            Knob::ServiceTime(law) => ways.service_time = *law,
            Knob::Threads(threads) => self.work.floor.set_threads(Some(*threads)),
            Knob::Queue(places) => {
                ways.places = Some(*places);
                let line = ways.policies.line(ways.places);
                self.work.floor.set_line(line);
            }
            _ => {}
        }
    }
}
