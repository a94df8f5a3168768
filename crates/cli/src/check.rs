//! `seawall check`: is this document in order?

use crate::output::print;
use crate::source::document;
use crate::stop::Stop;

/// Checks a scenario file: every mistake, its place, and how to mend it
#[derive(clap::Args)]
#[command(after_help = "\
Every variant is checked. Exit status: 0 in order; 2 not, with all mistakes on the standard error stream.")]
pub(crate) struct Arguments {
    /// The scenario: a file, or the name of one that is built in
    #[arg(value_name = "FILE|NAME")]
    scenario: String,
}

/// Says what was found to be in order.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    let document = document(&arguments.scenario)?;
    let names = document.variants();
    let variants = if names.len() == 1 { "variant" } else { "variants" };
    print(&format!(
        "{}: in order, {} {variants}: {}\n",
        arguments.scenario,
        names.len(),
        names.join(", ")
    ))?;
    Ok(true)
}
