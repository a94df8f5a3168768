//! A real Prometheus, with the past of a Redis by its exporter's names. The machine needs `prometheus` and `promtool`.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use seawall_core::record::Metric;
use seawall_core::time::Span;
use seawall_diagnose::probe::Why;
use seawall_diagnose::probe::prometheus::{Past, past};

use super::support::redis::until;
use super::support::{Folder, Process, free_port};

/// 2024-01-01T00:00:00Z, a full hour, as blocks begin.
const BEGUN: u64 = 1_704_067_200;
const SECONDS: u64 = 120;

/// Two minutes of a cache that loses all at the first: 90 hits and 10 misses a second, then 100 misses.
fn pages() -> String {
    let mut text = String::from("# TYPE redis_keyspace_hits counter\n");
    let total = |second: u64, before, after| second.min(60) * before + second.saturating_sub(60) * after;
    let mut series = |name: &str, before, after| {
        for second in 0..=SECONDS {
            let at = BEGUN + second;
            let _ = writeln!(
                text,
                "{name}{{instance=\"cache:9121\"}} {} {at}",
                total(second, before, after)
            );
        }
    };
    series("redis_keyspace_hits_total", 90, 0);
    text.push_str("# TYPE redis_keyspace_misses counter\n");
    let mut more = String::new();
    for second in 0..=SECONDS {
        let at = BEGUN + second;
        let _ = writeln!(
            more,
            "redis_keyspace_misses_total{{instance=\"cache:9121\"}} {} {at}",
            total(second, 10, 100)
        );
    }
    text + &more + "# EOF\n"
}

#[tokio::test]
async fn a_real_prometheus_becomes_a_record() {
    let folder = Folder::new();
    let (data, file, config) = (
        folder.path().join("data"),
        folder.path().join("past.txt"),
        folder.path().join("prometheus.yml"),
    );
    std::fs::write(&file, pages()).unwrap();
    std::fs::write(&config, "global: {}\n").unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, &data])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let port = free_port();
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", data.display()),
        "--storage.tsdb.retention.time=100y".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let _server = Process::server("prometheus", &args);
    until("it is ready", || {
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        let asked = Command::new("curl")
            .args(["-sf", "-o", "/dev/null", &ready])
            .status();
        asked.is_ok_and(|status| status.success())
    });
    let target = format!("http://127.0.0.1:{port}").parse().unwrap();
    let wanted = Past {
        end: BEGUN + SECONDS,
        periods: 24,
        period: Span::secs(5),
    };
    let record = past(&target, wanted, Duration::from_secs(5)).await.unwrap();
    assert!((record.ratio(Metric::CacheHitRate, "redis", 2..10) - 0.9).abs() < 1e-9);
    assert!(record.ratio(Metric::CacheHitRate, "redis", 13..24).abs() < 1e-9);
    assert_eq!(
        record.values(Metric::CacheMisses, "redis", None)[20..],
        [500.0; 4]
    );

    let long_ago = Past {
        end: BEGUN - 86_400,
        ..wanted
    };
    let fault = past(&target, long_ago, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(fault.why, Why::Lost, "{fault}");
}
