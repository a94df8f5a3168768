//! Closed forms of queues and caches: what a reviewer would work out on the back of an envelope.
//!
//! Rates are per second, times are seconds, shares lie between 0 and 1. These are models, each with the assumptions
//! of its source; the simulator makes fewer.
//!
//! ```
//! use seawall_scenario::formula;
//! // 200 requests a second of 400 ms on 35 workers: more than half find all of them busy.
//! assert!((formula::erlang_b(35, 80.0) - 0.571_551).abs() < 1e-6);
//! ```

use crate::model::Keys;

/// The share of calls that find all of `servers` busy and leave, at an offered load of `load` Erlangs (Erlang 1917).
pub fn erlang_b(servers: u32, load: f64) -> f64 {
    (1..=servers).fold(1.0, |blocked, server| {
        load * blocked / (f64::from(server) + load * blocked)
    })
}

/// The share of calls that have to wait in M/M/c (Erlang 1917); 1 when the servers cannot keep up.
pub fn erlang_c(servers: u32, load: f64) -> f64 {
    let utilization = load / f64::from(servers);
    if utilization >= 1.0 {
        return 1.0;
    }
    let blocked = erlang_b(servers, load);
    blocked / (1.0 - utilization * (1.0 - blocked))
}

/// The mean wait in M/M/c with arrivals at `arrivals` and each server working off `service` a second.
pub fn mmc_wait(servers: u32, arrivals: f64, service: f64) -> f64 {
    let spare = f64::from(servers) * service - arrivals;
    if spare <= 0.0 {
        return f64::INFINITY;
    }
    erlang_c(servers, arrivals / service) / spare
}

/// M/M/c/K: the share that is turned away, and the mean number inside, with `places` in all (those at work included).
pub fn mmck(servers: u32, places: u32, load: f64) -> (f64, f64) {
    // Relative to the largest term so far, so that nothing overflows.
    let (mut term, mut sum, mut inside) = (1.0_f64, 1.0_f64, 0.0_f64);
    for count in 1..=places {
        term *= load / f64::from(count.min(servers));
        sum += term;
        inside += term * f64::from(count);
        if term > 1e200 {
            sum /= term;
            inside /= term;
            term = 1.0;
        }
    }
    (term / sum, inside / sum)
}

/// The mean wait in M/G/1 (Pollaczek and Khinchine): utilization, mean service time, its squared coefficient of variation.
pub fn mg1_wait(utilization: f64, service: f64, cv2: f64) -> f64 {
    utilization * service * (1.0 + cv2) / (2.0 * (1.0 - utilization))
}

/// How long work of `work` takes under processor sharing (Kleinrock 1967).
pub fn processor_sharing(work: f64, utilization: f64) -> f64 {
    work / (1.0 - utilization)
}

/// The throughput of `count` at once by the universal scalability law (Gunther 2007).
pub fn usl(alone: f64, contention: f64, coherence: f64, count: f64) -> f64 {
    alone * count / (1.0 + contention * (count - 1.0) + coherence * count * (count - 1.0))
}

/// How many at once give the best throughput by the same law; without end when nothing is lost to coherence.
pub fn usl_best(contention: f64, coherence: f64) -> f64 {
    if coherence <= 0.0 {
        return f64::INFINITY;
    }
    libm::floor(libm::sqrt((1.0 - contention) / coherence)).max(1.0)
}

/// Keys of equal popularity: how many there are, and which share of the requests asks for each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyClass {
    /// How many keys.
    pub count: f64,
    /// The probability of each one.
    pub probability: f64,
}

/// The popularity of keys: the most popular ones by themselves, the long tail in blocks of half a percent, whose sums
/// are by the integral (exact to six digits).
pub fn popularity(keys: &Keys) -> Vec<KeyClass> {
    match *keys {
        Keys::Zipf { count, exponent } => zipf(count, exponent),
        Keys::Uniform { count } => vec![KeyClass {
            count: count as f64,
            probability: 1.0 / count as f64,
        }],
        Keys::Normal { mean, deviation } => normal(mean, deviation),
    }
}

fn zipf(count: u64, exponent: f64) -> Vec<KeyClass> {
    const ALONE: u64 = 1_000;
    let mut classes = Vec::new();
    let mut sum = 0.0;
    for rank in 1..=count.min(ALONE) {
        let weight = libm::pow(rank as f64, -exponent);
        sum += weight;
        classes.push(KeyClass {
            count: 1.0,
            probability: weight,
        });
    }
    let integral = |from: f64, to: f64| {
        if (exponent - 1.0).abs() < 1e-9 {
            libm::log(to / from)
        } else {
            (libm::pow(to, 1.0 - exponent) - libm::pow(from, 1.0 - exponent)) / (1.0 - exponent)
        }
    };
    let mut rank = ALONE + 1;
    while rank <= count {
        let last = (rank + rank / 200).min(count);
        let members = (last - rank + 1) as f64;
        let weight = integral(rank as f64 - 0.5, last as f64 + 0.5);
        sum += weight;
        classes.push(KeyClass {
            count: members,
            probability: weight / members,
        });
        rank = last + 1;
    }
    for class in &mut classes {
        class.probability /= sum;
    }
    classes
}

