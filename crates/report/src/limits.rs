//! What `seawall limits` found: at which traffic and which database a system turns, and what protects it.
//!
//! Nothing here plays anything. The output is text for a terminal ([`text()`]) and one object for a script ([`json()`]); the
//! verdict comes first, then the tables, then what was tried.

mod words;

use serde_json::{Value, json};

use crate::class::Class;
use crate::figures::Figures;

pub use words::text;

/// Most calls: more than this share.
const MOST: f64 = 0.5;

/// A number as reports write it: three digits, and a prefix.
pub fn number(value: f64) -> String {
    crate::wording::number(value)
}

/// All that was found about one variant of a scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// What happens, in a few words.
    pub title: String,
    /// The scenario's file or built-in name.
    pub file: String,
    /// The variant that was asked about.
    pub variant: String,
    /// The seed, the same in every trial.
    pub seed: u64,
    /// How many runs each trial had.
    pub runs: u32,
    /// The share of the full size that was played.
    pub scale: f64,
    /// How near a limit is known: the factors on its two sides differ by this share at most.
    pub tolerance: f64,
    /// All clients together ask for so many a second as written.
    pub rate: f64,
    /// The scenario as written.
    pub as_written: Figures,
    /// Factors on the traffic.
    pub traffic: Scan,
    /// The factor on the traffic at which protections were tried.
    pub tried_at: f64,
    /// What a protection must do there to be enough.
    pub aim: Aim,
    /// What it did there without any of the protections.
    pub unprotected: Figures,
    /// One protection at a time, then pairs.
    pub trials: Vec<Trial>,
    /// Protections that do not fit this scenario, each with the reason.
    pub unfit: Vec<(String, String)>,
    /// How far the settings of what saves it can be loosened.
    pub loosest: Vec<Loosest>,
    /// Factors on the database.
    pub database: Option<Scan>,
    /// What the database is as written, in words.
    pub database_words: String,
    /// What was not finished for want of time.
    pub unfinished: Vec<String>,
    /// How many runs were played in all.
    pub played: u64,
    /// The engines that played.
    pub engines: Vec<String>,
}

/// What became of the system at several factors of one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// What was tried, by factor.
    pub probes: Vec<Probe>,
    /// The limits that were found.
    pub turns: Vec<Turn>,
}

/// What became of the system at one factor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probe {
    /// The factor on what is written.
    pub factor: f64,
    /// What that comes to, in words.
    pub words: String,
    /// What became of it.
    pub figures: Figures,
}

/// What is wanted of a protection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aim {
    /// That it recovers, because without protection it stays down.
    Recover,
    /// That most calls are answered during the fault, because without protection most are not.
    Answer,
    /// That it holds.
    #[default]
    Hold,
}

/// What is on the far side of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It is of this class, or worse.
    Worse(Class),
    /// It is not what is wanted.
    Fails(Aim),
}

/// A limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// What is on the far side.
    pub line: Line,
    /// The last factor on the better side; none when it was nowhere better.
    pub better: Option<f64>,
    /// The first factor on the worse side; none when it was nowhere so bad.
    pub worse: Option<f64>,
}

/// Protections that were tried together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// Path and value of each, as they can be given to `--set`.
    pub settings: Vec<(String, String)>,
    /// Whether they are enough.
    pub enough: bool,
    /// What became of it.
    pub figures: Figures,
}

/// How far a setting can be loosened before it no longer protects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loosest {
    /// The protection.
    pub name: String,
    /// The setting at which protections are tried.
    pub tried: String,
    /// The loosest that was still enough.
    pub enough: String,
    /// The next one, which was not; none when even the loosest that was tried is enough.
    pub not_enough: Option<String>,
    /// Whether some looser setting was enough where a tighter one was not.
    pub mixed: bool,
}

impl Aim {
    /// What to ask of a system that does this without protection.
    pub fn of(figures: &Figures) -> Aim {
        if figures.class == Class::NeverRecovers {
            Aim::Recover
        } else if figures.goodput_during < MOST {
            Aim::Answer
        } else {
            Aim::Hold
        }
    }

    /// Whether this is enough.
    pub fn is_met(self, figures: &Figures) -> bool {
        match self {
            Aim::Recover => figures.class < Class::NeverRecovers,
            Aim::Answer => figures.class < Class::NeverRecovers && figures.goodput_during >= MOST,
            Aim::Hold => figures.class == Class::Holds,
        }
    }

    /// The aim; reads after "enough".
    pub fn words(self) -> &'static str {
        match self {
            Aim::Recover => "for it to recover",
            Aim::Answer => "for most calls to be answered during the fault, and for it to recover",
            Aim::Hold => "for it to hold",
        }
    }
}

