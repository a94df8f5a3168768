//! What was done to a live system, by whom, and what came of it: one line of JSON each, never shortened or rewritten.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::live::wall_clock;
use crate::stop::Stop;

/// Where it is kept without `--audit-log`.
pub(super) fn usual() -> PathBuf {
    let home = |name: &str| {
        std::env::var_os(name)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    };
    let state = home("XDG_STATE_HOME").or_else(|| Some(home("HOME")?.join(".local/state")));
    state
        .unwrap_or_else(|| PathBuf::from("."))
        .join("seawall/actions.jsonl")
}

/// The log, opened before anything is done: what cannot be written down is not done.
pub(super) struct AuditLog {
    file: std::fs::File,
    path: PathBuf,
}

impl AuditLog {
    pub(super) fn open(path: &Path) -> Result<AuditLog, Stop> {
        let failed = |error: std::io::Error| {
            let help = "what is done to a live system is written down first: --audit-log names another place";
            Stop::Input(
                format!("failed to open {}: {error}", path.display()),
                help.to_owned(),
            )
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(failed)?;
        Ok(AuditLog {
            file,
            path: path.to_owned(),
        })
    }

    /// Writes one line, which is on the disk when this returns.
    pub(super) fn note(&mut self, step: &str, what: &str, more: &Value) -> Result<(), Stop> {
        let at = wall_clock();
        let who = std::env::var("SUDO_USER")
            .or_else(|_| std::env::var("USER"))
            .unwrap_or_else(|_| "unknown".to_owned());
        let line = json!({ "at": at, "who": who, "step": step, "what": what, "more": more });
        let written = self
            .file
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| self.file.sync_data());
        written.map_err(|error| Stop::Failed(format!("failed to write to {}: {error}", self.path.display())))
    }
}
