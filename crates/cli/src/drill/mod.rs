//! `seawall drill`: the same scenario on real servers, what was measured beside what was predicted.

mod all;
mod doing;
mod history;
mod live;
mod mend;
mod plan;
mod predict;
mod prove;
mod told;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::playing::{setting, share};
use crate::stop::Stop;

/// Drills a scenario: real servers, real faults, and what was measured beside what was predicted
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  seawall drill redis-down                              the variants that the scenario names, the verdict first
  seawall drill redis-down --variant seawall --report drill.html
  seawall drill --all --report drills/ --table docs/drills.md
  seawall drill redis-slow --prove breaker              with it and without it, in turns
  seawall drill retry-storm --variant unprotected --mend
  seawall drill --list                                  what was drilled before
  seawall drill compare 2 1                             the last but one drill beside the last one

Nothing is touched that is not declared a test environment: the scenario says `[environment] test = true`.
Ctrl-C ends a drill and takes everything back; a second one leaves that to the process that cleans up.

Exit status: 0 held; 1 deviated; 2 the input is wrong, and nothing was started; 3 it was not well before anything was
injected, or did not start; 4 aborted by a guard or by hand; 5 something could not be taken back. Of several variants,
the worst."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    doing: Doing,
}

/// What is drilled, and what is made of it.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Doing {
    /// The scenario: a file, or the name of one that is built in
    #[arg(value_name = "NAME|FILE", required_unless_present_any = ["all", "list"])]
    scenario: Option<String>,
    /// Only this variant; may be repeated [default: those that the scenario's `[drill]` names]
    #[arg(long, value_name = "NAME")]
    variant: Vec<String>,
    /// The share of the full size: 1, 0.01, 1/100 or 1% [default: the scenario's]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    scale: Option<f64>,
    /// The share of their time that slow things take [default: the scenario's]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    time: Option<f64>,
    /// With real servers, and not at all where there are none [default: stand-ins where Redis or PostgreSQL is missing]
    #[arg(long, conflicts_with = "embedded")]
    real: bool,
    /// With stand-ins in this process in the place of Redis and PostgreSQL
    #[arg(long)]
    embedded: bool,
    /// Changes the scenario, as if it were written there; may be repeated
    #[arg(long, value_name = "PATH=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Predicts it five times instead of once, each with other draws: curves then have a band
    #[arg(long)]
    predict: bool,
    /// A prediction that is off by more than 15% is a deviation too
    #[arg(long)]
    strict: bool,
    /// Writes a page with the measured curves over the predicted ones; with --all a folder, or one file for the summary alone
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Writes a journal of Chaos Toolkit, with all that was measured
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    journal: Option<PathBuf>,
    /// Writes the drill as an experiment of Chaos Toolkit, and runs nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "list", "journal", "report"])]
    experiment: Option<PathBuf>,
    /// Drills it with this protection and without it, in turns, and says whether it made the difference
    #[arg(long, value_name = "PROTECTION", conflicts_with_all = ["all", "list", "experiment", "journal", "report", "check", "mend"])]
    prove: Option<String>,
    /// With --prove: so many pairs; fewer than two have no confidence
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,
    /// Lists what would mend each weakness that is found, by the simulator, and tries it in one more drill
    #[arg(long, conflicts_with_all = ["all", "list", "experiment", "check"])]
    mend: bool,
    /// Says whether it can be drilled here, and starts nothing
    #[arg(long, conflicts_with_all = ["all", "list", "experiment"])]
    check: bool,
    /// Every scenario that is built in and has a `[drill]`, one after the other, and one summary
    #[arg(long, conflicts_with_all = ["scenario", "list", "variant"])]
    all: bool,
    /// With --all: writes the table of predicted and measured as Markdown
    #[arg(long, value_name = "FILE.md", requires = "all")]
    table: Option<PathBuf>,
    /// Lists the drills that are kept, the last one first
    #[arg(long, conflicts_with = "scenario")]
    list: bool,
    /// Where drills are kept, at most 200 [default: seawall/drills in `$XDG_STATE_HOME` or ~/.local/state]
    #[arg(long, value_name = "FOLDER")]
    history: Option<PathBuf>,
    /// Plain lines instead of the live view, in a terminal too
    #[arg(long)]
    plain: bool,
}

#[derive(clap::Subcommand)]
enum Other {
    Compare(history::Compare),
    Verdict(history::Verdict),
}

impl Doing {
    /// Whether stand-ins take the place of servers.
    fn is_embedded(&self) -> bool {
        self.embedded || !self.real && !seawall_drill::stack::has_servers()
    }
}

/// Drills, or tells of drills.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let doing = &arguments.doing;
    let status = match (&arguments.other, &doing.scenario) {
        (Some(Other::Compare(compare)), _) => history::compare(compare)?,
        (Some(Other::Verdict(verdict)), _) => history::verdict(verdict)?,
        (None, _) if doing.list => history::list(doing.history.as_deref())?,
        (None, _) if doing.all => all::run(doing)?,
        (None, Some(scenario)) => one(doing, scenario)?,
        (None, None) => {
            return Err(Stop::Input(
                "no scenario is named".to_owned(),
                "`seawall scenarios` lists them".to_owned(),
            ));
        }
    };
    Ok(ExitCode::from(status))
}

/// One scenario: the status of its worst variant.
fn one(doing: &Doing, name: &str) -> Result<u8, Stop> {
    if let Some(protection) = &doing.prove {
        return prove::run(doing, name, protection);
    }
    let plan = plan::Plan::of(doing, name)?;
    if let Some(path) = &doing.experiment {
        return plan.write_experiment(path, doing);
    }
    plan.judge_refusals(doing.is_embedded())?;
    if doing.check {
        crate::output::print(&plan.told())?;
        return Ok(0);
    }
    let outputs = plan::Outputs::of(doing)?;
    let hands = doing::Hands::new(doing)?;
    let kept = hands.drill(&plan)?;
    let columns = crate::simulate::columns();
    let drill = told::drill(&plan.scenarios(), &kept);
    crate::output::print(&seawall_report::drill::verdicts(&drill, columns))?;
    let journal = plan.journal(&kept, doing);
    outputs.keep(&kept, &journal);
    outputs.write(&drill, &journal)?;
    crate::output::print(&seawall_report::drill::text(&drill, columns))?;
    if doing.mend {
        crate::output::print(&mend::mended(doing, &hands, &plan, &kept.variants)?)?;
    }
    Ok(kept.verdict().status())
}
