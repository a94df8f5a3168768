//! The sentences that the text and the page share: the verdict, how each variant fared, what would have helped.

use std::collections::BTreeMap;

use crate::digest::{Digest, Fate, Recovery};
use crate::event::events;
use crate::phase::Phases;
use crate::wording::{clock, counted, listed, number, percent, seconds};
use crate::{Happening, HappeningKind, Judged, Report, Variant};

/// A report with all its figures worked out once.
pub(crate) struct Story<'a> {
    pub(crate) report: &'a Report,
    pub(crate) phases: Phases,
    /// One a variant.
    pub(crate) digests: Vec<Digest>,
}

/// One line of the timeline, over all variants in which it happened at the same time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moment {
    /// Seconds of the scenario's clock.
    pub(crate) at: f64,
    /// The variants, as indices.
    pub(crate) variants: Vec<usize>,
    pub(crate) what: String,
    pub(crate) mark: Mark,
}

/// What kind of moment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    Fault,
    Action,
    Bad,
    Good,
}

impl Mark {
    /// A word for it that stands in a narrow column.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Mark::Fault => "fault",
            Mark::Action => "action",
            Mark::Bad => "▼",
            Mark::Good => "▲",
        }
    }
}

impl<'a> Story<'a> {
    pub(crate) fn of(report: &'a Report) -> Story<'a> {
        let phases = Phases::of(report);
        let digests = (0..report.variants.len())
            .map(|index| Digest::of(report, index, &phases))
            .collect();
        Story {
            report,
            phases,
            digests,
        }
    }

    /// The verdict in one line.
    pub(crate) fn verdict(&self) -> String {
        let all: usize = self
            .report
            .variants
            .iter()
            .map(|variant| variant.judged.len())
            .sum();
        let missed = self
            .report
            .variants
            .iter()
            .flat_map(|variant| &variant.judged)
            .filter(|judged| !judged.met)
            .count();
        let expectations = counted(all, "expectation", "expectations");
        match (all, missed) {
            (0, _) => "no expectations were written down: nothing to judge".to_owned(),
            (1, 0) => "the expectation was met".to_owned(),
            (_, 0) => format!("all {expectations} were met"),
            _ => format!(
                "{missed} of {expectations} {} not met",
                if missed == 1 { "was" } else { "were" }
            ),
        }
    }

    /// How many of a variant's expectations were met: `5 of 5`; nothing when it has none.
    pub(crate) fn score(variant: &Variant) -> String {
        if variant.judged.is_empty() {
            return String::new();
        }
        let met = variant.judged.iter().filter(|judged| judged.met).count();
        format!("{met} of {} met", variant.judged.len())
    }

    /// How a variant fared, in a few words.
    pub(crate) fn fate(&self, variant: usize) -> String {
        let Some(digest) = self.digests.get(variant) else {
            return String::new();
        };
        let word = match digest.fate() {
            Fate::Stands => "stands",
            Fate::Degrades => "degrades",
            Fate::Collapses => "collapses",
        };
        if digest.stays_down() && self.phases.faulty {
            format!("{word} and stays down")
        } else {
            word.to_owned()
        }
    }

    /// Goodput, the origin's load and the recovery of a variant: one phrase each.
    pub(crate) fn phrases(&self, variant: usize) -> Vec<String> {
        let Some(digest) = self.digests.get(variant) else {
            return Vec::new();
        };
        let when = if self.phases.faulty {
            " during the fault"
        } else {
            ""
        };
        let mut phrases = vec![format!("goodput {}{when}", digest.goodput[1].said(percent))];
        if digest.worst.mean < 0.97 * digest.goodput[1].mean {
            phrases[0] += ", ";
            phrases[0] += &percent(digest.worst.mean);
            phrases[0] += " at worst";
        }
        let tightest = digest.origins.iter().max_by(|a, b| {
            let strain = |origin: &crate::digest::OriginDigest| {
                origin.peak_per_s.mean / origin.capacity_per_s.unwrap_or(f64::INFINITY)
            };
            strain(a).total_cmp(&strain(b))
        });
        if let Some(origin) = tightest
            && origin.peak_per_s.mean > 0.0
        {
            let peak = number(origin.peak_per_s.mean);
            phrases.push(match origin.capacity_per_s {
                Some(capacity) => {
                    let share = percent_round(origin.peak_per_s.mean / capacity);
                    format!("{} peaks at {peak}/s, {share} of its capacity", origin.name)
                }
                None => format!("{} peaks at {peak}/s", origin.name),
            });
        }
        if self.phases.faulty {
            phrases.push(self.recovery(digest));
        }
        phrases
    }

    fn recovery(&self, digest: &Digest) -> String {
        let end = digest.cause_ends;
        match digest.recovery {
            Recovery::Unhurt => "goodput stays normal throughout".to_owned(),
            Recovery::At(at, back, hurt) => {
                let later = at.mean - end;
                let text = if later < 1.5 {
                    "normal as soon as the fault ends".to_owned()
                } else {
                    format!(
                        "normal again at {}, {} after the fault",
                        clock(at.mean),
                        clock(later.round())
                    )
                };
                if back < hurt {
                    format!("{text} (in {back} of {hurt} runs)")
                } else {
                    text
                }
            }
            Recovery::Never => format!("not normal again by the end at {}", clock(self.phases.after.to)),
            Recovery::Unseen => "the run ends with the fault".to_owned(),
        }
    }

    /// What would have helped, one sentence for each variant that was hurt.
    pub(crate) fn help(&self) -> Vec<String> {
        let variants = self.report.variants.iter().zip(&self.digests);
        let merit = |digest: &Digest| {
            let after = if digest.goodput[2].mean.is_finite() {
                digest.goodput[2].mean
            } else {
                1.0
            };
            digest.goodput[1].mean + after
        };
        let Some((best, figures)) = variants.clone().max_by(|a, b| merit(a.1).total_cmp(&merit(b.1))) else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for (variant, digest) in variants {
            let gain = merit(figures) - merit(digest);
            let hurt = digest.fate() != Fate::Stands || digest.stays_down() || !variant.is_met();
            if std::ptr::eq(variant, best) || !hurt || gain.is_nan() || gain < 0.03 {
                continue;
            }
            let gains = compared(digest, figures).join("; ");
            lines.push(format!("{} in place of {}: {gains}", best.name, variant.name));
        }
        lines
    }

    /// The expectations that were met in every variant that has them, each once.
    pub(crate) fn met_everywhere(&self) -> Vec<&'a Judged> {
        let judged = || self.report.variants.iter().flat_map(|variant| &variant.judged);
        let mut found: Vec<&Judged> = Vec::new();
        for one in judged() {
            let broken = judged().any(|other| other.that == one.that && !other.met);
            if !broken && !found.iter().any(|known| known.that == one.that) {
                found.push(one);
            }
        }
        found
    }

