//! Snapshots: the names of the hot keys in a file, so that the next process knows what to warm.
//!
//! It keeps names and no values: values may be wrong by then, and the origin, or a shared tier, has the right ones. The
//! file is written beside its place and then put there, so a reader finds the old one or the new one, whole. It is
//! text: a head with the cache's name and a checksum, then one key a line, as JSON.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use seawall_core::time::{Span, Time};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::Engine;
use crate::key::Key;

/// A file holds so many keys and bytes at most.
const KEYS_MAX: usize = 1 << 16;
const BYTES_MAX: usize = 16 << 20;
/// It is not written more often than this.
const EVERY_MIN: Duration = Duration::from_secs(1);

const TITLE: &str = "seawall-keys-1";

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The cache was built without one.
    #[error("this cache keeps no snapshot")]
    Off,
    /// What is in the file is not what was written, or was written for another cache.
    #[error("its file is damaged, or another cache's")]
    Damaged,
    /// The file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where the snapshot is, and how keys become lines of it.
pub(crate) struct Keeper<K> {
    path: PathBuf,
    every: Duration,
    spell: fn(&K) -> Option<String>,
    parse: fn(&str) -> Option<K>,
    /// What the process before this one left. It is not forgotten before this one has counted for a whole window.
    before: Mutex<Option<(Time, Arc<[K]>)>>,
    task: OnceLock<AbortHandle>,
}

impl<K: Key> Keeper<K> {
    pub(crate) fn new(path: PathBuf, every: Duration) -> Keeper<K>
    where
        K: Serialize + DeserializeOwned,
    {
        Keeper {
            path,
            every: every.max(EVERY_MIN),
            spell: |key| serde_json::to_string(key).ok(),
            parse: |line| serde_json::from_str(line).ok(),
            before: Mutex::new(None),
            task: OnceLock::new(),
        }
    }

    /// The keys of the file, hottest first; none when there is no file.
    pub(crate) async fn read(&self, name: &str) -> Result<Vec<K>, SnapshotError> {
        let path = self.path.clone();
        let Some(text) = blocking(move || read_file(&path)).await? else {
            return Ok(Vec::new());
        };
        let lines = open(&text, name).ok_or(SnapshotError::Damaged)?;
        let keys: Option<Vec<K>> = lines.lines().take(KEYS_MAX).map(self.parse).collect();
        keys.ok_or(SnapshotError::Damaged)
    }

    /// Takes note of what was found hot before.
    pub(crate) fn remember(&self, now: Time, keys: &[K]) {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, keys.into()));
    }

    /// Writes these keys, and how many.
    pub(crate) async fn write(
        &self,
        now: Time,
        window: Span,
        name: &str,
        mut keys: Vec<K>,
    ) -> Result<usize, SnapshotError> {
        if keys.is_empty() {
            // A process that was not asked knows less than the one before it.
            return Ok(0);
        }
        {
            let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((since, _)) = &*before
                && now.since(*since) >= window
            {
                *before = None;
            }
            if let Some((_, old)) = &*before {
                append_missing(&mut keys, old);
            }
        }
        let (text, count) = seal(name, keys.iter().filter_map(self.spell));
        let path = self.path.clone();
        blocking(move || write_file(&path, text.as_bytes())).await?;
        Ok(count)
    }
}

impl<K> Drop for Keeper<K> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Engine<K, V> {
    /// Begins to warm from the snapshot and to write it again and again.
    pub(crate) fn keep_snapshots(&self, runtime: &Handle) {
        let Some(keeper) = &self.keeper else { return };
        let (every, engine) = (keeper.every, self.me.clone());
        let task = runtime.spawn(async move {
            if let Some(engine) = engine.upgrade() {
                engine.warm_from_snapshot().await;
            }
            loop {
                tokio::time::sleep(every).await;
                let Some(engine) = engine.upgrade() else { return };
                // It is counted and told where it happens.
                let _ = engine.snapshot().await;
            }
        });
        let _ = keeper.task.set(task.abort_handle());
    }
}

/// Adds the keys that are not there yet, after those that are.
fn append_missing<K: Key>(keys: &mut Vec<K>, others: &[K]) {
    let bytes = |key: &K| key.with_bytes(<[u8]>::to_vec);
    let there: BTreeSet<Vec<u8>> = keys.iter().map(bytes).collect();
    let missing = others.iter().filter(|key| !there.contains(&bytes(key)));
    keys.extend(missing.cloned());
    keys.truncate(KEYS_MAX);
}

/// The text of a file, and how many keys are in it.
fn seal(name: &str, spelled: impl Iterator<Item = String>) -> (String, usize) {
    let (mut body, mut count) = (String::new(), 0);
    for line in spelled.take(KEYS_MAX) {
        if body.len() + line.len() >= BYTES_MAX {
            break;
        }
        body.push_str(&line);
        body.push('\n');
        count += 1;
    }
    let head = format!(
        "{TITLE} {:016x} {:016x}\n",
        xxh3_64(name.as_bytes()),
        xxh3_64(body.as_bytes())
    );
    (head + &body, count)
}

/// The lines of a file that is whole and this cache's.
fn open<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (head, body) = text.split_once('\n')?;
    let mut words = head.split(' ');
    let sums = [name.as_bytes(), body.as_bytes()].map(|bytes| format!("{:016x}", xxh3_64(bytes)));
    let whole = words.next() == Some(TITLE)
        && words.next() == Some(&sums[0])
        && words.next() == Some(&sums[1])
        && words.next().is_none();
    whole.then_some(body)
}

/// `None` when there is no file.
fn read_file(path: &Path) -> Result<Option<String>, SnapshotError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    // One byte more than a file may have: then the checksum says so.
    file.take(BYTES_MAX as u64 + 4096).read_to_end(&mut bytes)?;
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| SnapshotError::Damaged)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = write_synced(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // What is half written helps nobody, least of all on a full disk.
        let _ = fs::remove_file(&beside);
        return Err(error.into());
    }
    // The name is on the disk when its folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Files are waited for elsewhere.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, SnapshotError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) => Err(io::Error::other(ended).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_kept_longer_comes_after_what_is_hot_now() {
        let mut keys = vec![5_u64, 3];
        append_missing(&mut keys, &[3, 9, 5, 1]);
        assert_eq!(keys, [5, 3, 9, 1]);
    }

    #[test]
    fn a_file_is_bounded() {
        let long = "x".repeat(1 << 20);
        let (text, count) = seal("users", std::iter::repeat_n(long, 100));
        assert_eq!(count, 15);
        assert!(text.len() <= BYTES_MAX && open(&text, "users").is_some());
        assert_eq!(seal("users", (0..).map(|key| key.to_string())).1, KEYS_MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_not_written_is_not_read(
            keys in prop::collection::vec("[a-z\n\"]{0,6}", 1..20),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..7,
        ) {
            let (text, count) = seal("users", keys.iter().filter_map(|key| serde_json::to_string(key).ok()));
            let lines = open(&text, "users").expect("it is whole");
            let read: Vec<String> = lines.lines().map(|line| serde_json::from_str(line).expect("it is a key")).collect();
            prop_assert_eq!((&read, count), (&keys, keys.len()));
            prop_assert!(open(&text, "posts").is_none());
            let mut bytes = text.into_bytes();
            let place = at.index(bytes.len());
            prop_assert!(std::str::from_utf8(&bytes[..place]).is_ok_and(|cut| open(cut, "users").is_none()));
            bytes[place] ^= 1 << bit;
            prop_assert!(std::str::from_utf8(&bytes).is_ok_and(|text| open(text, "users").is_none()));
        }
    }
}
