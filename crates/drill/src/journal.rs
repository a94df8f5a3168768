//! A drill as a journal of Chaos Toolkit, for whatever reads those, and back.
//!
//! The format is that of `chaoslib.run` in version 1.44 (<https://chaostoolkit.org/reference/api/journal/>): the hypothesis
//! before and after, one activity for each variant, and what was taken back. All that Seawall knows beyond it is in one
//! object more, `seawall`: a [`Kept`], which [`read`] gives back.

use serde_json::{Value, json};

use crate::kept::{Drilled, FORMAT, Kept};
use crate::outcome::{Standing, Verdict};

/// The release of Chaos Toolkit's library whose journal this is.
const CHAOSLIB: &str = "1.44.0";

/// The most bytes of a journal that is read.
pub const BYTES_MAX: u64 = 64 << 20;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It is no JSON, or not of the right form.
    #[error("it is no journal of a drill: {0}")]
    Form(#[from] serde_json::Error),
    /// It is a journal, and not of a drill.
    #[error("it is a journal, but not one that `seawall drill` wrote: it has no `seawall` object")]
    Foreign,
    /// It was written by a release that kept other things.
    #[error("it is of format {0}, and this release reads {FORMAT}")]
    Other(u64),
}

/// The journal of a drill that was done as this experiment says.
pub fn journal(experiment: &Value, kept: &Kept) -> Value {
    let verdict = kept.verdict();
    let well = |met: Verdict| met != Verdict::BaselineUnmet;
    let before = kept.variants.iter().all(|drilled| well(drilled.outcome.verdict));
    let after = kept
        .variants
        .iter()
        .all(|drilled| drilled.outcome.verdict == Verdict::Held);
    json!({
        "chaoslib-version": CHAOSLIB,
        "platform": kept.machine,
        "node": node(),
        "experiment": experiment,
        "start": utc(kept.began),
        "status": status(verdict),
        "deviated": matches!(verdict, Verdict::Deviated),
        "steady_states": {
            "before": steady(kept, before, "the system is well before anything is injected", &|drilled| {
                (well(drilled.outcome.verdict), &drilled.outcome.why)
            }),
            "after": before.then(|| steady(kept, after, "what must hold held", &|drilled| {
                (drilled.outcome.verdict == Verdict::Held, &drilled.outcome.why)
            })),
            "during": [],
        },
        "run": kept.variants.iter().map(|drilled| activity(kept, drilled)).collect::<Vec<_>>(),
        "rollbacks": kept.variants.iter().map(rollback).collect::<Vec<_>>(),
        "end": utc(kept.ended),
        "duration": kept.ended - kept.began,
        "seawall": kept,
    })
}

/// What Seawall wrote into a journal.
///
/// # Errors
/// When it is none, or none of a drill.
pub fn read(text: &[u8]) -> Result<Kept, Unread> {
    let mut journal: Value = serde_json::from_slice(text)?;
    let kept = journal
        .get_mut("seawall")
        .map(Value::take)
        .ok_or(Unread::Foreign)?;
    match kept.get("format").and_then(Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => Ok(serde_json::from_value(kept)?),
        Some(format) => Err(Unread::Other(format)),
        None => Err(Unread::Foreign),
    }
}

/// In the words of Chaos Toolkit.
fn status(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held | Verdict::Deviated => "completed",
        Verdict::BaselineUnmet | Verdict::RollbackFailed => "failed",
        Verdict::Aborted => "aborted",
    }
}

fn steady(kept: &Kept, met: bool, name: &str, look: &dyn Fn(&Drilled) -> (bool, &String)) -> Value {
    let probes = kept.variants.iter().map(|drilled| {
        let (met, why) = look(drilled);
        json!({
            "activity": {
                "type": "probe",
                "name": format!("{}: {name}", drilled.variant),
                "tolerance": true,
                "provider": { "type": "process", "path": "seawall", "arguments": ["drill", kept.scenario, "--variant", drilled.variant] },
            },
            "output": met,
            "said": why,
            "start": utc(drilled.began),
            "status": "succeeded",
            "end": utc(drilled.began + drilled.seconds),
            "duration": drilled.seconds,
            "tolerance_met": met,
        })
    });
    json!({ "steady_state_met": met, "probes": probes.collect::<Vec<_>>() })
}

fn activity(kept: &Kept, drilled: &Drilled) -> Value {
    let told = |standing: Standing| {
        let those = drilled.expectations.iter().filter(|one| one.standing == standing);
        those.map(|one| one.that.clone()).collect::<Vec<_>>()
    };
    let verdict = drilled.outcome.verdict;
    json!({
        "activity": {
            "type": "action",
            "name": format!("drill {}, variant {}", kept.scenario, drilled.variant),
            "provider": {
                "type": "process",
                "path": "seawall",
                "arguments": ["drill", kept.scenario, "--variant", drilled.variant],
            },
        },
        "output": {
            "status": verdict.status(),
            "verdict": verdict.word(),
            "why": drilled.outcome.why,
            "done": drilled.happened.iter().map(|one| {
                format!("{:.2} s: {}{}", one.at, if one.over { "over: " } else { "" }, one.what)
            }).collect::<Vec<_>>(),
            "met": told(Standing::Met),
            "not_met": told(Standing::NotMet),
            "not_judged": told(Standing::NotJudged),
            "wrong_answers": drilled.wrong(),
            "evidence": drilled.evidence,
            "not_well_after": drilled.after,
        },
        "start": utc(drilled.began),
        "status": if matches!(verdict, Verdict::Held | Verdict::Deviated) { "succeeded" } else { "failed" },
        "end": utc(drilled.began + drilled.seconds),
        "duration": drilled.seconds,
    })
}

