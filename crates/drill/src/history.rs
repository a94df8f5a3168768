//! The drills that were done, in a folder: one journal each, the oldest of many gone.
//!
//! Two kept drills are held against each other by [`compare`]: what changed, and whether it is more than a run varies by
//! itself.

mod change;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::journal::{self, BYTES_MAX, Unread};
use crate::kept::Kept;
use crate::outcome::Verdict;

pub use change::{Change, Sort, compare};

/// So many drills are kept.
pub const KEPT_MAX: usize = 200;

/// The folder.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
}

/// One drill in the folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is called by.
    pub name: String,
    /// What was kept.
    pub kept: Kept,
}

/// Why a drill is not found.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// Nothing is called so.
    #[error("no drill is kept as `{0}`")]
    Nothing(String),
    /// Several are.
    #[error("`{0}` may be {1}")]
    Several(String, String),
    /// It cannot be read.
    #[error("failed to read {0}: {1}")]
    Read(String, io::Error),
    /// It is no drill.
    #[error("failed to read {0}: {1}")]
    Unread(String, Unread),
}

/// Where drills are kept if nobody says: `$XDG_STATE_HOME/seawall/drills`, or `~/.local/state/seawall/drills`. Nothing when
/// there is no home either.
pub fn usual_folder(state: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let told = state.filter(|path| path.is_absolute());
    let state = told.or_else(|| {
        home.filter(|path| path.is_absolute())
            .map(|home| home.join(".local/state"))
    });
    state.map(|state| state.join("seawall/drills"))
}

impl History {
    /// A folder, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or not be written to.
    pub fn open(folder: &Path) -> io::Result<History> {
        fs::create_dir_all(folder)?;
        // Better now than after a drill.
        let probe = folder.join(format!(".{}.part", std::process::id()));
        fs::File::create(&probe).and_then(|_| fs::remove_file(&probe))?;
        Ok(History {
            folder: folder.to_owned(),
        })
    }

    /// A folder that is only read. It may not be there: then it is empty.
    pub fn of(folder: &Path) -> History {
        History {
            folder: folder.to_owned(),
        }
    }

    /// Keeps a drill, and forgets the oldest beyond [`KEPT_MAX`]; what it is called by.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, kept: &Kept, journal: &Value) -> io::Result<String> {
        let name = self.free_name(kept);
        let part = self.folder.join(format!(".{name}.part"));
        let written = fs::File::create(&part).and_then(|mut file| {
            serde_json::to_writer(io::BufWriter::new(&mut file), journal)?;
            file.flush()?;
            file.sync_all()
        });
        if let Err(error) = written.and_then(|()| fs::rename(&part, self.path(&name))) {
            // It may never have been there.
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        let names = self.names();
        for old in names.iter().take(names.len().saturating_sub(KEPT_MAX)) {
            // Somebody else may have been faster.
            let _ = fs::remove_file(self.path(old));
        }
        Ok(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// When, what, and with a number when there is already one of this second.
    fn free_name(&self, kept: &Kept) -> String {
        let stamp: String = journal::utc(kept.began)[..19]
            .chars()
            .filter(|letter| *letter != '-' && *letter != ':')
            .collect();
        let file = Path::new(&kept.scenario)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        let plain = |letter: char| {
            if letter.is_ascii_alphanumeric() || letter == '-' {
                letter
            } else {
                '-'
            }
        };
        let mut name = format!("{stamp}-{}", file.chars().take(60).map(plain).collect::<String>());
        if let [only] = kept.variants.as_slice() {
            name += "-";
            name.extend(only.variant.chars().take(40).map(plain));
        }
        if !self.path(&name).exists() {
            return name;
        }
        let numbered = (2..).map(|number: u64| format!("{name}-{number}"));
        numbered
            .into_iter()
            .find(|name| !self.path(name).exists())
            .unwrap_or(name)
    }

    /// What is there, the oldest first: names begin with the time.
    pub fn names(&self) -> Vec<String> {
        let Ok(folder) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let name = |entry: fs::DirEntry| {
            let name = entry.file_name().to_str()?.strip_suffix(".json")?.to_owned();
            (!name.starts_with('.')).then_some(name)
        };
        let mut names: Vec<String> = folder.flatten().filter_map(name).collect();
        names.sort();
        names
    }

    /// All that can be read, the oldest first, and the names of what cannot be.
    pub fn entries(&self) -> (Vec<Entry>, Vec<String>) {
        let (mut entries, mut unread) = (Vec::new(), Vec::new());
        for name in self.names() {
            match read(&self.path(&name)) {
                Ok(kept) => entries.push(Entry { name, kept }),
                Err(_) => unread.push(name),
            }
        }
        (entries, unread)
    }

    /// A drill by a file's path, by its name or a part of it that no other has, or by its number as a list has them: 1 is
    /// the last one.
    ///
    /// # Errors
    /// When there is no such drill, or it cannot be read.
    pub fn find(&self, what: &str) -> Result<Entry, NotFound> {
        let path = Path::new(what);
        if path.is_file() {
            return Ok(Entry {
                name: what.to_owned(),
                kept: read(path)?,
            });
        }
        let names = self.names();
        let number = what
            .parse::<usize>()
            .ok()
            .filter(|number| (1..=names.len()).contains(number));
        let found: Vec<&String> = match number {
            Some(number) => names.iter().rev().skip(number - 1).take(1).collect(),
            None => names.iter().filter(|name| name.as_str() == what).collect(),
        };
        let found = if found.is_empty() && !what.is_empty() {
            names.iter().filter(|name| name.contains(what)).collect()
        } else {
            found
        };
        match found.as_slice() {
            [] => Err(NotFound::Nothing(what.to_owned())),
            [name] => Ok(Entry {
                name: (*name).clone(),
                kept: read(&self.path(name))?,
            }),
            several => {
                let names: Vec<&str> = several.iter().take(4).map(|name| name.as_str()).collect();
                let more = if several.len() > 4 { " …" } else { "" };
                Err(NotFound::Several(what.to_owned(), names.join(", ") + more))
            }
        }
    }
}

/// A drill from its journal.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn read(path: &Path) -> Result<Kept, NotFound> {
    let shown = path.display().to_string();
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| NotFound::Read(shown.clone(), error))?;
    journal::read(&bytes).map_err(|error| NotFound::Unread(shown, error))
}

