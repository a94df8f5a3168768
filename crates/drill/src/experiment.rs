//! A drill as an experiment of Chaos Toolkit: what that tool validates, runs and reports.
//!
//! A drill builds its system itself, and takes it away again. So the hypothesis is not about a system that stands somewhere:
//! before the method it says that the drill can be done here, and after it that the drill held, which its journal tells.
//! What was broken is undone by the drill itself; the rollback makes sure of it, and puts the journal away.
//!
//! It writes the document and runs nothing.

use seawall_scenario::Scenario;
use serde_json::{Value, json};

/// What an experiment is of.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The program as Chaos Toolkit is to find it: a path, or a name that is looked for in `PATH`.
    pub program: &'a str,
    /// The scenario as it is named on the command line.
    pub name: &'a str,
    /// The variants, in the time in which they are drilled.
    pub variants: &'a [Scenario],
    /// Where the drill writes its journal.
    pub journal: &'a str,
    /// Further arguments of the drill.
    pub more: &'a [String],
}

/// A drill has this many times the time of its scenario, and so much more, in seconds: servers have to start and to end.
const PATIENCE: (f64, f64) = (1.5, 90.0);
/// A question takes no longer, in seconds.
const ASKING_S: u32 = 30;

/// The experiment, as Chaos Toolkit reads it.
pub fn experiment(plan: &Plan<'_>) -> Value {
    let first = plan.variants.first();
    let title = first.map_or(plan.name, |scenario| scenario.title.as_str());
    let about = first.map_or("", |scenario| scenario.about.as_str());
    let mut all: Vec<Value> = Vec::new();
    let mut arguments = vec!["drill".to_owned(), plan.name.to_owned()];
    for scenario in plan.variants {
        arguments.extend(["--variant".to_owned(), scenario.variant.clone()]);
        all.extend(
            scenario
                .expects
                .iter()
                .map(|expect| json!(format!("{}: {}", scenario.variant, expect.that))),
        );
    }
    arguments.extend(plan.more.iter().cloned());
    let mut check = arguments.clone();
    check.push("--check".to_owned());
    arguments.extend(["--journal".to_owned(), plan.journal.to_owned()]);
    let seconds: f64 = plan.variants.iter().map(seconds).sum();
    json!({
        "version": "1.0.0",
        "title": title,
        "description": if about.is_empty() { title } else { about },
        "tags": ["seawall", "cache"],
        "steady-state-hypothesis": {
            "title": "the drill can be done here, and what must hold in it holds",
            "probes": [
                probe("the scenario can be drilled here", plan.program, &check),
                probe("the drill held, if it was done", plan.program, &["drill", "verdict", plan.journal]),
            ],
        },
        "method": [{
            "type": "action",
            "name": format!("drill {}", plan.name),
            "provider": {
                "type": "process",
                "path": plan.program,
                "arguments": arguments,
                "timeout": seconds.ceil() as u64,
            },
        }],
        "rollbacks": [{
            "type": "action",
            "name": "nothing is left behind, and the journal is put away",
            "provider": {
                "type": "process",
                "path": plan.program,
                "arguments": ["drill", "verdict", plan.journal, "--put-away"],
                "timeout": ASKING_S,
            },
        }],
        "extensions": [{
            "name": "seawall",
            "scenario": plan.name,
            "variants": plan.variants.iter().map(|scenario| &scenario.variant).collect::<Vec<_>>(),
            "expects": all,
        }],
    })
}

fn seconds(scenario: &Scenario) -> f64 {
    PATIENCE.0 * (scenario.run.warmup + scenario.run.duration).as_secs_f64() + PATIENCE.1
}

fn probe(name: &str, program: &str, arguments: &[impl AsRef<str>]) -> Value {
    let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    json!({
        "type": "probe",
        "name": name,
        "tolerance": 0,
        "provider": { "type": "process", "path": program, "arguments": arguments, "timeout": ASKING_S },
    })
}
