//! Does one step of the runbook: shows it, does it when told to, compares, and takes back what did not help.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use seawall_core::record::{Metric, Record};
use seawall_core::time::Span;
use seawall_diagnose::Failure;
use seawall_diagnose::apply::{Effect, Means, Measured, Refused, Work, effect};
use seawall_diagnose::probe::Kind;
use seawall_diagnose::runbook::{Action, How, Id, Step, catalog, plan};
use serde_json::json;

use super::at_the_end;
use super::audit_log::{AuditLog, usual};
use super::measuring::Measuring;
use crate::live::{admin_token, target_of, unread};
use crate::output::print;
use crate::playing::span;
use crate::stop::Stop;

#[derive(clap::Args)]
pub(super) struct Acting {
    /// Shows what a step would change, and with --yes does it, compares, and takes back what did not help
    #[arg(long, value_name = "STEP")]
    apply: Option<String>,
    /// Does it without asking
    #[arg(long, requires = "apply")]
    yes: bool,
    /// Leaves it done even when it did not help
    #[arg(long, requires = "apply")]
    keep: bool,
    /// The admin API of the gateway, for steps that change protections
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// The file with its bearer token
    #[arg(long, value_name = "FILE", requires = "gateway")]
    token_file: Option<PathBuf>,
    /// A key for `purge-keys` and `warm`; may be repeated
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// For `drop-idle-clients`: who has been idle for so long [default: 5m]
    #[arg(long, value_name = "SPAN", requires = "apply", value_parser = span)]
    idle: Option<Span>,
    /// A like system that is left alone (another app, gateway or Redis): what gets better there, too, is not the step's
    /// doing; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "apply")]
    control: Vec<String>,
    /// How long a step has to show what it does, before it is judged
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = span)]
    settle: Span,
    /// Where actions are written down [default: seawall/actions.jsonl in `$XDG_STATE_HOME` or ~/.local/state]
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

impl Acting {
    /// The step that is to be done.
    pub(super) fn step(&self) -> Result<Option<Id>, Stop> {
        let Some(name) = &self.apply else { return Ok(None) };
        Id::from_name(name).map(Some).ok_or_else(|| {
            let near = Id::ALL
                .iter()
                .min_by_key(|id| strsim::damerau_levenshtein(name, id.name()))
                .map_or("", |id| id.name());
            Stop::Input(
                format!("there is no step `{name}`; did you mean `{near}`?"),
                format!("the steps are {}", super::names()),
            )
        })
    }

    /// What is left alone.
    pub(super) fn control(&self) -> &[String] {
        &self.control
    }

    /// What the step does, as it was asked for.
    fn action(&self, id: Id, action: Action) -> Result<Action, Stop> {
        match (action, self.idle) {
            (action, None) => Ok(action),
            (Action::DropIdleClients { .. }, Some(idle)) if idle >= Span::secs(1) => {
                // Redis counts whole seconds: rounded up, nobody goes who has not been idle for as long.
                let idle_s = idle.as_nanos().div_ceil(Span::secs(1).as_nanos());
                Ok(Action::DropIdleClients { idle_s })
            }
            (Action::DropIdleClients { .. }, Some(_)) => Err(Stop::Input(
                "--idle is at least a second".to_owned(),
                "Redis counts idle time in seconds; who works is idle for less than one".to_owned(),
            )),
            (_, Some(_)) => Err(Stop::Input(
                format!("--idle says nothing to {}", id.name()),
                "it is for drop-idle-clients".to_owned(),
            )),
        }
    }

    fn means(&self, measuring: &Measuring) -> Result<Means, Stop> {
        let gateway = self
            .gateway
            .as_deref()
            .map(|url| target_of(url, Kind::Http, "--gateway"));
        Ok(Means {
            gateway: gateway.transpose()?,
            token: admin_token(self.token_file.as_deref())?,
            redis: measuring.first(Kind::Redis).cloned(),
            keys: self.keys.clone(),
        })
    }
}

