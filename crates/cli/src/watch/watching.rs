//! The loop: a sample a period, into incidents, into the store, to whoever wants to know.

use std::path::Path;
use std::time::Duration;

use seawall_core::time::Span;
use seawall_diagnose::incident::alerts::{Ear, Heard, Herald, Told, notice};
use seawall_diagnose::incident::{Calm, Course, Incident, Opening, Store, StoreError, Utc, What};
use seawall_diagnose::probe::Sample;
use seawall_diagnose::runbook::{Known, Step, plan};
use tokio::signal::unix::{SignalKind, signal};

use super::lines::Lines;
use super::screen::Screen;
use super::source::Source;
use super::{Look, wall_clock};
use crate::stop::Stop;

/// Figures of an incident are kept this often.
const FIGURES_S: f64 = 10.0;
/// The calm is kept this often.
const CALM_S: f64 = 60.0;
/// A calm that is older says nothing of now, unless an incident is compared with it.
const CALM_OLD_S: f64 = 900.0;
/// What waits to be posted is waited for so long at the end.
const LAST_POSTS: Duration = Duration::from_secs(5);
/// With `--once`, so many seconds after learning it is time to speak.
const ONCE_S: f64 = 4.0;

/// A watch under way.
pub(super) struct Watching {
    course: Course,
    store: Store,
    herald: Option<Herald>,
    ear: Option<Ear>,
    shown: Shown,
    known: Known,
    once: bool,
    every_s: f64,
    /// The last sample's instant.
    now: Option<Utc>,
    /// Whether that is an instant of a record, and not of the clock.
    is_played: bool,
    /// How far the timeline of which incident has been told.
    told: Option<(String, usize)>,
    figures: Option<Utc>,
    calm: Option<Utc>,
    learnt: Option<Utc>,
    /// What does not work at the moment, told once.
    failing: Option<String>,
}

/// Where it is shown.
enum Shown {
    Lines(Lines),
    Screen(Box<Screen>),
}

/// What a watch is made of.
pub(super) struct Setup<'a> {
    pub(super) folder: &'a Path,
    pub(super) every: Span,
    pub(super) herald: Option<Herald>,
    pub(super) ear: Option<Ear>,
    pub(super) look: Look,
    pub(super) known: Known,
    pub(super) once: bool,
    /// The instant at which a record begins that is played; without it, time is the clock's.
    pub(super) played: Option<Utc>,
}

impl Watching {
    /// Opens the store, and takes up what is in it.
    pub(super) fn open(setup: Setup<'_>) -> Result<Watching, Stop> {
        let (store, opening) = Store::watch(setup.folder).map_err(|error| match error {
            StoreError::Watched(_) => Stop::Input(
                error.to_string(),
                "end that one, or name another folder with --state".to_owned(),
            ),
            other => Stop::Failed(other.to_string()),
        })?;
        let screen = if setup.look == Look::Screen {
            Screen::open()
        } else {
            None
        };
        let shown = match screen {
            Some(screen) => Shown::Screen(Box::new(screen)),
            None => Shown::Lines(Lines::new(setup.look == Look::Json)),
        };
        let mut watching = Watching {
            course: Course::new(setup.every),
            store,
            herald: setup.herald,
            ear: setup.ear,
            shown,
            known: setup.known,
            once: setup.once,
            every_s: setup.every.as_secs_f64(),
            now: setup.played,
            is_played: setup.played.is_some(),
            told: None,
            figures: None,
            calm: None,
            learnt: None,
            failing: None,
        };
        watching.mended(&opening)?;
        watching.takes_up(setup.every, opening)?;
        Ok(watching)
    }

    fn mended(&mut self, opening: &Opening) -> Result<(), Stop> {
        if opening.torn {
            self.say("the journal of incidents ended in the middle of a line, which is left out")?;
        }
        if opening.bad_lines > 0 {
            let text = format!(
                "{} lines of the journal of incidents are damaged and left out",
                opening.bad_lines
            );
            self.say(&text)?;
        }
        if let Some(ear) = &self.ear {
            let text = format!("listening for alerts at http://{}/alerts", ear.address());
            self.say(&text)?;
        }
        Ok(())
    }

