//! What the tests stand on: processes that end with them, and the command itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder that is gone when the test ends.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
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
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A Redis of our own.
pub(crate) struct Redis {
    pub(crate) process: Ended,
    pub(crate) port: u16,
}

impl Redis {
    pub(crate) fn start(folder: &Folder, settings: &[&str]) -> Redis {
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

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Asks one thing, inline, and reads what comes at once.
    pub(crate) fn ask(&self, words: &str) -> String {
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

    pub(crate) fn setting(&self, name: &str) -> String {
        let said = self.ask(&format!("CONFIG GET {name}"));
        said.lines().nth(4).unwrap_or("").to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.0.id().to_string();
        let done = Command::new("kill").args([name, &id]).status();
        assert!(done.expect("kill is on the machine").success());
    }
}

pub(crate) fn seawall(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seawall"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

pub(crate) fn diagnose(arguments: &[&str]) -> (String, i32) {
    let mut all = vec!["diagnose"];
    all.extend_from_slice(arguments);
    let output = seawall(&all);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code().unwrap_or(-1))
}

/// Two seconds are enough where nothing has to be compared.
pub(crate) const SHORT: [&str; 4] = ["--for", "1s", "--every", "500ms"];

pub(crate) fn apply(redis: &Redis, log: &Folder, step: &str, more: &[&str]) -> (String, i32) {
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

/// A `seawall diagnose` that runs.
pub(crate) struct Started {
    process: Ended,
    lines: std::sync::mpsc::Receiver<String>,
    text: String,
}

pub(crate) fn started(arguments: &[&str]) -> Started {
    let mut process = Command::new(env!("CARGO_BIN_EXE_seawall"))
        .arg("diagnose")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("it runs");
    let said = BufReader::new(process.stdout.take().expect("it is piped"));
    let (send, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = said.lines().map_while(Result::ok);
        lines.for_each(|line| drop(send.send(line)));
    });
    Started {
        process: Ended(process),
        lines,
        text: String::new(),
    }
}

impl Started {
    /// Waits until it has said something.
    pub(crate) fn wait_for(&mut self, what: &str) {
        while !self.text.contains(what) {
            let line = self.lines.recv_timeout(Duration::from_secs(30));
            let line = line.unwrap_or_else(|_| panic!("it does not say {what}: {}", self.text));
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    /// Waits for its end, and says what it has said and its status.
    pub(crate) fn ended(mut self) -> (String, i32) {
        for line in &self.lines {
            self.text.push_str(&line);
            self.text.push('\n');
        }
        let status = self.process.0.wait().expect("it is our own");
        (self.text, status.code().unwrap_or(-1))
    }
}
