//! `seawall watch` as a user meets it: a real Redis that stands still, a watch that is killed in the middle, and a record.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and its helpers are not marked as tests"
)]
#![expect(clippy::disallowed_methods, reason = "a process lives in real time")]

#[path = "support/record.rs"]
mod record;

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use record::record;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_mins(1);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("seawall-watch-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that is killed with the test.
struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn redis(folder: &Path) -> (Process, u16) {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--save", "", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let server = Process(child);
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < PATIENCE, "redis-server does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    (server, port)
}

/// A watch, and the JSON that it tells.
struct Watch {
    process: Process,
    told: mpsc::Receiver<Value>,
}

impl Watch {
    fn new(arguments: &[&str]) -> Watch {
        Watch::with_token(arguments, "")
    }

    /// With this word in the environment.
    fn with_token(arguments: &[&str], word: &str) -> Watch {
        let mut child = Command::new(env!("CARGO_BIN_EXE_seawall"))
            .args(["watch", "--json"])
            .args(arguments)
            .env("SEAWALL_ADMIN_TOKEN", word)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        Watch {
            process: Process(child),
            told,
        }
    }

    /// Waits for something of this kind, and of this text.
    fn until(&self, kind: &str, text: &str) -> Value {
        let begun = Instant::now();
        let mut seen = Vec::new();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let told = self.told.recv_timeout(left);
            let told = told.unwrap_or_else(|error| panic!("no {kind} {text}: {error}: {seen:#?}"));
            let says = told["text"].as_str().unwrap_or_default();
            if told["kind"] == kind && says.contains(text) {
                return told;
            }
            seen.push(told);
        }
    }
}

fn seawall(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn incidents(state: &str) -> Vec<Value> {
    let told = seawall(&["watch", "incidents", "--json", "--state", state]);
    serde_json::from_str(&text(&told)).unwrap()
}

fn kinds(incident: &Value) -> Vec<&str> {
    let timeline = incident["timeline"].as_array().unwrap();
    timeline
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap())
        .collect()
}

#[test]
fn a_watch_that_is_killed_is_gone_on_with() {
    let folder = Folder::new("killed");
    let (server, port) = redis(&folder.0);
    let state = folder.0.join("state");
    let state = state.to_str().unwrap();
    let address = format!("redis://127.0.0.1:{port}");
    let arguments = ["--redis", &address, "--state", state];
    let first = Watch::new(&arguments);
    first.until("watch", "what is calm is known");
    server.signal(Signal::STOP);
    let stopped = Instant::now();
    let opened = first.until("opened", "");
    assert!(
        stopped.elapsed() < Duration::from_secs(10),
        "detected after {:?}",
        stopped.elapsed()
    );
    assert_eq!(opened["found"]["failure"], "hung", "{opened:#}");
    let refused = seawall(&["watch", "--redis", &address, "--state", state]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    first.process.signal(Signal::KILL);
    drop(first);

    let again = Watch::new(&arguments);
    again.until("watch", "going on with");
    text(&seawall(&[
        "watch",
        "incidents",
        "note",
        "last",
        "I continue it",
        "--state",
        state,
    ]));
    again.until("noted", "I continue it");
    server.signal(Signal::CONT);
    again.until("closed", "");
    again.process.signal(Signal::INT);
    let begun = Instant::now();
    let mut process = again.process;
    let status = loop {
        match process.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(begun.elapsed() < PATIENCE, "it does not end"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status:?}");
    let kept = incidents(state);
    assert_eq!(kept.len(), 1, "{kept:#?}");
    let told = kinds(&kept[0]);
    assert_eq!(
        told.iter().filter(|kind| **kind == "opened").count(),
        1,
        "{told:?}"
    );
    for kind in ["watched_again", "noted", "over", "recovered", "closed"] {
        assert!(told.contains(&kind), "{kind}: {told:?}");
    }
}

#[test]
fn a_log_tells_who_killed_it() {
    let folder = Folder::new("log");
    let (server, port) = redis(&folder.0);
    let log = folder.0.join("kernel.log");
    fs::write(&log, "Out of memory: Killed process 1 (redis-server), long ago\n").unwrap();
    let state = folder.0.join("state");
    let address = format!("redis://127.0.0.1:{port}");
    let watch = Watch::new(&[
        "--redis",
        &address,
        "--log",
        log.to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
    ]);
    watch.until("watch", "what is calm is known");
    server.signal(Signal::KILL);
    let mut log = fs::OpenOptions::new().append(true).open(&log).unwrap();
    writeln!(log, "kernel: Out of memory: Killed process 4711 (redis-server)").unwrap();
    let opened = watch.until("opened", "");
    assert_eq!(opened["found"]["failure"], "killed", "{opened:#}");
    let evidence = opened["found"]["pro"].to_string();
    assert!(evidence.contains("a log or the cluster says"), "{evidence}");
}

/// Answers HTTP, and gives each question (its path and its token) to `answer`. It ends with the test's process.
fn listener(answer: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let token = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("authorization").then_some(value)
            });
            let (status, body) = answer(path, token.unwrap_or_default());
            let length = body.len();
            // Who asked may have gone.
            let _ = write!(
                stream,
                "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    format!("http://{address}")
}

#[test]
fn a_gateway_is_shown_its_token_and_nobody_else_is() {
    for from_file in [true, false] {
        let folder = Folder::new(if from_file { "token-file" } else { "token-word" });
        let (heard, asked) = mpsc::channel();
        let gateway = listener(move |path, token| {
            if path.starts_with("/health") || token == "Bearer 0123456789abcdef" {
                let _ = heard.send((path.to_owned(), token.to_owned()));
                return (200, "threads_busy{component=\"shop\"} 1\n".to_owned());
            }
            (401, String::new())
        });
        let (tell, others) = mpsc::channel();
        let app = listener(move |_, token| {
            let _ = tell.send(token.to_owned());
            (200, "threads_busy 1\n".to_owned())
        });
        let (state, file) = (folder.0.join("state"), folder.0.join("token"));
        fs::write(&file, "0123456789abcdef\n").unwrap();
        let mut arguments = vec![
            "--gateway",
            &gateway,
            "--app",
            &app,
            "--state",
            state.to_str().unwrap(),
        ];
        if from_file {
            arguments.extend(["--token-file", file.to_str().unwrap()]);
        }
        let word = if from_file { "" } else { "0123456789abcdef" };
        let watch = Watch::with_token(&arguments, word);
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let (path, token) = asked.recv_timeout(left).expect("it asks, and with its token");
            assert_eq!(token, "Bearer 0123456789abcdef", "{path}");
            if path == "/metrics" {
                break;
            }
        }
        assert_eq!(
            others.recv_timeout(PATIENCE).unwrap(),
            "",
            "the app is not to know it"
        );
        drop(watch);
    }
}

