//! What an exporter of OpenTelemetry gets: the metrics of the page under the same names, and one trace of a read.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use seawall::{Boxed, Cache, CacheFault, Error, MetricsPage, Options, Sealed, Store};
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

/// A tier that has nothing and takes everything.
#[derive(Debug)]
struct Empty;

impl Store for Empty {
    fn name(&self) -> &'static str {
        "empty"
    }

    fn get<'a>(
        &'a self,
        _: u16,
        _: &'a seawall::Address,
        _: Duration,
    ) -> Boxed<'a, Result<Option<bytes::Bytes>, CacheFault>> {
        Box::pin(async { Ok(None) })
    }

    fn put<'a>(
        &'a self,
        _: u16,
        _: &'a seawall::Address,
        _: Sealed,
        _: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async { Ok(()) })
    }

    fn delete<'a>(
        &'a self,
        _: u16,
        _: &'a seawall::Address,
        _: u64,
        _: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async { Ok(()) })
    }
}

fn users() -> Cache<u64, String> {
    Cache::builder("users").tier(Empty).build()
}

async fn read(cache: &Cache<u64, String>, key: u64) -> Result<String, Error> {
    let load = || async { Ok::<_, Error>("Ada".to_owned()) };
    cache.get_or_load(&key, &Options::new(), load).await
}

/// All numbers of an export by name and labels, as the Prometheus page writes them; of histograms how many.
fn numbers(metrics: &[ResourceMetrics]) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    let last = metrics.last().expect("it was collected");
    for metric in last.scope_metrics().flat_map(ScopeMetrics::metrics) {
        let AggregatedMetrics::F64(data) = metric.data() else {
            panic!("{} is no float", metric.name());
        };
        let series = |suffix: &str, attributes: &mut dyn Iterator<Item = &opentelemetry::KeyValue>| {
            let mut labels: Vec<String> = attributes
                .map(|label| format!("{}=\"{}\"", label.key, label.value))
                .collect();
            labels.sort_unstable();
            format!("{}{suffix}{{{}}}", metric.name(), labels.join(","))
        };
        match data {
            MetricData::Sum(sum) => {
                assert!(sum.is_monotonic(), "{}", metric.name());
                found.extend(
                    sum.data_points()
                        .map(|point| (series("", &mut point.attributes()), point.value())),
                );
            }
            MetricData::Gauge(gauge) => {
                found.extend(
                    gauge
                        .data_points()
                        .map(|point| (series("", &mut point.attributes()), point.value())),
                );
            }
            MetricData::Histogram(histogram) => {
                let points = histogram.data_points();
                found.extend(
                    points.map(|point| (series("_count", &mut point.attributes()), point.count() as f64)),
                );
            }
            MetricData::ExponentialHistogram(_) => panic!("{} has fixed buckets", metric.name()),
        }
    }
    found
}

/// The page of the same cache in the same form; without buckets, sums, and what is no number.
fn on_the_page(cache: &Cache<u64, String>) -> BTreeMap<String, f64> {
    let mut page = MetricsPage::default();
    cache.write_metrics(&mut page);
    let text = page.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut numbers = BTreeMap::new();
    for line in lines.filter(|line| !line.contains("_bucket{") && !line.contains("_sum{")) {
        let (series, value) = line.rsplit_once(' ').expect("a series and its value");
        let (name, labels) = series
            .trim_end_matches('}')
            .split_once('{')
            .expect("there are labels");
        let mut labels: Vec<&str> = labels.split(',').collect();
        labels.sort_unstable();
        let value: f64 = value.parse().expect("it is a number");
        if value.is_finite() {
            numbers.insert(format!("{name}{{{}}}", labels.join(",")), value);
        }
    }
    numbers
}

#[tokio::test]
async fn an_exporter_gets_what_is_on_the_page() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_periodic_exporter(exporter.clone())
        .build();
    let cache = users();
    assert!(cache.export_to(&provider.meter("test")));
    assert!(
        !cache.export_to(&provider.meter("other")),
        "nothing is told twice"
    );
    for key in [1, 2, 1, 1] {
        read(&cache, key).await.expect("it is loaded");
    }
    while cache.stats().tiers[1].sets < 2 {
        tokio::task::yield_now().await;
    }
    provider.force_flush().expect("it is collected");
    let told = numbers(&exporter.get_finished_metrics().expect("they are there"));
    let mut page = on_the_page(&cache);
    // Hits in memory are in the page's histogram and in no histogram of an exporter.
    let requests = "request_duration_seconds_count{component=\"users\"}";
    assert_eq!(page.insert(requests.to_owned(), 2.0), Some(4.0));
    // A histogram that has seen nothing is not exported.
    page.retain(|series, value| !series.contains("_count{") || *value > 0.0);
    assert_eq!(told, page);
    assert!(told["cache_duration_seconds_count{component=\"users\",tier=\"empty\"}"] >= 4.0);
    assert!(told["requests_total{component=\"users\",outcome=\"fresh\"}"] >= 4.0);

    drop(cache);
    exporter.reset();
    provider.force_flush().expect("it is collected");
    let after = exporter.get_finished_metrics().expect("they are there");
    let counters = after
        .iter()
        .flat_map(ResourceMetrics::scope_metrics)
        .flat_map(ScopeMetrics::metrics);
    assert!(
        counters.filter(|metric| metric.name() == "loads_total").count() == 0,
        "the cache is no more"
    );
}

#[tokio::test]
async fn a_read_is_one_trace_with_its_tiers_and_its_load() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let cache = users();
    let request = tracing::info_span!("request");
    read(&cache, 7).instrument(request).await.expect("it is loaded");
    read(&cache, 7).await.expect("it is in memory");
    while cache.stats().tiers[1].sets < 1 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    let spans = exporter.get_finished_spans().expect("they are there");
    let named = |name: &str| -> Vec<&SpanData> { spans.iter().filter(|span| span.name == name).collect() };
    let all: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    let [request] = named("request")[..] else {
        panic!("{all:?}")
    };
    let [read] = named("read")[..] else {
        panic!("a hit in memory is no span: {all:?}")
    };
    let [load] = named("load")[..] else {
        panic!("{all:?}")
    };
    assert_eq!(read.parent_span_id, request.span_context.span_id());
    assert_eq!(load.parent_span_id, read.span_context.span_id());
    let said = |span: &SpanData, key: &str| {
        let attribute = span
            .attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == key);
        attribute.map(|attribute| attribute.value.to_string())
    };
    assert_eq!(said(read, "outcome").as_deref(), Some("loaded"));
    assert_eq!(said(load, "key").as_deref(), Some("users:7"));
    let calls: Vec<_> = named("tier")
        .iter()
        .map(|span| (said(span, "call"), span.parent_span_id))
        .collect();
    let (get, put) = (Some("get".to_owned()), Some("put".to_owned()));
    assert_eq!(
        calls,
        [
            (get, read.span_context.span_id()),
            (put, load.span_context.span_id())
        ]
    );
    assert!(
        spans
            .iter()
            .all(|span| span.span_context.trace_id() == request.span_context.trace_id())
    );
}
