//! `seawall cache-server` and `seawall load`, as a user meets them.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and its helpers are not marked as tests"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

fn seawall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(args)
        .output()
        .unwrap()
}

/// A cache server that ends with its handle.
struct CacheServer(Child);

impl CacheServer {
    fn start() -> (CacheServer, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_seawall"))
            .args([
                "cache-server",
                "--listen",
                "127.0.0.1:0",
                "--set",
                "maxmemory=100mb",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let server = CacheServer(child);
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        (server, address)
    }
}

impl Drop for CacheServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn load_is_sent_and_told() {
    let (mut server, address) = CacheServer::start();
    let path = std::env::temp_dir().join(format!("seawall-load-{}.json", std::process::id()));
    let target = format!("redis://{address}");
    let common = [
        "load",
        &target,
        "--rate",
        "500/s",
        "--duration",
        "600ms",
        "--keys",
        "zipf:1k:0.9",
    ];
    let file = path.to_string_lossy().into_owned();
    let output = seawall(
        &[
            &common[..],
            &["--writes", "10%", "--goodput", "50%", "--json", &file],
        ]
        .concat(),
    );
    let said = text(&output.stdout);
    // A machine that is too busy to send in time says so.
    let late = said.starts_with("NOT SOUND: calls were sent late");
    let sound = said.starts_with("100.00% right answers, of ");
    assert!(late || sound, "{said}{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(i32::from(late)), "{said}");
    assert!(said.contains("own error: calls were sent late by"), "{said}");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(json["outcomes"]["fresh"], json["calls"]);
    assert!(json["send_lag_seconds"]["p99"].as_f64().is_some());
    assert_eq!(json["periods"]["series"][0]["metric"], "requests_total");

    let output = seawall(&[&common[..], &["--p99", "1ns"]].concat());
    let said = text(&output.stdout);
    assert!(
        output.status.code() == Some(1) && said.starts_with("NOT HELD: p99 of at most 1ns\n"),
        "{said}"
    );

    let id = server.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(server.0.wait().unwrap().code(), Some(0), "SIGTERM ends it");
    let output = seawall(&common);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(
        said.contains("failed to write the keys to ") && said.contains(": refused"),
        "{said}"
    );
}

#[test]
fn wrong_input_is_told_with_how_to_mend_it() {
    for (args, said) in [
        (&["load", "ftp://a/"][..], "`ftp` cannot be called"),
        (&["load", "redis://nowhere:x"], "`nowhere:x` is no address"),
        (
            &["load", "http://a/", "--keys", "zipf"],
            "it must be zipf:COUNT:EXPONENT",
        ),
        (&["load", "http://a/", "--rate", "5"], "a unit is missing"),
        (
            &["cache-server", "--set", "maxmemory"],
            "`maxmemory` sets nothing",
        ),
        (
            &["cache-server", "--listen", "127.0.0.1:0", "--set", "maxmemory=x"],
            "argument must be a memory value",
        ),
    ] {
        let output = seawall(args);
        let told = text(&output.stderr);
        assert!(
            output.status.code() == Some(2) && told.contains(said),
            "{args:?}: {told}"
        );
    }
}
