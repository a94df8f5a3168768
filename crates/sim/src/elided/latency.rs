//! How long a hit takes: the law, many draws from it at once, and the hits that end in a later period.

use std::collections::VecDeque;

use seawall_core::dist::Dist;
use seawall_core::draw;
use seawall_core::histogram::Histogram;
use seawall_core::rng::Stream;
use seawall_core::time::Span;

/// So many draws stand for a law that is a sum of several.
const SAMPLES: u64 = 1 << 18;
/// Up to so many hits are drawn one by one.
const FEW: u64 = 4_096;

/// How many deviations a normal draw is above its mean with a probability of 10⁻¹².
const Z_NEVER: f64 = 7.034;
/// `−ln 10⁻¹²`.
const E_NEVER: f64 = 27.631;
/// The 99th percentile of the standard normal law.
const Z99: f64 = 2.326_347_874_040_840_8;

/// What a draw is above with a probability of no more than 10⁻¹².
pub(super) fn longest(dist: &Dist) -> Span {
    match *dist {
        Dist::Fixed(span) => span,
        Dist::Exponential { mean } => mean.scaled(E_NEVER),
        Dist::Normal { mean, deviation } => mean + deviation.scaled(Z_NEVER),
        Dist::LogNormal { median, p99 } => {
            let above = p99.max(median).as_secs_f64() / median.as_secs_f64().max(1e-9);
            median.scaled(libm::exp(libm::log(above) / Z99 * Z_NEVER))
        }
        Dist::Uniform { min, max } => max.max(min),
    }
}

/// The law of the time that a hit takes.
pub(super) struct Latency {
    fixed: Span,
    random: Vec<Dist>,
    /// Draws, made when many are first wanted.
    sample: Option<Vec<(Span, u64)>>,
}

impl Latency {
    /// The law of the sum of these.
    pub(super) fn new(parts: impl IntoIterator<Item = Dist>) -> Latency {
        let (mut fixed, mut random) = (Span::ZERO, Vec::new());
        for part in parts {
            match part {
                Dist::Fixed(span) => fixed += span,
                other => random.push(other),
            }
        }
        Latency {
            fixed,
            random,
            sample: None,
        }
    }

    /// Tells the times of `count` hits: each time, and how many take it.
    ///
    /// A fixed time is one number, and few hits are drawn one by one. Many are spread by a multinomial draw over the
    /// buckets of a histogram of the law, as fine as those in which they end up.
    pub(super) fn spread(
        &mut self,
        count: u64,
        rng: &mut Stream,
        mut tell: impl FnMut(&mut Stream, Span, u64),
    ) {
        if self.random.is_empty() {
            return tell(rng, self.fixed, count);
        }
        if count <= FEW {
            for _ in 0..count {
                let span = self.draw(rng);
                tell(rng, span, 1);
            }
            return;
        }
        if self.sample.is_none() {
            let mut histogram = Histogram::new();
            (0..SAMPLES).for_each(|_| histogram.record(self.draw(rng)));
            self.sample = Some(histogram.held().collect());
        }
        let (mut hits, mut draws) = (count, SAMPLES);
        for (span, held) in self.sample.iter().flatten() {
            let here = draw::binomial(hits, *held as f64 / draws as f64, rng);
            tell(rng, *span, here);
            hits -= here;
            draws -= held;
        }
    }

    fn draw(&self, rng: &mut Stream) -> Span {
        self.random
            .iter()
            .fold(self.fixed, |sum, part| sum + part.draw(rng))
    }
}

/// Hits that were asked for in one period and end in a later one, in which they are counted.
#[derive(Default)]
pub(super) struct Late {
    /// From the period that comes next on: how long hits took, and how many.
    periods: VecDeque<Vec<(Span, u64)>>,
}

