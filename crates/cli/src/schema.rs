//! `seawall schema`: the JSON Schema of the scenario document or the gateway's, for editors.

use crate::output::print;
use crate::stop::Stop;

/// Prints the JSON Schema of the scenario document or the gateway's, with which editors complete and check
#[derive(clap::Args)]
#[command(after_help = "\
With Taplo or Even Better TOML, put this on top of a scenario:
  #:schema ./scenario.schema.json
after `seawall schema > scenario.schema.json`.")]
pub(crate) struct Arguments {
    /// That of the gateway's document (seawall.toml)
    #[arg(long)]
    gateway: bool,
}

/// Prints it.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    print(&if arguments.gateway {
        seawall_scenario::deployment_schema()
    } else {
        seawall_scenario::schema()
    })?;
    Ok(true)
}
