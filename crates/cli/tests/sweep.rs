//! Sweeps and limits as a user meets them: what is refused, what survives a kill, what shards come to.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and its helpers are not marked as tests"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A service whose database is too small without its cache; the cache is flushed.
const SYSTEM: &str = r#"
title = "the cache is emptied"
run = { duration = "60s", warmup = "10s", prefilled = true }
client.web = { calls = "app", rate = "200/s", keys = { uniform = { count = 500 } }, timeout = "1s" }
service.app = { caches = ["redis"], origin = "db" }
cache.redis = { ttl = "60s", latency = "1ms" }
database.db = { connections = 10, service_time = { exponential = "20ms" }, capacity = "100/s", timeout = "3s" }
timeline = [{ at = "5s", on = "redis", fault = "flush" }]
[[expect]]
that = "nine in ten get an answer"
metric = "goodput_ratio"
of = "web"
over = ["5s", "60s"]
mean = { above = "90%" }
[variant.plain]
about = "as it is"
[variant.coalesced]
about = "one load a key"
protect.coalesce = {}
"#;

/// Four by three points, two variants.
const GRID: [&str; 4] = [
    "--over",
    "client.web.rate=100/s..400/s:4",
    "--over",
    "database.db.capacity=50/s,100/s,400/s",
];

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("seawall-sweep-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("system.toml"), SYSTEM).unwrap();
        Folder(path)
    }

    /// In the folder, so that the scenario has the same name in all of them.
    fn seawall(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
        command.args(arguments).current_dir(&self.0);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.seawall(arguments).output().unwrap()
    }

    fn sweep(&self, out: &str, more: &[&str]) -> Output {
        let mut arguments = vec!["sweep", "system.toml", "--out", out];
        arguments.extend(GRID);
        arguments.extend(more);
        self.run(&arguments)
    }

    fn results(&self, out: &str) -> Vec<Vec<u8>> {
        let names = ["results.csv", "results.parquet", "report.html"];
        let read = |name| fs::read(self.0.join(out).join(name)).unwrap();
        names.map(read).to_vec()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover folder in the temporary one hurts nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn threads_and_shards_change_no_byte() {
    let folder = Folder::new("shards");
    let whole = folder.sweep("whole", &["--threads", "1"]);
    assert_eq!(status(&whole), 0, "{}", said(&whole));
    assert!(said(&whole).contains("coalesced"), "{}", said(&whole));
    let csv = String::from_utf8(folder.results("whole").swap_remove(0)).unwrap();
    assert_eq!(csv.lines().count(), 1 + 12 * 2);
    assert!(csv.starts_with("point,variant,client.web.rate,database.db.capacity,class,met,"));
    assert!(
        csv.contains("\n1,plain,200,50,") && csv.contains("\n4,coalesced,100,100,"),
        "{csv}"
    );

    assert_eq!(status(&folder.sweep("two", &["--threads", "2"])), 0);
    assert!(folder.results("two") == folder.results("whole"), "threads");

    for shard in ["0/3", "2/3"] {
        let output = folder.sweep("shards", &["--shard", shard]);
        assert_eq!(status(&output), 0, "{}", said(&output));
    }
    let early = folder.run(&["sweep", "merge", "shards"]);
    assert_eq!(status(&early), 2);
    assert!(said(&early).contains("shards 1/3"), "{}", said(&early));
    assert_eq!(status(&folder.sweep("shards", &["--shard", "1/3"])), 0);
    let merged = folder.run(&["sweep", "merge", "shards"]);
    assert_eq!(status(&merged), 0, "{}", said(&merged));
    assert!(folder.results("shards") == folder.results("whole"), "shards");
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).replace("shards", "whole");
    assert_eq!(text(&merged), text(&whole));
}