/// What a Prometheus would say that asks a `redis_exporter`: all is well for so many seconds, and then the cache begins anew,
/// empty.
fn prometheus(well_s: f64) -> String {
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_secs_f64()
    };
    let begun = now();
    listener(move |path, _| {
        let of = |name: &str| {
            let (_, rest) = path.split_once(&format!("{name}=")).unwrap();
            rest.split('&').next().unwrap().parse::<f64>().unwrap()
        };
        let (start, end, step) = (of("start"), of("end"), of("step"));
        let series = |name: &str, value: &dyn Fn(f64) -> f64| {
            let mut values = Vec::new();
            let mut at = start;
            while at <= end + 0.001 {
                values.push(serde_json::json!([at, value(at - begun).to_string()]));
                at += step;
            }
            serde_json::json!({ "metric": { "__name__": name, "instance": "cache:9121" }, "values": values })
        };
        // It counts from nothing again.
        let counter = |before: f64, after: f64| {
            move |at: f64| {
                if at < well_s {
                    (1_000.0 + at) * before
                } else {
                    (at - well_s) * after
                }
            }
        };
        let gauge = |before: f64, after: f64| move |at: f64| if at < well_s { before } else { after };
        let result = [
            series("redis_keyspace_hits_total", &counter(950.0, 50.0)),
            series("redis_keyspace_misses_total", &counter(50.0, 950.0)),
            series("redis_db_keys", &gauge(50_000.0, 500.0)),
            series("redis_uptime_in_seconds", &|at| {
                if at < well_s { 9_000.0 + at } else { at - well_s }
            }),
        ];
        let said =
            serde_json::json!({ "status": "success", "data": { "resultType": "matrix", "result": result } });
        (200, said.to_string())
    })
}

#[test]
fn a_prometheus_is_watched() {
    let folder = Folder::new("prometheus");
    let state = folder.0.join("state");
    let address = prometheus(21.0);
    let watch = Watch::new(&[
        "--prometheus",
        &address,
        "--every",
        "5s",
        "--state",
        state.to_str().unwrap(),
    ]);
    watch.until("watch", "what is calm is known");
    let opened = watch.until("opened", "");
    assert_eq!(opened["found"]["failure"], "cold", "{opened:#}");
}

