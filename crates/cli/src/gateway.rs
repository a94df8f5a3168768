//! `seawall gateway`: serves.

use std::path::PathBuf;

use seawall_gateway::{Config, StartError};

use crate::log;
use crate::output::print;
use crate::stop::Stop;

/// Runs the gateway: caches, protects and passes on HTTP for what stands behind it
#[derive(clap::Args)]
#[command(after_help = "\
The document is watched: a change is taken over while running, and one that is wrong is refused. SEAWALL_* variables \
win over it. SIGTERM drains. SEAWALL_LOG is error, warn, info (the default), debug or trace.

Exit status: 0 drained, or in order; 1 what was under way did not end in time; 2 the document is wrong; 3 it could not \
start.")]
pub(crate) struct Arguments {
    /// The gateway's document
    #[arg(long, value_name = "FILE", default_value = "seawall.toml")]
    config: PathBuf,

    /// Check the document, with the variables that are set, and end
    #[arg(long)]
    check: bool,
}

/// Serves until told to stop.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    log::start();
    let config = Config::read(&arguments.config).map_err(|error| {
        Stop::Input(
            error.to_string(),
            "check the path; docs/gateway.md has a document to begin with".to_owned(),
        )
    })?;
    let config = config.environment(std::env::vars().collect());
    if arguments.check {
        let deployment = config.check()?;
        let (upstreams, routes) = (deployment.upstreams.len(), deployment.routes.len());
        print(&format!(
            "{}: in order, upstreams: {upstreams}, routes: {routes}\n",
            arguments.config.display()
        ))?;
        return Ok(true);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Failed(format!("failed to start threads: {error}")))?;
    runtime
        .block_on(seawall_gateway::run(config))
        .map_err(|error| match error {
            StartError::Document(mistakes) => Stop::Document(mistakes),
            error => Stop::Failed(error.to_string()),
        })
}
