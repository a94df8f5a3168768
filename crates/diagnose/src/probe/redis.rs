//! A round of questions to one Redis: three connections, one deadline.
//!
//! Two connections are opened before there is trouble and kept: on one it is asked `PING` and `INFO`, on the other a
//! key of our own is written and read back, because a server whose writes are held answers nothing behind a write. A
//! third is opened anew each round, as a client would that just starts. On it a command of the wrong form is asked
//! first. Redis refuses it before it looks whether clients are paused, know a password or may do it, so its answer says
//! that the process runs, whatever else is wrong.
//!
//! All that is done is read-only but for that key, which lives five seconds and is deleted at once.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use seawall_core::record::Metric;
use seawall_resp::Value;
use tokio::time::Instant;

use super::fault::{Fault, Why};
use super::home::Home;
use super::info::{Info, Own};
use super::keys::Survey;
use super::sample::{Place, Sample};
use super::step::{Ledger, Step};
use super::target::Target;
use super::wire::{Wire, items, logged_in, login, number, text, words};

/// A Redis that is asked how it is, once a round.
pub struct RedisProbe {
    target: Target,
    place: Place,
    canary: bool,
    main: Option<Wire>,
    writer: Option<Wire>,
    before: Option<Told>,
    own: Own,
    /// The share of all uses that is the hottest key's, where it is known.
    hot: Option<f64>,
    home: Home,
}

/// What the server told of itself at an instant.
struct Told {
    info: Info,
    slow: Option<i64>,
    at: Instant,
}

/// The steps of a round.
const STEPS: [Step; 6] = [
    Step::Connect,
    Step::Reply,
    Step::Alive,
    Step::Info,
    Step::Write,
    Step::Read,
];

/// A command without its arguments. (`PING` takes any number of them, and is not refused before it is carried out.)
const WRONG_FORM: &[&str] = &["GET"];

/// A key of ours lives so long when it cannot be deleted, in milliseconds.
const CANARY_MS: &str = "5000";

impl RedisProbe {
    /// Nothing is asked yet. Without `canary`, nothing is ever written.
    pub fn new(target: Target, place: Place, canary: bool) -> RedisProbe {
        RedisProbe {
            target,
            place,
            canary,
            main: None,
            writer: None,
            before: None,
            own: Own::default(),
            hot: None,
            home: Home::Unknown,
        }
    }

    /// Where it is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What the server last told of itself.
    pub fn info(&self) -> Option<&Info> {
        self.before.as_ref().map(|told| &told.info)
    }

    /// Some keys were looked at: look-ups that were ours, and how hot the hottest key is.
    pub(crate) fn surveyed(&mut self, survey: &Survey) {
        self.own.hits += i64::try_from(survey.lookups).unwrap_or(0);
        self.hot = survey.hottest_share();
    }

    /// Asks everything, and is back by the deadline whatever the server does.
    pub async fn round(&mut self, deadline: Instant) -> Sample {
        let stale = |wire: &Option<Wire>| wire.as_ref().is_some_and(Wire::owes);
        let late = (stale(&self.main), stale(&self.writer));
        let target = &self.target;
        let (mut main_ledger, mut write_ledger, mut ledger) =
            (Ledger::default(), Ledger::default(), Ledger::default());
        let (told, written, fresh) = tokio::join!(
            main_round(target, &mut self.main, &mut main_ledger, deadline),
            async {
                if self.canary {
                    write_round(
                        target,
                        &mut self.writer,
                        &mut self.home,
                        &mut write_ledger,
                        deadline,
                    )
                    .await
                } else {
                    Written::default()
                }
            },
            fresh_round(target, &mut ledger, deadline),
        );
        // What has kept us waiting since an earlier round may never answer; a connection that just did takes its place.
        let useless = |wire: &Option<Wire>, late| {
            wire.as_ref()
                .is_none_or(|wire| wire.is_broken() || late && wire.owes())
        };
        if useless(&self.main, late.0) {
            self.main = None;
        }
        if useless(&self.writer, late.1) {
            self.writer = None;
        }
        if let Some(fresh) = fresh {
            if self.main.is_none() {
                self.main = Some(fresh);
            } else if self.writer.is_none() && self.canary {
                self.writer = Some(fresh);
            }
        }
        let mut all = main_ledger;
        all.extend(write_ledger);
        all.extend(ledger);
        let mut sample = Sample::default();
        all.tell(&self.place, &STEPS, &mut sample);
        self.own.add(&written.own);
        let hot = self.hot.map(|hot| self.place.point(Metric::HotKeyShare, hot));
        sample.points.extend(hot);
        if let Some(told) = told {
            self.tell(told, &mut sample);
        }
        sample.silent(&self.place, Metric::CacheUptime);
        sample
    }

