//! Incidents on disk: a journal that survives a crash at any moment, in a folder that one process watches with and others read.
//!
//! | file | what |
//! | --- | --- |
//! | `incidents.jsonl` | the journal: appended to, and written anew when it is too long |
//! | `incidents.lock` | held for an append; several processes may append |
//! | `watch.lock` | held by the one who watches, for as long as it lives; the kernel lets it go when that dies |
//! | `calm.json` | the calm that an incident is compared with |
//!
//! What opens, turns or closes an incident is on the disk before it is told; figures in between may lag by seconds. The last
//! [`INCIDENTS_MAX`] incidents are kept, in at most [`BYTES_MAX`] bytes.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Calm, Entry, Incident, Utc, What};

mod journal;

use journal::{Content, Line, append, bytes, content, opened};

/// So many incidents are kept.
pub const INCIDENTS_MAX: usize = 200;
/// The journal is written anew when it is longer, in bytes.
pub const BYTES_MAX: u64 = 8 << 20;
/// A lock for an append is waited for in so many turns of 10 ms.
const TURNS_MAX: usize = 500;

/// Why incidents could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process watches with this folder.
    #[error("another process watches with {}", .0.display())]
    Watched(PathBuf),
    /// An append took too long, of somebody who stands still maybe.
    #[error("{} is held by another process", .0.display())]
    Held(PathBuf),
    /// The disk.
    #[error("failed to {doing} {}: {error}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is no incident of this name, or several.
    #[error("{0}")]
    NotOne(String),
}

/// What was found when a store was opened.
#[derive(Debug, Default)]
pub struct Opening {
    /// The incidents that are kept, the oldest first.
    pub incidents: Vec<Incident>,
    /// Lines of the journal that are not what their check sums say, and were left out.
    pub bad_lines: usize,
    /// Whether its last line was cut off.
    pub torn: bool,
}

/// Something that another process wrote into the timeline of an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// Of which.
    pub id: String,
    /// What.
    pub entry: Entry,
}

/// The store of the one who watches.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    journal: File,
    /// How much of the journal is known here.
    known: u64,
    /// How many entries of which incident are in the journal.
    written: Option<(String, usize)>,
    arrived: Vec<Arrived>,
    /// Held until this is dropped, or its process is no more.
    _watching: File,
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::Io { doing, path, error }
}

fn journal_of(folder: &Path) -> PathBuf {
    folder.join("incidents.jsonl")
}

/// The lock for an append; it is let go when it is dropped.
fn hold(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("incidents.lock");
    let file = opened(&path).map_err(io("open", &path))?;
    for _ in 0..TURNS_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(error)) => return Err(io("lock", &path)(error)),
        }
    }
    Err(StoreError::Held(path))
}

