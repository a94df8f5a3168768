//! A real `redis-server`: on loopback, on a free port, ended by its process id.

#![allow(dead_code, reason = "no test uses all of it")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[derive(Debug)]
pub(crate) struct RedisServer {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl RedisServer {
    /// Starts one that keeps nothing on disk.
    pub(crate) fn start() -> RedisServer {
        for _ in 0..10 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
            let address = listener.local_addr().expect("it is bound");
            drop(listener);
            if let Some(process) = launch(address) {
                return RedisServer { process, address };
            }
        }
        panic!("redis-server does not start");
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops the process, and lets it go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        let signal = if frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        let id = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("it is our own");
    }
}

fn launch(address: SocketAddr) -> Option<Child> {
    let port = address.port().to_string();
    let mut process = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "redis-server"])
        .args(["--port", &port, "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv and redis-server are there");
    for _ in 0..500 {
        if process.try_wait().is_ok_and(|ended| ended.is_some()) {
            return None;
        }
        if TcpStream::connect(address).is_ok() {
            // It may be somebody else who listens.
            std::thread::sleep(Duration::from_millis(20));
            let alive = process.try_wait().is_ok_and(|ended| ended.is_none());
            return alive.then_some(process);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = process.kill();
    let _ = process.wait();
    None
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
