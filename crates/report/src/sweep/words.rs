//! A sweep as text for a terminal: the verdict, the shares, and the maps drawn with one sign a point.

use crate::class::Class;
use crate::sweep::Sweep;
use crate::sweep::map::{MEANINGS, class_at, size, told, verdict};
use crate::wording::{counted, percent, right, width, wrapped};

/// A map wider than this is left to the page.
const SIGNS_MAX: usize = 120;

/// The sweep for a terminal that is so many columns wide.
pub fn text(sweep: &Sweep, columns: usize) -> String {
    let mut lines = vec![sweep.title.clone()];
    lines.extend(wrapped(&sweep.about, columns));
    lines.push(String::new());
    lines.extend(wrapped(&format!("Verdict: {}", verdict(sweep)), columns));
    let widest = sweep.variants.iter().map(|name| width(name)).max().unwrap_or(0);
    for (variant, name) in sweep.variants.iter().enumerate() {
        lines.push(format!("  {name:<widest$}  {}", told(sweep, variant)));
    }
    let (across, _) = size(sweep);
    if across <= SIGNS_MAX && sweep.axes.len() <= 2 {
        maps(sweep, &mut lines);
    }
    lines.push(String::new());
    lines.extend(legend(sweep, columns));
    lines.extend(wrapped(&foot(sweep), columns));
    lines.join("\n") + "\n"
}

fn maps(sweep: &Sweep, lines: &mut Vec<String>) {
    let (across, up) = size(sweep);
    let labels: Vec<&str> = match sweep.axes.get(1) {
        Some(axis) => axis.values.iter().map(String::as_str).collect(),
        None => vec![""],
    };
    let margin = labels.iter().map(|label| width(label)).max().unwrap_or(0);
    for (variant, name) in sweep.variants.iter().enumerate() {
        lines.push(String::new());
        lines.push(match sweep.axes.get(1) {
            Some(axis) => format!("{name}: {} upwards", axis.path),
            None => name.clone(),
        });
        for row in (0..up).rev() {
            let signs: String = (0..across)
                .map(|column| class_at(sweep, row * across + column, variant).sign())
                .collect();
            lines.push(format!("  {} {signs}", right(labels[row], margin)));
        }
    }
    if let Some(axis) = sweep.axes.first() {
        let ends = match axis.values.as_slice() {
            [first, .., last] => format!("{first} to {last}"),
            [only] => only.clone(),
            [] => String::new(),
        };
        lines.push(format!("  {} {}: {ends}", right("", margin), axis.path));
    }
}

fn legend(sweep: &Sweep, columns: usize) -> Vec<String> {
    let seen = |class: &Class| sweep.rows.iter().any(|row| row.class == *class);
    let mut lines = Vec::new();
    for (class, meaning) in Class::ALL
        .into_iter()
        .zip(MEANINGS)
        .filter(|(class, _)| seen(class))
    {
        let told = format!("{} {}: {meaning}", class.sign(), class.words());
        for (index, line) in wrapped(&told, columns.saturating_sub(4)).into_iter().enumerate() {
            lines.push(format!("{}{line}", if index == 0 { "" } else { "  " }));
        }
    }
    lines
}

/// Where the numbers come from, in one line.
pub(super) fn foot(sweep: &Sweep) -> String {
    let requests: f64 = sweep.rows.iter().map(|row| row.requests as f64).sum();
    let scale = if (sweep.scale - 1.0).abs() < 1e-12 {
        "full size".to_owned()
    } else {
        format!("{} of full size", percent(sweep.scale))
    };
    format!(
        "{}: {}, {}, {} each, seed {} at every point, {scale}, {} requests, {}",
        sweep.file,
        counted(sweep.points(), "point", "points"),
        counted(sweep.variants.len(), "variant", "variants"),
        counted(sweep.runs as usize, "run", "runs"),
        sweep.seed,
        crate::wording::number(requests),
        engines(sweep)
    )
}

/// The engines that played, with how much each played.
fn engines(sweep: &Sweep) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for row in &sweep.rows {
        *counts.entry(row.engine.as_str()).or_default() += 1;
    }
    let total = sweep.rows.len();
    let told: Vec<String> = counts
        .into_iter()
        .map(|(engine, count)| {
            if count == total {
                format!("{engine} engine")
            } else {
                format!("{engine} engine for {count}")
            }
        })
        .collect();
    told.join(", ")
}
