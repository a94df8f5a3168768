//! The command as a user meets it: exit status, messages, files.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and its helpers are not marked as tests"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A small system that meets its expectation.
const CALM: &str = r#"
title = "a page is read"
[run]
duration = "20s"
warmup = "5s"
[client.web]
calls = "app"
rate = "50/s"
keys = { uniform = { count = 10 } }
timeout = "1s"
[service.app]
service_time = "5ms"
[[expect]]
that = "every reader gets the page"
metric = "goodput_ratio"
of = "web"
over = ["0s", "20s"]
mean = { above = "BOUND" }
[variant.one]
about = "as it is"
[variant.two]
about = "twice as busy"
client.web.rate = "100/s"
"#;

/// A folder of its own, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("seawall-command-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover folder in the temporary one hurts nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn seawall(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_status_says_whether_expectations_were_met() {
    let folder = Folder::new("status");
    let met = folder.file("met.toml", CALM.replace("BOUND", "90%"));
    let output = seawall(&["simulate", text(&met)]);
    assert_eq!(status(&output), 0, "{}", said(&output));
    assert!(said(&output).contains("all 2 expectations were met"));
    let output = seawall(&[
        "simulate",
        text(&met),
        "--set",
        "service.app.availability=10%",
        "--variant",
        "one",
    ]);
    assert_eq!(status(&output), 1, "{}", said(&output));
    assert!(said(&output).contains("✗ one: every reader gets the page"));
}

#[test]
fn what_an_engine_refuses_is_said_and_the_others_are_played() {
    let folder = Folder::new("refused");
    let file = folder.file("calm.toml", CALM.replace("BOUND", "90%"));
    let page = folder.0.join("page.html");
    let output = seawall(&[
        "simulate",
        text(&file),
        "--engine",
        "aggregate",
        "--report",
        text(&page),
    ]);
    assert_eq!(status(&output), 2, "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("✓ two"), "{told}");
    assert!(
        told.contains("– one: not played; the aggregate engine plays crowds"),
        "{told}"
    );
    assert!(fs::read_to_string(&page).unwrap().contains("One: not played"));
    let help = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        help.contains("not played: one") && help.contains("--engine"),
        "{help}"
    );
    let output = seawall(&[
        "simulate",
        text(&file),
        "--engine",
        "aggregate",
        "--variant",
        "one",
    ]);
    assert_eq!(status(&output), 2, "{}", said(&output));
    assert!(output.stdout.is_empty(), "nothing was played");
    assert!(
        said(&output).contains("no variant was played"),
        "{}",
        said(&output)
    );
    let output = seawall(&["simulate", text(&file)]);
    assert_eq!(status(&output), 0, "whatever suits plays both: {}", said(&output));
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let folder = Folder::new("bytes");
    let file = folder.file("calm.toml", CALM.replace("BOUND", "90%"));
    let run = |threads: &str, seed: &str| {
        let [page, series, metrics] =
            ["html", "csv", "om"].map(|end| folder.0.join(format!("{threads}-{seed}.{end}")));
        let output = seawall(&[
            "simulate",
            text(&file),
            "--runs",
            "2",
            "--threads",
            threads,
            "--seed",
            seed,
            "--format",
            "json",
            "--report",
            text(&page),
            "--series",
            text(&series),
            "--openmetrics",
            text(&metrics),
        ]);
        assert_eq!(status(&output), 0, "{}", said(&output));
        (
            output.stdout,
            [page, series, metrics].map(|path| fs::read(path).unwrap()),
        )
    };
    let one = run("1", "7");
    assert!(one == run("2", "7"), "threads change nothing");
    assert!(one != run("1", "8"), "the seed does");
    assert_eq!(
        fs::read_dir(&folder.0).unwrap().count(),
        1 + 3 * 3,
        "no half-written file is left"
    );
}

#[test]
fn wrong_input_is_said_once_and_clearly() {
    let folder = Folder::new("wrong");
    let typo = CALM.replace("BOUND", "90%").replace("timeout", "timeot");
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("typo.toml", typo.into_bytes(), "did you mean `timeout`"),
        ("empty.toml", Vec::new(), "empty"),
        ("binary.toml", vec![0xff, 0xfe, 0, 1], "not text"),
        ("noise.toml", vec![b'x'; 10 << 20], "long"),
    ];
    for (name, bytes, word) in cases {
        let path = folder.file(name, bytes);
        for command in ["check", "simulate", "explain"] {
            let output = seawall(&[command, text(&path)]);
            assert_eq!(status(&output), 2, "{command} {name}: {}", said(&output));
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(message.contains(word), "{command} {name}: {message}");
            assert!(output.stdout.is_empty() && message.len() < 4000, "{message}");
        }
    }
}

#[test]
fn a_name_that_is_nearly_right_is_helped() {
    let folder = Folder::new("names");
    let file = folder.file("calm.toml", CALM.replace("BOUND", "90%"));
    let output = seawall(&["simulate", text(&file), "--variant", "onw"]);
    assert_eq!(status(&output), 2);
    assert!(said(&output).contains("did you mean `one`?"), "{}", said(&output));
    let output = seawall(&["simulate", "no-such-scenario"]);
    assert_eq!(status(&output), 2);
    assert!(said(&output).contains("seawall scenarios"), "{}", said(&output));
    let output = seawall(&["simulate", text(&file), "--set", "service.app.treads=3"]);
    assert_eq!(status(&output), 2);
    assert!(said(&output).contains("threads"), "{}", said(&output));
    assert_eq!(status(&seawall(&["simulate", text(&file), "--scale", "7"])), 2);
}

#[test]
fn what_cannot_be_written_is_status_three() {
    let folder = Folder::new("write");
    let file = folder.file("calm.toml", CALM.replace("BOUND", "90%"));
    let nowhere = folder.0.join("no/such/folder/report.html");
    let output = seawall(&["simulate", text(&file), "--report", text(&nowhere)]);
    assert_eq!(status(&output), 3, "{}", said(&output));
    assert!(said(&output).contains("failed to write"));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let folder = Folder::new("pipe");
    let file = folder.file("calm.toml", CALM.replace("BOUND", "90%"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(["simulate", text(&file)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(status(&output), 0);
    assert!(output.stderr.is_empty(), "{}", said(&output));
}

#[test]
fn what_is_built_in_is_listed_and_printed() {
    let output = seawall(&["scenarios"]);
    assert_eq!(status(&output), 0);
    for line in said(&output).lines() {
        let name = line.split_whitespace().next().unwrap();
        let document = seawall(&["scenarios", name]);
        assert!(
            status(&document) == 0 && said(&document).contains("[run]"),
            "{name}"
        );
    }
    let schema = seawall(&["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert!(schema["properties"]["run"].is_object() || schema["$defs"].is_object());
}
