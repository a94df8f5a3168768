//! What keepers have left that were killed themselves.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use super::house::{NOTES, Note, PREFIX};
use super::processes::{descendants, seen, send};
use super::{Mending, Pid};

/// Undoes what keepers have left that were killed themselves; says what could not be undone.
pub fn sweep() -> Vec<String> {
    let mut left = Vec::new();
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(PREFIX) {
            swept(&entry.path(), &mut left);
        }
    }
    left
}

fn swept(folder: &Path, left: &mut Vec<String>) {
    // Anybody can make a folder of such a name. What is acted upon was written by this user and by nobody else.
    let Ok(meta) = fs::symlink_metadata(folder) else {
        return;
    };
    if !meta.is_dir() || meta.uid() != geteuid().as_raw() || meta.mode() & 0o022 != 0 {
        return;
    }
    // A keeper that was killed before its first note has made nothing else.
    let notes = fs::read_to_string(folder.join(NOTES)).unwrap_or_default();
    let notes: Vec<Note> = notes
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let is_there = |pid: Pid, started: u64| seen(pid).is_some_and(|seen| seen.started == started);
    let keeps = |note: &Note| matches!(note, Note::Keeper(pid, started) if is_there(*pid, *started));
    // The name of a folder says whose it is before any note does.
    let Some((pid, started)) = keeper_of(folder) else {
        return;
    };
    if is_there(pid, started) || notes.iter().any(keeps) {
        return;
    }
    let mut owed = BTreeMap::new();
    for each in notes {
        match each {
            Note::Process(pid, started) if is_there(pid, started) => {
                for each in descendants(pid).into_iter().chain([pid]) {
                    left.extend(send(each, Signal::SIGKILL).err());
                }
            }
            Note::Lent(number, mending) => {
                owed.insert(number, mending);
            }
            Note::Mended(number) => {
                owed.remove(&number);
            }
            Note::Keeper(..) | Note::Process(..) => {}
        }
    }
    for mending in owed.into_values().rev() {
        // What was stopped is ended by now.
        if !matches!(mending, Mending::Continue(_)) {
            left.extend(mending.carry_out(None).err());
        }
    }
    // Another keeper may be sweeping too.
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        left.push(format!("failed to remove {}: {error}", folder.display()));
    }
}

/// The keeper that made a folder of this name, and when it started.
fn keeper_of(folder: &Path) -> Option<(Pid, u64)> {
    let name = folder.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    let (pid, started) = name.split_once('-')?;
    Some((Pid(pid.parse().ok()?), started.parse().ok()?))
}
