//! `seawall audit` and `seawall init` against a real Redis. The machine needs `redis-server`.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start(args: &[&str]) -> Redis {
        for _ in 0..10 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
            let port = listener.local_addr().expect("it is bound").port();
            drop(listener);
            let process = Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
                .args(args)
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server is installed");
            let mut redis = Redis { process, port };
            for _ in 0..200 {
                if redis.process.try_wait().is_ok_and(|ended| ended.is_some()) {
                    break;
                }
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return redis;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("redis-server does not start with {args:?}");
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn seawall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(args)
        .output()
        .expect("it was built")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn an_audit_ends_with_what_ci_has_to_know() {
    let redis = Redis::start(&["--requirepass", "hushhush", "--maxmemory", "50mb"]);
    let url = format!("redis://:hushhush@127.0.0.1:{}", redis.port);
    let audit = |args: &[&str]| seawall(&[&["audit", &url, "--window", "100ms"], args].concat());
    let text = audit(&[]);
    assert_eq!(text.status.code(), Some(1), "{}", said(&text));
    assert!(
        said(&text).contains("medium  redis-noeviction"),
        "{}",
        said(&text)
    );
    assert_eq!(audit(&["--fail-on", "high"]).status.code(), Some(0));
    assert_eq!(audit(&["--fail-on", "low"]).status.code(), Some(1));
    let sarif = audit(&["--fail-on", "never", "--format", "sarif"]);
    assert_eq!(sarif.status.code(), Some(0));
    let sarif: serde_json::Value = serde_json::from_slice(&sarif.stdout).expect("it is JSON");
    assert_eq!(sarif["version"], "2.1.0");
    let json = audit(&["--format", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert!(told["checks"].as_array().is_some_and(|checks| checks.len() > 2));
    for output in [&text, &json] {
        assert!(!said(output).contains("hushhush"), "{}", said(output));
    }
}

#[test]
fn wrong_input_ends_with_two_and_shows_no_secret() {
    let redis = Redis::start(&["--requirepass", "right"]);
    let wrong = format!("redis://:hushhush@127.0.0.1:{}", redis.port);
    for (args, expected) in [
        (vec!["audit", &wrong], "WRONGPASS"),
        (
            vec!["audit", "redis://:hushhush@127.0.0.1:1"],
            "Connection refused",
        ),
        (vec!["audit", "redis://:hushhush@"], "the host is missing"),
        (vec!["audit", "hushhush"], "begins with redis://"),
        (
            vec!["audit", "http://:hushhush@127.0.0.1:1"],
            "reads redis:// and postgres://",
        ),
        (vec!["audit", &wrong, "--window", "20s"], "--window must be"),
        (vec!["init", "--redis", &wrong], "WRONGPASS"),
        (
            vec!["init", "--redis", "postgres://a:hushhush@h"],
            "--redis is an address",
        ),
        (
            vec![
                "init",
                "--redis",
                &wrong,
                "--prometheus",
                "http://:hushhush@127.0.0.1:1",
            ],
            "Connection refused",
        ),
    ] {
        let output = seawall(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{args:?}: {}", said(&output));
        assert!(!said(&output).contains("hushhush"), "{args:?}: {}", said(&output));
    }
}

#[test]
fn a_connection_may_be_encrypted() {
    let folder = std::env::temp_dir().join(format!("seawall-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let [key, certificate] =
        ["key.pem", "certificate.pem"].map(|name| folder.join(name).display().to_string());
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=cache",
        ])
        .args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", &key, "-out", &certificate])
        .stderr(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "openssl is installed");
    // Both kinds of connections; by the plain one it is seen that the server is up.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    drop(listener);
    let files = [
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
    ];
    let redis = Redis::start(&[&["--tls-port", &port, "--tls-auth-clients", "no"], &files[..]].concat());
    let audit = |port: &str, trusted: &str| {
        let url = format!("rediss://127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_seawall"));
        command.args([
            "audit",
            &url,
            "--window",
            "100ms",
            "--within",
            "2s",
            "--fail-on",
            "never",
        ]);
        command
            .env("SSL_CERT_FILE", trusted)
            .output()
            .expect("it was built")
    };
    let well = audit(&port, &certificate);
    assert_eq!(well.status.code(), Some(0), "{}", said(&well));
    assert!(
        said(&well).contains(&format!("-p {port} --tls")),
        "{}",
        said(&well)
    );
    let plain = redis.port.to_string();
    for (port, expected) in [
        (&port, "TLS: invalid peer certificate"),
        (&plain, "does it speak TLS?"),
    ] {
        let refused = audit(port, "/dev/null");
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains(expected), "{}", said(&refused));
    }
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

/// Asks for keys one after another, and stores what is not there.
fn readers(port: u16, stop: &AtomicBool) {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    let mut answers = BufReader::new(stream.try_clone().expect("a socket can be shared"));
    let mut line = String::new();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // Some keys are asked for more often than others.
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let key = (mixed % 1_000) * (mixed / 1_000 % 1_000) / 1_000;
        let mut ask = |question: String| {
            (&stream).write_all(question.as_bytes()).expect("it hears");
            line.clear();
            answers.read_line(&mut line).expect("it answers");
            let found = !line.starts_with("$-1");
            if line.starts_with('$') && found {
                answers.read_line(&mut line).expect("it answers");
            }
            found
        };
        if !ask(format!("GET k{key}\r\n")) {
            ask(format!("SET k{key} v PX 2000\r\n"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_live_cache_becomes_a_scenario_that_is_met() {
    let redis = Redis::start(&["--maxmemory", "50mb"]);
    let stop = Arc::new(AtomicBool::new(false));
    let (port, ended) = (redis.port, Arc::clone(&stop));
    let load = std::thread::spawn(move || readers(port, &ended));
    std::thread::sleep(Duration::from_secs(3));
    let path = std::env::temp_dir().join(format!("seawall-init-{}.toml", std::process::id()));
    let file = path.display().to_string();
    let init = seawall(&["init", "--redis", &redis.url(), "--window", "3s", "--out", &file]);
    stop.store(true, Ordering::Relaxed);
    load.join().expect("it read until the end");
    assert_eq!(init.status.code(), Some(0), "{}", said(&init));
    assert!(
        said(&init).starts_with("If the cache went away now: the database would be asked for"),
        "{}",
        said(&init)
    );
    let text = std::fs::read_to_string(&path).expect("it was written");
    assert!(
        text.contains("[client.readers]") && text.contains("# look-ups (keyspace_hits"),
        "{text}"
    );
    let simulated = seawall(&["simulate", &file]);
    std::fs::remove_file(&path).expect("it is ours");
    assert_eq!(simulated.status.code(), Some(0), "{}\n{text}", said(&simulated));
}
