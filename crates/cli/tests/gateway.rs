//! The gateway as a process: signals, exit status, and the same protections simulated.

#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and its helpers are not marked as tests"
)]
#![expect(clippy::disallowed_methods, reason = "a process lives in real time")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("seawall-gateway-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
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

/// A gateway that is killed when nobody wants it any more.
struct Gateway {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn new(config: &PathBuf) -> Gateway {
        let mut child = Command::new(env!("CARGO_BIN_EXE_seawall"))
            .arg("gateway")
            .arg("--config")
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The log says where it listens.
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let serving = log
            .by_ref()
            .find(|line| line.as_ref().is_ok_and(|line| line.contains("serving")));
        let serving = serving.unwrap().unwrap();
        std::thread::spawn(move || log.for_each(drop));
        let value = |name: &str| {
            let (_, rest) = serving.split_once(&format!(" {name}=")).unwrap();
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        Gateway {
            address: value("address"),
            admin: value("admin"),
            child,
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }

    fn status(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end");
    }
}

/// An answer, as text; empty when the connection was closed without one.
fn ask(address: SocketAddr, target: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return String::new();
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// An upstream that answers each request after this long, in a thread that ends with the test's process.
fn upstream(after: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
                while request
                    .next()
                    .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                {}
                std::thread::sleep(after);
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\nConnection: close\r\n\r\nwhole");
            });
        }
    });
    address
}

fn document(upstream: SocketAddr, more: &str) -> String {
    format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{more}\n\
         [upstream.app]\naddresses = [\"{upstream}\"]\n"
    )
}

#[test]
fn sigterm_drains() {
    let folder = Folder::new("drains");
    let text = document(
        upstream(Duration::from_millis(1_500)),
        "drain_delay = \"1s\"\ndrain = \"10s\"",
    );
    let mut gateway = Gateway::new(&folder.file("seawall.toml", &text));
    let (address, admin) = (gateway.address, gateway.admin);
    assert!(ask(admin, "/health/ready").starts_with("HTTP/1.1 200"));
    // Under way when the signal comes, and still when the listener has closed.
    let early = std::thread::spawn(move || ask(address, "/early"));
    std::thread::sleep(Duration::from_millis(300));
    gateway.signal(rustix::process::Signal::TERM);
    let until = Instant::now() + Duration::from_millis(900);
    while !ask(admin, "/health/ready").starts_with("HTTP/1.1 503") {
        assert!(Instant::now() < until, "it goes on saying that it is ready");
    }
    assert!(
        ask(admin, "/health/live").starts_with("HTTP/1.1 200"),
        "it lives until the end"
    );
    let late = ask(address, "/late");
    assert!(
        late.ends_with("whole"),
        "who comes before it closes is answered: {late}"
    );
    let early = early.join().unwrap();
    assert!(
        early.starts_with("HTTP/1.1 200") && early.ends_with("whole"),
        "{early}"
    );
    assert_eq!(gateway.status(), Some(0));
    assert_eq!(ask(address, "/"), "");
}

#[test]
fn what_does_not_end_in_time_is_told_by_the_status() {
    let folder = Folder::new("late");
    let text = document(upstream(PATIENCE), "drain = \"200ms\"");
    let mut gateway = Gateway::new(&folder.file("seawall.toml", &text));
    let address = gateway.address;
    let client = std::thread::spawn(move || ask(address, "/"));
    std::thread::sleep(Duration::from_millis(300));
    gateway.signal(rustix::process::Signal::INT);
    assert_eq!(gateway.status(), Some(1));
    client.join().unwrap();
}

#[test]
fn a_document_that_is_wrong_is_status_2() {
    let folder = Folder::new("wrong");
    let config = folder.file("seawall.toml", "[upstream.app]\nadresses = []\n");
    for check in [&["--check"][..], &[]] {
        let done = Command::new(env!("CARGO_BIN_EXE_seawall"))
            .args(["gateway", "--config"])
            .arg(&config)
            .args(check)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{told}");
        assert!(told.contains("did you mean `addresses`?"), "{told}");
    }
}

