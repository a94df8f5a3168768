//! The verdict and the figures as JSON, for a script or a pipeline.
//!
//! The series are not in it; they are what [`crate::series_csv`] is for.

use serde_json::{Value, json};

use crate::digest::{Digest, Fate, Recovery};
use crate::estimate::Estimate;
use crate::event::events;
use crate::phase::Phases;
use crate::{HappeningKind, Report, Variant};

/// The report as one JSON object, indented, with a line break at the end. What is not known is `null`; shares are
/// between 0 and 1, times in seconds of the scenario's clock.
pub fn json(report: &Report) -> String {
    let phases = Phases::of(report);
    let window = |(name, window): (&str, crate::phase::Window)| {
        let bounds = (!window.is_empty()).then(|| json!({"from_s": window.from, "to_s": window.to}));
        (name.to_owned(), json!(bounds))
    };
    let whole = json!({
        "title": report.title,
        "about": report.about,
        "file": report.file,
        "engine": report.engine,
        "seed": report.seed,
        "runs": report.runs,
        "scale": report.scale,
        "met": report.is_met(),
        "phases": phases.named().into_iter().map(window).collect::<serde_json::Map<_, _>>(),
        "timeline": report.happenings.iter().map(|happening| json!({
            "at_s": happening.from,
            "until_s": happening.to,
            "kind": match happening.kind { HappeningKind::Fault => "fault", HappeningKind::Action => "action" },
            "what": happening.what,
            "on": happening.on,
            "variant": happening.variant.and_then(|index| report.variants.get(index)).map(|variant| &variant.name),
        })).collect::<Vec<_>>(),
        "variants": report.variants.iter().enumerate()
            .map(|(index, variant)| variant_of(report, index, variant, &phases))
            .collect::<Vec<_>>(),
        "refused": report.refused.iter()
            .map(|refused| json!({"name": refused.name, "why": refused.why}))
            .collect::<Vec<_>>(),
    });
    format!("{whole:#}\n")
}

fn variant_of(report: &Report, index: usize, variant: &Variant, phases: &Phases) -> Value {
    let digest = Digest::of(report, index, phases);
    let fate = match digest.fate() {
        Fate::Stands => "stands",
        Fate::Degrades => "degrades",
        Fate::Collapses => "collapses",
    };
    let recovered = match digest.recovery {
        Recovery::At(at, _, _) => Some(estimate(at)),
        _ => None,
    };
    json!({
        "name": variant.name,
        "about": variant.about,
        "met": variant.is_met(),
        "requests": variant.requests,
        "engine": variant.played.as_ref().map(|played| json!({
            "name": played.engine,
            "why": played.why,
            "envelope": played.envelope,
        })),
        "fate": fate,
        "stays_down": digest.stays_down(),
        "recovered_at_s": recovered,
        "goodput_ratio": phased(&digest.goodput),
        "goodput_per_s": phased(&digest.good_per_s),
        "lowest_goodput_ratio": estimate(digest.worst),
        "shed_ratio": phased(&digest.shed),
        "p99_s": phased(&digest.p99_s),
        "cache_hit_rate": phased(&digest.hit_rate),
        "origins": digest.origins.iter().map(|origin| json!({
            "name": origin.name,
            "capacity_per_s": origin.capacity_per_s,
            "load_per_s": phased(&origin.load_per_s),
            "peak_per_s": estimate(origin.peak_per_s),
            "peak_at_s": number(origin.peak_at),
        })).collect::<Vec<_>>(),
        "events": events(report, index).iter()
            .map(|event| json!({"at_s": event.at, "what": event.what, "good": event.good}))
            .collect::<Vec<_>>(),
        "expectations": variant.judged.iter().map(|judged| json!({
            "that": judged.that,
            "met": judged.met,
            "seen": judged.seen,
            "wanted": judged.wanted,
            "metric": judged.metric,
            "of": judged.of,
            "from_s": judged.over.0,
            "to_s": judged.over.1,
        })).collect::<Vec<_>>(),
    })
}

fn phased(figures: &[Estimate; 3]) -> Value {
    let [before, during, after] = figures.map(estimate);
    json!({"before": before, "during": during, "after": after})
}

fn estimate(estimate: Estimate) -> Value {
    if estimate.mean.is_finite() {
        json!({"mean": estimate.mean, "half_width_95": estimate.half})
    } else {
        Value::Null
    }
}

/// JSON has no `NaN`.
fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}
