//! Classes of keys that are asked for about equally often: the hottest keys on their own, the others in ranges that
//! grow geometrically. Where some nodes of a cache fare differently, each range has a class for each group of nodes.

use seawall_core::keys::{Keys as Sampler, Law};
use seawall_core::ring::Placement;
use seawall_scenario::Keys;

/// The hottest keys have a class each.
const SINGLES: u64 = 12;
/// The bounds of ranges lie apart by at least this factor, and there are about this many.
const RANGES: f64 = 50.0;
/// How many keys do not exist, as far as clients ask for them.
const NOWHERE: f64 = (1_u64 << 20) as f64;
/// Keys that are looked at to see how keys are spread over nodes.
const SAMPLE: u64 = 1 << 14;

/// The classes of all keys that a service is asked for.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    /// How many keys each class has.
    pub(super) keys: Vec<f64>,
    /// Which group of nodes holds them.
    pub(super) group: Vec<u8>,
    /// The class of the key that a `hot_key` fault is about.
    pub(super) hottest: usize,
    /// The class of keys that do not exist: the last one.
    pub(super) nowhere: usize,
    /// Ranges of ranks (from, to), how each is cut into groups, and its first class.
    ranges: Vec<(u64, u64)>,
    shares: Vec<Vec<f64>>,
    first: Vec<usize>,
}

/// The share of the traffic of one law that falls on each class.
pub(super) type Weights = Vec<f64>;

/// Which node belongs to which group.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    pub(super) of_node: Vec<u8>,
    pub(super) count: usize,
}

impl Groups {
    /// All nodes fare alike.
    pub(super) fn one(nodes: usize) -> Groups {
        Groups {
            of_node: vec![0; nodes.max(1)],
            count: 1,
        }
    }

    /// Nodes that are in the same of these sets fare alike.
    pub(super) fn of(nodes: usize, sets: &[Vec<u32>]) -> Groups {
        let mut marks: Vec<Vec<bool>> = Vec::new();
        let mut of_node = Vec::with_capacity(nodes);
        for node in 0..nodes as u32 {
            let mark: Vec<bool> = sets.iter().map(|set| set.contains(&node)).collect();
            let group = marks.iter().position(|known| *known == mark).unwrap_or_else(|| {
                marks.push(mark);
                marks.len() - 1
            });
            of_node.push(group as u8);
        }
        Groups {
            of_node,
            count: marks.len().max(1),
        }
    }

    /// How many nodes a group has.
    pub(super) fn size(&self, group: usize) -> usize {
        self.of_node.iter().filter(|of| **of as usize == group).count()
    }
}

impl Classes {
    pub(super) fn of(laws: &[Keys], hot: bool, groups: &Groups, placement: Option<&Placement>) -> Classes {
        let bounds = bounds(laws, hot);
        let node = |key: u64| {
            let node = placement.map_or(0, |placement| placement.node(key)) as usize;
            groups.of_node.get(node).copied().unwrap_or(0) as usize
        };
        let mut spread = vec![0.0; groups.count];
        if groups.count == 1 {
            spread[0] = 1.0;
        } else {
            (0..SAMPLE).for_each(|key| spread[node(key)] += 1.0 / SAMPLE as f64);
        }
        let mut classes = Classes {
            keys: Vec::new(),
            group: Vec::new(),
            hottest: 0,
            nowhere: 0,
            ranges: Vec::new(),
            shares: Vec::new(),
            first: Vec::new(),
        };
        for pair in bounds.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let shares = if to - from == 1 {
                let at = node(from);
                (0..groups.count)
                    .map(|group| f64::from(u8::from(group == at)))
                    .collect()
            } else {
                spread.clone()
            };
            classes.put(from, to, (to - from) as f64, shares);
        }
        classes.nowhere = classes.keys.len();
        classes.put(u64::MAX, u64::MAX, NOWHERE, spread);
        classes
    }

    fn put(&mut self, from: u64, to: u64, keys: f64, shares: Vec<f64>) {
        self.first.push(self.keys.len());
        for (group, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            self.keys.push(keys * share);
            self.group.push(group as u8);
        }
        self.ranges.push((from, to));
        self.shares.push(shares);
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The most popular keys that bring this share of the reads of a law, by ranges, the most popular first: which
    /// classes, and which share of their keys.
    pub(super) fn popular(&self, law: &Keys, threshold: f64) -> Vec<(std::ops::Range<usize>, f64)> {
        let of_range: Vec<f64> = self
            .ranges
            .iter()
            .map(|(from, to)| mass(law, *from, *to))
            .collect();
        let total: f64 = of_range.iter().sum();
        let mut left = threshold * total;
        let mut popular = Vec::new();
        for (range, brings) in of_range.iter().enumerate() {
            if left <= 0.0 || *brings <= 0.0 {
                continue;
            }
            let last = self.first.get(range + 1).copied().unwrap_or(self.len());
            popular.push((self.first[range]..last, (left / brings).min(1.0)));
            left -= brings;
        }
        popular
    }

    /// How the reads of a client fall on the classes. `hot` goes to one key, `nowhere` to keys that do not exist.
    pub(super) fn weights(&self, law: &Keys, hot: f64, nowhere: f64) -> Weights {
        let of_range: Vec<f64> = self
            .ranges
            .iter()
            .map(|(from, to)| mass(law, *from, *to))
            .collect();
        let total: f64 = of_range.iter().sum();
        let mut weights = vec![0.0; self.len()];
        for (range, of_range) in of_range.iter().enumerate() {
            let is_nowhere = self.ranges[range].0 == u64::MAX;
            let shares = self.shares[range].iter().filter(|share| **share > 0.0);
            for (at, share) in shares.enumerate() {
                let class = self.first[range] + at;
                weights[class] = if is_nowhere {
                    nowhere * share
                } else {
                    (1.0 - nowhere) * (1.0 - hot) * of_range / total * share
                };
                if class == self.hottest {
                    weights[class] += (1.0 - nowhere) * hot;
                }
            }
        }
        weights
    }
}