#[test]
fn a_killed_sweep_goes_on_where_it_stopped() {
    let folder = Folder::new("killed");
    assert_eq!(
        status(&folder.sweep("whole", &["--runs", "12", "--engine", "exact"])),
        0
    );
    let mut arguments = vec![
        "sweep",
        "system.toml",
        "--out",
        "killed",
        "--runs",
        "12",
        "--threads",
        "1",
        "--engine",
        "exact",
    ];
    arguments.extend(GRID);
    let mut child = folder
        .seawall(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let journal = folder.0.join("killed/journal.txt");
    while lines(&journal) < 4 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it could be killed"
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let noted = lines(&journal);
    assert!(noted < 1 + 24, "it was killed in the middle: {noted}");
    // As if the last line had been cut short.
    let mut text = fs::read_to_string(&journal).unwrap();
    text += "deadbeef\t23\tholds\ttr";
    fs::write(&journal, &text).unwrap();

    let other = folder.sweep("killed", &["--runs", "5", "--engine", "exact"]);
    assert_eq!(status(&other), 2);
    assert!(said(&other).contains("the number of runs"), "{}", said(&other));

    let again = folder.run(&arguments);
    assert_eq!(status(&again), 0, "{}", said(&again));
    assert!(folder.results("killed") == folder.results("whole"));
    let kept = fs::read_to_string(&journal).unwrap();
    let before: Vec<&str> = text.lines().take(noted).collect();
    assert!(
        kept.starts_with(&before.join("\n")),
        "what was noted is not played again"
    );
    assert_eq!(kept.lines().count(), 1 + 24);
}

#[test]
fn a_damaged_journal_is_refused() {
    let folder = Folder::new("damaged");
    let output = folder.sweep("out", &["--variant", "plain"]);
    assert_eq!(status(&output), 0, "{}", said(&output));
    let journal = folder.0.join("out/journal.txt");
    let text = fs::read_to_string(&journal)
        .unwrap()
        .replacen("holds", "HOLDS", 1);
    fs::write(&journal, text).unwrap();
    let output = folder.sweep("out", &["--variant", "plain"]);
    assert_eq!(status(&output), 2);
    assert!(said(&output).contains("is damaged"), "{}", said(&output));
    fs::write(&journal, "a diary\n").unwrap();
    let output = folder.run(&["sweep", "merge", "out"]);
    assert_eq!(status(&output), 2);
    assert!(
        said(&output).contains("no journal of a sweep"),
        "{}",
        said(&output)
    );
}

#[test]
fn what_is_wrong_with_a_sweep_is_underlined() {
    let folder = Folder::new("wrong");
    let cases: [(&[&str], &str); 9] = [
        (&["--over", "client.web.rate=1/s..2/s"], "how many values?"),
        (
            &["--over", "client.web.rate=1/s..20%:3"],
            "numbers of different kinds",
        ),
        (
            &["--over", "client.wbe.rate=1/s..2/s:3"],
            "no client called `wbe`",
        ),
        (&["--over", "client.web.rat=1/s..2/s:3"], "rate"),
        (&["--over", "client.web.rate=1s..2s:3"], "--over"),
        (
            &["--over", "service.app.instances=1..3:5"],
            "not so many whole numbers",
        ),
        (
            &[
                "--over",
                "client.web.rate=1/s,2/s",
                "--over",
                "client.web.rate=3/s,4/s",
            ],
            "swept twice",
        ),
        (
            &["--over", "client.web.rate=1/s,2/s", "--shard", "3/3"],
            "counted from 0",
        ),
        (&[], "--over"),
    ];
    for (more, word) in cases {
        let mut arguments = vec!["sweep", "system.toml", "--out", "out"];
        arguments.extend(more);
        let output = folder.run(&arguments);
        assert_eq!(status(&output), 2, "{more:?}: {}", said(&output));
        assert!(said(&output).contains(word), "{more:?}: {}", said(&output));
        assert!(output.stdout.is_empty());
    }
    assert!(
        !folder.0.join("out").exists(),
        "nothing is begun before all is checked"
    );
    let output = folder.run(&["sweep", "merge", "nowhere"]);
    assert_eq!(status(&output), 3, "{}", said(&output));
}

/// The published case: a database good for 300/s, one retry. Below 150/s it always recovers; at 280/s a database good for
/// twice 280/s recovers.
#[test]
fn the_limits_of_a_retry_storm_are_the_published_ones() {
    let folder = Folder::new("limits");
    let arguments = [
        "limits",
        "retry-storm",
        "--runs",
        "1",
        "--tolerance",
        "20%",
        "--engine",
        "exact",
        "--format",
        "json",
    ];
    let output = folder.run(&arguments);
    assert_eq!(status(&output), 0, "{}", said(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let limit = |what: &str, class: &str| -> (f64, f64) {
        let limits = found[what]["limits"].as_array().unwrap();
        let limit = limits.iter().find(|limit| limit["beyond"] == class).unwrap();
        let side = |key: &str| limit[key].as_f64().unwrap();
        (side("better_at_factor"), side("worse_at_factor"))
    };
    let (better, worse) = limit("traffic", "never_recovers");
    assert!(
        better * 280.0 > 125.0 && worse * 280.0 < 170.0,
        "{better} to {worse}"
    );
    let (better, worse) = limit("database", "not_enough");
    assert!(
        worse * 300.0 > 480.0 && better * 300.0 < 640.0,
        "{worse} to {better}"
    );
    let enough = found["protections"]["are_enough"].as_array().unwrap();
    assert!(enough.iter().any(|name| name == "limit"), "{enough:?}");
    let loosest = found["protections"]["loosest"].as_array().unwrap();
    assert!(
        loosest
            .iter()
            .any(|one| one["name"] == "limit" && one["not_enough"].is_string())
    );
}

#[test]
fn threads_change_no_limit() {
    let folder = Folder::new("limits-threads");
    let limits = |threads: &str| {
        let mut arguments = vec!["limits", "system.toml", "--runs", "1", "--tolerance", "30%"];
        arguments.extend(["--variant", "coalesced", "--threads", threads]);
        let output = folder.run(&arguments);
        assert_eq!(status(&output), 0, "{}", said(&output));
        said(&output)
    };
    let one = limits("1");
    assert!(one.contains("Verdict: as written (200/s), `coalesced`"), "{one}");
    assert!(
        !one.contains("protect.coalesce="),
        "what is on already is not tried: {one}"
    );
    assert_eq!(one, limits("2"));
}

#[test]
fn what_there_was_no_time_for_is_said() {
    let folder = Folder::new("hurry");
    let output = folder.run(&["limits", "system.toml", "--within", "1ns"]);
    assert_eq!(status(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("not finished"), "{}", said(&output));
    assert_eq!(
        status(&folder.run(&["limits", "system.toml", "--variant", "plan"])),
        2
    );
}

/// The manifest's own scenario and command, at a thousandth of its size.
#[test]
fn the_manifest_for_a_cluster_says_what_the_command_takes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/sweep/job.yaml");
    let manifest = fs::read_to_string(path).unwrap();
    let indented = |after: &str, by: &str| -> Vec<String> {
        let start = manifest.find(after).unwrap() + after.len();
        let lines = manifest[start..].lines().skip(1);
        let block = lines.take_while(|line| line.starts_with(by));
        block.map(|line| line[by.len()..].to_owned()).collect()
    };
    let folder = Folder::new("manifest");
    fs::write(
        folder.0.join("scenario.toml"),
        indented("scenario.toml: |", "    ").join("\n"),
    )
    .unwrap();
    let arguments = indented("args:", "            - ");
    assert!(arguments.contains(&"--shard=$(JOB_COMPLETION_INDEX)/64".to_owned()));
    assert!(manifest.contains("completions: 64"));
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| match argument.as_str() {
            "/scenario/scenario.toml" => "scenario.toml".to_owned(),
            "--out=/results" => "--out=results".to_owned(),
            other => other.replace("$(JOB_COMPLETION_INDEX)", "63"),
        })
        .chain(["--scale=1/1000".to_owned()])
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = folder.run(&arguments);
    assert_eq!(status(&output), 0, "{}", said(&output));
    assert_eq!(lines(&folder.0.join("results/journal-63-of-64.txt")), 1 + 25 * 2);
}
