//! A drill: a scenario's system of real parts, under load, with the scenario's timeline done to it.
//!
//! [`run`] starts what the scenario names, each link through a fault proxy of its own, lets the clients call, and does
//! what the timeline says when it says it. What is measured is a [`Record`] as the simulator leaves one behind, so the
//! same scenario judges both. Before anything is injected the system has to be well; while it runs, guards may abort it;
//! in the end everything is taken back, and it is looked whether it is well again.
//!
//! It predicts nothing: what the simulator says of the same scenario is laid beside it by whoever has both.

mod actions;
mod asking;
mod becomes;
mod cached;
mod clients;
mod faults;
mod felt;
mod gateway;
mod probing;
mod refusals;
mod rules;
mod sampling;
mod stage;
mod system;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use seawall_core::record::Record;
use seawall_scenario::Scaled;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::app::What;
use crate::keeper::{Broken, Keeper};
use crate::load::{Progress, Report};
use crate::proxy::ProxyError;
use crate::stack::NoServer;
use crate::steady::Steady;
use system::System;

pub use refusals::{refusals, refusals_of_this_machine};

/// What is to be drilled.
#[derive(Clone, Debug)]
pub struct Order {
    /// The scenario, and how it is drilled.
    pub what: What,
    /// The program that is `seawall` itself: instances, gateways and the keeper are started with it.
    pub program: PathBuf,
    /// It becomes true when somebody wants it to end: then everything is taken back, and it counts as aborted.
    pub stop: watch::Receiver<bool>,
    /// Whether caches and databases are stand-ins in this process, and no real servers.
    pub embedded: bool,
}

