//! Small disks in memory (tmpfs) that can be filled.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::lease::{Lease, ask};
use super::{Failed, GLANCE, HEALING, Refused};
use crate::keeper::{Keeper, Mending, Program};

/// The file that takes all room.
const FILLER: &str = "seawall-filler";
/// A small disk has at most so many bytes, for they are taken from memory.
const BYTES_MAX: u64 = 1 << 30;

/// A small disk, mounted below the drill's folder until the drill ends.
#[derive(Debug)]
pub struct Small {
    path: PathBuf,
    bytes: u64,
}

impl Small {
    /// Mounts one at this path below the drill's folder, before the server is started that is to have it. It is given
    /// to the first of `users` that there is.
    ///
    /// # Errors
    /// When this machine does not let file systems be mounted.
    pub async fn mount(
        keeper: &Arc<Keeper>,
        path: &Path,
        bytes: u64,
        users: &[String],
    ) -> Result<Small, Refused> {
        if !path.starts_with(keeper.folder()) || bytes > BYTES_MAX {
            let path = path.display();
            return Err(Refused::Impossible(format!(
                "no disk of {bytes} bytes is made at {path}: at most {BYTES_MAX}, and in the drill's folder"
            )));
        }
        std::fs::create_dir_all(path).map_err(Failed::from)?;
        let lease = Lease::for_all(keeper, Mending::Mount(path.to_owned())).await?;
        let mounted = mounted(keeper, path, bytes).await;
        lease.unless(mounted).await?;
        let (given, users) = (path.to_owned(), users.to_vec());
        ask(keeper, move |keeper| keeper.give(&given, &users)).await?;
        let path = path.to_owned();
        Ok(Small { path, bytes })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this path is on it.
    pub(super) fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.path)
    }
}

/// The keeper mounts it: had the drill begun to and were killed, it might be done after all has been undone.
async fn mounted(keeper: &Arc<Keeper>, path: &Path, bytes: u64) -> Result<(), Refused> {
    let at = path.display().to_string();
    let options = format!("size={bytes},mode=0700");
    let args = ["-t", "tmpfs", "-o", &options, "seawall-drill", &at];
    let mount = Program {
        name: "mount".into(),
        file: "mount".into(),
        args: args.map(str::to_owned).to_vec(),
        ..Program::default()
    };
    let pid = ask(keeper, move |keeper| keeper.run(&mount)).await?;
    let begun = Instant::now();
    while begun.elapsed() < HEALING {
        match ask(keeper, move |keeper| keeper.ended(pid)).await? {
            None => sleep(GLANCE).await,
            Some(how) if how.contains("exit status: 0") => return Ok(()),
            Some(_) => break,
        }
    }
    let log = std::fs::read_to_string(keeper.folder().join("mount.log")).unwrap_or_default();
    let why = log
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it takes too long");
    Err(Refused::Impossible(format!(
        "no small disk can be mounted here, which needs the rights of root: {}",
        why.trim()
    )))
}

/// Mounts one and takes it away again.
pub(super) async fn trial(keeper: &Arc<Keeper>) -> Result<(), Refused> {
    let path = keeper.folder().join("trial");
    std::fs::create_dir_all(&path).map_err(Failed::from)?;
    let lease = Lease::for_all(keeper, Mending::Mount(path.clone())).await?;
    let mounted = mounted(keeper, &path, 1 << 20).await;
    lease.unless(mounted).await?;
    Ok(lease.end().await?)
}

/// A small disk that is full.
pub(super) struct Filled {
    path: PathBuf,
    bytes: u64,
    lease: Lease,
}

impl Filled {
    /// Takes all room that is left.
    pub(super) async fn begin(keeper: &Arc<Keeper>, disk: &Small, max: Duration) -> Result<Filled, Refused> {
        let path = disk.path.join(FILLER);
        let lease = Lease::take(keeper, Mending::Remove(path.clone()), max).await?;
        let (file, bytes) = (path.clone(), disk.bytes);
        let filled = tokio::task::spawn_blocking(move || fill(&file, bytes))
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(Failed::from);
        let bytes = lease.unless(filled).await?;
        Ok(Filled { path, bytes, lease })
    }

    pub(super) fn done(&self) -> String {
        let kib = self.bytes >> 10;
        format!("filled the last {kib} KiB of the disk")
    }

    /// Gives the room back.
    pub(super) async fn end(&self) -> Result<(), Failed> {
        self.lease.end().await?;
        if self.path.exists() {
            return Err(Failed::new(format!("{} is still there", self.path.display())));
        }
        Ok(())
    }
}

/// Writes until nothing more goes in; says how much did.
fn fill(path: &Path, bytes_max: u64) -> std::io::Result<u64> {
    let mut file = File::create(path)?;
    let zeros = vec![0; 64 << 10];
    let mut written = 0;
    // Ever smaller pieces, down to the last page.
    for piece in [zeros.len(), 4_096, 1] {
        while written <= bytes_max {
            match file.write(&zeros[..piece]) {
                Ok(some) => written += some as u64,
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(written)
}