/// The floor of a normal draw; what is below zero is key 0.
fn normal(mean: f64, deviation: f64) -> Vec<KeyClass> {
    const BINS_MAX: f64 = 20_000.0;
    if deviation <= 0.0 {
        return vec![KeyClass {
            count: 1.0,
            probability: 1.0,
        }];
    }
    let below = |x: f64| 0.5 * libm::erfc((mean - x) / (deviation * std::f64::consts::SQRT_2));
    let (low, high) = (
        libm::floor(mean - 8.0 * deviation).max(0.0),
        libm::ceil(mean + 8.0 * deviation).max(1.0),
    );
    let width = libm::ceil((high - low) / BINS_MAX).max(1.0);
    let mut classes = Vec::new();
    let mut from = low;
    while from < high {
        let to = from + width;
        let begin = if from <= low { 0.0 } else { below(from) };
        let probability = (below(to) - begin) / width;
        if probability > 1e-15 {
            classes.push(KeyClass {
                count: width,
                probability,
            });
        }
        from = to;
    }
    classes
}

/// The hit ratio of one key asked for at `rate` whose entry lives for `ttl`: renewed by hits or not.
pub fn ttl_hit_ratio(rate: f64, ttl: f64, renewed: bool) -> f64 {
    if renewed {
        -libm::expm1(-rate * ttl)
    } else {
        rate * ttl / (1.0 + rate * ttl)
    }
}