    /// What the server told, as numbers of this period.
    fn tell(&mut self, told: Told, sample: &mut Sample) {
        told.info.gauges(&self.place, sample);
        if let Some(before) = &self.before {
            let secs = told.at.duration_since(before.at).as_secs_f64();
            told.info
                .counters(&before.info, secs, &mut self.own, &self.place, sample);
            if let (Some(now), Some(then)) = (told.slow, before.slow) {
                let added = if told.info.same_process(&before.info) {
                    now - then
                } else {
                    now
                };
                let point = self.place.point(Metric::CacheSlow, added.max(0) as f64);
                sample.points.push(point);
            }
        }
        self.own.rejected += 1;
        self.before = Some(told);
    }
}

/// A name that nobody else has.
pub(crate) fn random() -> String {
    format!("{:016x}", RandomState::new().hash_one(0_u8))
}

/// Opens a connection that is missing, and says who we are.
async fn opened(target: &Target, deadline: Instant, ledger: &mut Ledger) -> Option<Wire> {
    let opened = async {
        let mut wire = Wire::open(target, deadline).await?;
        wire.send(&login(target), deadline).await?;
        logged_in(&mut wire, target, deadline).await?;
        Ok(wire)
    };
    match opened.await {
        Ok(wire) => Some(wire),
        Err(fault) => {
            // Its own connection tells where it fails; here it is enough that it does.
            let fault: Fault = fault;
            let login = matches!(
                fault.why,
                Why::NoAuth | Why::Denied | Why::TooManyClients | Why::Loading
            );
            ledger.failed(if login { Step::Reply } else { Step::Connect }, fault);
            None
        }
    }
}

/// `PING` and `INFO` on the kept connection.
async fn main_round(
    target: &Target,
    kept: &mut Option<Wire>,
    ledger: &mut Ledger,
    deadline: Instant,
) -> Option<Told> {
    if kept.is_none() {
        // Only the first time, and after a loss; the fresh connection tells of the failure.
        let mut unheard = Ledger::default();
        *kept = opened(target, deadline, &mut unheard).await;
    }
    let wire = kept.as_mut()?;
    let questions = [
        words(&["PING"]),
        words(&["INFO", "all"]),
        words(&["SLOWLOG", "GET", "1"]),
    ];
    let begun = Instant::now();
    if let Err(fault) = wire.send(&questions, deadline).await {
        ledger.failed(Step::Reply, fault);
        return None;
    }
    match wire.hear(deadline).await.and_then(|said| pong(target, &said)) {
        Ok(()) => ledger.add(Step::Reply, Ok(begun.elapsed())),
        Err(fault) => {
            let silent = matches!(fault.why, Why::TimedOut | Why::Reset | Why::Closed | Why::Garbage);
            ledger.failed(Step::Reply, fault);
            if silent {
                return None;
            }
        }
    }
    let info = match wire.hear(deadline).await.and_then(|said| info(target, &said)) {
        Ok(info) => {
            ledger.add(Step::Info, Ok(begun.elapsed()));
            info
        }
        Err(fault) => {
            ledger.failed(Step::Info, fault);
            return None;
        }
    };
    // It may be forbidden, or late; then it is not known.
    let slow = wire.hear(deadline).await.ok().and_then(|said| newest_slow(&said));
    let at = Instant::now();
    Some(Told { info, slow, at })
}

fn pong(target: &Target, said: &Value) -> Result<(), Fault> {
    match said {
        Value::Simple(word) if **word == *b"PONG" => Ok(()),
        other => Err(unexpected(target, other, "PING")),
    }
}

fn info(target: &Target, said: &Value) -> Result<Info, Fault> {
    let read = match said {
        Value::Bulk(_) | Value::Verbatim(_) => Info::read(&text(said)),
        _ => None,
    };
    read.ok_or_else(|| unexpected(target, said, "INFO"))
}

/// An answer that is an error, or none that this command has.
fn unexpected(target: &Target, said: &Value, command: &str) -> Fault {
    match said.error() {
        Some(error) => Fault::said(target, error),
        None => Fault::new(
            Why::Garbage,
            format!("the answer to {command} is none that Redis gives"),
        ),
    }
}

/// How many entries the slow log has ever had: the number of the newest one, and one.
fn newest_slow(said: &Value) -> Option<i64> {
    if said.error().is_some() {
        return None;
    }
    match items(said).first() {
        None => Some(0),
        Some(entry) => Some(number(items(entry).first()?)? + 1),
    }
}

/// What became of our own key.
#[derive(Default)]
struct Written {
    own: Own,
}