    fn takes_up(&mut self, every: Span, mut opening: Opening) -> Result<(), Stop> {
        let now = self.now();
        let latest = opening.incidents.pop();
        let open = latest.as_ref().is_some_and(Incident::is_open);
        let young = |calm: &Calm| open || now.since_s(calm.taken) <= CALM_OLD_S;
        let calm = self.store.calm().filter(young);
        let text = match (&latest, &calm) {
            (Some(incident), _) if open => {
                format!("going on with {}, which is {}", incident.id, incident.state())
            }
            (_, Some(calm)) => format!("what is calm is known from {}", calm.taken.told()),
            (_, None) => "learning what is calm".to_owned(),
        };
        self.say(&text)?;
        self.told = latest
            .as_ref()
            .map(|incident| (incident.id.clone(), incident.timeline.len()));
        self.course = Course::new(every).taking_up(now, latest, calm);
        Ok(())
    }

    /// Watches until there is no more, or it is told to end. Whether an incident is under way then.
    pub(super) async fn run(mut self, mut source: impl Source) -> Result<bool, Stop> {
        let failed = |error: std::io::Error| Stop::Failed(format!("failed to listen for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        'watch: loop {
            // A round that has begun is finished: half an answer on a connection would spoil the next.
            let sampling = source.sample();
            tokio::pin!(sampling);
            let (now, sample) = loop {
                tokio::select! {
                    sampled = &mut sampling => match sampled {
                        Some(sampled) => break sampled,
                        None => break 'watch,
                    },
                    heard = next(&mut self.ear) => self.hear(heard)?,
                    () = frame(&mut self.shown) => if self.draw() { break 'watch },
                    _ = interrupt.recv() => break 'watch,
                    _ = terminate.recv() => break 'watch,
                }
            };
            self.now = Some(now);
            self.period(now, &sample)?;
            if self.once && self.is_time_to_speak(now) {
                break;
            }
        }
        self.end().await
    }

    fn period(&mut self, now: Utc, sample: &Sample) -> Result<(), Stop> {
        let changed = self.course.observe(now, &sample.points);
        if self.learnt.is_none() && !self.course.is_learning() {
            self.learnt = Some(now);
            self.say("what is calm is known; watching")?;
        }
        let old = self.figures.is_none_or(|at| now.since_s(at) >= FIGURES_S);
        if changed || (old && self.course.open().is_some()) {
            self.keep(now, changed)?;
        }
        self.take_notes(now)?;
        let calm_is_old = self.calm.is_none_or(|at| now.since_s(at) >= CALM_S);
        if calm_is_old && self.course.open().is_none() {
            self.keep_calm(now)?;
        }
        if let Some(herald) = &mut self.herald {
            let lost = herald.told().into_iter().rev().find_map(|told| match told {
                Told::Lost(why) => Some(why),
                Told::Taken => None,
            });
            if let Some(why) = lost {
                self.say(&format!("the webhook did not take what was posted: {why}"))?;
            }
        }
        let steps = self.steps();
        if let Shown::Screen(screen) = &mut self.shown {
            screen.scene.see(now, &self.course, &steps, sample, self.every_s);
        }
        Ok(())
    }

    /// What to do now, in order.
    fn steps(&self) -> Vec<Step> {
        let open = self.course.open().is_some();
        let diagnosis = self.course.diagnosis().filter(|_| open);
        diagnosis
            .map(|diagnosis| plan(diagnosis, &self.known))
            .unwrap_or_default()
    }

    /// Keeps what changed, and then tells of it.
    fn keep(&mut self, now: Utc, changed: bool) -> Result<(), Stop> {
        let Some(incident) = self.course.incident() else {
            return Ok(());
        };
        self.figures = Some(now);
        let kept = self.store.save(incident, changed);
        let new = self.new_entries();
        let fresh = new
            .iter()
            .any(|what| matches!(what, What::Opened { .. } | What::Reopened));
        if let Err(error) = kept {
            self.fails(&format!("{error}; it is tried again"))?;
        } else {
            self.failing = None;
        }
        if fresh {
            self.keep_calm(now)?;
        }
        self.tell(&new)
    }

    /// What of the timeline has not been told.
    fn new_entries(&self) -> Vec<What> {
        let Some(incident) = self.course.incident() else {
            return Vec::new();
        };
        let told = match &self.told {
            Some((id, told)) if *id == incident.id => *told,
            _ => 0,
        };
        let new = incident.timeline.get(told..).unwrap_or_default();
        new.iter().map(|entry| entry.what.clone()).collect()
    }

    fn tell(&mut self, new: &[What]) -> Result<(), Stop> {
        let steps = self.steps();
        let Some(incident) = self.course.incident() else {
            return Ok(());
        };
        let from = incident.timeline.len().saturating_sub(new.len());
        if let Shown::Lines(lines) = &self.shown {
            for entry in &incident.timeline[from..] {
                lines.entry(incident, entry, &steps)?;
            }
        }
        self.told = Some((incident.id.clone(), incident.timeline.len()));
        let news = |what: &What| {
            matches!(
                what,
                What::Opened { .. }
                    | What::Turned { .. }
                    | What::Judged { .. }
                    | What::Reopened
                    | What::Recovered { .. }
                    | What::Closed { .. }
                    | What::ClosedByHand { .. }
            )
        };
        let posted = match &self.herald {
            Some(herald) if new.iter().any(news) => herald.send(notice(incident)),
            _ => true,
        };
        if !posted {
            self.say("too many posts to the webhook wait; this one is not sent")?;
        }
        Ok(())
    }

    /// What other processes wrote into the timeline: notes, and that somebody closed it.
    fn take_notes(&mut self, now: Utc) -> Result<(), Stop> {
        let current = self.course.incident().map(|incident| incident.id.clone());
        let arrived = match self.store.arrived(current.as_deref()) {
            Ok(arrived) => arrived,
            Err(error) => return self.fails(&error.to_string()),
        };
        let any = !arrived.is_empty();
        for one in arrived {
            self.course.take(&one.id, one.entry.at, one.entry.what);
        }
        if any { self.keep(now, true) } else { Ok(()) }
    }

    fn keep_calm(&mut self, now: Utc) -> Result<(), Stop> {
        let Some(calm) = self.course.calm(now) else {
            return Ok(());
        };
        self.calm = Some(now);
        match self.store.save_calm(&calm) {
            Ok(()) => Ok(()),
            Err(error) => self.fails(&error.to_string()),
        }
    }

    /// Alerts of another system. They are kept before whoever posted them is told so.
    fn hear(&mut self, heard: Heard) -> Result<(), Stop> {
        let now = self.now();
        let mut changed = false;
        for alert in &heard.alerts {
            changed |= self.course.hear(now, alert);
        }
        if changed {
            self.keep(now, true)?;
        }
        if self.failing.is_none() {
            heard.kept();
        }
        Ok(())
    }

    fn now(&self) -> Utc {
        self.now.filter(|_| self.is_played).unwrap_or_else(wall_clock)
    }

    fn is_time_to_speak(&self, now: Utc) -> bool {
        let settled = self.learnt.is_some_and(|learnt| now.since_s(learnt) >= ONCE_S);
        let suspected = self
            .course
            .diagnosis()
            .is_some_and(|diagnosis| !diagnosis.is_healthy());
        self.course.open().is_some()
            || (settled && !suspected)
            || self.learnt.is_some_and(|at| now.since_s(at) >= 3.0 * ONCE_S)
    }

    /// Draws, where there is a screen. Whether somebody there wants an end.
    fn draw(&mut self) -> bool {
        match &mut self.shown {
            Shown::Screen(screen) => screen.draw(),
            Shown::Lines(_) => false,
        }
    }

    /// Something that does not work, told once while it does not.
    fn fails(&mut self, what: &str) -> Result<(), Stop> {
        if self.failing.as_deref() == Some(what) {
            return Ok(());
        }
        self.failing = Some(what.to_owned());
        self.say(what)
    }

    fn say(&mut self, text: &str) -> Result<(), Stop> {
        let now = self.now();
        match &mut self.shown {
            Shown::Lines(lines) => lines.say(now, text),
            Shown::Screen(screen) => {
                screen.scene.say(text);
                Ok(())
            }
        }
    }

    /// Leaves everything in order. Whether an incident is under way.
    async fn end(mut self) -> Result<bool, Stop> {
        let now = self.now();
        if self.course.open().is_some() {
            self.keep(now, true)?;
        }
        self.keep_calm(now)?;
        if let Some(herald) = self.herald.take() {
            let told = herald.end(LAST_POSTS).await;
            if let Some(Told::Lost(why)) = told.last() {
                self.say(&format!("the webhook did not take what was posted: {why}"))?;
            }
        }
        let under_way = self.course.open().is_some();
        if let Shown::Lines(lines) = &self.shown {
            if self.once {
                lines.verdict(&self.course, &self.steps())?;
            }
            if let Some(incident) = self.course.open() {
                lines.say(
                    now,
                    &format!(
                        "{} is {}; the next watch goes on with it",
                        incident.id,
                        incident.state()
                    ),
                )?;
            }
        }
        Ok(under_way)
    }
}

/// The next post, where anybody listens.
async fn next(ear: &mut Option<Ear>) -> Heard {
    match ear {
        Some(ear) => ear.next().await,
        None => std::future::pending().await,
    }
}

/// The next frame, where there is a screen.
async fn frame(shown: &mut Shown) {
    match shown {
        Shown::Screen(screen) => screen.frame().await,
        Shown::Lines(_) => std::future::pending().await,
    }
}
