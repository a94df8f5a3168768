//! The result of a run, in words and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use hdrhistogram::Histogram as Hdr;
use seawall_core::record::{Ending, Record};
use seawall_core::time::Span;
use serde_json::{Value, json};

/// What came of a run. Times are in nanoseconds where nothing else is said.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name of the client.
    pub name: String,
    /// For how long calls were to be sent.
    pub wanted: Span,
    /// How long it took until the last call had ended.
    pub lasted: Span,
    /// Calls that ended, in the order of [`Ending::ALL`].
    pub ended: [u64; 6],
    /// Attempts beyond the first of a call.
    pub retries: u64,
    /// Calls that were due and not sent, because too many were under way.
    pub overruns: u64,
    /// Why calls failed.
    pub failures: BTreeMap<String, u64>,
    /// How answers were wrong.
    pub wrongs: BTreeMap<&'static str, u64>,
    /// Keys of the first wrong answers.
    pub examples: Vec<u64>,
    /// Whether answers were held against a truth.
    pub checked: bool,
    /// From when a call was due to its end, retries included, of all calls.
    pub latency: Hdr<u64>,
    /// The same of right answers.
    pub good_latency: Hdr<u64>,
    /// How late calls were sent: the generator's own error.
    pub lag: Hdr<u64>,
    /// How old stale answers were.
    pub staleness: Hdr<u64>,
    /// Period by period, by the names that the simulator uses.
    pub record: Record,
}

/// Sent later than this, a call is late by more than what most servers take to answer.
const LAG_MAX: Span = Span::millis(10);

const TOLD: [(f64, &str); 5] = [
    (0.5, "p50"),
    (0.9, "p90"),
    (0.99, "p99"),
    (0.999, "p99.9"),
    (1.0, "max"),
];

/// What a run says about its target, or about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Wrong,
    Overrun,
    Late,
    Nothing,
    Sound,
}

impl Report {
    /// Calls that ended.
    pub fn calls(&self) -> u64 {
        self.ended.iter().sum()
    }

    /// Calls that ended so.
    pub fn of(&self, ending: Ending) -> u64 {
        self.ended[ending as usize]
    }

    /// Wrong answers. One is enough to fail a run.
    pub fn wrong(&self) -> u64 {
        self.of(Ending::Wrong)
    }

    /// Right answers, as a share of all calls; 1 when there were none.
    pub fn goodput(&self) -> f64 {
        let good = Ending::ALL.into_iter().filter(|ending| ending.is_good());
        let good: u64 = good.map(|ending| self.of(ending)).sum();
        if self.calls() == 0 {
            1.0
        } else {
            good as f64 / self.calls() as f64
        }
    }

    /// A share `q` of all calls took no longer, from when they were due.
    pub fn latency(&self, q: f64) -> Span {
        Span::nanos(self.latency.value_at_quantile(q))
    }

    /// A share `q` of all calls were sent no later than this after they were due.
    pub fn lag(&self, q: f64) -> Span {
        Span::nanos(self.lag.value_at_quantile(q))
    }

    /// Whether the generator did what it was told, so that the numbers are about the target.
    pub fn is_sound(&self) -> bool {
        matches!(self.verdict(), Verdict::Sound | Verdict::Wrong)
    }

    fn verdict(&self) -> Verdict {
        if self.wrong() > 0 {
            Verdict::Wrong
        } else if self.overruns > 0 {
            Verdict::Overrun
        } else if self.calls() == 0 {
            Verdict::Nothing
        } else if self.lag(0.99) > LAG_MAX {
            Verdict::Late
        } else {
            Verdict::Sound
        }
    }

    fn headline(&self) -> String {
        let calls = self.calls();
        match self.verdict() {
            Verdict::Wrong => format!("WRONG: {} of {calls} answers were wrong", self.wrong()),
            Verdict::Overrun => format!(
                "NOT SOUND: {} calls were due and not sent, because too many were under way",
                self.overruns
            ),
            Verdict::Late => format!(
                "NOT SOUND: calls were sent late, by {} at p99: this machine cannot send so many",
                rounded(self.lag(0.99))
            ),
            Verdict::Nothing => "NOT SOUND: no call was made".to_owned(),
            Verdict::Sound => {
                let share = self.goodput() * 100.0;
                let what = if self.checked {
                    "right answers"
                } else {
                    "answers, which were not checked"
                };
                format!("{share:.2}% {what}, of {calls} calls")
            }
        }
    }

