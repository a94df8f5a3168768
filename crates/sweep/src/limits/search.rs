//! Finding the factors at which a system turns.

use seawall_report::class::Class;
use seawall_report::limits::{Line, Probe, Scan, Turn};
use seawall_scenario::Scenario;

use super::bench::Bench;

/// Where to look.
pub(super) struct Ladder<'a> {
    /// The lowest factor that is tried.
    pub(super) lowest: f64,
    /// The highest.
    pub(super) highest: f64,
    /// The highest once it stays down: what is beyond is of less interest, and slow to play.
    pub(super) highest_when_down: f64,
    /// Whether a larger factor is worse for the system.
    pub(super) more_is_worse: bool,
    /// The limits that are wanted.
    pub(super) lines: &'a [Line],
}

impl Ladder<'_> {
    /// Whether the bad end of the ladder is reached: every limit lies on the way there.
    fn is_bad(&self, probe: &Probe) -> bool {
        self.lines.iter().all(|line| line.is_crossed(&probe.figures))
    }

    /// Whether the good end is reached.
    fn is_good(&self, probe: &Probe) -> bool {
        !self.lines.iter().any(|line| line.is_crossed(&probe.figures))
    }
}

/// Finds the limits: steps of two away from 1 until both sides are known, then halves each bracket. Stops early, with what
/// it knows, when there is no time left.
pub(super) fn search(
    bench: &mut Bench<'_>,
    ladder: &Ladder<'_>,
    tolerance: f64,
    changed: &dyn Fn(f64) -> (Scenario, String),
) -> Result<Scan, String> {
    let mut scan = Scan::default();
    try_all(bench, &mut scan, &[1.0], changed)?;
    while let [first, .., last] | [first @ last] = scan.probes.as_slice() {
        let (low, high) = (first.factor, last.factor);
        let (low_is_known, high_is_known) = if ladder.more_is_worse {
            (ladder.is_good(first), ladder.is_bad(last))
        } else {
            (ladder.is_bad(first), ladder.is_good(last))
        };
        let highest = if last.figures.class >= Class::NeverRecovers {
            ladder.highest_when_down
        } else {
            ladder.highest
        };
        let mut next = Vec::new();
        if !low_is_known && low / 2.0 >= ladder.lowest {
            next.push(low / 2.0);
        }
        if !high_is_known && high * 2.0 <= highest {
            next.push(high * 2.0);
        }
        if next.is_empty() || !try_all(bench, &mut scan, &next, changed)? {
            break;
        }
    }
    loop {
        let mut next: Vec<f64> = Vec::new();
        for line in ladder.lines {
            if let (Some(a), Some(b)) = bracket(&scan, *line, ladder.more_is_worse) {
                let (low, high) = (a.min(b), a.max(b));
                let middle = libm::sqrt(low * high);
                let is_new = !next.iter().any(|known| known.to_bits() == middle.to_bits());
                if high / low > 1.0 + tolerance && is_new {
                    next.push(middle);
                }
            }
        }
        if next.is_empty() || !try_all(bench, &mut scan, &next, changed)? {
            break;
        }
    }
    let turn = |line: &Line| {
        let (better, worse) = bracket(&scan, *line, ladder.more_is_worse);
        Turn {
            line: *line,
            better,
            worse,
        }
    };
    scan.turns = ladder.lines.iter().map(turn).collect();
    Ok(scan)
}

/// Tries factors; says whether there was time for it.
fn try_all(
    bench: &mut Bench<'_>,
    scan: &mut Scan,
    factors: &[f64],
    changed: &dyn Fn(f64) -> (Scenario, String),
) -> Result<bool, String> {
    let (scenarios, words): (Vec<Scenario>, Vec<String>) =
        factors.iter().map(|factor| changed(*factor)).unzip();
    let Some(figures) = bench.trials(&scenarios)? else {
        return Ok(false);
    };
    for ((factor, words), figures) in factors.iter().zip(words).zip(figures) {
        scan.probes.push(Probe {
            factor: *factor,
            words,
            figures,
        });
    }
    scan.probes.sort_by(|a, b| a.factor.total_cmp(&b.factor));
    Ok(true)
}

/// The two sides of a limit where it is first met on the way from the good end: the last factor before it, and the first
/// beyond.
fn bracket(scan: &Scan, line: Line, more_is_worse: bool) -> (Option<f64>, Option<f64>) {
    let mut better = None;
    let mut probes: Vec<&Probe> = scan.probes.iter().collect();
    if !more_is_worse {
        probes.reverse();
    }
    for probe in probes {
        if line.is_crossed(&probe.figures) {
            return (better, Some(probe.factor));
        }
        better = Some(probe.factor);
    }
    (better, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_report::figures::Figures;

    fn scan(points: &[(f64, Class)]) -> Scan {
        let probe = |(factor, class): &(f64, Class)| Probe {
            factor: *factor,
            figures: Figures {
                class: *class,
                ..Figures::default()
            },
            ..Probe::default()
        };
        Scan {
            probes: points.iter().map(probe).collect(),
            turns: Vec::new(),
        }
    }

    #[test]
    fn a_limit_is_the_first_one_on_the_way_from_the_good_end() {
        use Class::{Degrades, Holds, NeverRecovers};
        let scan = scan(&[
            (0.5, Holds),
            (1.0, NeverRecovers),
            (2.0, Degrades),
            (4.0, NeverRecovers),
        ]);
        assert_eq!(
            bracket(&scan, Line::Worse(NeverRecovers), true),
            (Some(0.5), Some(1.0))
        );
        assert_eq!(scan.reversals(true).len(), 1);
        assert_eq!(
            bracket(&scan, Line::Worse(NeverRecovers), false),
            (None, Some(4.0))
        );
        assert_eq!(bracket(&scan, Line::Worse(Class::Ill), true), (Some(4.0), None));
    }
}
