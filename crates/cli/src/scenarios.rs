//! `seawall scenarios`: what is built in.

use seawall_scenario::Document;

use crate::builtin;
use crate::output::print;
use crate::stop::Stop;

/// Lists the scenarios that are built in, one line each
#[derive(clap::Args)]
#[command(after_help = "\
`seawall scenarios NAME` prints the document of one: a start for your own.
  seawall scenarios redis-down > mine.toml && seawall simulate mine.toml")]
pub(crate) struct Arguments {
    /// Prints the document of this one instead
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Prints the list, or one document.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    if let Some(name) = &arguments.name {
        let names: Vec<&str> = builtin::SCENARIOS.iter().map(|(name, _)| *name).collect();
        let text = builtin::text_of(name);
        let text = text.ok_or_else(|| {
            crate::source::unknown("scenario", name, &names, "`seawall scenarios` lists them")
        })?;
        print(text)?;
        return Ok(true);
    }
    let columns = builtin::SCENARIOS
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (name, document) in builtin::SCENARIOS {
        let document = Document::parse(name, document)?;
        text += &[&format!("{name:<columns$}"), document.title()].join("  ");
        text.push('\n');
    }
    print(&text)?;
    Ok(true)
}
