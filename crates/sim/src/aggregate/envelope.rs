//! How far this engine was seen to be from the exact one, by kind of scenario, and where it was further.
//!
//! The numbers are those of `docs/engines.md`, which a test writes and holds against these bounds.

use seawall_scenario::Scenario;

/// What may lie between the two engines, beyond what two seeds of one engine differ by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Envelope {
    /// Of the calls a second that reach the databases, in each phase.
    pub origin: f64,
    /// Of all calls: those that are answered in time in one engine and not in the other, in each phase.
    pub answered: f64,
    /// Of the seconds until all is well again; infinite where the share of answers in time moves along the bound by
    /// which this is told.
    pub well_again_s: f64,
    /// Whether every expectation is met by both or by neither.
    pub same_verdict: bool,
}

/// Where nothing is said otherwise.
const COMMON: Envelope = Envelope {
    origin: 0.03,
    answered: 0.03,
    well_again_s: 1.0,
    same_verdict: true,
};

/// Scenarios that come with Seawall, by title, with the variants for which the common bounds are too tight, and why.
const EXCEPTIONS: &[(&str, &str, Envelope, &str)] = &[
    (
        "One of six cache nodes dies",
        "limit",
        Envelope {
            origin: 0.03,
            answered: 0.03,
            well_again_s: f64::INFINITY,
            same_verdict: true,
        },
        "the share of answers moves along the 95% by which recovery is told: two runs with the law of the exact engine are 7 s apart, and 43 s in the variant modulo-without-it",
    ),
    (
        "Redis is down for twenty minutes",
        "breaker-and-throttle",
        Envelope {
            origin: 0.12,
            answered: 0.10,
            well_again_s: 120.0,
            same_verdict: true,
        },
        "the throttle hunts along an edge: two runs with the law of the exact engine are 6% of the load and 3.6 points apart; and stores that fail are known to here at once, not after their time, which opens it 104 s sooner",
    ),
    (
        "Redis is down for twenty minutes",
        "seawall",
        Envelope {
            origin: 0.05,
            answered: 0.05,
            well_again_s: f64::INFINITY,
            same_verdict: true,
        },
        "at 1/1000 of the size 93.9% and 95.4% are answered during the fault, on both sides of the 95% by which recovery is told; at 1/300 the engines are 1.5 points apart, at 1/100 0.3",
    ),
    (
        "Redis answers, two hundred times as slowly",
        "unprotected",
        Envelope {
            origin: 0.08,
            answered: 0.03,
            well_again_s: 1.0,
            same_verdict: true,
        },
        "seen and not isolated: 40 loads a second for 43",
    ),
    (
        "Redis answers, two hundred times as slowly",
        "breaker",
        Envelope {
            origin: 0.20,
            answered: 0.03,
            well_again_s: 2.0,
            same_verdict: true,
        },
        "seen and only in part isolated: four of the twenty loads a second that are too few after the fault were stores that breakers turn away",
    ),
    (
        "Redis turns new clients away",
        "protected",
        Envelope {
            origin: 0.03,
            answered: 0.03,
            well_again_s: f64::INFINITY,
            same_verdict: true,
        },
        "95.5% and 95.7% are answered, along the 95% by which recovery is told",
    ),
    (
        "A retry storm outlives the outage that began it",
        "half-the-load",
        Envelope {
            origin: 0.10,
            answered: 0.10,
            well_again_s: 20.0,
            same_verdict: true,
        },
        "when a storm of few ends is chance: after 64 ± 14 s and 64 ± 11 s over six seeds",
    ),
    (
        "A retry storm outlives the outage that began it",
        "no-retries",
        Envelope {
            origin: 0.05,
            answered: 0.05,
            well_again_s: 5.0,
            same_verdict: true,
        },
        "the backlog drains at the rate of what is left over, which is chance: in 65 ± 8 s and 68 ± 9 s over six seeds",
    ),
    (
        "Five times the traffic for three minutes",
        "more-instances",
        Envelope {
            origin: 0.03,
            answered: 0.03,
            well_again_s: 3.0,
            same_verdict: true,
        },
        "the lines drain at the rate of what is left over: in 194.7 ± 1.4 s and 194.5 ± 0.6 s over six seeds",
    ),
    (
        "Five times the traffic for three minutes",
        "shed-by-priority",
        Envelope {
            origin: 0.03,
            answered: 0.03,
            well_again_s: f64::INFINITY,
            same_verdict: true,
        },
        "the last level is left at a bound along which utilization moves: after 194 s in each of six runs, and after 200 ± 14 s",
    ),
    (
        "Redis is down for twenty minutes",
        "breaker",
        Envelope {
            origin: 0.03,
            answered: 0.03,
            well_again_s: 2.0,
            same_verdict: true,
        },
        "the backlog drains at the rate of what is left over",
    ),
    (
        "A cache restarts cold, and never warms up",
        "limit-and-warming",
        Envelope {
            origin: 0.03,
            answered: 0.03,
            well_again_s: 2.0,
            same_verdict: true,
        },
        "keys are warmed at the mean of their class",
    ),
    (
        "Everything in the cache expires at the same instant",
        "prevented",
        Envelope {
            origin: 0.25,
            answered: 0.03,
            well_again_s: 1.0,
            same_verdict: true,
        },
        "seen and not isolated: five loads a second after the fault for four",
    ),
];

/// The bounds for a scenario, and in words why they are as they are.
pub fn envelope(scenario: &Scenario) -> (Envelope, &'static str) {
    let known = EXCEPTIONS
        .iter()
        .find(|(title, variant, _, _)| *title == scenario.title && *variant == scenario.variant);
    if let Some((_, _, envelope, why)) = known {
        return (*envelope, why);
    }
    (COMMON, "")
}

/// The bounds as a sentence.
pub(crate) fn spell(scenario: &Scenario) -> String {
    let (envelope, why) = envelope(scenario);
    let again = if envelope.well_again_s.is_finite() {
        format!("recovery within {:.0} s", envelope.well_again_s)
    } else {
        "recovery not comparable".to_owned()
    };
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(" ({why})")
    };
    format!(
        "load on the origin within {:.0}%, answers in time within {:.0} points, {again}{why}",
        100.0 * envelope.origin,
        100.0 * envelope.answered,
    )
}
