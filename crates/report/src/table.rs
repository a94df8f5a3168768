//! The table of figures that the text and the page share: variants side by side, phases below each other.

use crate::digest::Digest;
use crate::estimate::Estimate;
use crate::story::Story;
use crate::wording::{number, percent, seconds};

/// One row of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// What is measured; empty where it is that of the row above.
    pub(crate) title: String,
    /// Over which phase.
    pub(crate) phase: &'static str,
    /// One number in words a variant.
    pub(crate) cells: Vec<String>,
}

/// The rows; figures that no variant has are left out.
pub(crate) fn rows(story: &Story) -> Vec<Row> {
    let mut rows = phased(story, "goodput", percent, &|digest| digest.goodput);
    rows.extend(phased(story, "right answers per s", number, &|digest| {
        digest.good_per_s
    }));
    let sheds = |digest: &Digest| digest.shed.iter().any(|shed| shed.mean > 0.0);
    if story.digests.iter().any(sheds) {
        rows.extend(phased(story, "turned away", percent, &|digest| digest.shed));
    }
    rows.extend(phased(story, "99th percentile", seconds, &|digest| digest.p99_s));
    rows.extend(phased(story, "hit rate", percent, &|digest| digest.hit_rate));
    let origins = story.digests.first().map_or(&[][..], |digest| &digest.origins);
    for (index, origin) in origins.iter().enumerate() {
        let idle = |digest: &Digest| {
            let origin = digest.origins.get(index);
            origin.is_none_or(|origin| {
                origin
                    .load_per_s
                    .iter()
                    .all(|load| load.mean.is_nan() || load.mean <= 0.0)
            })
        };
        if story.digests.iter().all(idle) {
            continue;
        }
        let title = format!("{} calls/s", origin.name);
        rows.extend(phased(story, &title, number, &|digest| {
            let unknown = [Estimate::of([]); 3];
            digest
                .origins
                .get(index)
                .map_or(unknown, |origin| origin.load_per_s)
        }));
        let peak = |digest: &Digest| {
            let origin = digest.origins.get(index);
            origin.map_or_else(|| "–".to_owned(), |origin| origin.peak_per_s.said(number))
        };
        rows.push(Row {
            title: String::new(),
            phase: "peak",
            cells: story.digests.iter().map(peak).collect(),
        });
    }
    rows
}

fn phased(
    story: &Story,
    title: &str,
    wording: fn(f64) -> String,
    pick: &dyn Fn(&Digest) -> [Estimate; 3],
) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (index, (phase, window)) in story.phases.named().into_iter().enumerate() {
        let figures: Vec<Estimate> = story
            .digests
            .iter()
            .filter_map(|digest| pick(digest).get(index).copied())
            .collect();
        if window.is_empty() || figures.iter().all(|figure| !figure.mean.is_finite()) {
            continue;
        }
        rows.push(Row {
            title: if rows.is_empty() {
                title.to_owned()
            } else {
                String::new()
            },
            phase: if story.phases.faulty || index == 0 {
                phase
            } else {
                "run"
            },
            cells: figures.into_iter().map(|figure| figure.said(wording)).collect(),
        });
    }
    rows
}
