//! What a drill means: the one place where it is decided what "held" is.
//!
//! A drill held when it ran whole, all that the timeline says was done and taken back, no client was given a wrong answer,
//! and every expectation was met that the simulator says can be met. Whether the prediction was right is another question:
//! it is answered beside the verdict and is no part of it, unless it is asked for ([`Rules::strict`]).
//!
//! It is pure: facts go in, and an [`Outcome`] comes out.
//!
//! ```
//! use seawall_drill::outcome::{Facts, Rules, Verdict, outcome};
//! let mut facts = Facts::whole();
//! assert_eq!(outcome(&facts, &Rules::default()).verdict, Verdict::Held);
//! facts.wrong = 1;
//! facts.examples = vec![4711];
//! let outcome = outcome(&facts, &Rules::default());
//! assert_eq!((outcome.verdict, outcome.verdict.status()), (Verdict::Deviated, 1));
//! ```

use serde::{Deserialize, Serialize};

use crate::run::Ending;

/// How a drill is judged. What is worse stands later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// What must hold held.
    Held,
    /// It did not.
    Deviated,
    /// The system was not well before anything was injected, so nothing was.
    BaselineUnmet,
    /// It was ended before its end, and what had been done was taken back.
    Aborted,
    /// Something could not be taken back.
    RollbackFailed,
}

impl Verdict {
    /// All of them, the best first.
    pub const ALL: [Verdict; 5] = [
        Verdict::Held,
        Verdict::Deviated,
        Verdict::BaselineUnmet,
        Verdict::Aborted,
        Verdict::RollbackFailed,
    ];

    /// The exit status. 2 is for wrong input, which is no verdict.
    pub const fn status(self) -> u8 {
        match self {
            Verdict::Held => 0,
            Verdict::Deviated => 1,
            Verdict::BaselineUnmet => 3,
            Verdict::Aborted => 4,
            Verdict::RollbackFailed => 5,
        }
    }

    /// In a word or two.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Held => "held",
            Verdict::Deviated => "deviated",
            Verdict::BaselineUnmet => "baseline unmet",
            Verdict::Aborted => "aborted",
            Verdict::RollbackFailed => "rollback failed",
        }
    }
}

/// What became of an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It was met.
    Met,
    /// It was not met, and the simulator says that it can be.
    NotMet,
    /// The prediction itself does not meet it in the time and the size of the drill, so nothing follows from it.
    NotJudged,
}

/// An expectation, predicted and measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// The sentence that had to be true.
    pub that: String,
    /// What became of it.
    pub standing: Standing,
    /// What had to be seen.
    pub wanted: String,
    /// What was predicted.
    pub predicted: String,
    /// What was measured.
    pub measured: String,
    /// By its Prometheus name, what was looked at.
    pub metric: String,
    /// Of which component.
    pub of: String,
    /// From when, in seconds of the scenario's clock.
    pub from: f64,
    /// Until when.
    pub to: f64,
}

/// What is known of a drill that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// How it ended.
    pub ending: Ending,
    /// Wrong answers that clients were given.
    pub wrong: u64,
    /// Keys of some of them.
    pub examples: Vec<u64>,
    /// What had to hold, predicted and measured.
    pub expectations: Vec<Expectation>,
    /// What could not be done of the timeline.
    pub troubles: Vec<String>,
    /// What was done of it without effect.
    pub unfelt: Vec<String>,
    /// What could not be taken back.
    pub left: Vec<String>,
    /// Why it was not well after all had been taken back.
    pub after: Option<String>,
    /// Whether it is predicted to be well in the end. A failure may outlive its cause, and some scenarios are about that.
    pub heals: bool,
    /// The mean errors of the prediction, of goodput and of the origin's load, as shares; `NaN` where there is none.
    pub errors: Option<(f64, f64)>,
}

impl Facts {
    /// A drill that ran to its end, of which nothing else is known.
    pub fn whole() -> Facts {
        Facts {
            ending: Ending::Whole,
            wrong: 0,
            examples: Vec::new(),
            expectations: Vec::new(),
            troubles: Vec::new(),
            unfelt: Vec::new(),
            left: Vec::new(),
            after: None,
            heals: true,
            errors: None,
        }
    }
}

