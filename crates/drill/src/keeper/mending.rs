//! How each thing is undone.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Mending;
use super::processes::send_all;

/// A server that is to be mended may itself be slow.
const REDIS_PATIENCE: Duration = Duration::from_secs(2);
/// A busy cgroup or file system is tried again so many times, this far apart.
const TRIES: u32 = 40;
const APART: Duration = Duration::from_millis(50);

impl Mending {
    /// What is opened before the harm is done, because it might not be to be had afterwards: a server that has no place
    /// for new connections would turn away whoever comes to mend it.
    pub(super) fn line(&self) -> Option<TcpStream> {
        match self {
            Mending::Redis { address, login, .. } => connected(*address, login).ok(),
            _ => None,
        }
    }

    pub(super) fn carry_out(&self, line: Option<TcpStream>) -> Result<(), String> {
        match self {
            Mending::Continue(pid) => send_all(*pid, Signal::SIGCONT),
            Mending::Redis {
                address,
                login,
                commands,
            } => mended(*address, login, commands, line),
            Mending::Cgroup(path) => removed_cgroup(path),
            Mending::File(path, content) => fs::write(path, content)
                .map_err(|error| format!("failed to write {}: {error}", path.display())),
            Mending::Mount(path) => unmounted(path),
            Mending::Remove(path) => gone(fs::remove_file(path))
                .map_err(|error| format!("failed to remove {}: {error}", path.display())),
        }
    }
}

/// What is not there any more needs no removing.
fn gone(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Sends all commands, whatever becomes of those before, and says how the first failed that did.
fn mended(
    address: SocketAddr,
    login: &[String],
    commands: &[Vec<String>],
    line: Option<TcpStream>,
) -> Result<(), String> {
    let mut line = line;
    let mut failed = None;
    for command in commands {
        // The line may have been cut, or what it reached be another server by now.
        let over_line = line.as_mut().map(|line| asked(line, command));
        if !matches!(over_line, Some(Ok(()))) {
            line = None;
            let done = connected(address, login).and_then(|mut fresh| asked(&mut fresh, command));
            let name = command.first().map_or("", String::as_str);
            let failure = done
                .err()
                .map(|error| format!("failed to send {name} to Redis at {address}: {error}"));
            failed = failed.or(failure);
        }
    }
    failed.map_or(Ok(()), Err)
}

fn connected(address: SocketAddr, login: &[String]) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, REDIS_PATIENCE).map_err(failed)?;
    stream
        .set_read_timeout(Some(REDIS_PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(REDIS_PATIENCE)))
        .map_err(failed)?;
    if !login.is_empty() {
        let words: Vec<String> = std::iter::once("AUTH".to_owned())
            .chain(login.iter().cloned())
            .collect();
        asked(&mut stream, &words)?;
    }
    Ok(stream)
}

/// Sends a command to a Redis (RESP2 arrays of bulk strings) and reads that it is taken.
fn asked(stream: &mut TcpStream, words: &[String]) -> Result<(), String> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        let length = word.len();
        bytes.extend(["$", &length.to_string(), "\r\n", word, "\r\n"]);
    }
    stream
        .write_all(bytes.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut reply = [0; 512];
    let read = stream.read(&mut reply).map_err(|error| error.to_string())?;
    match reply[..read].first() {
        Some(b'-') => Err(String::from_utf8_lossy(&reply[1..read]).trim().to_owned()),
        Some(_) => Ok(()),
        None => Err("the connection was closed".to_owned()),
    }
}

/// Moves what runs in a cgroup to its parent and removes it (cgroups(7)).
fn removed_cgroup(path: &Path) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..TRIES {
        let members = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines() {
            if let Some(parent) = path.parent() {
                // What has just ended cannot be moved.
                let _ = fs::write(parent.join("cgroup.procs"), pid);
            }
        }
        match gone(fs::remove_dir(path)) {
            Ok(()) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
        sleep(APART);
    }
    Err(format!("failed to remove the cgroup {}: {last}", path.display()))
}

fn unmounted(path: &Path) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..TRIES {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let is_mounted = mounts
            .lines()
            .any(|line| line.split(' ').nth(1).is_some_and(|at| Path::new(at) == path));
        if !is_mounted {
            return Ok(());
        }
        match Command::new("umount").arg(path).output() {
            Ok(done) => String::from_utf8_lossy(&done.stderr).trim().clone_into(&mut last),
            Err(error) => last = error.to_string(),
        }
        sleep(APART);
    }
    Err(format!("failed to unmount {}: {last}", path.display()))
}
