//! `/metrics`: the names of the simulator's record where it has one. The number of series is fixed by the document.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use seawall::MetricsPage;
use seawall_core::record::Metric;

use crate::gateway::Inside;
use crate::upstream::Hold;

/// The door, as a component.
const DOOR: &str = "gateway";

/// The page.
pub(crate) fn page(inside: &Inside) -> String {
    let live = inside.live.load();
    let mut page = MetricsPage::default();
    for site in &live.sites {
        site.keep.cache.write_metrics(&mut page);
        let busy: u32 = site
            .upstream
            .servers
            .iter()
            .map(|server| server.in_flight())
            .sum();
        page.add(
            Metric::OriginConnections,
            &site.upstream.name,
            &[],
            f64::from(busy),
        );
    }
    let standing = inside.door.standing();
    page.add(Metric::InFlight, DOOR, &[], f64::from(standing.inside));
    page.add(Metric::QueueDepth, DOOR, &[], standing.queued as f64);
    page.add(Metric::DegradationLevel, DOOR, &[], f64::from(standing.level));
    page.add(Metric::ThrottleRatio, DOOR, &[], standing.share);
    for (reason, count) in inside.door.shed() {
        page.add(Metric::Shed, DOOR, &[("reason", reason.name())], count as f64);
    }
    let mut text = page.text();
    // Writing to a string does not fail.
    let _ = own(inside, &mut text);
    text
}

/// What only a gateway has.
fn own(inside: &Inside, text: &mut String) -> std::fmt::Result {
    let live = inside.live.load();
    writeln!(
        text,
        "# HELP gateway_requests_total Requests, by what was done for them and the class of the status."
    )?;
    writeln!(text, "# TYPE gateway_requests_total counter")?;
    for site in &live.sites {
        for (how, class, count) in site.keep.counts.each().filter(|(.., count)| *count > 0) {
            let (name, how) = (&site.upstream.name, how.name());
            writeln!(
                text,
                "gateway_requests_total{{component=\"{name}\",cache=\"{how}\",status=\"{class}xx\"}} {count}"
            )?;
        }
    }
    let connections = &inside.connections;
    let (reloads, failures, refused) = inside.desk.reloads();
    for (name, kind, help, value) in [
        (
            "gateway_connections",
            "gauge",
            "Open connections of clients.",
            &connections.open,
        ),
        (
            "gateway_connections_total",
            "counter",
            "Connections that were accepted.",
            &connections.accepted,
        ),
        (
            "gateway_connections_refused_total",
            "counter",
            "Connections over the limit.",
            &connections.refused,
        ),
    ] {
        let value = value.load(Ordering::Relaxed);
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")?;
    }
    writeln!(
        text,
        "# HELP gateway_config_reloads_total Changes of the file, by whether they were taken over."
    )?;
    writeln!(text, "# TYPE gateway_config_reloads_total counter")?;
    writeln!(text, "gateway_config_reloads_total{{result=\"ok\"}} {reloads}")?;
    writeln!(
        text,
        "gateway_config_reloads_total{{result=\"refused\"}} {failures}"
    )?;
    writeln!(
        text,
        "# HELP gateway_config_refused Whether the file as it is now was refused."
    )?;
    writeln!(
        text,
        "# TYPE gateway_config_refused gauge\ngateway_config_refused {}",
        u8::from(refused)
    )?;
    writeln!(
        text,
        "# HELP gateway_server_up Whether a server of an upstream is asked.\n# TYPE gateway_server_up gauge"
    )?;
    for site in &live.sites {
        let held = site.upstream.held() == Hold::Open;
        for (place, server) in site.upstream.servers.iter().enumerate() {
            let up = server.well.load(Ordering::Relaxed) && !site.upstream.is_ejected(place) && !held;
            let (name, address, up) = (&site.upstream.name, &server.authority, u8::from(up));
            writeln!(
                text,
                "gateway_server_up{{component=\"{name}\",server=\"{address}\"}} {up}"
            )?;
        }
    }
    Ok(())
}
