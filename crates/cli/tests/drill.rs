//! `seawall drill` as a user meets it: what is refused, what it leaves behind, and how it is stopped. Redis and PostgreSQL
//! are real.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and its helpers are not marked as tests"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// Seven seconds, two of them with a slow cache.
const SMALL: &str = r#"
title = "the cache is slow"
about = "for two seconds"
[environment]
test = true
rate_max = 100
[run]
duration = "4s"
warmup = "3s"
every = "500ms"
prefilled = true
[client.web]
calls = "app"
rate = "40/s"
keys = { uniform = { count = 50 } }
timeout = "1s"
[service.app]
service_time = "1ms"
caches = ["redis"]
origin = "db"
[cache.redis]
ttl = "5m"
latency = "1ms"
timeout = "300ms"
[database.db]
connections = 10
service_time = "2ms"
timeout = "2s"
[[timeline]]
at = "1s"
for = "2s"
on = "redis"
fault = { latency = { add = "100ms" } }
[[expect]]
that = "everybody is answered"
metric = "goodput_ratio"
of = "web"
over = ["0s", "4s"]
mean = { above = "50%" }
[[expect]]
that = "nobody could meet this"
metric = "goodput_ratio"
of = "web"
over = ["0s", "4s"]
mean = { below = "1%" }
"#;

/// A folder of its own, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("seawall-test-drill-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        self.path(name)
    }

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

fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
    command
        .arg("drill")
        .args(arguments)
        .env("XDG_STATE_HOME", &folder.0)
        .stdin(Stdio::null());
    command
}

