//! What a Prometheus knows: our names and those of `redis_exporter` and `postgres_exporter`, as one record.
//!
//! One question is asked, with raw values; what was added in each step is worked out here, with restarts of counters.

use std::collections::BTreeMap;
use std::time::Duration;

use seawall_core::record::{Kind, Metric, Record, Series};
use seawall_core::time::Span;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::fault::{Fault, Why};
use super::http::{escaped, get};
use super::target::Target;

/// Which part of the past is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// The end, in seconds since 1970.
    pub end: u64,
    /// How many periods before it.
    pub periods: usize,
    /// How long each is.
    pub period: Span,
}

/// So many periods are asked for at once; Prometheus itself refuses more than 11 000.
pub const PERIODS_MAX: usize = 3_600;
/// No answer is longer.
const ANSWER_MAX: usize = 32 << 20;
/// So many series are read of one answer.
const SERIES_MAX: usize = 2_048;

/// Names of exporters, what they are here, and whether the value has to be turned round (1 becomes 0).
const FOREIGN: [(&str, Metric, &str); 17] = [
    ("redis_keyspace_hits_total", Metric::CacheHits, "redis"),
    ("redis_keyspace_misses_total", Metric::CacheMisses, "redis"),
    ("redis_evicted_keys_total", Metric::CacheEvictions, "redis"),
    ("redis_expired_keys_total", Metric::CacheExpired, "redis"),
    ("redis_rejected_connections_total", Metric::CacheRejected, "redis"),
    ("redis_db_keys", Metric::CacheEntries, "redis"),
    ("redis_memory_used_bytes", Metric::CacheMemory, "redis"),
    ("redis_memory_max_bytes", Metric::CacheMemoryLimit, "redis"),
    ("redis_connected_clients", Metric::CacheClients, "redis"),
    ("redis_config_maxclients", Metric::CacheClientsLimit, "redis"),
    ("redis_uptime_in_seconds", Metric::CacheUptime, "redis"),
    ("redis_slowlog_last_id", Metric::CacheSlow, "redis"),
    ("redis_errors_total", Metric::CacheErrors, "redis"),
    ("pg_stat_activity_count", Metric::OriginConnections, "postgres"),
    (
        "pg_settings_max_connections",
        Metric::OriginConnectionsLimit,
        "postgres",
    ),
    ("pg_stat_database_xact_commit", Metric::OriginRequests, "postgres"),
    ("pg_stat_database_xact_rollback", Metric::OriginErrors, "postgres"),
];

/// Asks for all of it.
///
/// # Errors
/// When it does not answer well before the deadline, or knows nothing of what is looked for.
pub async fn past(target: &Target, past: Past, patience: Duration) -> Result<Record, Fault> {
    let deadline = Instant::now() + patience;
    let periods = past.periods.clamp(1, PERIODS_MAX) as u64;
    let step = past.period.as_secs_f64();
    // One value more than there are periods: what was added is between two.
    let start = past.end as f64 - periods as f64 * step;
    let path = format!(
        "api/v1/query_range?query={}&start={start:.3}&end={}&step={step:.3}&timeout={}ms",
        escaped(&question()),
        past.end,
        patience.as_millis()
    );
    let answer = get(target, &path, ANSWER_MAX, deadline).await?;
    let told: Result<Json, _> = serde_json::from_slice(&answer.body);
    match answer.status {
        401 | 403 => return Err(Fault::new(Why::NoAuth, "Prometheus does not let us ask")),
        404 => {
            return Err(Fault::new(
                Why::Garbage,
                "there is no API of Prometheus below this address",
            ));
        }
        _ => {}
    }
    let told =
        told.map_err(|_| Fault::new(Why::Garbage, format!("status {}, and no JSON", answer.status)))?;
    if told["status"] != "success" {
        let said = told["error"].as_str().unwrap_or("no reason");
        return Err(Fault::new(
            Why::Error,
            target.scrubbed(&format!("Prometheus: {said}")),
        ));
    }
    let start = (past.end as f64 - periods as f64 * step, step);
    read(
        &told,
        Past {
            periods: periods as usize,
            ..past
        },
        start,
    )
}

/// All names, as one selector.
fn question() -> String {
    let mut names: Vec<String> = FOREIGN.iter().map(|(name, ..)| (*name).to_owned()).collect();
    for metric in Metric::ALL {
        if metric.kind() != Kind::Ratio {
            names.push(metric.name().to_owned());
        }
    }
    format!("{{__name__=~\"{}\"}}", names.join("|"))
}

/// From the answer to a record.
fn read(told: &Json, past: Past, (start, step): (f64, f64)) -> Result<Record, Fault> {
    let empty = Vec::new();
    let results = told["data"]["result"].as_array().unwrap_or(&empty);
    let mut record = Record::new(past.period, Span::ZERO, past.periods);
    let mut merged: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    let numbers = instances(results);
    for result in results.iter().take(SERIES_MAX) {
        let label = |name: &str| result["metric"][name].as_str();
        let Some((metric, component)) = label("__name__").and_then(known) else {
            continue;
        };
        if metric.kind() == Kind::Duration && label("quantile").is_none() {
            continue;
        }
        let raw = raw(result, start, step, past.periods);
        let values = if metric.kind() == Kind::Counter {
            added(&raw)
        } else {
            raw[1..].to_vec()
        };
        let of = if let Some(component) = component {
            let instance = label("instance").and_then(|name| numbers.get(&(component, name)).copied());
            (component.to_owned(), instance)
        } else {
            let component = label("component").or(label("job")).unwrap_or("app");
            (
                component.to_owned(),
                label("instance").and_then(|number| number.parse().ok()),
            )
        };
        let own = metric
            .label()
            .and_then(label)
            .or(label("err").filter(|_| metric == Metric::CacheErrors));
        let key = (metric, of.0, of.1, own.map(str::to_owned));
        let sum = merged.entry(key).or_insert_with(|| vec![f64::NAN; past.periods]);
        for (sum, value) in sum.iter_mut().zip(values) {
            if !value.is_nan() {
                *sum = if sum.is_nan() { value } else { *sum + value };
            }
        }
    }
    if merged.is_empty() {
        let text = "Prometheus answers, and knows none of the metrics that are looked for in this time";
        return Err(Fault::new(Why::Lost, text));
    }
    for ((metric, component, instance, label), mut values) in merged {
        if metric.kind() == Kind::Counter {
            values
                .iter_mut()
                .filter(|value| value.is_nan())
                .for_each(|value| *value = 0.0);
        }
        record.push(Series {
            metric,
            component,
            instance,
            label,
            values,
        });
    }
    Ok(record)
}

