//! PostgreSQL's own client.

#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

/// What `psql` says of a query, how it ends, and after how long.
pub(crate) async fn psql(address: SocketAddr, query: &str) -> (String, Duration) {
    psql_as("drill", address, query).await
}

/// The same as somebody else.
pub(crate) async fn psql_as(user: &str, address: SocketAddr, query: &str) -> (String, Duration) {
    let begun = Instant::now();
    let done = tokio::process::Command::new(psql_file())
        .args(["-X", "-A", "-t", "-v", "VERBOSITY=verbose", "-c", query])
        .arg(format!(
            "host={} port={} user={user} dbname=postgres connect_timeout=10",
            address.ip(),
            address.port()
        ))
        .kill_on_drop(true)
        .output()
        .await
        .expect("psql");
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    (said.trim().to_owned(), begun.elapsed())
}

/// Debian keeps the programs of each version in a folder of its own.
fn psql_file() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let files = versions.map(|version| version.path().join("bin/psql"));
    files
        .filter(|file| file.is_file())
        .max()
        .unwrap_or_else(|| "psql".into())
}