/// Why there was no drill.
#[derive(Debug, thiserror::Error)]
pub enum NoDrill {
    /// It cannot be drilled, and why: nothing was started.
    #[error("{0}")]
    Refused(String),
    /// The document is wrong.
    #[error("{0}")]
    Scenario(#[from] seawall_scenario::Mistakes),
    /// Something that it needs did not work.
    #[error("{0}")]
    Failed(String),
    /// A server did not start.
    #[error(transparent)]
    Server(#[from] NoServer),
    /// The process that cleans up is gone.
    #[error(transparent)]
    Keeper(#[from] Broken),
}

impl NoDrill {
    #[expect(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
    fn proxy(error: ProxyError) -> NoDrill {
        NoDrill::Failed(error.to_string())
    }
}

/// What happens while it runs.
#[derive(Clone, Debug)]
pub enum News {
    /// What is being done, before and after the run.
    Stage(String),
    /// Where a part is, and where the proxy before it listens, so that others can look at it too.
    Address(String),
    /// All parts run.
    Ready(Vec<String>),
    /// A period has passed: the scenario's clock in seconds, and each client's progress.
    Period(f64, Vec<(String, Progress)>),
    /// An event of the timeline was done, at this instant of the scenario's clock.
    Done(f64, String),
    /// It was felt, and how.
    Felt(f64, String),
    /// Something of the timeline has ended.
    Over(f64, String),
    /// It could not be done, or not be taken back.
    Trouble(String),
}

/// How a drill ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ran to its end.
    Whole,
    /// It was not well before anything was injected, and why.
    Unwell(String),
    /// A guard ended it, and why.
    Aborted(String),
}

/// What came of a drill.
#[derive(Debug)]
pub struct Ran {
    /// The scenario as it was drilled.
    pub scaled: Scaled,
    /// What was measured, as it would be at full size.
    pub record: Record,
    /// What was measured before anything was injected.
    pub steady: Steady,
    /// What each client met.
    pub clients: Vec<Report>,
    /// How it ended.
    pub ending: Ending,
    /// What could not be taken back; nothing when all is as it was.
    pub left: Vec<String>,
    /// Why it is not well after all was taken back, if it is not. A failure may outlive its cause.
    pub after: Option<String>,
    /// What was done of the timeline and not felt.
    pub unfelt: Vec<String>,
    /// What could not be done of it.
    pub troubles: Vec<String>,
    /// Components of which not all is measured, because those who could tell are somebody's own.
    pub blind: Vec<String>,
    /// What makes the numbers worth less than they could be: the load generator's own errors.
    pub doubts: Vec<String>,
    /// What was done to servers, and what was seen of it from outside.
    pub evidence: Vec<String>,
    /// What it was made of.
    pub parts: Vec<String>,
}

/// How patiently the end of what still goes on is waited for.
const TRY: Duration = Duration::from_secs(2);
/// It is looked this often.
const GLANCE: Duration = Duration::from_millis(50);

/// Runs a drill.
///
/// # Errors
/// When it cannot be drilled, or its parts do not start. Then everything has been cleaned up.
pub async fn run(order: &Order, news: &UnboundedSender<News>) -> Result<Ran, NoDrill> {
    let scaled = order.what.scaled()?;
    let refusals = refusals(&scaled, order.embedded);
    if !refusals.is_empty() {
        return Err(NoDrill::Refused(refusals.join("\n")));
    }
    let tell = |told: News| {
        // Nobody may listen.
        let _ = news.send(told);
    };
    tell(News::Stage("starting servers".into()));
    let program = order.program.clone();
    let keeper = tokio::task::spawn_blocking(move || Keeper::start(&program, &["keeper"]));
    let keeper = keeper
        .await
        .map_err(|error| NoDrill::Failed(error.to_string()))??;
    let keeper = Arc::new(keeper);
    let refusals = refusals::impossible(&keeper, &scaled, order.embedded).await;
    if !refusals.is_empty() {
        return Err(NoDrill::Refused(refusals.join("\n")));
    }
    let system = Arc::new(System::start(order, scaled.clone(), keeper.clone()).await?);
    let mut stop = order.stop.clone();
    let prepared = tokio::select! {
        prepared = prepare(&system, &tell) => Some(prepared?),
        () = stopped(&mut stop) => None,
    };
    let mut ran = match prepared {
        None => nothing(&system, Ending::Aborted(STOPPED.to_owned())),
        Some(Some(why)) => nothing(&system, Ending::Unwell(why)),
        Some(None) => {
            for address in system.addresses() {
                tell(News::Address(address));
            }
            tell(News::Ready(system.parts.clone()));
            stage::drive(&system, &order.stop, &tell).await?
        }
    };
    tell(News::Stage("cleaning up".into()));
    drop(system);
    ran.left.extend(close(keeper).await);
    Ok(ran)
}

/// What is said when somebody ended it.
const STOPPED: &str = "it was stopped by hand";

/// Waits until somebody wants it to end; for ever when nobody can any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Fills the caches and looks whether clients are answered; what is wrong, when something is.
async fn prepare(system: &System, tell: &impl Fn(News)) -> Result<Option<String>, NoDrill> {
    if system.scaled.scenario.run.prefilled {
        tell(News::Stage("filling the caches".into()));
        clients::prefill(system).await?;
    }
    let unwell = clients::probe(system).await.err();
    if unwell.is_none() {
        system.look_around().await;
    }
    Ok(unwell)
}

/// Ends everything; what could not be undone.
async fn close(keeper: Arc<Keeper>) -> Vec<String> {
    let mut keeper = keeper;
    let begun = Instant::now();
    // Tasks that still hold it end with the system.
    let keeper = loop {
        match Arc::try_unwrap(keeper) {
            Ok(keeper) => break keeper,
            Err(still) if begun.elapsed() > TRY => {
                drop(still);
                return vec!["something still talks to the process that cleans up".to_owned()];
            }
            Err(still) => keeper = still,
        }
        tokio::time::sleep(GLANCE).await;
    };
    let closed = tokio::task::spawn_blocking(move || keeper.close()).await;
    match closed {
        Ok(Ok(left)) => left,
        Ok(Err(error)) => vec![error.to_string()],
        Err(error) => vec![error.to_string()],
    }
}

fn nothing(system: &System, ending: Ending) -> Ran {
    let run = &system.scaled.scenario.run;
    Ran {
        scaled: system.scaled.clone(),
        record: Record::new(run.every, run.warmup, 0),
        steady: Steady::default(),
        clients: Vec::new(),
        ending,
        left: Vec::new(),
        after: None,
        unfelt: Vec::new(),
        troubles: Vec::new(),
        blind: Vec::new(),
        doubts: Vec::new(),
        evidence: Vec::new(),
        parts: system.parts.clone(),
    }
}