    /// For people: the verdict first.
    pub fn text(&self) -> String {
        let mut text = self.headline();
        let rate = self.calls() as f64 / self.wanted.as_secs_f64().max(1e-9);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "\n\n  calls    {} in {} ({rate:.0}/s)",
            self.calls(),
            self.wanted
        );
        for ending in Ending::ALL {
            if self.of(ending) > 0 || ending == Ending::Fresh {
                let _ = writeln!(text, "  {:<8} {}", ending.name(), self.of(ending));
            }
        }
        for (name, count) in [("retries", self.retries), ("overruns", self.overruns)] {
            if count > 0 {
                let _ = writeln!(text, "  {name:<8} {count}");
            }
        }
        for (why, count) in &self.failures {
            let _ = writeln!(text, "           {count} × {why}");
        }
        for (how, count) in &self.wrongs {
            let _ = writeln!(text, "           {count} × {how} (keys {:?})", self.examples);
        }
        text.push('\n');
        row(&mut text, "latency, from when a call was due", &self.latency);
        if self.of(Ending::Stale) > 0 {
            row(&mut text, "age of stale answers", &self.staleness);
        }
        row(&mut text, "own error: calls were sent late by", &self.lag);
        text
    }

    /// For programs. Times are in seconds.
    pub fn json(&self) -> Value {
        let ended: BTreeMap<&str, u64> = Ending::ALL
            .into_iter()
            .map(|ending| (ending.name(), self.of(ending)))
            .collect();
        json!({
            "verdict": self.headline(),
            "sound": self.is_sound(),
            "checked": self.checked,
            "name": self.name,
            "duration_seconds": self.wanted.as_secs_f64(),
            "calls": self.calls(),
            "outcomes": ended,
            "goodput_ratio": self.goodput(),
            "retries": self.retries,
            "overruns": self.overruns,
            "failures": self.failures,
            "wrong": self.wrongs,
            "wrong_keys": self.examples,
            "latency_seconds": seconds(&self.latency),
            "good_latency_seconds": seconds(&self.good_latency),
            "staleness_seconds": seconds(&self.staleness),
            "send_lag_seconds": seconds(&self.lag),
            "periods": self.periods(),
        })
    }

    fn periods(&self) -> Value {
        let record = &self.record;
        let series = record.series().iter().map(|series| {
            // There is no number where nothing ended.
            let values: Vec<Option<f64>> = series
                .values
                .iter()
                .map(|value| Some(*value).filter(|value| value.is_finite()))
                .collect();
            json!({ "metric": series.metric.name(), "label": series.label, "values": values })
        });
        json!({ "seconds": record.period.as_secs_f64(), "series": series.collect::<Vec<_>>() })
    }
}

fn row(text: &mut String, name: &str, histogram: &Hdr<u64>) {
    let _ = write!(text, "  {name:<36}");
    for (q, label) in TOLD {
        let value = Span::nanos(histogram.value_at_quantile(q));
        let _ = write!(text, " {label} {:<8}", rounded(value));
    }
    let end = text.trim_end().len();
    text.truncate(end);
    text.push('\n');
}

fn seconds(histogram: &Hdr<u64>) -> Value {
    let quantiles: BTreeMap<&str, f64> = TOLD
        .into_iter()
        .map(|(q, label)| (label, histogram.value_at_quantile(q) as f64 / 1e9))
        .collect();
    json!(quantiles)
}

/// Three digits are enough for people.
fn rounded(span: Span) -> String {
    let nanos = span.as_nanos() as f64;
    let (value, unit) = match nanos {
        nanos if nanos >= 1e9 => (nanos / 1e9, "s"),
        nanos if nanos >= 1e6 => (nanos / 1e6, "ms"),
        nanos if nanos >= 1e3 => (nanos / 1e3, "us"),
        nanos => (nanos, "ns"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        for (nanos, text) in [
            (7, "7.00ns"),
            (12_345, "12.3us"),
            (999_000_000, "999ms"),
            (1_500_000_000, "1.50s"),
        ] {
            assert_eq!(rounded(Span::nanos(nanos)), text);
        }
    }
}