/// Where one range of ranks ends and the next begins.
fn bounds(laws: &[Keys], hot: bool) -> Vec<u64> {
    let count = |law: &Keys| match *law {
        Keys::Zipf { count, .. } | Keys::Uniform { count } => count.max(1),
        Keys::Normal { mean, deviation } => {
            (2.0 * 6.0 * deviation).min(mean + 6.0 * deviation).max(1.0) as u64
        }
    };
    let most = laws.iter().map(count).max().unwrap_or(1);
    let mut bounds: Vec<u64> = laws.iter().map(count).collect();
    bounds.extend([0, most]);
    if hot {
        bounds.push(1.min(most));
    }
    if laws.iter().any(|law| !matches!(law, Keys::Uniform { .. })) {
        bounds.extend((0..=SINGLES).filter(|bound| *bound < most));
        let factor = libm::pow(most as f64 / SINGLES as f64, 1.0 / RANGES).max(1.05);
        let mut bound = SINGLES as f64;
        while bound < most as f64 {
            bounds.push(bound as u64);
            bound = (bound * factor).max(bound + 1.0);
        }
    }
    bounds.sort_unstable();
    bounds.dedup();
    bounds
}

/// What a law gives to the ranks of a range, up to a factor that is the same for all ranges.
fn mass(law: &Keys, from: u64, to: u64) -> f64 {
    if from == u64::MAX {
        return 0.0;
    }
    match *law {
        Keys::Uniform { count } => to.min(count).saturating_sub(from) as f64,
        Keys::Zipf { count, exponent } => {
            let to = to.min(count);
            if to <= from {
                return 0.0;
            }
            let power = |rank: u64| libm::pow(rank as f64 + 1.0, -exponent);
            if to - from <= 64 {
                return (from..to).map(power).sum();
            }
            // The midpoint rule, backwards: a sum is nearly the integral between the middles.
            let (a, b) = (from as f64 + 0.5, to as f64 + 0.5);
            let rest = 1.0 - exponent;
            if rest.abs() < 1e-9 {
                libm::log(b / a)
            } else {
                (libm::pow(b, rest) - libm::pow(a, rest)) / rest
            }
        }
        Keys::Normal { mean, deviation } => {
            let sampler = Sampler::new(Law::Normal { mean, deviation });
            let popular = sampler.popular(to as usize).skip(from as usize);
            popular.map(|key| sampler.probability(key)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(law: Keys) -> (Classes, Weights) {
        let classes = Classes::of(&[law], false, &Groups::one(1), None);
        let weights = classes.weights(&law, 0.0, 0.0);
        (classes, weights)
    }

    #[test]
    fn nothing_is_lost_and_hit_ratios_are_those_of_the_keys() {
        for (count, exponent, rate, ttl, truth) in [
            (10_000, 1.0, 1_000.0, 60.0, 0.901_159),
            (100_000, 0.9, 20_000.0, 60.0, 0.935_215),
        ] {
            let (classes, weights) = classes(Keys::Zipf { count, exponent });
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!((classes.keys.iter().sum::<f64>() - NOWHERE - count as f64).abs() < 1e-6);
            assert!(classes.len() <= 70, "{} classes", classes.len());
            let hits: f64 = weights
                .iter()
                .zip(&classes.keys)
                .map(|(weight, keys)| {
                    let asked = rate * weight / keys * ttl;
                    weight * asked / (1.0 + asked)
                })
                .sum();
            assert!((hits - truth).abs() < 0.000_6, "{hits} for {truth}");
        }
    }

    #[test]
    fn groups_share_the_keys_of_a_range_and_a_hot_key_is_on_one_node() {
        let groups = Groups::of(6, &[vec![5]]);
        let placement = Placement::new(seawall_core::ring::Sharding::Ring, 6, 160);
        let law = Keys::Zipf {
            count: 9_000,
            exponent: 0.3,
        };
        let classes = Classes::of(&[law], false, &groups, Some(&placement));
        let weights = classes.weights(&law, 0.0, 0.1);
        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let lost: f64 = (0..classes.nowhere)
            .filter(|class| classes.group[*class] == 1)
            .map(|class| weights[class])
            .sum();
        assert!((0.1..0.2).contains(&(lost / 0.9)), "{lost}");
    }
}
