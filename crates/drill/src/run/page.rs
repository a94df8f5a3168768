//! Reading a page of metrics: the text format of Prometheus (exposition format 0.0.4), as far as a drill needs it.

use std::collections::BTreeMap;

/// No page has more samples that are read.
const SAMPLES_MAX: usize = 20_000;

/// A page as it was at an instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page(Vec<Sample>);

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Page {
    /// Reads a page; lines that are no samples are passed over.
    pub(crate) fn read(text: &str) -> Page {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        Page(lines.filter_map(sample).take(SAMPLES_MAX).collect())
    }

    /// The sum of the samples of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).sum()
    }

    /// The sum of the samples of this name, for each value of a label.
    pub(crate) fn by(&self, name: &str, labels: &[(&str, &str)], label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.of(name, labels) {
            if let Some(value) = sample.labels.get(label) {
                *sums.entry(value.clone()).or_default() += sample.value;
            }
        }
        sums
    }

    fn of(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| {
            let fits =
                |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|have| have == value);
            sample.name == name && labels.iter().all(fits)
        })
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (name, labels, rest) = match line.find('{') {
        Some(open) => {
            let (labels, rest) = labels(&line[open + 1..])?;
            (&line[..open], labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(char::is_whitespace)?;
            (name, BTreeMap::new(), rest)
        }
    };
    // A timestamp may follow.
    let value = rest.split_whitespace().next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        value => value.parse().ok()?,
    };
    let name = name.trim().to_owned();
    Some(Sample { name, labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = after.char_indices();
        rest = loop {
            match letters.next()? {
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    letter => value.push(letter),
                },
                (at, '"') => break &after[at + 1..],
                (_, letter) => value.push(letter),
            }
        };
        labels.insert(key.trim().to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let text = "# HELP a_total What.\n# TYPE a_total counter\n\
                    a_total{component=\"x\",reason=\"one\"} 3\na_total{component=\"x\",reason=\"t\\\"w}o\"} 4 1700000000\n\
                    a_total{component=\"y\",reason=\"one\"} 5\nb 1.5e3\nc{} +Inf\nbroken{a=\"1\nnothing\n";
        let page = Page::read(text);
        assert_eq!(page.sum("a_total", &[]), 12.0);
        assert_eq!(page.sum("a_total", &[("component", "x")]), 7.0);
        let by = page.by("a_total", &[("component", "x")], "reason");
        assert_eq!(by, BTreeMap::from([("one".into(), 3.0), ("t\"w}o".into(), 4.0)]));
        assert_eq!(page.sum("b", &[]), 1_500.0);
        assert_eq!(page.sum("c", &[]), f64::INFINITY);
        assert_eq!(page.sum("broken", &[]), 0.0);
    }
}