fn drill(folder: &Folder, arguments: &[&str]) -> (i32, String) {
    let output: Output = command(folder, arguments).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

fn read(path: &str) -> Value {
    serde_json::from_slice(&fs::read(Path::new(path)).unwrap()).unwrap()
}

#[test]
fn what_is_wrong_is_one_clear_error_before_anything_starts() {
    let folder = Folder::new("wrong");
    let good = folder.file("small.toml", SMALL);
    let careless = folder.file("careless.toml", &SMALL.replace("test = true", "test = false"));
    let large = folder.file("large.toml", &SMALL.replace("rate_max = 100", "rate_max = 10"));
    let nowhere = folder.path("no/such/folder/report.html");
    let file = folder.file("a-file", "");
    let foreign = folder.file("foreign.json", "{\"run\": []}");
    let cases: [(&[&str], &str); 11] = [
        (&["nothing-like-it"], "there is no scenario `nothing-like-it`"),
        (&["redis-down", "--variant", "seawal"], "did you mean `seawall`?"),
        (&[&careless], "`[environment]` with `test = true`"),
        (&[&large], "`[environment] rate_max` is 10"),
        (&[&good, "--report", &nowhere], "cannot be written"),
        (
            &[&good, "--journal", folder.0.to_str().unwrap()],
            "it is a folder",
        ),
        (&[&good, "--history", &file], "drills cannot be kept in"),
        (&[&good, "--set", "client.web.rate=many"], "many"),
        (&["compare", "1", "2"], "no drill is kept as `1`"),
        (&["verdict", &foreign], "not one that `seawall drill` wrote"),
        (&["--all", "redis-down"], "cannot be used with"),
    ];
    for (arguments, word) in cases {
        let (status, said) = drill(&folder, arguments);
        assert_eq!(status, 2, "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert!(!said.contains("starting servers"), "{arguments:?}: {said}");
    }
    assert!(
        !Path::new(&folder.path("seawall"))
            .join("drills")
            .join("x")
            .exists()
    );
}

#[test]
fn without_servers_it_says_which_one_is_missing() {
    let folder = Folder::new("path");
    let good = folder.file("small.toml", SMALL);
    let output = command(&folder, &[&good, "--real"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.matches("error:").count(), 1, "{said}");
    assert!(said.contains("redis-server"), "{said}");
}

#[test]
fn asking_starts_nothing() {
    let folder = Folder::new("check");
    let good = folder.file("small.toml", SMALL);
    let (status, said) = drill(&folder, &[&good, "--check"]);
    assert_eq!((status, said.lines().count()), (0, 1), "{said}");
    assert!(said.contains("can be drilled here"), "{said}");
    let experiment = folder.path("experiment.json");
    let (status, said) = drill(&folder, &[&good, "--experiment", &experiment, "--scale", "0.5"]);
    assert_eq!(status, 0, "{said}");
    let experiment = read(&experiment);
    let arguments = experiment["method"][0]["provider"]["arguments"].to_string();
    assert!(
        arguments.contains("--scale") && arguments.contains("experiment-journal.json"),
        "{arguments}"
    );
    assert_eq!(experiment["steady-state-hypothesis"]["probes"][0]["tolerance"], 0);
    let (status, said) = drill(&folder, &["verdict", &folder.path("not-there.json")]);
    assert_eq!(status, 0, "{said}");
    let (status, said) = drill(&folder, &["--list"]);
    assert_eq!((status, said.as_str()), (0, "no drill is kept yet\n"));
}

#[test]
fn a_drill_is_told_kept_and_compared() {
    let folder = Folder::new("told");
    let scenario = folder.file("small.toml", SMALL);
    let (page, journal) = (folder.path("drill.html"), folder.path("drill.json"));
    let (status, said) = drill(
        &folder,
        &[&scenario, "--report", &page, "--journal", &journal, "--predict"],
    );
    assert_eq!(status, 0, "{said}");
    // The verdict is the first that is said when all is over; what went on before is on the other stream.
    assert!(
        said.starts_with("✓ HELD  as-written  the one expectation was met, 1 not judged"),
        "{said}"
    );
    assert!(
        said.contains("goodput of web")
            && said.contains("origin load of db")
            && said.contains("mean error: goodput"),
        "{said}"
    );
    assert!(
        said.contains("not judged: the simulator does not meet it either"),
        "{said}"
    );
    assert!(said.contains("calls to redis take 100ms longer"), "{said}");
    // It was felt while it lasted and not after it, and the journal says so.
    assert!(said.contains("felt: PING at redis-0 took 1"), "{said}");
    let journal_of = read(&journal);
    assert_eq!(
        (journal_of["status"].as_str(), journal_of["deviated"].as_bool()),
        (Some("completed"), Some(false))
    );
    let variant = &journal_of["seawall"]["variants"][0];
    assert_eq!(variant["outcome"]["verdict"], "held");
    let evidence = variant["evidence"].as_array().cloned().unwrap_or_default();
    let has = |word: &str| {
        evidence
            .iter()
            .any(|line| line.as_str().is_some_and(|line| line.contains(word)))
    };
    assert!(
        has(": felt: PING at redis-0 took 1") && has(": gone: PING at redis-0 takes"),
        "{evidence:?}"
    );
    assert_eq!(variant["predicted"].as_array().map(Vec::len), Some(5));
    assert!(
        variant["measured"]["series"]
            .as_array()
            .is_some_and(|series| series.len() > 10)
    );
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("Measured over predicted") && page.contains("\"over\":true"));
    let (status, said) = drill(&folder, &["--list"]);
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("as-written held") && said.lines().count() == 2,
        "{said}"
    );
    let (status, said) = drill(&folder, &["compare", "1", &journal]);
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("goodput of web") && said.contains("noise") && !said.contains("WORSE"),
        "{said}"
    );
    // Put away, it is not in the way of the next one.
    let (status, said) = drill(&folder, &["verdict", &journal, "--put-away"]);
    assert!(
        status == 0 && said.contains("as-written: held") && !Path::new(&journal).exists(),
        "{said}"
    );
}

/// Ended with the test, whatever became of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_hand_ends_it_and_everything_is_taken_back() {
    let folder = Folder::new("hand");
    let scenario = folder.file(
        "small.toml",
        &SMALL.replace("duration = \"4s\"", "duration = \"60s\""),
    );
    let journal = folder.path("drill.json");
    let child = command(&folder, &[&scenario, "--journal", &journal])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines();
    let slow = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("take 100ms longer"));
    assert!(slow.is_some(), "the cache is made slow");
    let pid = rustix::process::Pid::from_child(&running.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    let status = running.0.wait().unwrap();
    assert_eq!(status.code(), Some(4), "{said:?}");
    let journal = read(&journal);
    assert_eq!(journal["status"], "aborted");
    let outcome = &journal["seawall"]["variants"][0]["outcome"];
    assert_eq!(
        outcome["why"],
        "it was stopped by hand; everything was taken back"
    );
    assert_eq!(journal["rollbacks"][0]["output"]["left"], serde_json::json!([]));
}

