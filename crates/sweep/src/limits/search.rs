//! Finding the factors at which a system turns.

use seawall_report::class::Class;
use seawall_report::limits::{Probe, Scan, Turn};
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
    /// A limit is wanted between better than this and this or worse, for each of them.
    pub(super) classes: &'a [Class],
}

impl Ladder<'_> {
    fn worst(&self) -> Class {
        self.classes.iter().copied().max().unwrap_or_default()
    }

    fn best(&self) -> Class {
        self.classes.iter().copied().min().unwrap_or_default()
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
    while let Some(class) = scan.probes.first().map(|probe| probe.figures.class) {
        let last = scan.probes.last().map_or(class, |probe| probe.figures.class);
        let (low, high) = (scan.probes[0].factor, scan.probes[scan.probes.len() - 1].factor);
        let (low_is_known, high_is_known) = if ladder.more_is_worse {
            (class < ladder.best(), last >= ladder.worst())
        } else {
            (class >= ladder.worst(), last < ladder.best())
        };
        let mut next = Vec::new();
        if !low_is_known && low / 2.0 >= ladder.lowest {
            next.push(low / 2.0);
        }
        let highest = if last >= Class::NeverRecovers {
            ladder.highest_when_down
        } else {
            ladder.highest
        };
        if !high_is_known && high * 2.0 <= highest {
            next.push(high * 2.0);
        }
        if next.is_empty() || !try_all(bench, &mut scan, &next, changed)? {
            break;
        }
    }
    loop {
        let mut next: Vec<f64> = Vec::new();
        for class in ladder.classes {
            if let (Some(a), Some(b)) = bracket(&scan, *class, ladder.more_is_worse) {
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
    let turn = |class: &Class| {
        let (better, worse) = bracket(&scan, *class, ladder.more_is_worse);
        Turn {
            class: *class,
            better,
            worse,
        }
    };
    scan.turns = ladder.classes.iter().map(turn).collect();
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

/// The two sides of the first limit that is met on the way from the good end: the last factor before it, and the first
/// that is of the class or worse.
fn bracket(scan: &Scan, class: Class, more_is_worse: bool) -> (Option<f64>, Option<f64>) {
    let mut better = None;
    let mut probes: Vec<&Probe> = scan.probes.iter().collect();
    if !more_is_worse {
        probes.reverse();
    }
    for probe in probes {
        if probe.figures.class >= class {
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
        assert_eq!(bracket(&scan, NeverRecovers, true), (Some(0.5), Some(1.0)));
        assert_eq!(scan.reversals(true).len(), 1);
        assert_eq!(bracket(&scan, NeverRecovers, false), (None, Some(4.0)));
        assert_eq!(bracket(&scan, Class::Ill, true), (Some(4.0), None));
    }
}
