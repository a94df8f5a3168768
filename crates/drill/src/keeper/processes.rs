//! Processes, by what `/proc` says of them (proc(5)).

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid as Raw;

/// The number of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Pid(pub i32);

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    parent: i32,
    /// When it started, in ticks since the machine did. A number that is used again has another one.
    pub(super) started: u64,
    /// It has ended, and its parent has not asked how yet.
    ended: bool,
    /// A signal has stopped it.
    pub(super) stopped: bool,
}

/// What a process is now; nothing when there is none.
pub(super) fn seen(pid: Pid) -> Option<Seen> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything, brackets included.
    let rest = stat.rsplit_once(')')?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let state = *fields.first()?;
    Some(Seen {
        ended: matches!(state, "Z" | "X"),
        stopped: state == "T",
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// All that a process has started and that still runs, and what they have started, parents first.
pub(crate) fn descendants(of: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(seen) = seen(Pid(pid)).filter(|seen| !seen.ended) {
            children.entry(seen.parent).or_default().push(pid);
        }
    }
    let mut found = vec![of.0];
    let mut at = 0;
    while let Some(parent) = found.get(at) {
        let more = children.remove(parent).unwrap_or_default();
        found.extend(more);
        at += 1;
    }
    found.into_iter().skip(1).map(Pid).collect()
}

/// Sends a signal; a process that has just ended is no failure.
pub(super) fn send(pid: Pid, signal: Signal) -> Result<(), String> {
    match kill(Raw::from_raw(pid.0), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(format!("failed to send {signal} to process {pid}: {error}")),
    }
}

/// Stops a process and all that it has started, or lets them go on.
pub(super) fn send_all(pid: Pid, signal: Signal) -> Result<(), String> {
    send(pid, signal)?;
    for each in descendants(pid) {
        send(each, signal)?;
    }
    Ok(())
}
