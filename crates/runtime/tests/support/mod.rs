//! Real servers for tests: on loopback, on free ports, in folders of their own, ended by their process id.
//!
//! A server ends with its handle, and also with the thread that started it, so start it in the test's own thread.
#![allow(dead_code, reason = "no test uses all of it")]

pub(crate) mod proxy;
pub(crate) mod redis;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A port that nobody listens on at the moment. Another process may take it first: who starts a server tries again.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    listener.local_addr().expect("it is bound").port()
}

/// A folder that is deleted in the end.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("seawall-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be deleted is the operating system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with its handle.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a server that is killed too when this thread ends before its handle is dropped.
    pub(crate) fn server(program: &str, args: &[String]) -> Process {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv {program}: {error}"));
        Process(child)
    }

    pub(crate) fn of(child: Child) -> Process {
        Process(child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a process id"));
        kill(pid, signal).expect("it is our own");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> bool {
        self.0.wait().is_ok_and(|status| status.success())
    }

    /// Ends it at once.
    pub(crate) fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
