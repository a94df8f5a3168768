//! Writing: to the standard output, which may close early, and to files, which are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::stop::Stop;

/// Writes to the standard output. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Stop::Failed(format!(
            "failed to write to the standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Writes a file beside its place and moves it there when it is complete, so that nobody reads half of it.
pub(crate) fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Stop> {
    let beside = beside(path);
    let written = fill_file(&beside, fill).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        // Best effort: the half-written file may never have been there.
        let _ = fs::remove_file(&beside);
        Stop::Failed(format!("failed to write {}: {error}", path.display()))
    })
}

fn fill_file(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    fill(&mut out)?;
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}

/// In the same folder, because a rename does not cross file systems.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_not_there() {
        let folder = std::env::temp_dir().join(format!("seawall-output-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("report.html");
        let failed = write_file(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(failed.is_err() && fs::read_dir(&folder).unwrap().next().is_none());
        assert!(write_file(&path, |out| out.write_all(b"whole")).is_ok());
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        fs::remove_dir_all(&folder).unwrap();
    }
}
