//! What a sweep says: one row of figures for each variant at each point of a grid.
//!
//! The outputs are a table ([`csv()`]), text for a terminal ([`text()`]), one object for a script ([`json()`]) and one page
//! with a map of where the system holds, where it degrades and where it never recovers ([`html()`]). Nothing here plays
//! or judges anything: the rows come with the [`Sweep`]. The same sweep gives the same bytes.

mod map;
mod page;
mod words;

use std::io;

use serde_json::{Map, Value, json};

use crate::figures::{Cell, Figures, Kind};

pub use page::html;
pub use words::text;

/// A sweep that is done: its grid, and what was found there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sweep {
    /// What happens, in a few words.
    pub title: String,
    /// What it is about, in a sentence or two.
    pub about: String,
    /// The scenario's file or built-in name.
    pub file: String,
    /// What is swept; the first axis moves fastest from point to point.
    pub axes: Vec<Axis>,
    /// The variants that were played at each point.
    pub variants: Vec<String>,
    /// Settings that hold at all points, as they were typed.
    pub settings: Vec<String>,
    /// The seed, the same at every point.
    pub seed: u64,
    /// How many runs each variant had at each point.
    pub runs: u32,
    /// The share of the full size that was played.
    pub scale: f64,
    /// The figures: point by point, and variant by variant within a point.
    pub rows: Vec<Figures>,
}

/// One thing that is swept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// Its place in the document.
    pub path: String,
    /// Its values as they are spelled in the document.
    pub values: Vec<String>,
    /// The values as numbers, in seconds, per second, bytes, or shares of one; none when they are no numbers.
    pub numbers: Vec<f64>,
}

/// A column of the table of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

impl Sweep {
    /// How many points the grid has.
    pub fn points(&self) -> usize {
        self.axes.iter().map(|axis| axis.values.len()).product()
    }

    /// The index of a point's value on each axis.
    pub fn place(&self, point: usize) -> Vec<usize> {
        let mut rest = point;
        let index = |axis: &Axis| {
            let index = rest % axis.values.len();
            rest /= axis.values.len();
            index
        };
        self.axes.iter().map(index).collect()
    }

    /// The figures of a variant at a point.
    pub fn at(&self, point: usize, variant: usize) -> Option<&Figures> {
        self.rows.get(point * self.variants.len() + variant)
    }

    /// The headings of the table: the point, the variant, what was swept, the figures.
    pub fn headings(&self) -> Vec<Heading> {
        let heading = |name: &str, kind| Heading {
            name: name.to_owned(),
            kind,
        };
        let mut headings = vec![heading("point", Kind::Count), heading("variant", Kind::Text)];
        headings.extend(self.axes.iter().map(|axis| {
            let kind = if axis.numbers.is_empty() {
                Kind::Text
            } else {
                Kind::Number
            };
            heading(&axis.path, kind)
        }));
        let figures = Figures::COLUMNS.iter();
        headings.extend(figures.map(|column| heading(column.name, column.kind)));
        headings
    }

    /// The rows of the table, each with one cell a heading.
    pub fn table(&self) -> impl Iterator<Item = Vec<Cell>> {
        let variants = self.variants.len().max(1);
        self.rows.iter().enumerate().map(move |(index, figures)| {
            let (point, variant) = (index / variants, index % variants);
            let mut cells = vec![
                Cell::Count(point as u64),
                Cell::Text(self.variants.get(variant).cloned().unwrap_or_default()),
            ];
            for (axis, place) in self.axes.iter().zip(self.place(point)) {
                cells.push(match axis.numbers.get(place) {
                    Some(number) => Cell::Number(*number),
                    None => Cell::Text(axis.values.get(place).cloned().unwrap_or_default()),
                });
            }
            cells.extend(figures.cells());
            cells
        })
    }
}

/// Writes the table as CSV (RFC 4180, but with plain line feeds), one row a point and variant.
///
/// # Errors
/// Those of `out`.
pub fn csv(sweep: &Sweep, out: &mut dyn io::Write) -> io::Result<()> {
    let names: Vec<String> = sweep
        .headings()
        .iter()
        .map(|heading| quoted(&heading.name))
        .collect();
    writeln!(out, "{}", names.join(","))?;
    for row in sweep.table() {
        let cells: Vec<String> = row.iter().map(|cell| quoted(&cell.text())).collect();
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

/// The whole sweep as one JSON object, indented, with a line break at the end. What is not known is `null`.
pub fn json(sweep: &Sweep) -> String {
    let headings = sweep.headings();
    let row = |cells: Vec<Cell>| -> Value {
        let value = |cell: Cell| match cell {
            Cell::Text(text) => json!(text),
            Cell::Count(count) => json!(count),
            Cell::Number(number) => json!(number),
            Cell::Flag(flag) => json!(flag),
        };
        let pairs = headings.iter().zip(cells);
        Value::Object(
            pairs
                .map(|(heading, cell)| (heading.name.clone(), value(cell)))
                .collect::<Map<_, _>>(),
        )
    };
    let whole = json!({
        "title": sweep.title,
        "about": sweep.about,
        "file": sweep.file,
        "axes": sweep.axes.iter().map(|axis| json!({"path": axis.path, "values": axis.values})).collect::<Vec<_>>(),
        "variants": sweep.variants,
        "settings": sweep.settings,
        "seed": sweep.seed,
        "runs": sweep.runs,
        "scale": sweep.scale,
        "points": sweep.points(),
        "rows": sweep.table().map(row).collect::<Vec<_>>(),
    });
    format!("{whole:#}\n")
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
