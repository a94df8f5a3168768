//! What cannot be drilled here, and why: found out before anything is started.

use std::path::Path;
use std::sync::Arc;

use seawall_scenario::{CacheKind, CacheMode, Fault, Place, Scaled, What};

use super::{actions, becomes, system};
use crate::inject::{Means, possible};
use crate::keeper::Keeper;

/// Why this scenario cannot be drilled here; nothing when it can.
pub fn refusals(scaled: &Scaled, embedded: bool) -> Vec<String> {
    let scenario = &scaled.scenario;
    let mut refusals = Vec::new();
    let mut refuse = |why: String| refusals.push(why);
    if !scenario.environment.test {
        refuse(
            "it does not say that its environment is one for tests: add `[environment]` with `test = true`"
                .into(),
        );
    }
    if let Some(most) = scenario.environment.rate_max {
        let rate: f64 = scenario.clients.iter().map(|client| client.rate).sum();
        if rate > f64::from(most) {
            refuse(format!(
                "its clients send {rate:.0} calls a second, and `[environment] rate_max` is {most}; try a smaller --scale"
            ));
        }
    }
    refusals.extend(system::too_many_rows(scaled));
    let environment = &scenario.environment;
    for (at, service) in scenario.services.iter().enumerate() {
        let runs = environment.run.iter().map(|(place, _)| *place);
        let mut own = runs.chain(environment.at.iter().map(|(place, _)| *place));
        let users = own.any(|place| place == Place::Service(at));
        let origin = environment
            .at
            .iter()
            .find(|(place, _)| Some(*place) == service.origin);
        if let (false, Some((Place::Database(_), address))) = (users, origin) {
            refusals.push(format!(
                "`service.{}` would read its own table from the database at `{address}`, which is not the drill's: \
                 give the service a program of your own in `[environment.run]`",
                service.name
            ));
        }
    }
    for service in &scenario.services {
        let shared = |at: &&usize| scenario.caches[**at].kind == CacheKind::Shared;
        if service.caches.iter().filter(shared).count() > 1 {
            refusals.push(format!(
                "`service.{}` looks into two shared caches, and a drill knows one",
                service.name
            ));
        }
        if !service.caches.is_empty() && service.origin.is_none() {
            refusals.push(format!(
                "`service.{}` has a cache and nothing behind it",
                service.name
            ));
        }
    }
    for (at, cache) in scenario.caches.iter().enumerate() {
        let stands = becomes::stands(scaled, Place::Cache(at), embedded);
        if cache.mode == CacheMode::Cluster && stands == becomes::Stands::StandIn {
            refusals.push(format!(
                "`cache.{}` is a cluster, which the embedded cache server is not; install redis-server",
                cache.name
            ));
        }
    }
    for event in &scenario.timeline {
        if let Some(why) = becomes::refusal(scaled, event, embedded) {
            refusals.push(format!("{}: {why}", scenario.describe(event)));
        }
        if let Some(why) = actions::impossible(scaled, event) {
            refusals.push(format!("{}: {why}", scenario.describe(event)));
        }
    }
    refusals
}

/// What the faults of a scenario need of this machine, and the first of them that does.
fn needed(scaled: &Scaled, embedded: bool) -> Vec<(Means, String)> {
    let mut needed: Vec<(Means, String)> = Vec::new();
    for event in &scaled.scenario.timeline {
        let means = match (&event.what, event.on) {
            (What::Fault(Fault::DiskFull), _) => Means::Disk,
            (What::Fault(Fault::Loading), _) => Means::SlowLoading,
            _ => continue,
        };
        if !embedded && needed.iter().all(|(known, _)| *known != means) {
            needed.push((means, scaled.scenario.describe(event)));
        }
    }
    needed
}

/// What this machine cannot do of it, found out by doing it on a small scale and undoing it.
pub(super) async fn impossible(keeper: &Arc<Keeper>, scaled: &Scaled, embedded: bool) -> Vec<String> {
    let mut refusals = Vec::new();
    for (means, what) in needed(scaled, embedded) {
        if let Err(error) = possible(keeper, means).await {
            refusals.push(format!("{what}: {error}"));
        }
    }
    refusals
}

/// The same for those who ask before there is a drill. `program` is `seawall` itself. Nothing is started when no fault needs
/// anything.
pub fn refusals_of_this_machine(scaled: &Scaled, embedded: bool, program: &Path) -> Vec<String> {
    if needed(scaled, embedded).is_empty() {
        return Vec::new();
    }
    let asked = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("failed to start a thread: {error}"))?;
        let keeper = Keeper::start(program, &["keeper"]).map_err(|error| error.to_string())?;
        let keeper = Arc::new(keeper);
        Ok(runtime.block_on(impossible(&keeper, scaled, embedded)))
    };
    asked().unwrap_or_else(|why: String| vec![why])
}