#[test]
fn a_record_is_watched_and_written_about() {
    let folder = Folder::new("record");
    let path = folder.0.join("run.csv");
    fs::write(&path, record()).unwrap();
    let (path, state) = (path.to_str().unwrap(), folder.0.join("state"));
    let state = state.to_str().unwrap();
    let play = [
        "watch",
        "--source-record",
        path,
        "--speed",
        "0",
        "--began",
        "2026-11-22T02:00:00Z",
        "--state",
        state,
    ];
    let told = text(&seawall(&play));
    assert!(told.contains("P0 detected: hung of redis"), "{told}");
    assert!(told.contains("closed: all is well"), "{told}");
    let kept = incidents(state);
    assert_eq!(kept.len(), 1);
    let incident = &kept[0];
    let began = incident["began"].as_str().unwrap();
    // 800 calls are lost in each second from its beginning to the 100th.
    let second: f64 = began[17..19].parse::<f64>().unwrap() + 60.0;
    assert!(
        began.starts_with("2026-11-22T02:01:0") && second < 64.0,
        "{began}"
    );
    let lost = incident["tally"]["timed_out"].as_f64().unwrap();
    assert!(
        (lost - 800.0 * (101.0 - second)).abs() < 1e-6,
        "{lost} since {second}"
    );

    let of = |arguments: &[&str]| {
        let mut all = vec!["watch", "incidents", "--state", state];
        all.extend(arguments);
        text(&seawall(&all))
    };
    assert!(of(&[]).contains("MTTR: 4"), "{}", of(&[]));
    assert!(of(&["act", "last", "restarted redis", "--helped", "yes"]).contains("it helped"));
    assert!(of(&["show", "last"]).contains("restarted redis"));
    let letter = of(&["letter", "last", "resolution", "--contact", "ops@example.com"]);
    assert!(
        letter.starts_with("Resolved: hung of redis") && letter.contains("Contact: ops@example.com"),
        "{letter}"
    );
    assert!(
        of(&["postmortem"]).contains("## What helped\n\n- "),
        "{}",
        of(&["postmortem"])
    );
    of(&["close", "last", "--false-alarm"]);
    assert!(of(&[]).contains("false positives: 100.0%"), "{}", of(&[]));
    let wrong = seawall(&["watch", "incidents", "show", "nothing", "--state", state]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[test]
fn a_record_that_stops_in_an_incident_is_gone_on_with() {
    let folder = Folder::new("halves");
    let (path, half) = (folder.0.join("run.csv"), folder.0.join("half.csv"));
    let whole = record();
    fs::write(&path, &whole).unwrap();
    let early = |line: &&str| {
        line.split(',')
            .nth(2)
            .and_then(|time| time.parse().ok())
            .is_none_or(|time: u32| time <= 80)
    };
    fs::write(&half, whole.lines().filter(early).collect::<Vec<_>>().join("\n")).unwrap();
    let state = folder.0.join("state");
    let play = |path: &Path, more: &[&str]| {
        let (path, state) = (path.to_str().unwrap(), state.to_str().unwrap());
        let mut all = vec![
            "watch",
            "--source-record",
            path,
            "--speed",
            "0",
            "--began",
            "2026-11-22T02:00:00Z",
            "--state",
            state,
        ];
        all.extend(more);
        seawall(&all)
    };
    let first = play(&half, &[]);
    assert_eq!(
        first.status.code(),
        Some(1),
        "an incident is under way: {first:?}"
    );
    let second = play(&path, &["--from", "85"]);
    assert!(second.status.success(), "{second:?}");
    let kept = incidents(state.to_str().unwrap());
    assert_eq!(kept.len(), 1);
    assert_eq!(
        kinds(&kept[0]),
        [
            "opened",
            "judged",
            "watched_again",
            "mitigated",
            "over",
            "recovered",
            "closed"
        ]
    );
}

#[test]
fn what_cannot_be_watched_is_told_without_a_secret() {
    let folder = Folder::new("wrong");
    let state = folder.0.join("state");
    for (arguments, told) in [
        (&["--state"][..], "there is nothing to watch"),
        (
            &["--redis", "postgres://u:hush@h", "--state"],
            "--redis is an address that begins with redis://",
        ),
        (
            &["--redis", "redis://:hush@h:0", "--state"],
            "the port is not a number",
        ),
        (
            &["--prometheus", "http://h", "--state"],
            "a Prometheus knows no shorter periods",
        ),
        (
            &["--redis", "redis://h", "--listen", "0.0.0.0:0", "--state"],
            "can be reached from other machines",
        ),
        (&["--source-record", "/nowhere.csv", "--state"], "/nowhere.csv"),
    ] {
        let mut all = vec!["watch"];
        all.extend(arguments);
        all.push(state.to_str().unwrap());
        let output = seawall(&all);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(told) && !said.contains("hush"), "{said}");
    }
}
