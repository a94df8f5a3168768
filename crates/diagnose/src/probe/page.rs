//! A page of metrics: the text format of Prometheus (exposition format 0.0.4), read with bounds.

use std::collections::BTreeMap;

use seawall_core::record::{Kind, Metric, QUANTILES};

use super::sample::{Place, Point, Sample};

/// No page has more samples that are read.
const SAMPLES_MAX: usize = 20_000;
/// No line is longer that is read.
const LINE_MAX: usize = 4_096;

/// A page as it was at an instant: values by name and labels.
///
/// ```
/// use seawall_diagnose::probe::Page;
/// let page = Page::read("calls_total{code=\"200\"} 3\ncalls_total{code=\"500\"} 1\n");
/// assert_eq!(page.sum("calls_total", &[]), 4.0);
/// assert_eq!(page.by("calls_total", &[], "code")["500"], 1.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page(BTreeMap<Key, f64>);

/// A name, and labels in order.
type Key = (String, BTreeMap<String, String>);

impl Page {
    /// Reads a page; lines that are no samples are passed over, and so is what exceeds its bounds.
    pub fn read(text: &str) -> Page {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.starts_with('#') && line.len() <= LINE_MAX);
        Page(lines.filter_map(sample).take(SAMPLES_MAX).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum of the samples of this name that have these labels; 0 of none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|(_, value)| value).sum()
    }

    /// The sum of the samples of this name that have these labels, for each value of another one.
    pub fn by(&self, name: &str, labels: &[(&str, &str)], label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (have, value) in self.of(name, labels) {
            if let Some(of) = have.get(label) {
                *sums.entry(of.clone()).or_default() += value;
            }
        }
        sums
    }

    fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = (&'a BTreeMap<String, String>, f64)> {
        let fits = move |have: &BTreeMap<String, String>| {
            labels
                .iter()
                .all(|(key, value)| have.get(*key).is_some_and(|have| have == value))
        };
        self.0
            .range((name.to_owned(), BTreeMap::new())..)
            .take_while(move |((of, _), _)| of == name)
            .filter(move |((_, have), _)| fits(have))
            .map(|((_, have), value)| (have, *value))
    }

    /// What is there under our own names, as numbers of a period: what was added since an earlier page, and what is.
    /// What has no component is the app's that is asked.
    pub(crate) fn tell(&self, before: Option<&Page>, app: &Place, sample: &mut Sample) {
        let mut buckets: BTreeMap<(Metric, String), BTreeMap<u64, f64>> = BTreeMap::new();
        for ((name, labels), value) in &self.0 {
            let component = labels.get("component").unwrap_or(&app.component);
            let then = before.and_then(|page| page.0.get(&(name.clone(), labels.clone())));
            // A counter that is less than it was began anew with its process.
            let added = match then {
                Some(then) if then <= value => Some(value - then),
                Some(_) => Some(*value),
                None => before.map(|_| *value),
            };
            if let Some(metric) = name.strip_suffix("_bucket").and_then(Metric::from_name) {
                let bound = labels.get("le").and_then(|bound| bound.parse::<f64>().ok());
                if let (Some(bound), Some(added)) = (bound, added) {
                    let of = buckets.entry((metric, component.clone())).or_default();
                    // Bounds are positive, and so ordered as their bits are.
                    *of.entry(bound.max(0.0).to_bits()).or_default() += added;
                }
                continue;
            }
            let Some(metric) = Metric::from_name(name) else {
                continue;
            };
            let value = match metric.kind() {
                Kind::Counter => added,
                Kind::Gauge => Some(*value),
                Kind::Duration if labels.contains_key("quantile") => Some(*value),
                Kind::Duration | Kind::Ratio => None,
            };
            let Some(value) = value else { continue };
            let label = metric.label().and_then(|label| labels.get(label)).cloned();
            let instance = labels.get("instance").and_then(|instance| instance.parse().ok());
            merge(
                sample,
                Point {
                    metric,
                    component: component.clone(),
                    instance,
                    label,
                    value,
                },
            );
        }
        for ((metric, component), buckets) in buckets {
            for (share, label) in QUANTILES {
                let value = quantile(&buckets, share);
                let label = Some(label.to_owned());
                sample.points.push(Point {
                    metric,
                    component: component.clone(),
                    instance: None,
                    label,
                    value,
                });
            }
        }
    }
}

/// Series that differ in labels that we do not have are one: counters and gauges add up.
fn merge(sample: &mut Sample, point: Point) {
    let same = sample.points.iter_mut().find(|have| {
        have.metric == point.metric
            && have.component == point.component
            && have.instance == point.instance
            && have.label == point.label
    });
    match same {
        Some(have) if point.metric.kind() != Kind::Duration => have.value += point.value,
        Some(_) => {}
        None => sample.points.push(point),
    }
}