impl Late {
    /// Of so many hits that each take `span`, asked for evenly over `asked` (from the beginning of the period), those that
    /// end within the period, which is `every` long. The others are kept.
    pub(super) fn keep(
        &mut self,
        (span, count): (Span, u64),
        asked: (Span, Span),
        every: Span,
        rng: &mut Stream,
    ) -> u64 {
        let length = every.as_nanos().max(1);
        let (first, last) = ((asked.0 + span).as_nanos(), (asked.1 + span).as_nanos());
        let place = (first / length) as usize;
        let border = length.saturating_mul(place as u64 + 1);
        let beyond = last.saturating_sub(border) as f64 / last.saturating_sub(first).max(1) as f64;
        let later = draw::binomial(count, beyond, rng);
        for (place, count) in [(place, count - later), (place + 1, later)] {
            if place == 0 || count == 0 {
                continue;
            }
            if self.periods.len() < place {
                self.periods.resize_with(place, Vec::new);
            }
            self.periods[place - 1].push((span, count));
        }
        if place == 0 { count - later } else { 0 }
    }

    /// Goes on to the next period: what was kept for it.
    pub(super) fn next(&mut self) -> Vec<(Span, u64)> {
        self.periods.pop_front().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_core::rng::Seed;

    #[test]
    fn many_hits_take_as_long_as_few() {
        let mut rng = Seed(1).stream("latency", 0);
        let parts = [
            Dist::Fixed(Span::millis(2)),
            Dist::Exponential {
                mean: Span::millis(1),
            },
            Dist::Uniform {
                min: Span::ZERO,
                max: Span::millis(1),
            },
        ];
        let mut latency = Latency::new(parts);
        let (mut one_by_one, mut at_once) = (Histogram::new(), Histogram::new());
        (0..100).for_each(|_| {
            latency.spread(2_000, &mut rng, |_, span, count| {
                one_by_one.record_many(span, count);
            });
        });
        latency.spread(200_000, &mut rng, |_, span, count| {
            at_once.record_many(span, count);
        });
        assert_eq!(at_once.count(), 200_000);
        for q in [0.01, 0.5, 0.9, 0.99, 0.999] {
            let (a, b) = (
                one_by_one.quantile(q).as_secs_f64(),
                at_once.quantile(q).as_secs_f64(),
            );
            assert!((a / b - 1.0).abs() < 0.03, "{q}: {a} {b}");
        }
        let mut told = Vec::new();
        Latency::new([Dist::Fixed(Span::millis(2)); 2])
            .spread(7, &mut rng, |_, span, count| told.push((span, count)));
        assert_eq!(told, [(Span::millis(4), 7)]);
    }

    #[test]
    fn what_ends_later_is_kept_for_then() {
        let mut rng = Seed(3).stream("late", 0);
        let (mut late, every) = (Late::default(), Span::secs(1));
        let whole = (Span::ZERO, every);
        // A quarter second, asked for all over a second: three quarters end within it.
        let now = late.keep((Span::millis(250), 10_000), whole, every, &mut rng);
        assert!((7_300..7_700).contains(&now), "{now}");
        // Two and a half seconds, in the last tenth: all end in the third second from there.
        assert_eq!(
            late.keep(
                (Span::millis(2_500), 7),
                (Span::millis(900), every),
                every,
                &mut rng
            ),
            0
        );
        assert_eq!(late.next(), [(Span::millis(250), 10_000 - now)]);
        assert_eq!(late.next(), []);
        assert_eq!(late.next(), [(Span::millis(2_500), 7)]);
        assert_eq!(late.next(), []);
    }

    #[test]
    fn the_longest_is_hardly_ever_passed() {
        let mut rng = Seed(2).stream("latency", 0);
        let laws = [
            Dist::Exponential {
                mean: Span::millis(1),
            },
            Dist::Normal {
                mean: Span::millis(5),
                deviation: Span::millis(1),
            },
            Dist::LogNormal {
                median: Span::millis(1),
                p99: Span::millis(3),
            },
            Dist::Uniform {
                min: Span::millis(1),
                max: Span::millis(3),
            },
        ];
        for law in laws {
            let most = (0..100_000).map(|_| law.draw(&mut rng)).max();
            assert!(
                most.is_some_and(|most| most <= longest(&law) && longest(&law) < most.scaled(20.0)),
                "{law:?}"
            );
        }
    }
}