type Key = (Metric, String, Option<u32>, Option<String>);

/// What a name is here: of an exporter's, with the component that it stands for.
fn known(name: &str) -> Option<(Metric, Option<&'static str>)> {
    let foreign = FOREIGN.iter().find(|(foreign, ..)| *foreign == name);
    let foreign = foreign.map(|(_, metric, component)| (*metric, Some(*component)));
    foreign.or_else(|| Metric::from_name(name).map(|metric| (metric, None)))
}

/// Exporters' instances by number, in the order of their names; none where there is but one.
fn instances(results: &[Json]) -> BTreeMap<(&str, &str), u32> {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for result in results {
        let label = |name: &str| result["metric"][name].as_str();
        if let Some((_, Some(component))) = label("__name__").and_then(known)
            && let Some(instance) = label("instance")
        {
            let of = names.entry(component).or_default();
            if !of.contains(&instance) {
                of.push(instance);
            }
        }
    }
    let mut numbers = BTreeMap::new();
    for (component, mut names) in names {
        names.sort_unstable();
        if names.len() > 1 {
            numbers.extend((0..).zip(names).map(|(number, name)| ((component, name), number)));
        }
    }
    numbers
}

/// The values at the ends of periods, the first one before the first period; `NaN` where there is none.
fn raw(result: &Json, start: f64, step: f64, periods: usize) -> Vec<f64> {
    let mut values = vec![f64::NAN; periods + 1];
    for pair in result["values"].as_array().into_iter().flatten() {
        let at = pair[0].as_f64().map(|at| ((at - start) / step).round());
        let value = pair[1].as_str().and_then(|value| value.parse::<f64>().ok());
        if let (Some(at), Some(value)) = (at, value)
            && at >= 0.0
            && let Some(place) = values.get_mut(at as usize)
        {
            *place = value;
        }
    }
    values
}

/// What a counter gained from one value to the next; all of it when it began anew.
fn added(raw: &[f64]) -> Vec<f64> {
    raw.windows(2)
        .map(|pair| {
            if pair[1] >= pair[0] || pair[0].is_nan() {
                pair[1] - pair[0]
            } else {
                pair[1]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAST: Past = Past {
        end: 1_003,
        periods: 3,
        period: Span::secs(1),
    };

    fn told(results: &str) -> Json {
        let text = format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{results}]}}}}"
        );
        serde_json::from_str(&text).expect("it is JSON")
    }

    #[test]
    fn exporters_and_our_own_names_become_one_record() {
        let told = told(
            r#"{"metric":{"__name__":"redis_keyspace_hits_total","instance":"b:9121"},
                "values":[[1000,"100"],[1001,"110"],[1002,"3"],[1003,"5"]]},
               {"metric":{"__name__":"redis_keyspace_hits_total","instance":"a:9121"},
                "values":[[1000,"1"],[1001,"2"],[1002,"2"],[1003,"4"]]},
               {"metric":{"__name__":"redis_db_keys","instance":"a:9121","db":"db0"},"values":[[1001,"7"],[1003,"9"]]},
               {"metric":{"__name__":"redis_db_keys","instance":"a:9121","db":"db1"},"values":[[1001,"1"]]},
               {"metric":{"__name__":"requests_total","component":"web","outcome":"error"},
                "values":[[1000,"1"],[1001,"1"],[1002,"4"],[1003,"4"]]},
               {"metric":{"__name__":"request_duration_seconds","component":"web"},"values":[[1000,"1"]]},
               {"metric":{"__name__":"up"},"values":[[1000,"1"]]}"#,
        );
        let record = read(&told, PAST, (1_000.0, 1.0)).expect("it is one");
        assert_eq!(
            record.values_of_instance(Metric::CacheHits, "redis", 1),
            [10.0, 3.0, 2.0]
        );
        assert_eq!(
            record.values_of_instance(Metric::CacheHits, "redis", 0),
            [1.0, 0.0, 2.0]
        );
        let entries = record.values_of_instance(Metric::CacheEntries, "redis", 0);
        assert_eq!((entries[0], entries[2]), (8.0, 9.0));
        assert!(entries[1].is_nan());
        assert_eq!(
            record.values(Metric::Requests, "web", Some("error")),
            [0.0, 3.0, 0.0]
        );
        assert_eq!(record.series().len(), 4);
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let fault = read(&told(""), PAST, (1_000.0, 1.0)).expect_err("it is empty");
        assert_eq!(fault.why, Why::Lost);
        assert!(fault.text.contains("knows none"), "{}", fault.text);
    }
}