/// The characteristic time of an LRU cache of `capacity` entries (Che, Tung and Wang 2002): how long an entry stays
/// without being asked for, at `rate` requests in all. For ever when everything fits.
pub fn che_time(keys: &[KeyClass], rate: f64, capacity: f64) -> f64 {
    let held = |time: f64| -> f64 {
        keys.iter()
            .map(|key| key.count * -libm::expm1(-key.probability * rate * time))
            .sum()
    };
    let count: f64 = keys.iter().map(|key| key.count).sum();
    if capacity >= count || rate <= 0.0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, capacity / rate);
    while held(high) < capacity && high < 1e18 {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if held(middle) < capacity {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The hit ratio of an LRU cache of `capacity` entries (Che).
pub fn lru_hit_ratio(keys: &[KeyClass], capacity: f64) -> f64 {
    let time = che_time(keys, 1.0, capacity);
    keys.iter()
        .map(|key| key.count * key.probability * -libm::expm1(-key.probability * time))
        .sum()
}

/// The origin's load at `time` after a flush of a cache with a TTL not renewed by hits and instant fill: the ripple.
/// Each key's k-th load comes one TTL after its last one at the earliest.
pub fn flush_ripple(keys: &[KeyClass], rate: f64, ttl: f64, time: f64) -> f64 {
    let waves = libm::floor(time / ttl).max(0.0) as u32;
    keys.iter()
        .map(|key| {
            let rate = key.probability * rate;
            let share: f64 = (0..=waves)
                .map(|wave| poisson(wave, rate * (time - f64::from(wave) * ttl)))
                .sum();
            key.count * rate * share
        })
        .sum()
}

/// The probability of exactly `count` when `mean` are expected.
fn poisson(count: u32, mean: f64) -> f64 {
    if mean <= 0.0 {
        return if count == 0 { 1.0 } else { 0.0 };
    }
    let count = f64::from(count);
    libm::exp(count * libm::log(mean) - mean - libm::lgamma(count + 1.0))
}

/// The origin's load by one key asked for at `rate`, with loads that take `load`, and a TTL of `ttl`.
pub fn stampede(rate: f64, load: f64, ttl: f64, coalesced: bool) -> f64 {
    let cycle = 1.0 / rate + load + ttl;
    if coalesced {
        1.0 / cycle
    } else {
        (1.0 + rate * load) / cycle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, wanted: f64, within: f64) {
        assert!((value - wanted).abs() <= within, "{value} is not {wanted}");
    }

    #[test]
    fn queues() {
        close(erlang_b(10, 8.0), 0.121_661, 1e-6);
        close(erlang_c(10, 8.0), 0.409_180, 1e-6);
        close(mmc_wait(10, 8.0, 1.0), 0.204_590, 1e-6);
        close(erlang_b(100, 90.0), 0.026_957, 1e-6);
        close(erlang_c(100, 90.0), 0.216_940, 1e-6);
        close(erlang_b(35, 80.0), 0.571_551, 1e-6);
        let (blocked, inside) = mmck(1, 10, 0.9);
        close(blocked, 0.050_814, 1e-6);
        close(inside, 3.969_44, 1e-5);
        close(mmck(35, 36, 80.0).0, 0.566_424, 1e-6);
        close(mmck(10, 10, 8.0).0, erlang_b(10, 8.0), 1e-12);
        close(mg1_wait(0.8, 1.0, 0.0), 2.0, 1e-12);
        close(mg1_wait(0.8, 1.0, 4.0), 10.0, 1e-12);
        close(processor_sharing(3.0, 0.75), 12.0, 1e-12);
        assert!(erlang_c(2, 3.0) >= 1.0 && mmc_wait(2, 3.0, 1.0).is_infinite());
        assert!(mmck(5, 5_000, 50.0).0.is_finite());
    }

    #[test]
    fn scalability() {
        close(usl_best(0.02, 0.0005), 44.0, 1e-9);
        close(usl(1_000.0, 0.02, 0.0005, 44.0), 15_681.0, 1.0);
        close(usl(1_000.0, 0.02, 0.0005, 200.0), 8_039.0, 1.0);
    }

    fn ttl_ratio(count: u64, exponent: f64, rate: f64, renewed: bool) -> f64 {
        popularity(&Keys::Zipf { count, exponent })
            .iter()
            .map(|key| key.count * key.probability * ttl_hit_ratio(key.probability * rate, 60.0, renewed))
            .sum()
    }

    #[test]
    fn ttl_caches() {
        close(ttl_ratio(10_000, 1.0, 1_000.0, false), 0.901_159, 2e-6);
        close(ttl_ratio(10_000, 1.0, 1_000.0, true), 0.954_769, 2e-6);
        close(ttl_ratio(100_000, 0.9, 20_000.0, false), 0.935_215, 2e-6);
        close(ttl_ratio(100_000, 0.9, 20_000.0, true), 0.988_753, 2e-6);
    }

    #[test]
    fn lru_caches() {
        for (exponent, capacity, wanted) in [
            (0.8, 100.0, 0.156_625),
            (0.8, 1_000.0, 0.436_660),
            (1.0, 100.0, 0.390_525),
            (1.0, 1_000.0, 0.675_602),
        ] {
            let keys = popularity(&Keys::Zipf {
                count: 10_000,
                exponent,
            });
            close(lru_hit_ratio(&keys, capacity), wanted, 2e-6);
        }
    }

    #[test]
    fn the_ripple_after_a_flush() {
        let keys = popularity(&Keys::Zipf {
            count: 100_000,
            exponent: 0.9,
        });
        let mean = |from: f64, to: f64| {
            let steps = 40;
            let width = (to - from) / f64::from(steps);
            let at = |step: i32| from + (f64::from(step) + 0.5) * width;
            (0..steps)
                .map(|step| flush_ripple(&keys, 20_000.0, 60.0, at(step)))
                .sum::<f64>()
                / f64::from(steps)
        };
        close(mean(0.0, 5.0), 6_480.0, 15.0);
        close(mean(5.0, 20.0), 2_454.0, 3.0);
        close(mean(50.0, 60.0), 278.0, 1.0);
        close(mean(60.0, 65.0), 2_435.0, 5.0);
        close(mean(120.0, 125.0), 1_627.0, 4.0);
    }

    #[test]
    fn a_stampede() {
        close(stampede(10.0, 3.0, 60.0, false), 0.491_28, 1e-5);
        close(stampede(10.0, 3.0, 60.0, true), 0.015_848, 1e-6);
    }

    #[test]
    fn popularity_is_a_law() {
        for keys in [
            Keys::Zipf {
                count: 1_000_000,
                exponent: 1.2,
            },
            Keys::Uniform { count: 7 },
            Keys::Normal {
                mean: 1_000.0,
                deviation: 200.0,
            },
            Keys::Normal {
                mean: 1.0,
                deviation: 3.0,
            },
        ] {
            let classes = popularity(&keys);
            let sum: f64 = classes.iter().map(|class| class.count * class.probability).sum();
            close(sum, 1.0, 1e-9);
        }
        let counted: f64 = popularity(&Keys::Zipf {
            count: 123_456,
            exponent: 0.9,
        })
        .iter()
        .map(|class| class.count)
        .sum();
        close(counted, 123_456.0, 1e-6);
    }
}
