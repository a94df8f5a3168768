//! What has been played so far: a file that grows by one line a row, and from which a killed sweep goes on.
//!
//! The first line is the recipe and the shard. Each further line is a row's number, a digest of the line, and the
//! figures, with tabs between. Lines stand in the order in which rows ended. A last line that was cut short by a kill is
//! dropped; damage anywhere else is refused, for it was not a kill that did it. The file is locked while it is written.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use seawall_report::figures::{Cell, Figures};
use thiserror::Error;

use crate::grid::Shard;
use crate::recipe::{Recipe, digest};

/// So many rows are lost at most when the power fails; a kill loses none.
const ROWS_PER_SYNC: usize = 16;
/// What a journal begins with.
const MAGIC: &str = "seawall-sweep 1";
/// The longest journal that is read, in bytes.
const BYTES_MAX: u64 = 4 << 30;

/// Why a journal cannot be used.
#[derive(Debug, Error)]
pub enum Broken {
    /// It cannot be read or written.
    #[error("failed to use {path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another sweep is writing it.
    #[error("another sweep is writing {0}")]
    Busy(PathBuf),
    /// It is not a journal of this kind.
    #[error("{0} is no journal of a sweep")]
    Foreign(PathBuf),
    /// It belongs to another sweep.
    #[error("{path} belongs to another sweep; what differs: {what}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A line of it is damaged.
    #[error("line {line} of {path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Two journals disagree about a row.
    #[error("{path} has another result for point {point} than an earlier journal")]
    Disagrees {
        /// The file.
        path: PathBuf,
        /// The point.
        point: usize,
    },
    /// Rows are missing.
    #[error("{points} points are missing: {what}")]
    Missing {
        /// How many points.
        points: usize,
        /// Which shards have them, or which points these are.
        what: String,
    },
}

/// The journal of a sweep, or of a shard of it, that is being played.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    rows: BTreeMap<usize, Figures>,
    unsynced: usize,
}

/// A journal as it was read.
struct Contents {
    recipe: Recipe,
    shard: Shard,
    rows: BTreeMap<usize, Figures>,
    /// Where the last whole line ends.
    length: u64,
}

