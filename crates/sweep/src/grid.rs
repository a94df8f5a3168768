//! The grid of a sweep: which point has which values, which shard plays it, and whether the document takes them all.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use miette::NamedSource;
use seawall_scenario::{Document, Mistake, Mistakes, Scenario};

use crate::axis::Axis;
use crate::recipe::Recipe;

/// The most points of a sweep.
pub const POINTS_MAX: usize = 100_000;
/// Up to so many rows, each combination is tried on the document before anything is played.
const TRIED_MAX: usize = 20_000;
/// The most mistakes that are told.
const TOLD_MAX: usize = 5;

/// A sweep that the document takes.
#[derive(Clone, Debug)]
pub struct Sweep {
    document: Document,
    recipe: Recipe,
}

/// A share of a sweep's points: those whose number, divided by `of`, leaves `index`. So neighbours, which cost about the
/// same, go to different shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which one, from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };

    /// Whether it plays a point.
    pub fn has(self, point: usize) -> bool {
        point % self.of == self.index
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let how = "write I/N, such as 3/64: shard 3 of 64, counted from 0";
        let (index, of) = text.split_once('/').ok_or(how)?;
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| how.to_owned());
        let (index, of) = (number(index)?, number(of)?);
        if of == 0 || of > POINTS_MAX {
            return Err(format!("there are between 1 and {POINTS_MAX} shards"));
        }
        if index >= of {
            return Err(format!(
                "shards are counted from 0: the last one is {}/{of}",
                of - 1
            ));
        }
        Ok(Shard { index, of })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl Sweep {
    /// A sweep over a document, once it is clear that the document takes every value.
    ///
    /// # Errors
    /// What is wrong with the axes or the settings, each mistake at its place in what was typed.
    pub fn new(document: Document, mut recipe: Recipe) -> Result<Sweep, Vec<Mistake>> {
        shape(&recipe)?;
        for index in 0..recipe.axes.len() {
            if let Err(mistakes) = takes(&document, &recipe, index) {
                // A number of things is whole: a range of such numbers is rounded.
                let rounded = recipe.axes[index].rounded().ok_or_else(|| mistakes.clone())?;
                let before = std::mem::replace(&mut recipe.axes[index], rounded);
                takes(&document, &recipe, index).map_err(|_| mistakes)?;
                if recipe.axes[index].twice().is_some() {
                    let message = "there are not so many whole numbers in this range".to_owned();
                    let help = "use fewer values, or a longer range".to_owned();
                    return Err(vec![before.mistake(message, "too many values", help)]);
                }
            }
        }
        let sweep = Sweep { document, recipe };
        if sweep.rows() <= TRIED_MAX {
            for point in 0..sweep.points() {
                for variant in 0..sweep.recipe.variants.len() {
                    sweep.scenario(point, variant)?;
                }
            }
        }
        Ok(sweep)
    }

    /// What is swept, and how.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// How many points there are.
    pub fn points(&self) -> usize {
        self.recipe.points()
    }

    /// How many rows: one for each variant at each point.
    pub fn rows(&self) -> usize {
        self.points() * self.recipe.variants.len()
    }

    /// The rows of a shard.
    pub fn rows_of(&self, shard: Shard) -> impl Iterator<Item = usize> {
        let variants = self.recipe.variants.len();
        (0..self.rows()).filter(move |row| shard.has(row / variants))
    }

    /// A variant at a point.
    ///
    /// # Errors
    /// When the document does not take this combination of values.
    pub fn scenario(&self, point: usize, variant: usize) -> Result<Scenario, Vec<Mistake>> {
        let mut sets = self.recipe.sets();
        let mut rest = point;
        for axis in &self.recipe.axes {
            sets.push((axis.path(), &axis.values()[rest % axis.values().len()]));
            rest /= axis.values().len();
        }
        let name = &self.recipe.variants[variant];
        let scenario = self.document.scenario(name, &sets);
        scenario.map_err(|mistakes| typed(&mistakes, &self.recipe))
    }
}

/// Whether the grid has a shape at all.
fn shape(recipe: &Recipe) -> Result<(), Vec<Mistake>> {
    for (index, axis) in recipe.axes.iter().enumerate() {
        let wrong =
            |message: String, label, help: &str| Err(vec![axis.mistake(message, label, help.to_owned())]);
        if let Some(value) = axis.twice() {
            return wrong(format!("`{value}` is there twice"), "twice", "keep one of them");
        }
        if recipe.axes[..index]
            .iter()
            .any(|other| other.path() == axis.path())
        {
            let message = format!("`{}` is swept twice", axis.path());
            return wrong(message, "twice", "give all its values in one --over");
        }
        if recipe.sets().iter().any(|(path, _)| *path == axis.path()) {
            let message = format!("`{}` is swept and also set", axis.path());
            return wrong(message, "also in --set", "leave the --set out");
        }
    }
    let sizes = recipe.axes.iter().map(|axis| axis.values().len());
    let points = sizes.fold(1usize, usize::saturating_mul);
    match recipe.axes.last() {
        Some(axis) if points > POINTS_MAX => {
            let help = format!("a sweep has at most {POINTS_MAX}; use fewer values");
            Err(vec![axis.mistake(
                format!("these are {points} points"),
                "too many points",
                help,
            )])
        }
        _ => Ok(()),
    }
}

/// Whether the document takes every value of an axis, the others being at their first.
fn takes(document: &Document, recipe: &Recipe, index: usize) -> Result<(), Vec<Mistake>> {
    let mut found: Vec<Mistake> = Vec::new();
    for variant in &recipe.variants {
        for value in recipe.axes[index].values() {
            let mut sets = recipe.sets();
            for (other, axis) in recipe.axes.iter().enumerate() {
                let value = if other == index { value } else { &axis.values()[0] };
                sets.push((axis.path(), value));
            }
            let Err(mistakes) = document.scenario(variant, &sets) else {
                continue;
            };
            for mistake in typed(&mistakes, recipe) {
                let known = |known: &Mistake| known.message == mistake.message;
                if !found.iter().any(known) && found.len() < TOLD_MAX {
                    found.push(mistake);
                }
            }
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Mistakes in settings that come from an axis name `--over` as their source.
fn typed(mistakes: &Mistakes, recipe: &Recipe) -> Vec<Mistake> {
    let renamed = |mistake: &Mistake| {
        let text = mistake.source.inner();
        let is_swept = |axis: &Axis| text.split('=').next() == Some(axis.path());
        let mut mistake = mistake.clone();
        if mistake.source.name() == "--set" && recipe.axes.iter().any(is_swept) {
            mistake.source = Arc::new(NamedSource::new("--over", text.clone()));
        }
        mistake
    };
    mistakes.list().iter().map(renamed).collect()
}
