//! The files: where they are, what their names mean, how they are written.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::DiskError;
use super::index::{Name, Named};

/// The folder, held for as long as it is used.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Numbers the files that are being written.
    writing: AtomicU64,
    /// Its lock is given back by the system, however the process ends.
    _lock: File,
}

impl Folder {
    /// Opens a folder, and says what is in it. What is half written is taken away; what is not ours stays.
    pub(super) fn open(root: &Path) -> Result<(Folder, Named), DiskError> {
        let failed = |source| DiskError::Io {
            folder: root.to_owned(),
            source,
        };
        fs::create_dir_all(root).map_err(failed)?;
        let lock = File::create(root.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DiskError::Taken(root.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let folder = Folder {
            root: root.to_owned(),
            writing: AtomicU64::new(0),
            _lock: lock,
        };
        let found = folder.list().map_err(failed)?;
        Ok((folder, found))
    }

    fn list(&self) -> io::Result<Named> {
        let beside = self.root.join("new");
        fs::create_dir_all(&beside)?;
        for file in fs::read_dir(&beside)? {
            fs::remove_file(file?.path())?;
        }
        let mut found = Vec::new();
        for first in 0..=u8::MAX {
            let folder = self.shelf(first);
            fs::create_dir_all(&folder)?;
            for file in fs::read_dir(&folder)? {
                found.extend(file?.file_name().to_str().and_then(parse));
            }
        }
        Ok(found)
    }

    pub(super) fn read(&self, digest: u128, name: &Name) -> io::Result<Bytes> {
        fs::read(self.place(digest, name)).map(Bytes::from)
    }

    pub(super) fn write(&self, digest: u128, name: &Name, bytes: &[u8]) -> io::Result<()> {
        let place = self.place(digest, name);
        match self.write_beside(&place, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody has tidied up here.
                fs::create_dir_all(self.root.join("new"))?;
                fs::create_dir_all(self.shelf_of(digest))?;
                self.write_beside(&place, bytes)
            }
            result => result,
        }
    }

    fn write_beside(&self, place: &Path, bytes: &[u8]) -> io::Result<()> {
        let number = self.writing.fetch_add(1, Ordering::Relaxed);
        let beside = self.root.join("new").join(number.to_string());
        let written = File::create(&beside)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&beside, place));
        if written.is_err() {
            // On a full disk, what is half written is in the way of everything else.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Takes a file away. That it is not there is fine.
    pub(super) fn remove(&self, digest: u128, name: &Name) -> io::Result<()> {
        match fs::remove_file(self.place(digest, name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The folder of the keys that begin with this byte; some file systems are slow with large folders.
    fn shelf(&self, first: u8) -> PathBuf {
        self.root.join(format!("{first:02x}"))
    }

    fn shelf_of(&self, digest: u128) -> PathBuf {
        self.shelf((digest >> 120) as u8)
    }

    fn place(&self, digest: u128, name: &Name) -> PathBuf {
        self.shelf_of(digest).join(spell(digest, name))
    }
}

fn spell(digest: u128, name: &Name) -> String {
    let Name {
        version,
        until_us,
        size,
    } = name;
    format!("{digest:032x}-{version:016x}-{until_us:016x}-{size:x}")
}

fn parse(text: &str) -> Option<(u128, Name)> {
    let mut words = text.split('-');
    let digest = u128::from_str_radix(words.next()?, 16).ok()?;
    let mut number = || u64::from_str_radix(words.next()?, 16).ok();
    let name = Name {
        version: number()?,
        until_us: number()?,
        size: number()?,
    };
    // What is spelled otherwise is not ours.
    (spell(digest, &name) == text).then_some((digest, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn names_say_what_they_were_made_of(digest: u128, version: u64, until_us: u64, size: u64, noise in "[0-9a-f-]{0,80}") {
            let name = Name { version, until_us, size };
            let text = spell(digest, &name);
            prop_assert_eq!(parse(&text), Some((digest, name)));
            prop_assert!(parse(&noise).is_none_or(|(digest, name)| spell(digest, &name) == noise));
            prop_assert_eq!(parse(&format!("{text}.bak")), None);
        }
    }
}
