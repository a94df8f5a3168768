//! What cannot be drilled here, and why: found out before anything is started.

use seawall_scenario::{CacheKind, Place, Scaled};

use super::{actions, becomes, system};

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
