//! A drill runs; `seawall init` measures its servers from outside; what it writes is simulated, and held against what the drill
//! measured from inside. Redis and PostgreSQL are real.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and its helpers are not marked as tests"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Nothing goes wrong until the last second.
const CALM: &str = r#"
title = "a cache before a database"
about = "and nothing goes wrong until the end"
[environment]
test = true
rate_max = 1000
[run]
duration = "17s"
warmup = "4s"
every = "1s"
prefilled = true
[client.web]
calls = "app"
rate = "300/s"
keys = { zipf = { count = 1500, exponent = 0.8 } }
timeout = "2s"
[service.app]
threads = 300
service_time = "1ms"
caches = ["redis"]
origin = "db"
[cache.redis]
ttl = "10s"
latency = "2ms"
timeout = "500ms"
[database.db]
connections = 40
service_time = "20ms"
timeout = "2s"
[[timeline]]
at = "16s"
for = "1s"
on = "redis"
fault = { latency = { add = "20ms" } }
[[expect]]
that = "everybody is answered"
metric = "goodput_ratio"
of = "web"
over = ["0s", "16s"]
mean = { above = "95%" }
"#;
/// Seconds of the drill's clock in which it is steady.
const STEADY: std::ops::Range<usize> = 0..16;
/// Seconds of what is written before it loses its cache.
const BEFORE: std::ops::Range<usize> = 0..30;

struct Folder(PathBuf);

impl Folder {
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover folder in the temporary one hurts nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A drill, and its lines; it is ended in order when nobody wants it any more.
struct Drill {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Drop for Drill {
    fn drop(&mut self) {
        use rustix::process::{Pid, Signal, kill_process};
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            // It takes its servers with it.
            let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
            let _ = self.process.wait();
        }
    }
}

impl Drill {
    fn start(folder: &Folder, scenario: &str, journal: &str) -> Drill {
        let mut process = Command::new(env!("CARGO_BIN_EXE_seawall"))
            .args(["drill", scenario, "--real", "--journal", journal])
            .env("XDG_STATE_HOME", &folder.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        Drill { process, lines }
    }

    /// Waits until all parts run; where the doors of the cache and of the database are.
    fn ready(&mut self) -> (String, String) {
        let mut seen = Vec::new();
        for line in self.lines.by_ref().map_while(Result::ok) {
            let is_ready = line.starts_with("ready: ");
            seen.push(line);
            if is_ready {
                let door = |name: &str| {
                    let line = seen.iter().find(|line| line.starts_with(name));
                    let (_, door) = line.unwrap().split_once("through ").unwrap();
                    door.to_owned()
                };
                return (door("redis-0 at "), door("db-0 through "));
            }
        }
        panic!("it never runs: {seen:?}");
    }

    fn end(mut self) -> Vec<String> {
        let lines = self.lines.by_ref().map_while(Result::ok).collect();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status:?}: {lines:?}");
        lines
    }
}

/// A series of what the drill kept: one value a second of its clock.
fn measured(kept: &Value, metric: &str, of: &str, label: Option<&str>) -> Vec<f64> {
    let told = &kept["seawall"]["variants"][0]["measured"];
    let origin = told["origin"].as_f64().unwrap() as usize;
    let rows = told["series"].as_array().unwrap();
    let row = rows.iter().find(|row| {
        row["metric"] == metric
            && row["of"] == of
            && row["instance"].is_null()
            && row["label"].as_str() == label
    });
    let values = row.unwrap_or_else(|| panic!("no {metric} of {of}"))["values"]
        .as_array()
        .unwrap();
    let values = values.iter().map(|value| value.as_f64().unwrap_or(f64::NAN));
    values.skip(origin).collect()
}

/// A series of a simulated run, as it is written: one value a second of its clock.
fn predicted(csv: &str, metric: &str, of: &str) -> Vec<f64> {
    let mut values = Vec::new();
    for line in csv.lines().skip(1) {
        let (head, value) = line.rsplit_once(',').unwrap();
        let head = head.replace("\"\"", "'").replace('"', "");
        let parts: Vec<&str> = head.splitn(4, ',').collect();
        let time: f64 = parts[2].parse().unwrap();
        if time > 0.0 && parts[3] == format!("{metric},{of},") {
            values.push(value.parse().unwrap_or(f64::NAN));
        }
    }
    assert!(!values.is_empty(), "no {metric} of {of}");
    values
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[expect(clippy::print_stderr, reason = "a number in the documents comes from here")]
#[test]
fn what_is_written_of_a_drill_predicts_what_the_drill_measures() {
    let path = std::env::temp_dir().join(format!("seawall-test-init-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    let folder = Folder(path);
    let (scenario, journal) = (folder.path("calm.toml"), folder.path("drill.json"));
    fs::write(&scenario, CALM).unwrap();
    let mut drill = Drill::start(&folder, &scenario, &journal);
    let (cache, database) = drill.ready();
    let (now, series) = (folder.path("now.toml"), folder.path("now.csv"));
    let redis = format!("redis://{cache}");
    let postgres = format!("postgres://drill@{database}/postgres?sslmode=disable");
    let told = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(["init", "--redis", &redis, "--postgres", &postgres])
        .args(["--window", "10s", "--out", &now])
        .output()
        .unwrap();
    assert!(told.status.success(), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).contains("If the cache went away now"));
    let written = fs::read_to_string(&now).unwrap();
    drill.end();
    let simulated = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(["simulate", &now, "--series", &series])
        .output()
        .unwrap();
    assert!(simulated.status.success(), "{simulated:?}\n{written}");

    let kept: Value = serde_json::from_slice(&fs::read(&journal).unwrap()).unwrap();
    let csv = fs::read_to_string(&series).unwrap();
    let seen = |metric: &str, of: &str, label| mean(&measured(&kept, metric, of, label)[STEADY]);
    let foretold = |metric: &str, of: &str| mean(&predicted(&csv, metric, of)[BEFORE]);
    let hit_rate = |hits: f64, misses: f64| hits / (hits + misses);
    let median = "origin_duration_seconds{quantile='0.5'}";
    let pairs = [
        (
            "hit rate",
            hit_rate(
                seen("cache_hits_total", "redis", None),
                seen("cache_misses_total", "redis", None),
            ),
            hit_rate(
                foretold("cache_hits_total", "redis"),
                foretold("cache_misses_total", "redis"),
            ),
        ),
        (
            "origin load",
            seen("origin_requests_total", "db", None),
            foretold("origin_requests_total", "postgres"),
        ),
        (
            "entries",
            seen("cache_entries", "redis", None),
            foretold("cache_entries", "redis"),
        ),
        (
            "origin latency",
            seen("origin_duration_seconds", "db", Some("0.5")),
            foretold(median, "postgres"),
        ),
    ];
    for (what, measured, predicted) in pairs {
        eprintln!("{what}: {measured:.4} measured, {predicted:.4} predicted");
    }
    for (what, measured, predicted) in pairs {
        assert!(
            (predicted / measured - 1.0).abs() < 0.1,
            "{what}: {measured:.4} measured, {predicted:.4} predicted\n{written}"
        );
    }
}