/// How it is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// A prediction that was wrong makes it a deviation too.
    pub strict: bool,
}

/// A prediction is right when its mean errors of goodput and of the origin's load are no larger, as shares.
pub const ERROR_MAX: f64 = 0.15;

/// What a drill means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in one line.
    pub why: String,
    /// Whether the prediction was right; nothing when there is nothing to compare.
    pub predicted_well: Option<bool>,
    /// What to do now, one sentence each.
    pub advice: Vec<String>,
}

/// Judges a drill.
pub fn outcome(facts: &Facts, rules: &Rules) -> Outcome {
    let predicted_well = match (facts.ending == Ending::Whole, facts.errors) {
        (true, Some((goodput, load))) => {
            // What cannot be compared is not wrong.
            let right = |error: f64| error.is_nan() || error <= ERROR_MAX;
            (!(goodput.is_nan() && load.is_nan())).then(|| right(goodput) && right(load))
        }
        _ => None,
    };
    let (verdict, why) = judge(facts, rules.strict && predicted_well == Some(false));
    let advice = advice(facts, verdict, predicted_well);
    Outcome {
        verdict,
        why,
        predicted_well,
        advice,
    }
}

/// The worst of what can be said of it.
fn judge(facts: &Facts, mistaken: bool) -> (Verdict, String) {
    if let [first, rest @ ..] = facts.left.as_slice() {
        let more = and_more(rest.len());
        return (Verdict::RollbackFailed, format!("{first}{more}"));
    }
    match &facts.ending {
        Ending::Aborted(why) => return (Verdict::Aborted, format!("{why}; everything was taken back")),
        Ending::Unwell(why) => return (Verdict::BaselineUnmet, why.clone()),
        Ending::Whole => {}
    }
    if facts.wrong > 0 {
        let keys: Vec<String> = facts.examples.iter().take(5).map(u64::to_string).collect();
        let such_as = if keys.is_empty() {
            String::new()
        } else {
            format!(", for keys such as {}", keys.join(", "))
        };
        let answers = if facts.wrong == 1 {
            "answer was"
        } else {
            "answers were"
        };
        return (
            Verdict::Deviated,
            format!("{} {answers} wrong{such_as}", facts.wrong),
        );
    }
    if let [first, rest @ ..] = facts.troubles.as_slice() {
        let more = and_more(rest.len());
        return (
            Verdict::Aborted,
            format!("what was to be done to it could not be done, so it proves nothing: {first}{more}"),
        );
    }
    if let [first, rest @ ..] = facts.unfelt.as_slice() {
        let more = and_more(rest.len());
        return (
            Verdict::Aborted,
            format!("the fault did not take effect: {first}{more}"),
        );
    }
    let count = |standing: Standing| {
        facts
            .expectations
            .iter()
            .filter(|one| one.standing == standing)
            .count()
    };
    let (met, not_met, open) = (
        count(Standing::Met),
        count(Standing::NotMet),
        count(Standing::NotJudged),
    );
    let judged = met + not_met;
    if let Some(first) = facts
        .expectations
        .iter()
        .find(|one| one.standing == Standing::NotMet)
    {
        let which = if not_met == 1 { ":" } else { "; the first:" };
        return (
            Verdict::Deviated,
            format!(
                "{not_met} of {judged} expectations not met{which} {} (measured {}, wanted {})",
                first.that, first.measured, first.wanted
            ),
        );
    }
    if let (Some(why), true) = (&facts.after, facts.heals) {
        return (
            Verdict::Deviated,
            format!("it is not well after everything was taken back, and was predicted to be: {why}"),
        );
    }
    if mistaken {
        return (
            Verdict::Deviated,
            "the prediction was wrong by more than 15%, and --strict asks for it to be right".to_owned(),
        );
    }
    let after = if facts.after.is_some() {
        "; as predicted, it does not heal by itself"
    } else {
        ""
    };
    let unjudged = if open == 0 {
        String::new()
    } else {
        format!(", {open} not judged")
    };
    let met = match judged {
        0 => "it ran to its end and no expectation applies".to_owned(),
        1 => "the one expectation was met".to_owned(),
        _ => format!("all {judged} expectations met"),
    };
    (
        Verdict::Held,
        format!("{met}{unjudged}; no wrong answer, and nothing is left behind{after}"),
    )
}