/// A quantile of a histogram by linear interpolation within its bucket, as Prometheus does; `NaN` of none.
fn quantile(buckets: &BTreeMap<u64, f64>, share: f64) -> f64 {
    let total = buckets.values().next_back().copied().unwrap_or(0.0);
    if total <= 0.0 {
        return f64::NAN;
    }
    let wanted = total * share;
    let (mut below, mut from) = (0.0, 0.0);
    for (bound, count) in buckets {
        let bound = f64::from_bits(*bound);
        if *count >= wanted {
            if bound.is_infinite() {
                return from;
            }
            return from + (bound - from) * (wanted - below) / (count - below).max(f64::MIN_POSITIVE);
        }
        (below, from) = (*count, bound);
    }
    from
}

fn sample(line: &str) -> Option<(Key, f64)> {
    let (name, labels, rest) = if let Some(open) = line.find('{') {
        let (labels, rest) = labels(&line[open + 1..])?;
        (&line[..open], labels, rest)
    } else {
        let (name, rest) = line.split_once(char::is_whitespace)?;
        (name, BTreeMap::new(), rest)
    };
    // A timestamp may follow.
    let value = rest.split_whitespace().next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other.parse().ok()?,
    };
    Some(((name.trim().to_owned(), labels), value))
}

/// `a="b",c="d"} rest`
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim().to_owned(), value);
        rest = &after[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_told() {
        let first = Page::read(
            "# TYPE cache_hits_total counter\ncache_hits_total{component=\"redis\",tier=\"0\"} 5\n\
             cache_hits_total{component=\"redis\",tier=\"1\"} 1\nthreads_busy 3\nsomebody_elses 9\n\
             origin_duration_seconds_bucket{component=\"db\",le=\"0.01\"} 0\n\
             origin_duration_seconds_bucket{component=\"db\",le=\"+Inf\"} 0\n",
        );
        let second = Page::read(
            "cache_hits_total{component=\"redis\",tier=\"0\"} 9 1700000000\n\
             cache_hits_total{component=\"redis\",tier=\"1\"} 1\nthreads_busy 4\n\
             cache_errors_total{component=\"redis\",reason=\"timed_out\"} 2\n\
             origin_duration_seconds_bucket{component=\"db\",le=\"0.01\"} 10\n\
             origin_duration_seconds_bucket{component=\"db\",le=\"+Inf\"} 10\n",
        );
        let app = Place::new("app");
        let mut sample = Sample::default();
        first.tell(None, &app, &mut sample);
        assert_eq!(
            sample.value(Metric::CacheHits, "redis"),
            None,
            "what was added is not known yet"
        );
        assert_eq!(sample.value(Metric::ThreadsBusy, "app"), Some(3.0));
        let mut sample = Sample::default();
        second.tell(Some(&first), &app, &mut sample);
        assert_eq!(sample.value(Metric::CacheHits, "redis"), Some(4.0));
        assert_eq!(sample.labelled(Metric::CacheErrors, "timed_out"), Some(2.0));
        assert_eq!(sample.labelled(Metric::OriginDuration, "0.5"), Some(0.005));
        let mut restarted = Sample::default();
        first.tell(Some(&second), &app, &mut restarted);
        assert_eq!(
            restarted.value(Metric::CacheHits, "redis"),
            Some(5.0),
            "since its restart"
        );
    }

    #[test]
    fn what_is_no_page_is_empty() {
        for text in ["", "<html>", "a{b=\"c} 1", "a{b=\"c\"}", "a b c", "# HELP x\n"] {
            assert!(Page::read(text).is_empty(), "{text}");
        }
        let page = Page::read("a{b=\"c\\\"d\\\\e\\nf\"} 1");
        let labels = BTreeMap::from([("b".to_owned(), "c\"d\\e\nf".to_owned())]);
        assert_eq!(page.0.get(&("a".to_owned(), labels)), Some(&1.0));
    }

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let text = "a_total{component=\"x\",reason=\"one\"} 3\na_total{component=\"x\",reason=\"t\\\"w}o\"} 4 1700000000\n\
                    a_total{component=\"y\",reason=\"one\"} 5\na_totals 9\nb 1.5e3\nc{} +Inf\nbroken{a=\"1\nnothing\n";
        let page = Page::read(text);
        for (name, labels, sum) in [
            ("a_total", &[][..], 12.0),
            ("a_total", &[("component", "x")], 7.0),
            ("b", &[], 1_500.0),
            ("broken", &[], 0.0),
        ] {
            assert!((page.sum(name, labels) - sum).abs() < 1e-9, "{name} {labels:?}");
        }
        assert!(page.sum("c", &[]).is_infinite());
        let by = page.by("a_total", &[("component", "x")], "reason");
        assert_eq!(by, BTreeMap::from([("one".into(), 3.0), ("t\"w}o".into(), 4.0)]));
    }

    #[test]
    fn quantiles_are_within_their_bucket() {
        let buckets = BTreeMap::from([(0.1_f64.to_bits(), 50.0), (1.0_f64.to_bits(), 100.0)]);
        assert!((quantile(&buckets, 0.5) - 0.1).abs() < 1e-12);
        assert!((quantile(&buckets, 0.75) - 0.55).abs() < 1e-12);
        assert!(quantile(&BTreeMap::new(), 0.5).is_nan());
    }
}
