//! `postgres`: one server, as somebody who is not root, on loopback only.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};
use tokio::time::Instant;

use super::{Folder, Process, free_port};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server of our own.
#[derive(Debug)]
pub(crate) struct PostgresServer {
    process: Process,
    folder: Folder,
    pub(crate) port: u16,
    args: Vec<String>,
}

impl PostgresServer {
    /// Starts one with these settings beside (`name=value`).
    pub(crate) fn start(settings: &[&str]) -> PostgresServer {
        let folder = Folder::new();
        let data = folder.path().join("data");
        let user = somebody();
        if let Some(user) = &user {
            std::os::unix::fs::chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .expect("root gives it away");
        }
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), mode).expect("it is our own");
        let data = data.to_string_lossy().into_owned();
        let init = [
            "-D",
            &data,
            "-U",
            "app",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ];
        let (program, args) = as_somebody(&program("initdb"), init.map(str::to_owned).to_vec());
        let status = Command::new(&program)
            .args(&args)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{program} {args:?}");
        for _ in 0..10 {
            let port = free_port();
            let args = args_of(&data, port, settings);
            if let Some(process) = launch(&args, port) {
                return PostgresServer {
                    process,
                    folder,
                    port,
                    args,
                };
            }
        }
        panic!("postgres does not start with {settings:?}");
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://app@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Stops the server's processes, all of them: those of connections as well.
    pub(crate) fn stop(&self) {
        self.each(Signal::SIGSTOP);
    }

    pub(crate) fn go_on(&self) {
        self.each(Signal::SIGCONT);
    }

    /// Ends it without a word to its clients' queries. Nobody listens any more.
    pub(crate) fn kill(&mut self) {
        self.process.signal(Signal::SIGQUIT);
        let _ = self.process.wait();
    }

    /// Starts it again on its port, with what it holds.
    pub(crate) fn restart(&mut self) {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(process) = launch(&self.args, self.port) {
                self.process = process;
                return;
            }
        }
        panic!("postgres does not start again");
    }

    fn each(&self, signal: Signal) {
        let pid = self.process.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).expect("it is running");
        self.process.signal(signal);
        for child in children.split_whitespace() {
            let child: i32 = child.parse().expect("a process id");
            // One of them may have ended meanwhile.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), signal);
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if !self.process.has_ended() {
            self.go_on();
            // At once, and its children with it; a plain kill would leave shared memory behind.
            self.process.signal(Signal::SIGQUIT);
            let _ = self.process.wait();
        }
    }
}

fn args_of(data: &str, port: u16, settings: &[&str]) -> Vec<String> {
    let own = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "fsync=off".to_owned(),
        "shared_buffers=16MB".to_owned(),
        "dynamic_shared_memory_type=mmap".to_owned(),
    ];
    let settings = settings.iter().map(|setting| (*setting).to_owned());
    let settings = own
        .into_iter()
        .chain(settings)
        .flat_map(|setting| ["-c".to_owned(), setting]);
    ["-D".to_owned(), data.to_owned()]
        .into_iter()
        .chain(settings)
        .collect()
}

/// Starts a server and waits until it lets somebody in; `None` when it ended.
fn launch(args: &[String], port: u16) -> Option<Process> {
    let (program, args) = as_somebody(&program("postgres"), args.to_vec());
    let mut process = Process::server(&program, &args);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if process.has_ended() {
            return None;
        }
        let ready = Command::new(program_or("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
            .status();
        if ready.is_ok_and(|status| status.success()) && !process.has_ended() {
            return Some(process);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// PostgreSQL refuses to run as root; whom it runs as then.
fn somebody() -> Option<User> {
    if !Uid::effective().is_root() {
        return None;
    }
    let named = |name| User::from_name(name).ok().flatten();
    named("postgres").or_else(|| named("nobody"))
}

fn as_somebody(program: &Path, args: Vec<String>) -> (String, Vec<String>) {
    let program = program.to_string_lossy().into_owned();
    let Some(user) = somebody() else {
        return (program, args);
    };
    let switch = [
        format!("--reuid={}", user.uid),
        format!("--regid={}", user.gid),
        "--clear-groups".to_owned(),
        // Changing the user clears what was asked for before.
        "--pdeathsig=KILL".to_owned(),
        program,
    ];
    ("setpriv".to_owned(), switch.into_iter().chain(args).collect())
}

fn program(name: &str) -> PathBuf {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<PathBuf> = debian
        .map(|version| version.path().join("bin").join(name))
        .filter(|program| program.exists())
        .collect();
    found.sort();
    found
        .pop()
        .unwrap_or_else(|| PathBuf::from("/usr/local/bin").join(name))
}

fn program_or(name: &str) -> PathBuf {
    let program = program(name);
    if program.exists() {
        program
    } else {
        PathBuf::from(name)
    }
}
