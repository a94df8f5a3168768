//! A tier on the local disk (feature `disk`): large, and still there after a restart.
//!
//! A file for each entry, in a folder that nobody else uses. What is in memory is an index of the files' names, which
//! say all that must be known of an entry: so a folder is opened by listing it, and a purge is a file that is gone.
//! Files are written beside their place and moved there, and not synced: what a power cut leaves of them is damaged,
//! and so a miss, by the envelope's checksum. It is no database, and shared with no other process.
//!
//! Calls are made on threads of their own, so few of them at a time that a disk which hangs holds no more. A runtime waits
//! for those at its end; where a disk may hang (a network's), end it with `shutdown_timeout`.
//!
//! ```no_run
//! use seawall::{Cache, disk::Disk};
//! # fn open() -> Result<Cache<u64, String>, seawall::disk::DiskError> {
//! // 10 GB, asked after memory. With a shared cache, that comes first: `.tier(redis).tier(disk)`.
//! let disk = Disk::open("/var/cache/my-service", 10 << 30)?;
//! Ok(Cache::builder("users").tier(disk).build())
//! # }
//! ```

mod files;
mod index;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use seawall_core::guard::CacheFault;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, Semaphore};

use crate::builder::DISK_TTL;
use crate::clock::{Clock, to_unix_us};
use crate::key::Address;
use crate::store::{Boxed, Sealed, Store};

use files::Folder;
use index::{Index, Name};

/// So many calls are at the disk at a time. The others wait, each no longer than it may.
const CALLS_MAX: usize = 32;
/// What is done to one key is done in order. Keys share so many lanes.
const LANES: usize = 256;
/// The smallest bound: of less, nothing could be kept.
const BYTES_MIN: u64 = 1 << 20;

/// Why a folder is no tier.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process uses it.
    #[error("{} is used by another process", .0.display())]
    Taken(PathBuf),
    /// It cannot be read or written.
    #[error("{}: {source}", .folder.display())]
    Io {
        /// Which folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A tier on the local disk.
#[derive(Debug)]
pub struct Disk {
    name: String,
    inner: Arc<Inner>,
    calls: Arc<Semaphore>,
    lanes: Vec<Arc<RwLock<()>>>,
}

#[derive(Debug)]
struct Inner {
    folder: Folder,
    index: Mutex<Index>,
    clock: Clock,
}

impl Disk {
    /// Opens a folder, and makes it where there is none. It takes up to `bytes` of disk (1 MiB at least), blocks counted
    /// whole. To find what a process before has left takes about a second for a million entries.
    ///
    /// # Errors
    /// When another process uses it, or it cannot be read and written.
    pub fn open(folder: impl AsRef<Path>, bytes: u64) -> Result<Disk, DiskError> {
        let folder = folder.as_ref();
        let failed = |source| DiskError::Io {
            folder: folder.to_owned(),
            source,
        };
        let (opened, found) = Folder::open(folder)?;
        let clock = Clock::new();
        let (index, gone) = Index::of(found, bytes.max(BYTES_MIN), to_unix_us(clock.now()));
        for (digest, name) in gone {
            opened.remove(digest, &name).map_err(failed)?;
        }
        Ok(Disk {
            name: "disk".to_owned(),
            inner: Arc::new(Inner {
                folder: opened,
                index: Mutex::new(index),
                clock,
            }),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            lanes: (0..LANES).map(|_| Arc::default()).collect(),
        })
    }

    /// What it is called, in metrics and health, in place of `disk`.
    pub fn named(mut self, name: impl Into<String>) -> Disk {
        self.name = name.into();
        self
    }

    /// Bytes of disk that its entries take, blocks counted whole.
    pub fn bytes(&self) -> u64 {
        self.inner.index().bytes()
    }

    fn lane(&self, key: &Address) -> Arc<RwLock<()>> {
        Arc::clone(&self.lanes[(key.digest % LANES as u128) as usize])
    }

    async fn reading(&self, key: &Address) -> OwnedRwLockReadGuard<()> {
        self.lane(key).read_owned().await
    }

    async fn writing(&self, key: &Address) -> OwnedRwLockWriteGuard<()> {
        self.lane(key).write_owned().await
    }

    /// Does work at the disk. It is done to its end, also when nobody waits any more; `lane` is held for as long.
    async fn at_the_disk<T: Send + 'static>(
        &self,
        lane: impl Send + 'static,
        work: impl FnOnce(&Inner) -> io::Result<T> + Send + 'static,
    ) -> Result<T, CacheFault> {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.calls)
            .acquire_owned()
            .await
            .map_err(|_| CacheFault::Error)?;
        let inner = Arc::clone(&self.inner);
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&inner);
            drop((lane, permit));
            result
        });
        match task.await {
            Ok(result) => result.map_err(|error| fault(&error)),
            Err(_) => Err(CacheFault::Error),
        }
    }
}