fn rollback(drilled: &Drilled) -> Value {
    let end = drilled.began + drilled.seconds;
    json!({
        "activity": {
            "type": "action",
            "name": format!("{}: everything is taken back and ended", drilled.variant),
            "provider": { "type": "process", "path": "seawall", "arguments": ["keeper"] },
        },
        "output": { "left": drilled.left },
        "start": utc(end),
        "status": if drilled.left.is_empty() { "succeeded" } else { "failed" },
        "end": utc(end),
        "duration": 0.0,
    })
}

/// The machine's name; nobody has to know it.
fn node() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// An instant as ISO 8601 has it, in UTC: `2026-11-21T22:35:44.120000+00:00`.
pub fn utc(seconds: f64) -> String {
    let micros = (seconds.clamp(0.0, 253_402_300_799.0) * 1e6).round() as i64;
    let (whole, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, second) = (whole.div_euclid(86_400), whole.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+00:00")
}

/// Year, month and day of a day since 1970 in the Gregorian calendar (Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`): years begin in March, so that the leap day is their last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::Told;
    use crate::outcome::Outcome;

    fn drilled(verdict: Verdict) -> Drilled {
        Drilled {
            variant: "unprotected".to_owned(),
            about: String::new(),
            outcome: Outcome {
                verdict,
                why: "so it was".to_owned(),
                predicted_well: None,
                advice: Vec::new(),
            },
            began: 1_700_000_000.0,
            seconds: 20.0,
            phases: Vec::new(),
            compared: Vec::new(),
            expectations: Vec::new(),
            clients: Vec::new(),
            happened: Vec::new(),
            left: Vec::new(),
            troubles: Vec::new(),
            after: None,
            evidence: Vec::new(),
            doubts: Vec::new(),
            parts: Vec::new(),
            prediction: String::new(),
            diagnosed: None,
            measured: Told {
                period: 1.0,
                origin: 0.0,
                periods: 0,
                series: Vec::new(),
            },
            predicted: Vec::new(),
        }
    }

    fn kept(verdict: Verdict) -> Kept {
        Kept {
            format: FORMAT,
            scenario: "redis-down".to_owned(),
            title: "The cache dies".to_owned(),
            about: String::new(),
            seed: 1,
            scale: 0.01,
            time: 0.1,
            sets: Vec::new(),
            version: "0.1.0".to_owned(),
            machine: "linux x86_64, 2 processors".to_owned(),
            began: 1_700_000_000.0,
            ended: 1_700_000_021.5,
            variants: vec![drilled(Verdict::Held), drilled(verdict)],
        }
    }

    #[test]
    fn a_journal_gives_back_what_was_kept() {
        let kept = kept(Verdict::Deviated);
        let text = serde_json::to_vec(&journal(&json!({"title": "x"}), &kept)).expect("it is JSON");
        assert_eq!(read(&text).expect("it was just written"), kept);
        assert!(matches!(read(b"{\"run\": []}"), Err(Unread::Foreign)));
        assert!(matches!(
            read(b"{\"seawall\": {\"format\": 99}}"),
            Err(Unread::Other(99))
        ));
        assert!(matches!(read(b"no JSON"), Err(Unread::Form(_))));
    }

    #[test]
    fn the_words_are_those_of_chaos_toolkit() {
        for (verdict, status, deviated, before, after) in [
            (Verdict::Held, "completed", false, true, json!(true)),
            (Verdict::Deviated, "completed", true, true, json!(false)),
            (Verdict::BaselineUnmet, "failed", false, false, Value::Null),
            (Verdict::Aborted, "aborted", false, true, json!(false)),
            (Verdict::RollbackFailed, "failed", false, true, json!(false)),
        ] {
            let journal = journal(&json!({}), &kept(verdict));
            let word = verdict.word();
            assert_eq!(journal["status"], status, "{word}");
            assert_eq!(journal["deviated"], deviated, "{word}");
            assert_eq!(
                journal["steady_states"]["before"]["steady_state_met"], before,
                "{word}"
            );
            assert_eq!(
                journal["steady_states"]["after"]
                    .get("steady_state_met")
                    .cloned()
                    .unwrap_or_default(),
                after,
                "{word}"
            );
            assert_eq!(journal["run"][1]["output"]["status"], verdict.status(), "{word}");
        }
    }

    #[test]
    fn instants_are_told_in_utc() {
        assert_eq!(utc(0.0), "1970-01-01T00:00:00.000000+00:00");
        assert_eq!(utc(951_782_400.0), "2000-02-29T00:00:00.000000+00:00");
        assert_eq!(utc(1_700_000_000.25), "2023-11-14T22:13:20.250000+00:00");
        assert_eq!(utc(4_107_542_399.0), "2100-02-28T23:59:59.000000+00:00");
        assert_eq!(utc(4_107_542_400.0), "2100-03-01T00:00:00.000000+00:00");
    }
}