/// Shows a step, and does it when told to.
pub(super) fn run(
    arguments: &super::Arguments,
    id: Id,
    measuring: &mut Measuring,
    calm: Option<&Record>,
) -> Result<ExitCode, Stop> {
    let acting = &arguments.acting;
    let How::Seawall(action) = catalog(id).how else {
        return by_hand(id, measuring);
    };
    let action = acting.action(id, action)?;
    let means = acting.means(measuring)?;
    let (before, beside) = measured(measuring, calm)?;
    let against = aim(id, &before);
    let mut work = measuring
        .block_on(Work::prepare(&action, &means))
        .map_err(|refused| refusal(&refused))?;
    let recipe = catalog(id);
    let mut text = format!("{}: {}\n", recipe.id.name(), recipe.title);
    let _ = write!(text, "  will    {}\n  now     {}\n", work.command, work.before);
    let _ = write!(text, "  risk    {}\n  back    {}\n", recipe.risk, recipe.undo);
    print(&text)?;
    let harmed = before
        .diagnosis
        .likely()
        .find(|finding| recipe.harms.contains(&finding.failure));
    if let Some(finding) = harmed {
        let what = format!("{} makes it worse when it is {}", id.name(), finding.failure);
        return Err(Stop::Input(
            what,
            format!(
                "{finding} is what was found, {:.0}% sure",
                finding.confidence * 100.0
            ),
        ));
    }
    if !acting.yes && !agreed()? {
        print("nothing was done\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = acting.audit_log.clone().unwrap_or_else(usual);
    let mut log = AuditLog::open(&path)?;
    log.note(
        id.name(),
        "begins",
        &json!({ "command": work.command, "before": work.before }),
    )?;
    let done = match measuring.block_on(work.apply(&means)) {
        Ok(done) => done,
        Err(refused) => {
            log.note(id.name(), "failed", &json!(refused.to_string()))?;
            return Err(refusal(&refused));
        }
    };
    print(&format!("done: {done}\n"))?;
    log.note(id.name(), "done", &json!(done))?;
    // Whoever ends it by hand gets it taken back, too.
    let outcome = if measuring.wait(Duration::from_nanos(acting.settle.as_nanos())) {
        measured(measuring, calm).map(|(after, beside_after)| {
            let control = beside.as_ref().zip(beside_after.as_ref());
            effect(against, &before, &after, control)
        })
    } else {
        Err(Stop::Failed("it was ended by hand".to_owned()))
    };
    judge(acting, id, &mut work, &means, &outcome, measuring, &mut log)
}

/// Says what came of it, and takes it back when it did not help, also when it could not be looked at.
fn judge(
    acting: &Acting,
    id: Id,
    work: &mut Work,
    means: &Means,
    outcome: &Result<Effect, Stop>,
    measuring: &mut Measuring,
    log: &mut AuditLog,
) -> Result<ExitCode, Stop> {
    let (told, good) = match outcome {
        Ok(effect) => (effect.told(), effect.is_good()),
        Err(stop) => (format!("it could not be looked at: {}", stop.brief()), false),
    };
    print(&format!("{told}\n"))?;
    log.note(id.name(), "judged", &json!(told))?;
    if good {
        return Ok(ExitCode::SUCCESS);
    }
    if acting.keep || !work.can_be_undone() {
        let why = if acting.keep {
            "--keep"
        } else {
            "there is nothing to take back"
        };
        print(&format!("left as it is: {why}\n"))?;
        return Ok(ExitCode::FAILURE);
    }
    match measuring.block_on(work.undo(means)) {
        Ok(undone) => {
            print(&format!("taken back: {undone}\n"))?;
            log.note(id.name(), "taken back", &json!(undone))?;
            Ok(ExitCode::FAILURE)
        }
        Err(refused) => {
            log.note(id.name(), "not taken back", &json!(refused.to_string()))?;
            Err(Stop::Failed(format!(
                "it did NOT go back: {refused}; it was: {}",
                work.before
            )))
        }
    }
}

fn by_hand(id: Id, measuring: &Measuring) -> Result<ExitCode, Stop> {
    let known = measuring.known();
    let commands = seawall_diagnose::runbook::commands(id, &known);
    let mut text = format!("{}: only a person does this; the commands are\n", id.name());
    for command in commands {
        let _ = writeln!(text, "  {command}");
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What is measured of the system, and of what is left alone.
fn measured(measuring: &mut Measuring, calm: Option<&Record>) -> Result<(Measured, Option<Measured>), Stop> {
    let (record, control) = measuring.measure_both()?;
    let of = |record: &Record| of_record(record, calm.or(measuring.past()));
    Ok((of(&record), control.as_ref().map(of)))
}

fn of_record(record: &Record, calm: Option<&Record>) -> Measured {
    let diagnosis = at_the_end(record, calm);
    let origins = record.components(Metric::OriginRequests);
    let period = record.period.as_secs_f64();
    let mean = |values: &[f64]| -> Option<f64> {
        let known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let load = origins
        .first()
        .and_then(|origin| mean(&record.values(Metric::OriginRequests, origin, None)));
    let pace = origins
        .first()
        .and_then(|origin| mean(&record.values(Metric::OriginDuration, origin, Some("0.5"))));
    Measured {
        diagnosis,
        origin_per_s: load.map(|load| load / period),
        origin_s: pace,
    }
}

/// What a step is to help against: the finding that proposes it, or what is found first.
fn aim(id: Id, before: &Measured) -> Failure {
    let steps: Vec<Step> = plan(&before.diagnosis, &seawall_diagnose::runbook::Known::default());
    let proposed = steps.iter().find(|step| step.id == id).map(|step| step.against);
    proposed
        .or_else(|| before.diagnosis.first().map(|finding| finding.failure))
        .unwrap_or_else(|| usual_aim(&catalog(id).how))
}

fn usual_aim(how: &How) -> Failure {
    match how {
        How::Seawall(
            Action::Setting {
                name: "maxclients", ..
            }
            | Action::DropIdleClients { .. },
        ) => Failure::TooManyClients,
        How::Seawall(Action::Setting { .. }) => Failure::OutOfMemory,
        _ => Failure::OriginSlow,
    }
}

fn agreed() -> Result<bool, Stop> {
    if !std::io::stdin().is_terminal() {
        print("this was a dry run: --yes does it\n")?;
        return Ok(false);
    }
    print("do it? [y/N] ")?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Stop::Failed(format!("failed to read the answer: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn refusal(refused: &Refused) -> Stop {
    match refused {
        Refused::Nowhere { .. } | Refused::Senseless(_) => {
            Stop::Input(refused.to_string(), "nothing was changed".to_owned())
        }
        Refused::Unread { what, fault } => unread(what, fault),
        Refused::Failed { .. } => Stop::Failed(format!("{refused}; nothing was changed")),
    }
}