#[test]
fn a_fault_that_nobody_feels_proves_nothing() {
    let folder = Folder::new("vain");
    let vain = SMALL.replace("on = \"redis\"", "on = \"app\"").replace(
        "{ latency = { add = \"100ms\" } }",
        "{ leak = { after = 1000000 } }",
    );
    let (status, said) = drill(&folder, &[&folder.file("vain.toml", &vain), "--embedded"]);
    assert_eq!(status, 4, "{said}");
    assert!(
        said.contains("ABORTED  as-written  the fault did not take effect: memory leaks")
            && said.contains("no instance has served 1000000 calls"),
        "{said}"
    );
}

/// Each thing that is done to the system has an expectation that only what it does can meet.
const MUCH: &str = r#"
title = "much goes wrong"
about = "one thing after the other"
[environment]
test = true
[run]
duration = "9s"
warmup = "3s"
every = "500ms"
prefilled = true
[client.web]
calls = "edge"
rate = "60/s"
keys = { uniform = { count = 40 } }
timeout = "1s"
[gateway.edge]
calls = "app"
[service.app]
instances = 2
service_time = "1ms"
caches = ["redis"]
origin = "db"
[cache.redis]
ttl = "5m"
latency = "1ms"
timeout = "200ms"
[database.db]
connections = 10
service_time = "2ms"
timeout = "2s"
[[timeline]]
at = "500ms"
for = "1s"
on = "redis"
fault = "kill"
[[timeline]]
at = "3s"
for = "1500ms"
on = "app"
fault = { crash = { instances = 1 } }
[[timeline]]
at = "5s"
for = "1s"
on = "web"
fault = { spike = { factor = 4.0 } }
[[timeline]]
at = "7s"
action = { protect = { rate = { rate = "5/s", burst = 1 } } }
[[expect]]
that = "the cache is full before"
metric = "cache_hit_rate"
of = "redis"
over = ["-2s", "0s"]
mean = { above = "80%" }
[[expect]]
that = "nobody listens where it was"
metric = "cache_errors_total"
of = "redis"
over = ["500ms", "2s"]
sum = { above = 20 }
[[expect]]
that = "what it held is gone"
metric = "origin_requests_total"
of = "db"
over = ["1s", "3s"]
sum = { above = 20 }
[[expect]]
that = "one instance is missing"
metric = "instances_up"
of = "app"
over = ["3s", "5s"]
min = { below = 1.5 }
[[expect]]
that = "and it comes back"
metric = "instances_up"
of = "app"
over = ["5s", "7s"]
last = { above = 1.5 }
[[expect]]
that = "there is a spike"
metric = "requests_total"
of = "web"
over = ["5s", "6s"]
mean = { above = "150/s" }
[[expect]]
that = "the gateway lets only a few in"
metric = "shed_total"
of = "edge"
over = ["7500ms", "9s"]
mean = { above = "30/s" }
"#;

#[test]
fn what_is_done_to_a_system_of_stand_ins_is_felt_and_taken_back() {
    let folder = Folder::new("much");
    let scenario = folder.file("much.toml", MUCH);
    let (status, said) = drill(&folder, &[&scenario, "--embedded"]);
    assert_eq!(status, 0, "{said}");
    assert!(
        said.starts_with("✓ HELD  as-written  all 7 expectations met; no wrong answer, and nothing is left"),
        "{said}"
    );
    assert!(
        said.contains("1 embedded cache server") && said.contains("embedded table"),
        "{said}"
    );
}

