//! The log of commands that serve: on the standard error stream, at the level that `SEAWALL_LOG` names.

/// Begins to log.
pub(crate) fn start() {
    let level = std::env::var("SEAWALL_LOG")
        .ok()
        .and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(level.unwrap_or(tracing::Level::INFO))
        .init();
}
