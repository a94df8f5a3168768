//! What is played: a scenario in its size, when the engines can play it.

use seawall_scenario::{Action, CacheKind, Fault, Keys, Place, Scenario, What};

use crate::{Options, Refusal};

/// What is played.
pub(crate) use seawall_scenario::Scaled as Plan;

/// The most entries, keys and instances together that a run may hold, as a guard against a mistyped number.
const THINGS_MAX: f64 = 4e8;

/// The scenario in the size that the options ask for.
pub(crate) fn of(scenario: &Scenario, options: &Options) -> Result<Plan, Refusal> {
    let scale = options.scale;
    if !(scale > 0.0 && scale <= 1.0) {
        return Err(Refusal(format!(
            "the scale is {scale}, which is not above 0 and at most 1"
        )));
    }
    let plan = scenario.with_failovers().scaled(scale);
    check(&plan)?;
    Ok(plan)
}

/// A cache in an instance's own memory has no network and no server that could fail.
fn check_local(plan: &Plan) -> Result<(), Refusal> {
    for event in &plan.scenario.timeline {
        let Some(Place::Cache(index)) = event.on else {
            continue;
        };
        let cache = &plan.scenario.caches[index];
        let possible = match &event.what {
            What::Fault(fault) => {
                matches!(
                    fault,
                    Fault::Flush | Fault::Replace | Fault::TtlIgnored | Fault::NeverStored
                )
            }
            What::Action(action) => matches!(action, Action::Flush | Action::Purge | Action::Set(_)),
        };
        if cache.kind == CacheKind::Local && !possible {
            return Err(Refusal(format!(
                "`cache.{}` is each instance's own memory, and this cannot happen to it alone: {}; \
                 let it happen to the service instead (`crash`, `restart`)",
                cache.name,
                plan.scenario.describe(event)
            )));
        }
    }
    Ok(())
}

fn check(plan: &Plan) -> Result<(), Refusal> {
    let scenario = &plan.scenario;
    if let Some(cache) = scenario.caches.iter().find(|cache| cache.gutter > 0) {
        return Err(Refusal(format!(
            "`cache.{}.gutter`: spare nodes are not played yet; leave it out, or add them to `nodes`",
            cache.name
        )));
    }
    check_local(plan)?;
    let mut things = 0.0;
    for client in &scenario.clients {
        if let Keys::Zipf { count, .. } | Keys::Uniform { count } = client.keys {
            things += count as f64;
        }
    }
    for service in &scenario.services {
        things += f64::from(service.instances) * 100.0;
    }
    if things > THINGS_MAX {
        return Err(Refusal(format!(
            "this asks for {things:.0} keys and instances, and at most {THINGS_MAX:.0} are played; try a smaller --scale"
        )));
    }
    Ok(())
}
