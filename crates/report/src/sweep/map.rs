//! What the maps of a sweep show: shares of classes, and which points lie on the two axes of a map.

use crate::class::Class;
use crate::sweep::Sweep;

/// The share of a variant's points that are of each class, in the order of [`Class::ALL`].
pub(super) fn shares(sweep: &Sweep, variant: usize) -> [f64; 4] {
    let mut counts = [0usize; 4];
    let points = sweep.points();
    for figures in (0..points).filter_map(|point| sweep.at(point, variant)) {
        counts[figures.class as usize] += 1;
    }
    counts.map(|count| count as f64 / points.max(1) as f64)
}

/// The width and the height of a map; the other axes, if there are more than two, are at one value each.
pub(super) fn size(sweep: &Sweep) -> (usize, usize) {
    let length = |axis: usize| sweep.axes.get(axis).map_or(1, |axis| axis.values.len());
    (length(0), length(1))
}

/// The class of a variant at a point.
pub(super) fn class_at(sweep: &Sweep, point: usize, variant: usize) -> Class {
    sweep
        .at(point, variant)
        .map_or(Class::Holds, |figures| figures.class)
}

/// How a variant fares over all points, in a sentence: `holds at 40%, degrades at 35%, never recovers at 25%`.
pub(super) fn told(sweep: &Sweep, variant: usize) -> String {
    let shares = shares(sweep, variant);
    let told: Vec<String> = Class::ALL
        .into_iter()
        .zip(shares)
        .filter(|(_, share)| *share > 0.0)
        .map(|(class, share)| format!("{} at {}", class.words(), whole_percent(share)))
        .collect();
    told.join(", ")
}

/// A share in whole percent; what is neither none nor all is not told as such.
pub(super) fn whole_percent(share: f64) -> String {
    match (share * 100.0).round() {
        p if p <= 0.0 && share > 0.0 => "<1%".to_owned(),
        p if p >= 100.0 && share < 1.0 => ">99%".to_owned(),
        p => format!("{p:.0}%"),
    }
}

/// The verdict over all variants, in a sentence.
pub(super) fn verdict(sweep: &Sweep) -> String {
    let total = sweep.variants.len();
    let worst = |variant: usize| {
        let points = 0..sweep.points();
        points
            .map(|point| class_at(sweep, point, variant))
            .filter(|class| *class != Class::Ill)
            .max()
    };
    let of = |class: Class| -> Vec<String> {
        (0..total)
            .filter(|variant| worst(*variant) == Some(class))
            .map(|variant| sweep.variants[variant].clone())
            .collect()
    };
    let say = |names: Vec<String>, what: &str, whats: &str| {
        let verb = if names.len() == 1 { what } else { whats };
        (!names.is_empty()).then(|| format!("{} {verb}", crate::wording::listed(&names)))
    };
    let told: Vec<String> = [
        say(
            of(Class::NeverRecovers),
            "never recovers at some points",
            "never recover at some points",
        ),
        say(
            of(Class::Degrades),
            "degrades, and always recovers",
            "degrade, and always recover",
        ),
        say(of(Class::Holds), "holds everywhere", "hold everywhere"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if told.is_empty() {
        return "every point is ill before anything breaks: the load alone is too much".to_owned();
    }
    let ill = (0..total).any(|variant| shares(sweep, variant)[Class::Ill as usize] > 0.0);
    let but = if ill {
        " (where the load alone is not too much)"
    } else {
        ""
    };
    format!("{}{but}", told.join("; "))
}

/// What the classes mean, one line each, in the order of [`Class::ALL`].
pub(super) const MEANINGS: [&str; 4] = [
    "goodput during and after the fault is at least 95% of what it was before",
    "it is less for a while, and back by the end of the run",
    "the fault is over, and in the last 30 s of the run goodput is still below 95% of what it was before",
    "goodput is below 90% before the first fault: the load alone is too much",
];