    /// The expectations that were not met, with their variants.
    pub(crate) fn missed(&self) -> Vec<(&'a Variant, &'a Judged)> {
        let of = |variant: &'a Variant| {
            let missed = variant.judged.iter().filter(|judged| !judged.met);
            missed.map(move |judged| (variant, judged))
        };
        self.report.variants.iter().flat_map(of).collect()
    }

    /// What happened when: what was done and what followed, in the order of the clock.
    pub(crate) fn moments(&self) -> Vec<Moment> {
        let everyone: Vec<usize> = (0..self.report.variants.len()).collect();
        let mut grouped: BTreeMap<(i64, Mark, String), Vec<usize>> = BTreeMap::new();
        for happening in &self.report.happenings {
            let (mark, whom) = (
                mark_of(happening),
                happening.variant.map_or(everyone.clone(), |one| vec![one]),
            );
            let until = happening
                .to
                .map_or_else(String::new, |to| format!(", until {}", clock(to)));
            let what = happening.words() + &until;
            grouped
                .entry((millis(happening.from), mark, what))
                .or_default()
                .extend(whom);
        }
        for variant in everyone {
            for event in events(self.report, variant) {
                let mark = if event.good { Mark::Good } else { Mark::Bad };
                grouped
                    .entry((millis(event.at), mark, event.what))
                    .or_default()
                    .push(variant);
            }
        }
        grouped
            .into_iter()
            .map(|((at, mark, what), mut variants)| {
                variants.sort_unstable();
                variants.dedup();
                Moment {
                    at: at as f64 / 1e3,
                    variants,
                    what,
                    mark,
                }
            })
            .collect()
    }

    /// The variants of a moment in words.
    pub(crate) fn whom(&self, moment: &Moment) -> String {
        if moment.variants.len() == self.report.variants.len() {
            return "all".to_owned();
        }
        let names: Vec<String> = moment
            .variants
            .iter()
            .filter_map(|index| self.report.variants.get(*index))
            .map(|variant| variant.name.clone())
            .collect();
        listed(&names)
    }
}

/// What is better in `to` than in `from`.
fn compared(from: &Digest, to: &Digest) -> Vec<String> {
    let mut found = vec![format!(
        "goodput during the fault {} instead of {}",
        percent(to.goodput[1].mean),
        percent(from.goodput[1].mean)
    )];
    if from.stays_down() && !to.stays_down() {
        found.push("it recovers".to_owned());
    }
    for (worse, better) in from.origins.iter().zip(&to.origins) {
        if better.peak_per_s.mean < 0.8 * worse.peak_per_s.mean {
            let (low, high) = (number(better.peak_per_s.mean), number(worse.peak_per_s.mean));
            found.push(format!("{} peaks at {low}/s instead of {high}/s", better.name));
        }
    }
    if to.p99_s[1].mean < 0.5 * from.p99_s[1].mean {
        found.push(format!(
            "99th percentile {} instead of {}",
            seconds(to.p99_s[1].mean),
            seconds(from.p99_s[1].mean)
        ));
    }
    found
}

fn mark_of(happening: &Happening) -> Mark {
    match happening.kind {
        HappeningKind::Fault => Mark::Fault,
        HappeningKind::Action => Mark::Action,
    }
}

fn millis(clock: f64) -> i64 {
    (clock * 1e3).round() as i64
}

/// A share that may well exceed the whole, in whole percent.
fn percent_round(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}