#[test]
fn a_program_of_ones_own_is_started_where_it_is_told_to_listen() {
    let folder = Folder::new("own");
    let own = r#"
[environment.run.app]
command = ["python3", "-c", """
import http.server, os, sys
assert os.environ['CACHE'].startswith('127.0.0.1:') and os.environ['DB'].startswith('127.0.0.1:')
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == '/ready' else 302 if self.path.startswith('/item/') else 404)
        self.send_header('Location', '/there')
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Answer).serve_forever()
""", "{port}"]
env = { CACHE = "{redis}", DB = "{db}" }
path = "/item/{key}"
ready = "/ready"
[run]
"#;
    let scenario = folder.file("own.toml", &SMALL.replace("[run]\n", own));
    let (status, said) = drill(&folder, &[&scenario, "--embedded"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("1 process of `python3`"), "{said}");
    // Nobody counts what it asks of the database: that is no prediction that was wrong.
    assert!(
        said.contains("what it asks of `db` are not measured") && said.contains(", origin load –"),
        "{said}"
    );
    let elsewhere = SMALL.replace(
        "[run]\n",
        "[environment.at]\nredis = \"cache.example.org:6379\"\n[run]\n",
    );
    let (status, said) = drill(&folder, &[&folder.file("at.toml", &elsewhere)]);
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("`allow` does not name its host"), "{said}");
}

/// A cache that does not answer, so that callers wait for it longer than their clients wait for them.
fn hung() -> String {
    SMALL
        .replace("\"4s\"", "\"3s\"")
        .replace("{ latency = { add = \"100ms\" } }", "\"hang\"")
        .replace("timeout = \"1s\"", "timeout = \"200ms\"")
        + "[protect.breaker]\nfailures = 3\nwindow = \"5s\"\nopen_for = \"10s\"\n"
}

#[test]
fn a_protection_is_proved_in_turns() {
    let folder = Folder::new("prove");
    let scenario = folder.file("hung.toml", &hung());
    let (status, said) = drill(
        &folder,
        &[&scenario, "--embedded", "--prove", "breaker", "--pairs", "2"],
    );
    assert_eq!(status, 0, "{said}");
    assert!(
        said.starts_with("MADE THE DIFFERENCE: `breaker`") && said.contains("Student's t of 2 pairs"),
        "{said}"
    );
    // The first of each pair is another one.
    let (status, said) = drill(&folder, &["--list"]);
    assert_eq!((status, said.lines().count()), (0, 2 * 4), "{said}");
    let (status, said) = drill(&folder, &[&scenario, "--embedded", "--prove", "coalesce"]);
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("has `coalesce` on"), "{said}");
}

#[test]
fn a_weakness_is_mended_and_the_mending_tried() {
    let folder = Folder::new("mend");
    let weak = hung().replace("failures = 3", "failures = 3\non = false");
    let scenario = folder.file("weak.toml", &weak);
    let (_, said) = drill(&folder, &[&scenario, "--embedded", "--mend"]);
    assert!(said.contains("weaknesses"), "{said}");
    assert!(said.contains("calls were answered well from T=0 on"), "{said}");
    assert!(said.contains("tried --set"), "{said}");
}

/// What is done to real servers, with what is felt of it: one thing after the other, two seconds each.
const REAL: [(&str, &str, &str); 11] = [
    (
        "redis",
        "{ bandwidth = { rate = \"20kb/s\" } }",
        "bytes from redis-0 took",
    ),
    ("redis", "\"reset\"", "reset by peer"),
    ("redis", "\"pause\"", "paused all clients in leases"),
    (
        "redis",
        "{ blocked = { share = \"50%\", burst = \"60ms\" } }",
        "in bursts of 60 ms",
    ),
    (
        "redis",
        "{ starve = { share = \"80%\" } }",
        "PING at redis-0 took",
    ),
    ("redis", "\"kill\"", "PING at redis-0: Connection refused"),
    ("db", "{ slow_query = { factor = 20 } }", "a SELECT at db-0 took"),
    (
        "db",
        "{ connections = { max = 2, waits = false } }",
        "a login is refused (53300)",
    ),
    ("db", "\"read_only\"", "a write is refused (25006)"),
    ("db", "\"kill\"", "a greeting at postgres: Connection refused"),
    ("app", "\"hang\"", "1 let in and gave no answer"),
];

