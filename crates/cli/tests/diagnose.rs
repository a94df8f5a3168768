//! `seawall diagnose` against a real Redis and a real gateway: what it finds, what it does when it is told to, and what it
//! takes back.

#![expect(clippy::disallowed_methods, reason = "it waits for real processes")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder that is gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("seawall-diagnose-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A Redis of our own.
struct Redis {
    process: Ended,
    port: u16,
}

impl Redis {
    fn start(folder: &Folder, settings: &[&str]) -> Redis {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(settings)
            .current_dir(&folder.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Ended(command.spawn().expect("redis-server is on the machine"));
        let redis = Redis { process, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "Redis starts");
            std::thread::sleep(Duration::from_millis(20));
        }
        redis
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Asks one thing, inline, and reads what comes at once.
    fn ask(&self, words: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("a socket has a timeout");
        stream
            .write_all(format!("{words}\r\nQUIT\r\n").as_bytes())
            .expect("it reads");
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        said
    }

    fn setting(&self, name: &str) -> String {
        let said = self.ask(&format!("CONFIG GET {name}"));
        said.lines().nth(4).unwrap_or("").to_owned()
    }

    fn signal(&self, name: &str) {
        let id = self.process.0.id().to_string();
        let done = Command::new("kill").args([name, &id]).status();
        assert!(done.expect("kill is on the machine").success());
    }
}

fn seawall(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

fn diagnose(arguments: &[&str]) -> (String, i32) {
    let mut all = vec!["diagnose"];
    all.extend_from_slice(arguments);
    let output = seawall(&all);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code().unwrap_or(-1))
}

/// Two seconds are enough where nothing has to be compared.
const SHORT: [&str; 4] = ["--for", "1s", "--every", "500ms"];

fn found(redis: &Redis) -> String {
    let url = redis.url();
    let (text, _) = diagnose(&[&[url.as_str()], SHORT.as_slice()].concat());
    text.split(':').next().unwrap_or("").to_owned()
}

#[test]
fn a_redis_that_does_not_answer_is_told_for_what_it_is() {
    let folder = Folder::new("silent");
    let redis = Redis::start(&folder, &[]);
    assert_eq!(found(&redis), "HEALTHY");
    redis.signal("-STOP");
    assert_eq!(found(&redis), "HUNG");
    redis.signal("-CONT");
    assert!(redis.ask("CLIENT PAUSE 30000 ALL").starts_with("+OK"));
    assert_eq!(found(&redis), "PAUSED");
    let port = redis.port;
    drop(redis);
    let begun = Instant::now();
    let (text, status) =
        diagnose(&[&[format!("redis://127.0.0.1:{port}").as_str()], SHORT.as_slice()].concat());
    assert!(text.starts_with("REFUSED: "), "{text}");
    assert_eq!(status, 1);
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[test]
fn a_redis_that_refuses_is_told_for_what_it_is() {
    let folder = Folder::new("refusing");
    let locked = Redis::start(&folder, &["--requirepass", "3am-secret"]);
    assert_eq!(found(&locked), "AUTH");
    let with = format!("redis://:3am-secret@127.0.0.1:{}", locked.port);
    let (text, status) = diagnose(&[&[with.as_str()], SHORT.as_slice()].concat());
    assert_eq!(status, 0, "{text}");
    let wrong = format!("redis://:not-this-one@127.0.0.1:{}", locked.port);
    let (text, _) = diagnose(&[&[wrong.as_str()], SHORT.as_slice()].concat());
    assert!(text.starts_with("AUTH: "), "{text}");
    assert!(!text.contains("not-this-one"), "a secret is never told: {text}");

    let replica = Redis::start(
        &folder,
        &["--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes"],
    );
    assert_eq!(found(&replica), "READ-ONLY");
}

/// Fills a Redis above its limit, so that writes are refused.
fn full(folder: &Folder) -> Redis {
    let redis = Redis::start(folder, &["--maxmemory-policy", "noeviction"]);
    for at in 0..200 {
        redis.ask(&format!("SET key:{at} {}", "x".repeat(20_000)));
    }
    redis
}

fn apply(redis: &Redis, log: &Folder, step: &str, more: &[&str]) -> (String, i32) {
    let (url, path) = (redis.url(), log.0.join("actions.jsonl"));
    let path = path.display().to_string();
    let own = [
        url.as_str(),
        "--apply",
        step,
        "--audit-log",
        &path,
        "--settle",
        "200ms",
    ];
    diagnose(&[own.as_slice(), SHORT.as_slice(), more].concat())
}

#[test]
fn more_memory_helps_when_it_is_enough_and_is_taken_back_when_it_is_not() {
    let folder = Folder::new("memory");
    let redis = full(&folder);
    // Just below what is used: a quarter more is enough.
    redis.ask("CONFIG SET maxmemory 4500000");
    assert_eq!(found(&redis), "OUT-OF-MEMORY");
    let (text, status) = apply(&redis, &folder, "raise-maxmemory", &[]);
    assert!(text.contains("this was a dry run"), "{text}");
    assert_eq!((status, redis.setting("maxmemory").as_str()), (0, "4500000"));
    let (text, status) = apply(&redis, &folder, "raise-maxmemory", &["--yes"]);
    assert!(text.contains("it helped: "), "{text}");
    assert_eq!((status, redis.setting("maxmemory").as_str()), (0, "5625000"));
    // Far below: it is not.
    redis.ask("CONFIG SET maxmemory 2000000");
    let (text, status) = apply(&redis, &folder, "raise-maxmemory", &["--yes"]);
    assert!(text.contains("it made no difference: "), "{text}");
    assert!(text.contains("taken back: maxmemory is 2000000 again"), "{text}");
    assert_eq!((status, redis.setting("maxmemory").as_str()), (1, "2000000"));
    // Evicting helps whatever the limit.
    let (text, status) = apply(&redis, &folder, "evict-lru", &["--yes"]);
    assert!(text.contains("it helped: "), "{text}");
    assert_eq!(
        (status, redis.setting("maxmemory-policy").as_str()),
        (0, "allkeys-lru")
    );
    let (text, status) = apply(&redis, &folder, "evict-lru", &["--yes"]);
    assert!(text.contains("maxmemory-policy is allkeys-lru already"), "{text}");
    assert_eq!(status, 2);
    let log = std::fs::read_to_string(folder.0.join("actions.jsonl")).expect("actions are written down");
    for what in ["begins", "done", "judged", "taken back"] {
        assert!(log.contains(&format!("\"what\":\"{what}\"")), "{what}: {log}");
    }
}

#[test]
fn clients_that_nobody_uses_make_room() {
    let folder = Folder::new("clients");
    let redis = Redis::start(&folder, &["--maxclients", "12"]);
    let connect = || TcpStream::connect(("127.0.0.1", redis.port)).expect("it listens");
    let idle: Vec<TcpStream> = (0..7).map(|_| connect()).collect();
    // Nobody has been idle for five minutes.
    let (text, status) = apply(&redis, &folder, "drop-idle-clients", &["--yes"]);
    assert!(text.contains("has been idle for 300 s"), "{text}");
    assert_eq!(status, 2);
    let (text, status) = apply(&redis, &folder, "raise-maxclients", &["--yes"]);
    // Nobody was turned away, so it could not help.
    assert!(text.contains("taken back: maxclients is 12 again"), "{text}");
    assert_eq!((status, redis.setting("maxclients").as_str()), (1, "12"));
    drop(idle);
}

#[test]
fn more_clients_are_let_in_when_they_were_turned_away() {
    assert!(crowded(20), "twenty have room in twenty-four");
    assert!(!crowded(60), "sixty have not");
}

/// Whether it helped so many to let twice as many in as twelve; what did not help is taken back.
fn crowded(visitors: usize) -> bool {
    let folder = Folder::new("full");
    let redis = Redis::start(&folder, &["--maxclients", "12"]);
    let port = redis.port;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    // Visitors who come again and again, stay for a while, and have room for twelve.
    let crowd = std::thread::spawn(move || {
        let mut held: Vec<(Instant, TcpStream)> = Vec::new();
        while stopped.recv_timeout(Duration::from_millis(20)).is_err() {
            held.retain(|(since, _)| since.elapsed() < Duration::from_millis(300));
            // Who goes leaves a place for a moment.
            std::thread::sleep(Duration::from_millis(40));
            while held.len() < visitors
                && let Ok(stream) = TcpStream::connect(("127.0.0.1", port))
            {
                held.push((Instant::now(), stream));
            }
        }
    });
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(found(&redis), "TOO-MANY-CLIENTS");
    let (text, status) = apply(&redis, &folder, "raise-maxclients", &["--yes"]);
    stop.send(()).expect("the crowd listens");
    crowd.join().expect("the crowd goes");
    let helped = status == 0;
    let said = if helped {
        "it helped: "
    } else {
        "taken back: maxclients is 12 again"
    };
    assert!(text.contains(said), "{text}");
    assert_eq!(redis.setting("maxclients"), if helped { "24" } else { "12" });
    helped
}

#[test]
fn writes_are_taken_again_without_the_disk() {
    let folder = Folder::new("disk");
    let inner = Folder(folder.0.join("data"));
    std::fs::create_dir_all(&inner.0).expect("a folder in our own");
    let redis = Redis::start(&inner, &[]);
    // A snapshot that fails is what a full disk makes of it, and one that has lost its folder fails.
    drop(inner);
    redis.ask("SET key value");
    redis.ask("CONFIG SET save \"3600 1\"");
    redis.ask("BGSAVE");
    let begun = Instant::now();
    while !redis.ask("SET key value").contains("MISCONF") {
        assert!(begun.elapsed() < Duration::from_secs(10), "the snapshot fails");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(found(&redis), "DISK-FULL");
    let (text, status) = apply(&redis, &folder, "allow-writes-without-disk", &["--yes"]);
    assert!(text.contains("it helped: "), "{text}");
    assert_eq!(
        (status, redis.setting("stop-writes-on-bgsave-error").as_str()),
        (0, "no")
    );
}

#[test]
fn what_is_wrong_with_the_input_is_said() {
    let (text, status) = diagnose(&[]);
    assert!(text.contains("there is nothing to ask"), "{text}");
    assert_eq!(status, 2);
    let (text, status) = diagnose(&["redis://127.0.0.1:1", "--apply", "raise-maxmemry"]);
    assert!(text.contains("did you mean `raise-maxmemory`?"), "{text}");
    assert_eq!(status, 2);
    let (text, status) = diagnose(&["redis://127.0.0.1:1", "--apply", "start-redis"]);
    assert!(
        text.contains("only a person does this") && text.contains("-p 1 ping"),
        "{text}"
    );
    assert_eq!(status, 0);
    let (text, status) = diagnose(
        &[
            &["redis://127.0.0.1:1", "--apply", "coalesce", "--yes"],
            SHORT.as_slice(),
        ]
        .concat(),
    );
    assert!(text.contains("--gateway"), "{text}");
    assert_eq!(status, 2);
}

/// A gateway before an upstream of our own, whose answers take `after`.
struct Gateway {
    _process: Ended,
    admin: SocketAddr,
}

impl Gateway {
    fn start(folder: &Folder) -> Gateway {
        let upstream = upstream();
        let text = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\n[upstream.app]\naddresses = [\"{upstream}\"]\n\n\
             [protect.rate]\nrate = \"500/s\"\n"
        );
        let path = folder.0.join("seawall.toml");
        std::fs::write(&path, text).expect("a file in our own folder");
        let mut process = Command::new(env!("CARGO_BIN_EXE_seawall"))
            .args(["gateway", "--config"])
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let said = process.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(said).lines();
        let serving = lines
            .by_ref()
            .find(|line| line.as_ref().is_ok_and(|line| line.contains("serving")));
        let serving = serving.expect("it says where it listens").expect("it is text");
        let admin = serving
            .split_once(" admin=")
            .map(|(_, rest)| rest.split(' ').next());
        let admin = admin.flatten().and_then(|admin| admin.parse().ok());
        std::thread::spawn(move || lines.for_each(drop));
        Gateway {
            _process: Ended(process),
            admin: admin.expect("it was said"),
        }
    }

    fn change(&self, name: &str, body: &str) {
        let mut stream = TcpStream::connect(self.admin).expect("it listens");
        let (host, length) = (self.admin, body.len());
        let request = format!(
            "PATCH /policies/{name} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }

    fn policies(&self) -> String {
        let mut stream = TcpStream::connect(self.admin).expect("it listens");
        let request = format!(
            "GET /policies HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.admin
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        said.split_once("\r\n\r\n")
            .map_or(String::new(), |(_, body)| body.to_owned())
    }
}

fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut read = [0; 4096];
                while stream.read(&mut read).is_ok_and(|count| count > 0) {
                    if stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn every_step_of_the_gateway_is_taken_back_when_nothing_is_the_matter() {
    let folder = Folder::new("gateway");
    let gateway = Gateway::start(&folder);
    let redis = Redis::start(&folder, &[]);
    // Somebody has changed a protection by hand before: that comes back as well.
    gateway.change("rate", "{\"rate\": \"300/s\"}");
    let before = gateway.policies();
    assert!(before.contains("300/s"), "{before}");
    let url = format!("http://{}", gateway.admin);
    let steps = [
        "limit-origin",
        "coalesce",
        "serve-stale",
        "cache-breaker",
        "origin-breaker",
        "hold-breaker-open",
        "throttle-reads",
        "shed-low-priority",
        "bound-queue",
        "rate-limit",
        "retry-budget",
        "short-timeouts",
        "jitter-ttl",
        "ttl-classes",
        "refresh-early",
        "cache-missing-keys",
        "hot-keys-in-memory",
        "check-entries",
        "least-connections",
    ];
    for step in steps {
        let (text, status) = apply(&redis, &folder, step, &["--yes", "--gateway", &url]);
        assert!(text.contains("done: "), "{step}: {text}");
        assert!(text.contains("taken back: "), "{step}: {text}");
        assert_eq!(status, 1, "{step}: {text}");
        assert_eq!(gateway.policies(), before, "{step} left something behind");
    }
    let keys = ["--yes", "--gateway", &url, "--key", "example.org/a"];
    let (text, status) = apply(&redis, &folder, "purge-keys", &keys);
    assert!(
        text.contains("1 keys are purged") && text.contains("nothing to take back"),
        "{text}"
    );
    assert_eq!(status, 1, "it made no difference to a system that is well");
    let (text, _) = apply(&redis, &folder, "purge-keys", &["--yes", "--gateway", &url]);
    assert!(text.contains("name them with --key"), "{text}");
}