impl Store {
    /// Opens a store to watch with, makes the folder where there is none, and mends what a crash has left.
    ///
    /// # Errors
    /// When another process watches with it, or the disk refuses.
    pub fn watch(folder: &Path) -> Result<(Store, Opening), StoreError> {
        fs::create_dir_all(folder).map_err(io("make", folder))?;
        let lock = folder.join("watch.lock");
        let watching = opened(&lock).map_err(io("open", &lock))?;
        match watching.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Watched(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io("lock", &lock)(error)),
        }
        let held = hold(folder)?;
        let path = journal_of(folder);
        let mut journal = opened(&path).map_err(io("open", &path))?;
        let content = content(&bytes(&mut journal, 0).map_err(io("read", &path))?);
        if content.torn {
            journal.set_len(content.good).map_err(io("mend", &path))?;
        }
        let known = content.good;
        sync_folder(folder)?;
        drop(held);
        let opening = opening(content);
        let mut store = Store {
            folder: folder.to_owned(),
            journal,
            known,
            written: None,
            arrived: Vec::new(),
            _watching: watching,
        };
        if let Some(last) = opening.incidents.last() {
            store.written = Some((last.id.clone(), last.timeline.len()));
        }
        if opening.incidents.len() > INCIDENTS_MAX || known > BYTES_MAX {
            store.compact()?;
        }
        Ok((store, opening))
    }

    /// Reads what is kept, whether somebody watches or not. A folder that is not there holds nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn look(folder: &Path) -> Result<Opening, StoreError> {
        let path = journal_of(folder);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opening::default()),
            Err(error) => return Err(io("open", &path)(error)),
        };
        let bytes = bytes(&mut file, 0).map_err(io("read", &path))?;
        Ok(opening(content(&bytes)))
    }

    /// Writes into the timeline of an incident, whether somebody watches or not: who watches takes notice within a period.
    /// The incident as it is then.
    ///
    /// # Errors
    /// When there is no such incident, or the disk refuses.
    pub fn write(folder: &Path, id: &str, at: Utc, what: What) -> Result<Incident, StoreError> {
        let mut incident = Store::find(folder, id)?;
        let held = hold(folder)?;
        let path = journal_of(folder);
        let mut journal = opened(&path).map_err(io("open", &path))?;
        incident.enter(at, what.clone());
        let entry = Entry {
            at,
            what: what.clipped(),
        };
        let line = Line::Entry {
            id: incident.id.clone(),
            entry,
        };
        append(&mut journal, &[line]).map_err(io("write to", &path))?;
        journal.sync_data().map_err(io("write to", &path))?;
        drop(held);
        Ok(incident)
    }

    /// The incident of this name, or of which this is a part of the name; `last` is the latest.
    ///
    /// # Errors
    /// When there is none, or several, or the disk refuses.
    pub fn find(folder: &Path, name: &str) -> Result<Incident, StoreError> {
        let mut incidents = Store::look(folder)?.incidents;
        if name == "last" {
            return incidents
                .pop()
                .ok_or_else(|| StoreError::NotOne("no incident is kept".to_owned()));
        }
        if let Some(exact) = incidents.iter().position(|incident| incident.id == name) {
            return Ok(incidents.swap_remove(exact));
        }
        let mut fitting = incidents
            .into_iter()
            .filter(|incident| incident.id.contains(name));
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(StoreError::NotOne(format!(
                "no incident is called `{}`",
                super::clipped(name)
            ))),
            (Some(_), Some(_)) => Err(StoreError::NotOne(format!(
                "`{name}` is a part of the names of several incidents"
            ))),
        }
    }

    /// Keeps an incident as it is now: what is new in its timeline, and its state. With `sync` it is on the disk afterwards.
    ///
    /// # Errors
    /// When the disk refuses; what was not written will be the next time.
    pub fn save(&mut self, incident: &Incident, sync: bool) -> Result<(), StoreError> {
        let held = hold(&self.folder)?;
        self.hear()?;
        let written = match &self.written {
            Some((id, written)) if *id == incident.id => *written,
            _ => 0,
        };
        let state = Incident {
            timeline: Vec::new(),
            ..incident.clone()
        };
        let mut lines = vec![Line::State(Box::new(state))];
        let new = incident.timeline.get(written..).unwrap_or_default();
        lines.extend(new.iter().map(|entry| Line::Entry {
            id: incident.id.clone(),
            entry: entry.clone(),
        }));
        let path = journal_of(&self.folder);
        append(&mut self.journal, &lines).map_err(io("write to", &path))?;
        self.written = Some((incident.id.clone(), incident.timeline.len()));
        self.known = self.journal.metadata().map_err(io("read", &path))?.len();
        if sync {
            self.journal.sync_data().map_err(io("write to", &path))?;
        }
        drop(held);
        if self.known > BYTES_MAX {
            self.compact()?;
        }
        Ok(())
    }

    /// What other processes wrote since it was last asked. Whoever takes it into the timeline of `current` need not save it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn arrived(&mut self, current: Option<&str>) -> Result<Vec<Arrived>, StoreError> {
        let path = journal_of(&self.folder);
        let length = self.journal.metadata().map_err(io("read", &path))?.len();
        if length > self.known {
            let held = hold(&self.folder)?;
            self.hear()?;
            drop(held);
        }
        let arrived = std::mem::take(&mut self.arrived);
        if let Some((id, written)) = &mut self.written
            && current == Some(id.as_str())
        {
            *written += arrived.iter().filter(|one| one.id == *id).count();
        }
        Ok(arrived)
    }

    /// Reads what others appended; to be called with the lock held.
    fn hear(&mut self) -> Result<(), StoreError> {
        let path = journal_of(&self.folder);
        let bytes = bytes(&mut self.journal, self.known).map_err(io("read", &path))?;
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Some(Line::Entry { id, entry }) = Line::read(line) {
                self.arrived.push(Arrived { id, entry });
            }
        }
        self.known += bytes.len() as u64;
        Ok(())
    }

    /// Keeps the calm; it is there whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save_calm(&self, calm: &Calm) -> Result<(), StoreError> {
        let path = self.folder.join("calm.json");
        let beside = self.folder.join(".calm.json.part");
        let text = serde_json::to_vec(calm).map_err(|error| io("write", &path)(error.into()))?;
        let written = write_whole(&beside, &text).and_then(|()| fs::rename(&beside, &path));
        written.map_err(io("write", &path))
    }

    /// The calm that was kept; nothing when there is none that can be read.
    pub fn calm(&self) -> Option<Calm> {
        let text = fs::read(self.folder.join("calm.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes the journal anew: the last incidents, each in one state and its entries.
    fn compact(&mut self) -> Result<(), StoreError> {
        let held = hold(&self.folder)?;
        self.hear()?;
        let path = journal_of(&self.folder);
        let all = content(&bytes(&mut self.journal, 0).map_err(io("read", &path))?).incidents;
        let mut text = Vec::new();
        let mut kept: Vec<Vec<u8>> = Vec::new();
        for incident in all.into_iter().rev().take(INCIDENTS_MAX) {
            let lines = whole(incident).map_err(io("write", &path))?;
            let size: usize = kept.iter().map(Vec::len).sum();
            // Half of what is allowed, so that it is not written anew at once again.
            if !kept.is_empty() && (size + lines.len()) as u64 > BYTES_MAX / 2 {
                break;
            }
            kept.push(lines);
        }
        for lines in kept.iter().rev() {
            text.extend_from_slice(lines);
        }
        let beside = self.folder.join(".incidents.jsonl.part");
        write_whole(&beside, &text).map_err(io("write", &beside))?;
        fs::rename(&beside, &path).map_err(io("write", &path))?;
        sync_folder(&self.folder)?;
        self.journal = opened(&path).map_err(io("open", &path))?;
        self.known = text.len() as u64;
        drop(held);
        Ok(())
    }
}

fn opening(content: Content) -> Opening {
    Opening {
        incidents: content.incidents,
        bad_lines: content.bad,
        torn: content.torn,
    }
}

fn whole(mut incident: Incident) -> io::Result<Vec<u8>> {
    let entries = std::mem::take(&mut incident.timeline);
    let id = incident.id.clone();
    let mut text = Line::State(Box::new(incident)).text()?;
    for entry in entries {
        text += &Line::Entry {
            id: id.clone(),
            entry,
        }
        .text()?;
    }
    Ok(text.into_bytes())
}

fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    // Left over from a crash, most likely.
    let _ = fs::remove_file(path);
    let mut file = opened(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// A name in a folder is on the disk when the folder is.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(io("write to", folder))
}

#[cfg(test)]
mod tests;