fn and_more(count: usize) -> String {
    if count == 0 {
        String::new()
    } else {
        format!(" (and {count} more)")
    }
}

fn advice(facts: &Facts, verdict: Verdict, predicted_well: Option<bool>) -> Vec<String> {
    let mut advice = Vec::new();
    match verdict {
        Verdict::Held => {}
        Verdict::RollbackFailed => advice.push(
            "undo by hand what is listed as left behind, before anything else; the next drill also looks for what this one left".to_owned(),
        ),
        Verdict::BaselineUnmet => advice.push(
            "nothing was injected: look why the system is not well by itself, or make it smaller with --scale".to_owned(),
        ),
        Verdict::Aborted if facts.ending != Ending::Whole => {
            advice.push("run it again; it says nothing about the system".to_owned());
        }
        Verdict::Aborted if facts.troubles.is_empty() => advice.push(
            "what was not felt proves nothing: give it more time, or look what is in its way, then run it again".to_owned(),
        ),
        Verdict::Aborted => advice.push("look why it could not be done here, then run it again".to_owned()),
        Verdict::Deviated if facts.wrong > 0 => advice.push(
            "wrong answers first, whatever the numbers: read those keys at the origin and in the cache, and find who wrote the difference".to_owned(),
        ),
        Verdict::Deviated => {
            advice.push("compare with the other variants of the scenario: what they protect, and this one does not".to_owned());
            advice.push("`seawall limits` on the same scenario says which setting would have carried it".to_owned());
        }
    }
    if predicted_well == Some(false) {
        advice.push(
            "the prediction was off: look on the page (--report) where the curves part before anything is sized by it".to_owned(),
        );
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(standing: Standing) -> Expectation {
        Expectation {
            that: "everybody is answered".to_owned(),
            standing,
            wanted: "mean above 99%".to_owned(),
            predicted: "100%".to_owned(),
            measured: "40%".to_owned(),
            metric: "goodput_ratio".to_owned(),
            of: "web".to_owned(),
            from: 0.0,
            to: 10.0,
        }
    }

    fn judged(change: impl FnOnce(&mut Facts)) -> Outcome {
        judged_by(Rules::default(), change)
    }

    fn judged_by(rules: Rules, change: impl FnOnce(&mut Facts)) -> Outcome {
        let mut facts = Facts::whole();
        facts.expectations = vec![expectation(Standing::Met), expectation(Standing::Met)];
        change(&mut facts);
        outcome(&facts, &rules)
    }

    #[test]
    fn the_statuses_are_those_that_are_promised() {
        assert_eq!(Verdict::ALL.map(Verdict::status), [0, 1, 3, 4, 5]);
        assert!(Verdict::ALL.is_sorted(), "the worst is the last");
    }

    #[test]
    fn it_holds_when_all_is_met_and_nothing_is_left() {
        let outcome = judged(|_| {});
        assert_eq!(outcome.verdict, Verdict::Held);
        assert_eq!(
            outcome.why,
            "all 2 expectations met; no wrong answer, and nothing is left behind"
        );
        assert!(outcome.advice.is_empty() && outcome.predicted_well.is_none());
    }

    #[test]
    fn one_expectation_that_is_not_met_is_a_deviation() {
        let outcome = judged(|facts| facts.expectations[1].standing = Standing::NotMet);
        assert_eq!(outcome.verdict, Verdict::Deviated);
        assert_eq!(
            outcome.why,
            "1 of 2 expectations not met: everybody is answered (measured 40%, wanted mean above 99%)"
        );
        assert!(!outcome.advice.is_empty());
    }

    #[test]
    fn what_the_prediction_does_not_meet_is_not_held_against_the_system() {
        let outcome = judged(|facts| facts.expectations[1].standing = Standing::NotJudged);
        assert_eq!(outcome.verdict, Verdict::Held);
        assert!(
            outcome.why.contains("the one expectation was met, 1 not judged"),
            "{}",
            outcome.why
        );
    }

    #[test]
    fn a_wrong_answer_outweighs_good_numbers() {
        let outcome = judged(|facts| (facts.wrong, facts.examples) = (3, (1..=9).collect()));
        assert_eq!(outcome.verdict, Verdict::Deviated);
        assert_eq!(
            outcome.why,
            "3 answers were wrong, for keys such as 1, 2, 3, 4, 5"
        );
    }

    #[test]
    fn what_could_not_be_done_proves_nothing() {
        let outcome = judged(|facts| facts.troubles = vec!["no cgroups".to_owned(), "no tmpfs".to_owned()]);
        assert_eq!(outcome.verdict, Verdict::Aborted);
        assert!(
            outcome.why.ends_with("no cgroups (and 1 more)"),
            "{}",
            outcome.why
        );
        // A wrong answer is one all the same.
        let outcome = judged(|facts| (facts.troubles, facts.wrong) = (vec!["no cgroups".to_owned()], 1));
        assert_eq!(outcome.verdict, Verdict::Deviated);
    }

    #[test]
    fn a_fault_without_effect_proves_nothing() {
        let vain = |facts: &mut Facts| facts.unfelt = vec!["redis hangs: PING is answered".to_owned()];
        let outcome = judged(vain);
        assert_eq!((outcome.verdict, outcome.verdict.status()), (Verdict::Aborted, 4));
        assert_eq!(
            outcome.why,
            "the fault did not take effect: redis hangs: PING is answered"
        );
        assert!(
            outcome.advice[0].contains("what was not felt"),
            "{:?}",
            outcome.advice
        );
    }

    #[test]
    fn what_is_left_outweighs_everything() {
        for ending in [
            Ending::Whole,
            Ending::Aborted("a guard".into()),
            Ending::Unwell("not well".into()),
        ] {
            let outcome = judged(|facts| {
                facts.ending = ending;
                facts.left = vec!["redis still stands still".to_owned()];
                facts.wrong = 1;
            });
            assert_eq!(outcome.verdict, Verdict::RollbackFailed);
            assert_eq!(outcome.why, "redis still stands still");
        }
    }

    #[test]
    fn what_does_not_heal_deviates_unless_it_was_predicted() {
        let ill = |facts: &mut Facts| facts.after = Some("`web` gets no good answer".to_owned());
        let outcome = judged(ill);
        assert_eq!(outcome.verdict, Verdict::Deviated);
        assert!(
            outcome.why.ends_with("`web` gets no good answer"),
            "{}",
            outcome.why
        );
        let outcome = judged(|facts| {
            ill(facts);
            facts.heals = false;
        });
        assert_eq!(outcome.verdict, Verdict::Held);
        assert!(
            outcome.why.ends_with("as predicted, it does not heal by itself"),
            "{}",
            outcome.why
        );
    }

    #[test]
    fn an_early_end_is_told_by_its_reason() {
        let outcome = judged(|facts| facts.ending = Ending::Aborted("it was stopped by hand".into()));
        assert_eq!(outcome.verdict, Verdict::Aborted);
        assert_eq!(outcome.why, "it was stopped by hand; everything was taken back");
        let outcome = judged(|facts| facts.ending = Ending::Unwell("80% were answered well".into()));
        assert_eq!(
            (outcome.verdict, outcome.why.as_str()),
            (Verdict::BaselineUnmet, "80% were answered well")
        );
    }

    #[test]
    fn a_wrong_prediction_fails_nothing_unless_it_is_asked_for() {
        let wrong = |facts: &mut Facts| facts.errors = Some((0.02, 0.2));
        let outcome = judged(wrong);
        assert_eq!(
            (outcome.verdict, outcome.predicted_well),
            (Verdict::Held, Some(false))
        );
        assert!(outcome.advice[0].starts_with("the prediction was off"));
        assert_eq!(
            judged_by(Rules { strict: true }, wrong).verdict,
            Verdict::Deviated
        );
        let right = |facts: &mut Facts| facts.errors = Some((0.15, f64::NAN));
        let outcome = judged_by(Rules { strict: true }, right);
        assert_eq!(
            (outcome.verdict, outcome.predicted_well),
            (Verdict::Held, Some(true))
        );
        assert_eq!(
            judged(|facts| facts.errors = Some((f64::NAN, f64::NAN))).predicted_well,
            None
        );
    }
}