#[test]
fn a_gateways_document_is_simulated() {
    let folder = Folder::new("simulated");
    let text = document("127.0.0.1:1".parse().unwrap(), "")
        + "[protect.coalesce]\nwindow = \"5s\"\n[protect.limit]\nmax = 50\n[protect.retry]\nbudget = \"10%\"\n";
    let config = folder.file("seawall.toml", &text);
    let simulate = |scenario: &str, config: &PathBuf| {
        let done = Command::new(env!("CARGO_BIN_EXE_seawall"))
            .args([
                "simulate",
                scenario,
                "--scale",
                "0.001",
                "--format",
                "json",
                "--protect",
            ])
            .arg(config)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.code(), String::from_utf8(done.stdout).unwrap(), told)
    };
    let (status, told, error) = simulate("redis-down", &config);
    assert!(matches!(status, Some(0 | 1)), "{error}");
    let report: serde_json::Value = serde_json::from_str(&told).unwrap();
    let variants = report["variants"].as_array().unwrap();
    let names: Vec<&str> = variants
        .iter()
        .map(|variant| variant["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names.len(),
        2,
        "as it is, and as it would be behind the gateway: {names:?}"
    );
    assert!(names[1].ends_with("seawall.toml"), "{names:?}");
    let behaves = |variant: &serde_json::Value| {
        let mut variant = variant.clone();
        variant["name"].take();
        variant["about"].take();
        variant
    };
    assert_ne!(
        behaves(&variants[0]),
        behaves(&variants[1]),
        "the protections change something"
    );

    let wrong = folder.file("wrong.toml", &text.replace("budget", "bugdet"));
    let (status, _, error) = simulate("redis-down", &wrong);
    assert_eq!(status, Some(2));
    assert!(error.contains("did you mean `budget`?"), "{error}");
}

/// Room for so many descriptors, in this process and those that it starts; how many there may be.
fn descriptors(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    for maximum in [limit.maximum.map(|maximum| maximum.max(wanted)), limit.maximum] {
        let current = maximum;
        if setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok() {
            break;
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Memory of its own that a process has, in bytes.
fn memory(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .unwrap()
        * 1_024
}

#[test]
#[expect(clippy::print_stderr, reason = "figures are for people")]
fn twenty_thousand_idle_connections() {
    const WANTED: usize = 20_000;
    // Each end is in a process of its own. Some descriptors are for other things.
    let available = descriptors(WANTED as u64 + 500);
    let count = WANTED.min((available as usize).saturating_sub(200));
    assert!(
        count >= 500,
        "{available} descriptors are too few for this test to say anything"
    );
    let folder = Folder::new("idle");
    let text = document(
        upstream(Duration::ZERO),
        "head_timeout = \"60s\"\nconnections = 25_000",
    );
    let gateway = Gateway::new(&folder.file("seawall.toml", &text));
    assert!(ask(gateway.address, "/").ends_with("whole"));
    let before = memory(gateway.child.id());
    let mut open = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = TcpStream::connect(gateway.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Each second one has asked something, and keeps the connection.
        if number % 2 == 0 {
            stream
                .write_all(b"GET /kept HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
        }
        open.push(stream);
    }
    let deadline = Instant::now() + PATIENCE;
    let held = loop {
        let state = ask(gateway.admin, "/state");
        let (_, rest) = state.split_once("\"connections\":").unwrap();
        let held: usize = rest.split(',').next().unwrap().parse().unwrap();
        if held >= count || Instant::now() > deadline {
            break held;
        }
    };
    let each = memory(gateway.child.id()).saturating_sub(before) / held as u64;
    eprintln!(
        "{held} idle connections at a time, of {WANTED}; there may be {available} descriptors; {each} bytes a connection"
    );
    assert!(held >= count, "{held} of {count}");
    assert!(each < 16 << 10, "{each} bytes a connection");
    let began = Instant::now();
    assert!(ask(gateway.address, "/").ends_with("whole"), "others are served");
    assert!(began.elapsed() < Duration::from_secs(2));
}
