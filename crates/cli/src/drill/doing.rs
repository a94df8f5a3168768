//! Drills, one after the other, and what is seen while they go on.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use seawall_drill::app::What;
use seawall_drill::kept::{Drilled, Gathered, Kept, drilled};
use seawall_drill::outcome::{Rules, Verdict};
use seawall_drill::run::{self, News, NoDrill, Order, Ran};
use seawall_drill::stack::NoServer;
use seawall_drill::verdict::phases;
use seawall_scenario::Scenario;
use tokio::sync::{mpsc, watch};

use super::Doing;
use super::live::{Scene, View};
use super::plan::{Plan, complain};
use super::predict::predict;
use crate::live::wall_clock;
use crate::stop::Stop;

/// What drills are done with.
pub(super) struct Hands {
    program: PathBuf,
    runtime: tokio::runtime::Runtime,
    stop: Arc<watch::Sender<bool>>,
    rules: Rules,
    band: bool,
    embedded: bool,
    live: bool,
}

impl Hands {
    /// Gets ready; from here on Ctrl-C ends the drill that is under way and takes everything back.
    pub(super) fn new(doing: &Doing) -> Result<Hands, Stop> {
        let program = std::env::current_exe()
            .map_err(|error| Stop::Failed(format!("failed to find out what program this is: {error}")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Stop::Failed(format!("failed to start threads: {error}")))?;
        let stop = Arc::new(watch::channel(false).0);
        runtime.spawn(listen(stop.clone()));
        Ok(Hands {
            program,
            runtime,
            stop,
            rules: Rules { strict: doing.strict },
            band: doing.predict,
            embedded: doing.is_embedded(),
            live: std::io::stdout().is_terminal() && !doing.plain,
        })
    }

    /// Whether somebody wants an end.
    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Drills the variants of a scenario, until somebody wants an end.
    pub(super) fn drill(&self, plan: &Plan) -> Result<Kept, Stop> {
        let mut kept = before(plan);
        for (what, scenario) in &plan.variants {
            if self.is_stopped() {
                break;
            }
            kept.variants.push(self.variant(plan, what, scenario)?);
        }
        kept.ended = wall_clock();
        Ok(kept)
    }

    /// Drills one variant.
    pub(super) fn variant(&self, plan: &Plan, what: &What, scenario: &Scenario) -> Result<Drilled, Stop> {
        let mut gathered = Gathered {
            began: wall_clock(),
            pace: what.time,
            ..Gathered::default()
        };
        let order = Order {
            what: what.clone(),
            program: self.program.clone(),
            stop: self.stop.subscribe(),
            embedded: self.embedded,
        };
        let scene = Scene::new(&plan.name, scenario, &phases(scenario));
        let ran = self
            .runtime
            .block_on(watched(&order, scene, self.live, &self.stop, &mut gathered))?;
        gathered.seconds = wall_clock() - gathered.began;
        let (predicted, how) = predict(scenario, what.scale, &ran, self.band)?;
        gathered.prediction = how;
        Ok(drilled(scenario, &ran, &predicted, gathered, &self.rules))
    }
}

/// What is known of a drill before it begins.
pub(super) fn before(plan: &Plan) -> Kept {
    let mut kept = match plan.variants.first() {
        Some((what, scenario)) => Kept {
            scale: what.scale,
            time: what.time,
            sets: what.sets.clone(),
            ..Kept::of(scenario, &plan.name)
        },
        None => unreachable!("a plan has a variant"),
    };
    kept.began = wall_clock();
    kept
}

/// The first signal ends the drill in order, the second one at once.
async fn listen(stop: Arc<watch::Sender<bool>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        tokio::select! {
            heard = interrupt.recv() => if heard.is_none() { return },
            heard = terminate.recv() => if heard.is_none() { return },
        }
        if stop.send_replace(true) {
            leave();
        }
    }
}

/// Whoever is told a second time does not wait until everything is taken back.
pub(super) fn leave() -> ! {
    ratatui::restore();
    complain("ended; the process that cleans up takes back what is left");
    std::process::exit(i32::from(Verdict::Aborted.status()))
}

async fn watched(
    order: &Order,
    scene: Scene,
    live: bool,
    stop: &Arc<watch::Sender<bool>>,
    gathered: &mut Gathered,
) -> Result<Ran, Stop> {
    let (sender, mut news) = mpsc::unbounded_channel();
    let mut view = if live {
        View::open(scene, stop.clone())
    } else {
        None
    };
    let ran = run::run(order, &sender);
    tokio::pin!(ran);
    let ran = loop {
        tokio::select! {
            biased;
            Some(told) = news.recv() => hear(&told, view.as_mut(), gathered),
            () = wait(view.as_mut()) => {}
            ran = &mut ran => break ran,
        }
    };
    while let Ok(told) = news.try_recv() {
        hear(&told, view.as_mut(), gathered);
    }
    drop(view);
    ran.map_err(|error| match error {
        NoDrill::Scenario(mistakes) => Stop::Document(mistakes),
        NoDrill::Refused(why) => Stop::Input(
            format!("this cannot be drilled here: {why}"),
            "nothing was started".into(),
        ),
        NoDrill::Server(missing @ NoServer::Missing { .. }) => {
            Stop::Input(missing.to_string(), "nothing was left behind".into())
        }
        error => Stop::Failed(error.to_string()),
    })
}

/// Draws now and then, if there is a view.
async fn wait(view: Option<&mut View>) {
    match view {
        Some(view) => view.wait().await,
        None => std::future::pending().await,
    }
}

fn hear(told: &News, view: Option<&mut View>, gathered: &mut Gathered) {
    gathered.hear(told);
    match view {
        Some(view) => view.hear(told),
        None => {
            if let Some(line) = line(told) {
                complain(&line);
            }
        }
    }
}

/// What is said of it in a plain line.
pub(super) fn line(news: &News) -> Option<String> {
    Some(match news {
        News::Stage(what) | News::Address(what) => what.clone(),
        News::Ready(parts) => format!("ready: {}", parts.join("; ")),
        News::Period(..) => return None,
        News::Done(clock, what) => format!("{clock:7.2} s  {what}"),
        News::Felt(clock, how) => format!("{clock:7.2} s  felt: {how}"),
        News::Over(clock, what) => format!("{clock:7.2} s  over: {what}"),
        News::Trouble(why) => format!("trouble: {why}"),
    })
}
