//! `seawall keeper`: the process that undoes what a drill has done; a drill starts it, and nobody else has to.

use crate::stop::Stop;

/// Cleans up after a drill when the drill ends, whatever has ended it (a drill starts this by itself)
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Arguments {}

/// Keeps house until standard input ends.
pub(crate) fn run(_: &Arguments) -> Result<bool, Stop> {
    seawall_drill::keeper::serve().map_err(|error| Stop::Failed(format!("failed to keep house: {error}")))
}