/// What an error of the system means.
fn fault(error: &io::Error) -> CacheFault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            CacheFault::DiskFull
        }
        io::ErrorKind::ReadOnlyFilesystem => CacheFault::ReadOnly,
        io::ErrorKind::PermissionDenied => CacheFault::NoAuth,
        io::ErrorKind::TimedOut => CacheFault::TimedOut,
        // The folder itself is gone, or the device.
        _ => CacheFault::Unavailable,
    }
}

impl Inner {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, digest: u128) -> io::Result<Option<Bytes>> {
        let now_us = to_unix_us(self.clock.now());
        let Some(name) = self.index().find(digest, now_us) else {
            return Ok(None);
        };
        match self.folder.read(digest, &name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // It was pushed out meanwhile, or somebody has tidied up here.
                self.index().forget(digest, &name);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn put(&self, digest: u128, value: &Sealed) -> io::Result<()> {
        let now = self.clock.now();
        let name = Name {
            version: value.version,
            until_us: value.keep.map_or(u64::MAX, |keep| to_unix_us(now + keep.into())),
            size: value.bytes.len() as u64,
        };
        let Some(pushed_out) = self.index().make_room(digest, &name, to_unix_us(now)) else {
            return Ok(());
        };
        let written = pushed_out
            .iter()
            .try_for_each(|(digest, name)| self.folder.remove(*digest, name))
            .and_then(|()| self.folder.write(digest, &name, &value.bytes));
        let replaced = self.index().settle(digest, name, written.is_ok());
        written?;
        replaced.map_or(Ok(()), |old| self.folder.remove(digest, &old))
    }

    fn delete(&self, digest: u128, below: u64) -> io::Result<()> {
        let taken = self.index().take_out(digest, below);
        taken.map_or(Ok(()), |name| self.folder.remove(digest, &name))
    }
}

impl Store for Disk {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn default_ttl(&self) -> Option<Duration> {
        Some(DISK_TTL)
    }

    fn evictions(&self) -> Option<u64> {
        Some(self.inner.index().evictions())
    }

    fn entries(&self) -> Option<u64> {
        Some(self.inner.index().len() as u64)
    }

    fn get<'a>(
        &'a self,
        _: u16,
        key: &'a Address,
        _: Duration,
    ) -> Boxed<'a, Result<Option<Bytes>, CacheFault>> {
        Box::pin(async move {
            let (lane, digest) = (self.reading(key).await, key.digest);
            self.at_the_disk(lane, move |inner| inner.get(digest)).await
        })
    }

    fn put<'a>(
        &'a self,
        _: u16,
        key: &'a Address,
        value: Sealed,
        _: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            let (lane, digest) = (self.writing(key).await, key.digest);
            self.at_the_disk(lane, move |inner| inner.put(digest, &value))
                .await
        })
    }

    fn delete<'a>(
        &'a self,
        _: u16,
        key: &'a Address,
        version: u64,
        _: Duration,
    ) -> Boxed<'a, Result<(), CacheFault>> {
        Box::pin(async move {
            let (lane, digest) = (self.writing(key).await, key.digest);
            self.at_the_disk(lane, move |inner| inner.delete(digest, version))
                .await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_a_lost_one() {
        let of = |code: i32| fault(&io::Error::from_raw_os_error(code));
        // ENOSPC, EDQUOT, EROFS, EACCES, EIO
        let faults = [28, 122, 30, 13, 5].map(of);
        let (full, read_only) = (CacheFault::DiskFull, CacheFault::ReadOnly);
        assert_eq!(
            faults,
            [full, full, read_only, CacheFault::NoAuth, CacheFault::Unavailable]
        );
    }
}
