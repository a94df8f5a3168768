//! What a system that is well was measured to take, so that a prediction speaks of the same system.
//!
//! A scenario says how long a cache, a database and a service take. Real ones on this machine take that and a little
//! more: a proxy on each link, a timer that is a millisecond wide, a kernel. Before anything is injected it is measured how
//! much more, and that is added to the scenario as the distance to each part. Nothing that is measured later is looked
//! at: a prediction that had seen the failure would be none.

use std::collections::BTreeMap;

use seawall_core::dist::Dist;
use seawall_core::record::{Metric, Record};
use seawall_core::time::Span;
use seawall_scenario::{CacheKind, Fault, Place, Scenario, What};

/// What was measured before anything was injected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steady {
    /// The median time of a call to each shared cache.
    pub caches: BTreeMap<String, Span>,
}

/// The median over the warm-up's periods of a median.
fn median(record: &Record, metric: Metric, of: &str) -> Option<f64> {
    let window = record.window(-record.origin.as_secs_f64(), 0.0);
    let values = record.values(metric, of, Some("0.5"));
    let mut values: Vec<f64> = values.get(window)?.to_vec();
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A distance that is longer by what was measured to be more.
fn farther(latency: Dist, more: f64) -> Dist {
    let more = Span::nanos((more.max(0.0) * 1e9) as u64);
    match latency {
        Dist::Fixed(span) => Dist::Fixed(span + more),
        // A shape is kept where there is one, and its mean is as much longer.
        other => match other.mean() {
            mean if mean.is_zero() => Dist::Fixed(more),
            mean => scaled(other, (mean + more).as_secs_f64() / mean.as_secs_f64()),
        },
    }
}

fn scaled(law: Dist, by: f64) -> Dist {
    match law {
        Dist::Fixed(span) => Dist::Fixed(span.scaled(by)),
        Dist::Exponential { mean } => Dist::Exponential {
            mean: mean.scaled(by),
        },
        Dist::Normal { mean, deviation } => Dist::Normal {
            mean: mean.scaled(by),
            deviation: deviation.scaled(by),
        },
        Dist::Uniform { min, max } => Dist::Uniform {
            min: min.scaled(by),
            max: max.scaled(by),
        },
        Dist::LogNormal { median, p99 } => Dist::LogNormal {
            median: median.scaled(by),
            p99: p99.scaled(by),
        },
    }
}

/// What is slow takes as much longer as it was made to: so many times the time that is written, and not the time that was
/// measured, in which the way to it is counted as well.
fn as_much_slower(scenario: &mut Scenario, place: Place, written: Span, took: Span) {
    let longer = written.as_secs_f64() / took.as_secs_f64().max(1e-9);
    for event in scenario
        .timeline
        .iter_mut()
        .filter(|event| event.on == Some(place))
    {
        match &mut event.what {
            What::Fault(Fault::Slow { factor }) => *factor = 1.0 + (*factor - 1.0) * longer,
            What::Fault(Fault::Starve { share }) => {
                let slower = 1.0 / (1.0 - *share).max(0.001);
                *share = 1.0 - 1.0 / (1.0 + (slower - 1.0) * longer);
            }
            _ => {}
        }
    }
}

impl Steady {
    /// The scenario with the distances that were measured: to caches as they took, to what is loaded from and to services
    /// by how much more than predicted the median was. `predicted` and `measured` are of the scenario as it is.
    #[must_use]
    pub fn applied(&self, scenario: &Scenario, predicted: &Record, measured: &Record) -> Scenario {
        let mut scenario = scenario.clone();
        for at in 0..scenario.caches.len() {
            let cache = &mut scenario.caches[at];
            if let (CacheKind::Shared, Some(took)) = (cache.kind, self.caches.get(&cache.name)) {
                let written = cache.latency.mean();
                cache.latency = Dist::Fixed(*took);
                as_much_slower(&mut scenario, Place::Cache(at), written, *took);
            }
        }
        let more =
            |metric: Metric, of: &str| Some(median(measured, metric, of)? - median(predicted, metric, of)?);
        let origins = scenario.services.iter().filter_map(|service| service.origin);
        for origin in origins.collect::<Vec<Place>>() {
            let name = scenario.name(origin).to_owned();
            let Some(more) = more(Metric::OriginDuration, &name) else {
                continue;
            };
            match origin {
                Place::Database(at) => {
                    let latency = &mut scenario.databases[at].latency;
                    *latency = farther(*latency, more);
                }
                Place::Service(at) => {
                    let latency = &mut scenario.services[at].latency;
                    *latency = farther(*latency, more);
                }
                _ => {}
            }
        }
        scenario
    }

    /// The same, for the distance of clients, which is what is left when the rest is as it was measured: `predicted` is of
    /// what [`Steady::applied`] gave.
    #[must_use]
    pub fn of_clients(scenario: &Scenario, predicted: &Record, measured: &Record) -> Scenario {
        let mut scenario = scenario.clone();
        let mut left: BTreeMap<Place, Vec<f64>> = BTreeMap::new();
        for client in &scenario.clients {
            let medians = (
                median(measured, Metric::RequestDuration, &client.name),
                median(predicted, Metric::RequestDuration, &client.name),
            );
            if let (Some(seen), Some(expected)) = medians {
                left.entry(client.calls).or_default().push(seen - expected);
            }
        }
        for (place, more) in left {
            let more = more.iter().sum::<f64>() / more.len() as f64;
            match place {
                Place::Gateway(at) => {
                    let latency = &mut scenario.gateways[at].latency;
                    *latency = farther(*latency, more);
                }
                Place::Service(at) => {
                    let latency = &mut scenario.services[at].latency;
                    *latency = farther(*latency, more);
                }
                _ => {}
            }
        }
        scenario
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seawall_core::record::Series;
    use seawall_scenario::Document;

    const TEXT: &str = r#"
        title = "t"
        [run]
        duration = "2s"
        warmup = "2s"
        [client.web]
        calls = "app"
        rate = "10/s"
        keys = { uniform = { count = 10 } }
        [service.app]
        caches = ["redis"]
        origin = "db"
        [cache.redis]
        latency = "1ms"
        [database.db]
        service_time = "10ms"
        [[timeline]]
        at = "0s"
        for = "1s"
        on = "redis"
        fault = { slow = { factor = 101.0 } }
    "#;

    fn record(web: f64, db: f64) -> Record {
        let mut record = Record::new(Span::secs(1), Span::secs(2), 4);
        for (metric, of, value) in [
            (Metric::RequestDuration, "web", web),
            (Metric::OriginDuration, "db", db),
        ] {
            // What comes after T=0 is not looked at.
            let values = vec![value, value, 9.0, 9.0];
            record.push(Series::new(metric, of, values).labelled("0.5"));
        }
        record
    }

    #[test]
    fn what_is_measured_before_is_added_and_nothing_that_comes_after() {
        let document = Document::parse("t", TEXT).expect("it is in order");
        let scenario = document.scenario("as-written", &[]).expect("it is in order");
        let steady = Steady {
            caches: [("redis".to_owned(), Span::micros(2_500))].into(),
        };
        let measured = record(0.006, 0.013);
        let applied = steady.applied(&scenario, &record(0.003, 0.010), &measured);
        assert_eq!(applied.caches[0].latency, Dist::Fixed(Span::micros(2_500)));
        // 100 ms longer, as it was: 41 times 2.5 ms.
        let slow = What::Fault(Fault::Slow { factor: 41.0 });
        assert_eq!(applied.timeline[0].what, slow);
        let Dist::Fixed(distance) = applied.databases[0].latency else {
            panic!("it was fixed");
        };
        assert!((distance.as_secs_f64() - 0.003).abs() < 1e-6);
        let last = Steady::of_clients(&applied, &record(0.0045, 0.013), &measured);
        let Dist::Fixed(distance) = last.services[0].latency else {
            panic!("it was fixed");
        };
        assert!((distance.as_secs_f64() - 0.0015).abs() < 1e-6);
        // Faster than predicted is as predicted: no distance is less than none.
        let same = Steady::of_clients(&scenario, &record(0.009, 0.01), &measured);
        assert_eq!(same.services[0].latency, scenario.services[0].latency);
    }
}
