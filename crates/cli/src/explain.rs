//! `seawall explain`: the arithmetic that a reviewer would do on the back of an envelope.

use crate::output::print;
use crate::source::{document, unknown};
use crate::stop::Stop;

/// Does the arithmetic: normal load, load without the cache, capacity, shortfall, time to refill
#[derive(clap::Args)]
#[command(after_help = "\
Nothing is simulated: these are closed formulas, and they say whether the system can stay down after its cache is back.
`seawall simulate` then shows what really happens.")]
pub(crate) struct Arguments {
    /// The scenario: a file, or the name of one that is built in
    #[arg(value_name = "FILE|NAME")]
    scenario: String,
    /// Of this variant [default: the first]
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = crate::simulate::Format::Text)]
    format: crate::simulate::Format,
}

/// Prints it.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    let document = document(&arguments.scenario)?;
    let names = document.variants();
    let first = names.first().copied().unwrap_or_default();
    let variant = arguments.variant.as_deref().unwrap_or(first);
    if !names.contains(&variant) {
        return Err(unknown(
            "variant",
            variant,
            &names,
            &format!("its variants: {}", names.join(", ")),
        ));
    }
    let explanation = seawall_scenario::explain(&document.scenario(variant, &[])?);
    print(&match arguments.format {
        crate::simulate::Format::Text => explanation.text(),
        crate::simulate::Format::Json => format!("{:#}\n", explanation.json()),
    })?;
    Ok(true)
}
