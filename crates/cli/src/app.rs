//! `seawall app`: one instance of a service of a scenario; a drill starts it, and nobody else has to.

use std::path::PathBuf;

use crate::log;
use crate::stop::Stop;

/// Stands where an application would stand in a drill (a drill starts this by itself)
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Arguments {
    /// What it is to be
    #[arg(value_name = "FILE")]
    duty: PathBuf,
}

/// Serves until it is ended.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    log::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Stop::Failed(format!("failed to start threads: {error}")))?;
    runtime
        .block_on(seawall_drill::app::serve(&arguments.duty))
        .map_err(|error| Stop::Failed(error.to_string()))?;
    Ok(true)
}