impl Journal {
    /// The journal of a shard in a folder: a new one, or one from which to go on.
    ///
    /// # Errors
    /// When it belongs to another sweep, is damaged, is being written, or cannot be used.
    pub fn open(folder: &Path, recipe: &Recipe, shard: Shard) -> Result<Journal, Broken> {
        let path = folder.join(Journal::name(shard));
        let failed = |error| Broken::File {
            path: path.clone(),
            error,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            // Some file systems of clusters have no locks. There, shards have files of their own.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::WouldBlock) => return Err(Broken::Busy(path)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let text = text_of(&mut file, &path)?;
        let head = head(recipe, shard);
        let mut rows = BTreeMap::new();
        // A kill can come before the first line is whole.
        let length = if head.starts_with(&text) && text.len() < head.len() {
            file.set_len(0).map_err(failed)?;
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            file.write_all(head.as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            head.len() as u64
        } else {
            let contents = read(&text, &path)?;
            let mut what = contents.recipe.differs(recipe);
            if contents.shard != shard {
                what.push("the shard");
            }
            if !what.is_empty() {
                let what = what.join(", ");
                return Err(Broken::Other { path, what });
            }
            rows = contents.rows;
            contents.length
        };
        file.set_len(length).map_err(failed)?;
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        Ok(Journal {
            path,
            file,
            rows,
            unsynced: 0,
        })
    }

    /// The name of the file for a shard.
    fn name(shard: Shard) -> String {
        if shard == Shard::WHOLE {
            "journal.txt".to_owned()
        } else {
            format!("journal-{}-of-{}.txt", shard.index, shard.of)
        }
    }

    /// Whether a row is there.
    pub fn has(&self, row: usize) -> bool {
        self.rows.contains_key(&row)
    }

    /// How many rows are there.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Notes a row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn push(&mut self, row: usize, figures: Figures) -> Result<(), Broken> {
        let written = self.file.write_all(line(row, &figures).as_bytes());
        written.map_err(|error| self.failed(error))?;
        self.rows.insert(row, figures);
        self.unsynced += 1;
        if self.unsynced >= ROWS_PER_SYNC {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes sure that all rows survive a power failure.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn sync(&mut self) -> Result<(), Broken> {
        self.unsynced = 0;
        self.file.sync_data().map_err(|error| self.failed(error))
    }

    /// The figures, in the order of the rows.
    pub fn into_rows(self) -> Vec<Figures> {
        self.rows.into_values().collect()
    }

    fn failed(&self, error: io::Error) -> Broken {
        Broken::File {
            path: self.path.clone(),
            error,
        }
    }
}

/// Puts journals of one sweep together: its recipe, and all figures in the order of the rows. A folder stands for all
/// journals in it.
///
/// # Errors
/// When they belong to different sweeps, or rows are missing; the message names the shards that have them.
pub fn merge(paths: &[PathBuf]) -> Result<(Recipe, Vec<Figures>), Broken> {
    let mut whole: Option<(Recipe, BTreeMap<usize, Figures>)> = None;
    let mut shards: Vec<Shard> = Vec::new();
    for path in journals(paths)? {
        let failed = |error| Broken::File {
            path: path.clone(),
            error,
        };
        let text = text_of(&mut File::open(&path).map_err(failed)?, &path)?;
        let contents = read(&text, &path)?;
        shards.push(contents.shard);
        let (recipe, rows) = whole.get_or_insert_with(|| (contents.recipe.clone(), BTreeMap::new()));
        let what = contents.recipe.differs(recipe);
        if !what.is_empty() {
            let what = what.join(", ");
            return Err(Broken::Other { path, what });
        }
        for (row, figures) in contents.rows {
            let point = row / recipe.variants.len();
            // Compared as texts, for what is missing equals itself there.
            if rows
                .get(&row)
                .is_some_and(|known| line(row, known) != line(row, &figures))
            {
                return Err(Broken::Disagrees { path, point });
            }
            rows.insert(row, figures);
        }
    }
    let Some((recipe, rows)) = whole else {
        return Err(Broken::Missing {
            points: 0,
            what: "there is no journal here".to_owned(),
        });
    };
    let variants = recipe.variants.len();
    let mut missing: Vec<usize> = (0..recipe.points() * variants)
        .filter(|row| !rows.contains_key(row))
        .map(|row| row / variants)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok((recipe, rows.into_values().collect()));
    }
    Err(Broken::Missing {
        points: missing.len(),
        what: whose(&missing, &shards),
    })
}

/// Who has the missing points: the shards, where all are cut alike.
fn whose(missing: &[usize], shards: &[Shard]) -> String {
    const TOLD_MAX: usize = 20;
    let of = shards.first().map_or(1, |shard| shard.of);
    let (what, mut numbers): (&str, Vec<String>) = if of > 1 && shards.iter().all(|shard| shard.of == of) {
        let mut indices: Vec<usize> = missing.iter().map(|point| point % of).collect();
        indices.sort_unstable();
        indices.dedup();
        let told = |index: usize| {
            let begun = shards.iter().any(|shard| shard.index == index);
            format!("{index}/{of}{}", if begun { " (not finished)" } else { "" })
        };
        ("shards", indices.into_iter().map(told).collect())
    } else {
        ("points", missing.iter().map(usize::to_string).collect())
    };
    let more = numbers.len().saturating_sub(TOLD_MAX);
    numbers.truncate(TOLD_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{what} {}{more}", numbers.join(", "))
}

/// The journals among some paths, sorted within a folder.
fn journals(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Broken> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let failed = |error| Broken::File {
            path: path.clone(),
            error,
        };
        let mut found = Vec::new();
        for entry in path.read_dir().map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let is_text = file.extension().is_some_and(|extension| extension == "txt");
            if is_text && name.starts_with("journal") {
                found.push(file);
            }
        }
        found.sort();
        all.extend(found);
    }
    Ok(all)
}

fn head(recipe: &Recipe, shard: Shard) -> String {
    format!("{MAGIC}\t{shard}\t{}\n", recipe.line())
}

fn line(row: usize, figures: &Figures) -> String {
    let cells: Vec<String> = figures.cells().iter().map(Cell::text).collect();
    let rest = format!("{row}\t{}", cells.join("\t"));
    format!("{:08x}\t{rest}\n", digest(rest.as_bytes()) as u32)
}

fn row_of(line: &str) -> Option<(usize, Figures)> {
    let (check, rest) = line.split_once('\t')?;
    if check != format!("{:08x}", digest(rest.as_bytes()) as u32) {
        return None;
    }
    let (row, cells) = rest.split_once('\t')?;
    let cells: Vec<&str> = cells.split('\t').collect();
    Some((row.parse().ok()?, Figures::read(&cells)?))
}

fn text_of(file: &mut File, path: &Path) -> Result<String, Broken> {
    let failed = |error| Broken::File {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    // A letter can be cut in two by a kill; what is after it is dropped with its line.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read(text: &str, path: &Path) -> Result<Contents, Broken> {
    let foreign = || Broken::Foreign(path.to_owned());
    let (first, mut rest) = text.split_once('\n').ok_or_else(foreign)?;
    let mut parts = first.splitn(3, '\t');
    if parts.next() != Some(MAGIC) {
        return Err(foreign());
    }
    let shard: Shard = parts
        .next()
        .and_then(|shard| shard.parse().ok())
        .ok_or_else(foreign)?;
    let recipe = parts.next().and_then(Recipe::read).ok_or_else(foreign)?;
    let mut length = first.len() + 1;
    let mut rows = BTreeMap::new();
    let mut number = 1;
    while let Some((line, after)) = rest.split_once('\n') {
        number += 1;
        let Some((row, figures)) = row_of(line) else {
            if after.is_empty() {
                break;
            }
            return Err(Broken::Damaged {
                path: path.to_owned(),
                line: number,
            });
        };
        rows.insert(row, figures);
        length += line.len() + 1;
        rest = after;
    }
    rows.retain(|row, _| *row < recipe.points() * recipe.variants.len());
    Ok(Contents {
        recipe,
        shard,
        rows,
        length: length as u64,
    })
}