#[test]
fn what_is_done_to_real_servers_is_felt_and_gone() {
    let folder = Folder::new("real");
    let (before, _) = SMALL.split_once("[[timeline]]").unwrap();
    let faults = REAL.iter().enumerate().map(|(number, (on, fault, _))| {
        let at = 2 * number;
        format!("[[timeline]]\nat = \"{at}s\"\nfor = \"1200ms\"\non = \"{on}\"\nfault = {fault}\n")
    });
    let text = before
        .replace("duration = \"4s\"", "duration = \"23s\"")
        .replace("keys = { uniform", "writes = \"5%\"\nkeys = { uniform")
        + &faults.collect::<String>();
    let journal = folder.path("drill.json");
    let (status, said) = drill(
        &folder,
        &[&folder.file("real.toml", &text), "--real", "--journal", &journal],
    );
    // Clients may be ill served by all of it, and in the end it is well.
    assert_eq!(status, 0, "{said}");
    let evidence = read(&journal)["seawall"]["variants"][0]["evidence"].clone();
    let lines: Vec<&str> = evidence
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (_, fault, felt) in REAL {
        let found = lines
            .iter()
            .any(|line| line.contains(": felt: ") && line.contains(felt));
        assert!(found, "{fault}: {felt}: {lines:#?}");
    }
    let gone = lines.iter().filter(|line| line.contains(": gone: ")).count();
    assert!(gone >= REAL.len(), "{lines:#?}");
}

#[test]
fn a_service_is_scaled_and_a_cache_is_warmed() {
    let folder = Folder::new("scaled");
    let (before, _) = SMALL.split_once("[[timeline]]").unwrap();
    let text = before.replace("\"4s\"", "\"6s\"")
        + r#"
[[timeline]]
at = "1s"
on = "redis"
action = "flush"
[[timeline]]
at = "1100ms"
on = "redis"
action = { warm = { pace = "500/s" } }
[[timeline]]
at = "2s"
action = { scale = { on = "app", instances = 3, takes = "500ms" } }
[[timeline]]
at = "4500ms"
action = { scale = { on = "app", instances = 1 } }
[[expect]]
that = "what nobody asked for is loaded"
metric = "warmed_total"
of = "app"
over = ["1s", "3s"]
sum = { above = 20 }
[[expect]]
that = "there are more of them"
metric = "instances_up"
of = "app"
over = ["3500ms", "4500ms"]
min = { above = 2.5 }
[[expect]]
that = "and then fewer"
metric = "instances_up"
of = "app"
over = ["5500ms", "6s"]
last = { below = 1.5 }
"#;
    let (status, said) = drill(&folder, &[&folder.file("scaled.toml", &text), "--embedded"]);
    assert_eq!(status, 0, "{said}");
    assert!(
        said.starts_with("✓ HELD  as-written  all 3 expectations met"),
        "{said}"
    );
}

#[test]
fn in_a_cluster_a_copy_takes_the_place_of_a_node() {
    let folder = Folder::new("cluster");
    let (before, _) = SMALL.split_once("[[timeline]]").unwrap();
    let cluster = "[cache.redis]\nnodes = 3\nmode = \"cluster\"\nreplicas = 1\nfailover = \"2s\"";
    let text = before
        .replace("duration = \"4s\"", "duration = \"9s\"")
        .replace("[cache.redis]", cluster)
        + r#"
[[timeline]]
at = "1s"
for = "7s"
on = "redis"
nodes = [0]
fault = "kill"
[[expect]]
that = "while the node is still down, all is found"
metric = "cache_errors_total"
of = "redis"
over = ["5s", "8s"]
sum = { below = 3 }
[[expect]]
that = "before that it was missed"
metric = "cache_errors_total"
of = "redis"
over = ["1s", "4s"]
sum = { above = 3 }
"#;
    let scenario = folder.file("cluster.toml", &text);
    let (status, said) = drill(&folder, &[&scenario, "--embedded", "--check"]);
    assert_eq!(status, 2, "{said}");
    assert!(
        said.contains("is a cluster, which the embedded cache server is not"),
        "{said}"
    );
    let (status, said) = drill(&folder, &[&scenario, "--real"]);
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("a cluster of 3 real Redis, with 1 behind each"),
        "{said}"
    );
    assert!(said.contains("all 2 expectations met"), "{said}");
}