/// Writes a key, reads it back, deletes it.
async fn write_round(
    target: &Target,
    kept: &mut Option<Wire>,
    home: &mut Home,
    ledger: &mut Ledger,
    deadline: Instant,
) -> Written {
    let mut written = Written::default();
    if kept.is_none() {
        let mut unheard = Ledger::default();
        *kept = opened(target, deadline, &mut unheard).await;
    }
    let Some(wire) = kept.as_mut() else {
        return written;
    };
    if *home == Home::Unknown {
        match super::home(wire, deadline).await {
            Ok(found) => *home = found,
            Err(fault) => {
                ledger.failed(Step::Write, fault);
                return written;
            }
        }
    }
    let Home::Here(tag) = &*home else {
        return written;
    };
    let (key, value) = (format!("seawall:canary:{{{tag}}}"), random());
    let key = key.as_str();
    let questions = [
        words(&["SET", key, &value, "PX", CANARY_MS]),
        words(&["GET", key]),
        words(&["DEL", key]),
    ];
    let begun = Instant::now();
    let heard = match wire.send(&questions, deadline).await {
        Ok(()) => wire.hear(deadline).await,
        Err(fault) => Err(fault),
    };
    let stored = heard.and_then(|said| match said {
        Value::Simple(word) if *word == *b"OK" => Ok(()),
        other => Err(unexpected(target, &other, "SET")),
    });
    let well = match stored {
        Ok(()) => {
            ledger.add(Step::Write, Ok(begun.elapsed()));
            written.own.sets = 1;
            true
        }
        Err(fault) if fault.text.starts_with("MOVED ") => {
            // Its slots are not what they were.
            *home = Home::Unknown;
            false
        }
        Err(fault) => {
            let silent = matches!(fault.why, Why::TimedOut | Why::Reset | Why::Closed | Why::Garbage);
            ledger.failed(Step::Write, fault);
            if silent {
                return written;
            }
            false
        }
    };
    let got = wire.hear(deadline).await;
    let hit = matches!(got, Ok(Value::Bulk(_)));
    if got.is_ok() {
        (written.own.hits, written.own.misses) = (i64::from(hit), i64::from(!hit));
    }
    if well {
        match got.and_then(|said| same(target, &said, &value)) {
            Ok(()) => ledger.add(Step::Read, Ok(begun.elapsed())),
            Err(fault) => ledger.failed(Step::Read, fault),
        }
    }
    // Late, it is owed and comes before the next round's.
    if wire.hear(deadline).await.is_ok() {
        written.own.deletes = 1;
    }
    written
}

fn same(target: &Target, said: &Value, value: &str) -> Result<(), Fault> {
    match said {
        Value::Bulk(read) if **read == *value.as_bytes() => Ok(()),
        Value::Bulk(_) => Err(Fault::new(Why::Wrong, "what was written came back different")),
        nil if nil.is_nil() => Err(Fault::new(
            Why::Lost,
            "what was written was gone when it was read",
        )),
        other if other.error().is_some_and(|error| error.starts_with(b"WRONGTYPE")) => Err(Fault::new(
            Why::Wrong,
            "what was written came back as something else",
        )),
        other => Err(unexpected(target, other, "GET")),
    }
}

/// A new connection: is it let in, does the process run, is a client served? Gives it back when it is.
async fn fresh_round(target: &Target, ledger: &mut Ledger, deadline: Instant) -> Option<Wire> {
    let begun = Instant::now();
    let mut wire = match Wire::open(target, deadline).await {
        Ok(wire) => wire,
        Err(fault) => {
            ledger.failed(Step::Connect, fault);
            return None;
        }
    };
    ledger.add(Step::Connect, Ok(begun.elapsed()));
    let mut questions = vec![words(WRONG_FORM)];
    questions.extend(login(target));
    questions.push(words(&["PING"]));
    let begun = Instant::now();
    let heard = match wire.send(&questions, deadline).await {
        Ok(()) => wire.hear(deadline).await,
        Err(fault) => Err(fault),
    };
    match heard {
        Ok(said) => {
            let Some(error) = said.error() else {
                ledger.failed(
                    Step::Alive,
                    unexpected(target, &said, "a command of the wrong form"),
                );
                return None;
            };
            ledger.add(Step::Alive, Ok(begun.elapsed()));
            let fault = Fault::said(target, error);
            // Turned away at the door: that was all it says.
            if fault.why == Why::TooManyClients || error.starts_with(b"DENIED") {
                ledger.failed(Step::Reply, fault);
                return None;
            }
        }
        Err(fault) => {
            ledger.failed(Step::Reply, fault.clone());
            ledger.failed(Step::Alive, fault);
            return None;
        }
    }
    let served = async {
        logged_in(&mut wire, target, deadline).await?;
        let said = wire.hear(deadline).await?;
        pong(target, &said)
    };
    match served.await {
        Ok(()) => {
            ledger.add(Step::Reply, Ok(begun.elapsed()));
            Some(wire)
        }
        Err(fault) => {
            ledger.failed(Step::Reply, fault);
            None
        }
    }
}
