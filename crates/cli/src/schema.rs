//! `seawall schema`: the JSON Schema of the scenario document, for editors.

use crate::output::print;
use crate::stop::Stop;

/// Prints the JSON Schema of the scenario document, with which editors complete and check
#[derive(clap::Args)]
#[command(after_help = "\
With Taplo or Even Better TOML, put this on top of a scenario:
  #:schema ./scenario.schema.json
after `seawall schema > scenario.schema.json`.")]
pub(crate) struct Arguments {}

/// Prints it.
pub(crate) fn run(_: &Arguments) -> Result<bool, Stop> {
    print(&seawall_scenario::schema())?;
    Ok(true)
}
