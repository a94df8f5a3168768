//! What a proxy counts, and how Prometheus reads it: bytes under Toxiproxy's names, connections under ours.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::toxic::Side;

/// What a proxy counts, by direction where there are two.
#[derive(Debug, Default)]
pub(super) struct Counters {
    received: [AtomicU64; 2],
    sent: [AtomicU64; 2],
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) open: AtomicU64,
}

impl Counters {
    pub(super) fn received(&self, side: Side, bytes: usize) {
        self.received[side as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, side: Side, bytes: usize) {
        self.sent[side as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes received from the one end and sent to the other.
    pub(super) fn bytes(&self, side: Side) -> (u64, u64) {
        let side = side as usize;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.received[side]), load(&self.sent[side]))
    }
}

/// A proxy as its labels name it.
pub(super) struct Labels<'a> {
    pub(super) proxy: &'a str,
    pub(super) listener: &'a str,
    pub(super) upstream: &'a str,
}

impl Labels<'_> {
    fn text(&self, side: Option<Side>) -> String {
        let direction = side.map_or(String::new(), |side| format!("direction=\"{}\",", side.name()));
        let [proxy, listener, upstream] = [self.proxy, self.listener, self.upstream].map(escaped);
        format!("{{{direction}proxy=\"{proxy}\",listener=\"{listener}\",upstream=\"{upstream}\"}}")
    }
}

/// The page for Prometheus.
pub(super) fn page(proxies: &[(Labels, &Counters)]) -> String {
    let mut text = String::new();
    for (name, help) in [
        (
            "received",
            "Bytes received on a proxy's connections, by direction.",
        ),
        ("sent", "Bytes sent on a proxy's connections, by direction."),
    ] {
        let metric = head(
            &mut text,
            &format!("toxiproxy_proxy_{name}_bytes_total"),
            "counter",
            help,
        );
        for (labels, counters) in proxies {
            for side in [Side::Upstream, Side::Downstream] {
                let (received, sent) = counters.bytes(side);
                let value = if name == "sent" { sent } else { received };
                let _ = writeln!(text, "{metric}{} {value}", labels.text(Some(side)));
            }
        }
    }
    for (name, kind, help) in [
        ("open", "gauge", "Connections that are open."),
        ("accepted_total", "counter", "Connections accepted."),
        (
            "refused_total",
            "counter",
            "Connections closed because there were too many.",
        ),
    ] {
        let metric = head(
            &mut text,
            &format!("seawall_proxy_connections_{name}"),
            kind,
            help,
        );
        for (labels, counters) in proxies {
            let count = match name {
                "open" => &counters.open,
                "accepted_total" => &counters.accepted,
                _ => &counters.refused,
            };
            let value = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "{metric}{} {value}", labels.text(None));
        }
    }
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> String {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    name.to_owned()
}

/// A label's value in the exposition format.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