/// The worst verdict of several.
pub fn worst<'k>(all: impl IntoIterator<Item = &'k Kept>) -> Verdict {
    all.into_iter().map(Kept::verdict).max().unwrap_or(Verdict::Held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::FORMAT;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("seawall-history-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn kept(began: f64) -> Kept {
        Kept {
            format: FORMAT,
            scenario: "mine/redis down.toml".to_owned(),
            title: String::new(),
            about: String::new(),
            seed: 1,
            scale: 1.0,
            time: 1.0,
            sets: Vec::new(),
            version: String::new(),
            machine: String::new(),
            began,
            ended: began,
            variants: Vec::new(),
        }
    }

    fn keep(history: &History, began: f64) -> String {
        let kept = kept(began);
        history
            .keep(&kept, &journal::journal(&Value::Null, &kept))
            .expect("there is room")
    }

    #[test]
    fn drills_are_found_by_name_part_number_and_path() {
        let folder = Folder::new("found");
        let history = History::open(&folder.0).expect("it can be made");
        let first = keep(&history, 1_700_000_000.0);
        let again = keep(&history, 1_700_000_000.9);
        let last = keep(&history, 1_800_000_000.0);
        assert_eq!(first, "20231114T221320-redis-down");
        assert_eq!(again, "20231114T221320-redis-down-2");
        let found = |what: &str| history.find(what).map(|entry| entry.name);
        assert_eq!(found("1").expect("the last"), last);
        assert_eq!(found("3").expect("the first"), first);
        assert_eq!(found(&first).expect("a whole name beats a part"), first);
        assert_eq!(found("down-2").expect("a part"), again);
        assert!(matches!(found("redis"), Err(NotFound::Several(..))));
        assert!(matches!(found("nothing"), Err(NotFound::Nothing(_))));
        let path = folder.0.join(format!("{last}.json"));
        assert_eq!(
            found(path.to_str().expect("it is text")).expect("a path"),
            path.to_str().expect("it is text")
        );
        fs::write(folder.0.join("zz.json"), "no journal").expect("there is room");
        let (entries, unread) = history.entries();
        assert_eq!((entries.len(), unread), (3, vec!["zz".to_owned()]));
    }

    #[test]
    fn the_oldest_go_first() {
        let folder = Folder::new("oldest");
        let history = History::open(&folder.0).expect("it can be made");
        for number in 0..KEPT_MAX + 2 {
            keep(&history, 1_700_000_000.0 + number as f64);
        }
        let names = history.names();
        assert_eq!(names.len(), KEPT_MAX);
        assert_eq!(names[0], "20231114T221322-redis-down");
    }

    #[test]
    fn the_usual_place_is_that_of_the_system() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            usual_folder(path("/state"), path("/root")),
            path("/state/seawall/drills")
        );
        assert_eq!(
            usual_folder(path("relative"), path("/root")),
            path("/root/.local/state/seawall/drills")
        );
        assert_eq!(usual_folder(None, None), None);
    }

    #[test]
    fn a_folder_that_cannot_be_one_is_found_out_at_once() {
        let folder = Folder::new("file");
        fs::create_dir_all(&folder.0).expect("there is room");
        fs::write(folder.0.join("file"), "").expect("there is room");
        assert!(History::open(&folder.0.join("file")).is_err());
    }
}