impl Line {
    /// Whether this is on the far side.
    pub fn is_crossed(self, figures: &Figures) -> bool {
        match self {
            Line::Worse(class) => figures.class >= class,
            Line::Fails(aim) => !aim.is_met(figures),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Line::Worse(class) => class.name(),
            Line::Fails(_) => "not_enough",
        }
    }
}

impl Scan {
    /// The limit with this on its far side.
    pub fn turn(&self, line: Line) -> Option<&Turn> {
        self.turns.iter().find(|turn| turn.line == line)
    }

    /// Pairs of neighbouring factors between which the system does not change the way it should: better with more
    /// traffic, or worse with more database.
    pub fn reversals(&self, more_is_worse: bool) -> Vec<(&Probe, &Probe)> {
        let neighbours = self.probes.windows(2);
        neighbours
            .filter_map(|pair| {
                let (a, b) = (&pair[0], &pair[1]);
                let reversed = if more_is_worse {
                    b.figures.class < a.figures.class
                } else {
                    b.figures.class > a.figures.class
                };
                reversed.then_some((a, b))
            })
            .collect()
    }
}

impl Trial {
    /// The names of the protections: `limit`, `breaker + throttle`.
    pub fn name(&self) -> String {
        let names = self
            .settings
            .iter()
            .map(|(path, _)| path.rsplit('.').next().unwrap_or(path));
        names.collect::<Vec<_>>().join(" + ")
    }
}

impl Limits {
    /// The trials that were enough, with the fewest protections only.
    pub fn enough(&self) -> Vec<&Trial> {
        let enough = || self.trials.iter().filter(|trial| trial.enough);
        let fewest = enough().map(|trial| trial.settings.len()).min();
        enough()
            .filter(|trial| Some(trial.settings.len()) == fewest)
            .collect()
    }
}

/// All that was found as one JSON object, indented, with a line break at the end. What is not known is `null`.
pub fn json(limits: &Limits) -> String {
    let figures = |figures: &Figures| {
        json!({
            "class": figures.class.name(),
            "never_recovers_ratio": figures.never_recovers_ratio,
            "goodput_before": figures.goodput_before,
            "goodput_during": figures.goodput_during,
            "goodput_after": figures.goodput_after,
            "recovery_s": figures.recovery_s,
            "origin_peak_ratio": figures.origin_peak_ratio,
        })
    };
    let scan = |scan: &Scan, more_is_worse: bool| {
        json!({
            "limits": scan.turns.iter().map(|turn| json!({
                "beyond": turn.line.name(),
                "better_at_factor": turn.better,
                "worse_at_factor": turn.worse,
            })).collect::<Vec<_>>(),
            "tried": scan.probes.iter().map(|probe| json!({
                "factor": probe.factor, "what": probe.words, "figures": figures(&probe.figures),
            })).collect::<Vec<_>>(),
            "monotone": scan.reversals(more_is_worse).is_empty(),
        })
    };
    let settings = |trial: &Trial| -> Value {
        let settings = trial.settings.iter();
        settings
            .map(|(path, value)| format!("{path}={value}"))
            .collect::<Vec<_>>()
            .into()
    };
    let whole = json!({
        "title": limits.title,
        "file": limits.file,
        "variant": limits.variant,
        "seed": limits.seed,
        "runs": limits.runs,
        "scale": limits.scale,
        "tolerance": limits.tolerance,
        "rate_per_s": limits.rate,
        "as_written": figures(&limits.as_written),
        "traffic": scan(&limits.traffic, true),
        "protections": {
            "tried_at_traffic_factor": limits.tried_at,
            "enough_means": limits.aim.words(),
            "without": figures(&limits.unprotected),
            "are_enough": limits.enough().iter().map(|trial| trial.name()).collect::<Vec<_>>(),
            "tried": limits.trials.iter().map(|trial| json!({
                "name": trial.name(), "set": settings(trial), "enough": trial.enough, "figures": figures(&trial.figures),
            })).collect::<Vec<_>>(),
            "unfit": limits.unfit.iter().map(|(name, why)| json!({"name": name, "why": why})).collect::<Vec<_>>(),
            "loosest": limits.loosest.iter().map(|loosest| json!({
                "name": loosest.name, "tried": loosest.tried, "enough": loosest.enough,
                "not_enough": loosest.not_enough, "monotone": !loosest.mixed,
            })).collect::<Vec<_>>(),
        },
        "database": limits.database.as_ref().map(|database| scan(database, false)),
        "unfinished": limits.unfinished,
        "runs_played": limits.played,
        "engines": limits.engines,
    });
    format!("{whole:#}\n")
}
