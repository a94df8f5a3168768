//! Does one step of the runbook on a live system, and takes it back.
//!
//! What is to be done is worked out first and told, with the value that is there now ([`Work::prepare`]); nothing has been
//! changed then. What was changed can be taken back exactly ([`Work::undo`]): a protection of the gateway by taking the
//! change of it away, a setting of Redis by the value that it had. A purge, a warming and a closed connection cannot, and
//! need not.
//!
//! Whether it helped is a comparison of what was found before and after ([`effect`]), and not a matter of opinion.

mod effect;
mod policy;

use std::time::Duration;

use hyper::Method;
use seawall_resp::Value as Said;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::probe::details::connected;
use crate::probe::http::{Answer, Order, ask};
use crate::probe::{Fault, Target, Why, Wire, text, words};
use crate::runbook::{Action, To};

pub use effect::{Effect, Measured, effect};

/// One question takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer of the gateway is no longer.
const ANSWER_MAX: usize = 4 << 20;
/// Who was turned away comes again after this time.
const AGAIN: Duration = Duration::from_millis(10);
/// So many idle clients are dropped at a time.
const DROPPED_MAX: usize = 1_000;

/// Where a step is done.
#[derive(Clone, Debug, Default)]
pub struct Means {
    /// The admin API of the gateway.
    pub gateway: Option<Target>,
    /// Its bearer token.
    pub token: Option<String>,
    /// The Redis.
    pub redis: Option<Target>,
    /// The keys that are to be purged, as the gateway spells them.
    pub keys: Vec<String>,
}

/// A step that is ready to be done: what it will change, and from what.
///
/// It keeps the connection on which it was prepared: a Redis that lets nobody else in can still be told to go back.
pub struct Work {
    kind: Doing,
    line: Line,
    /// What will be done, as a person would do it.
    pub command: String,
    /// What is there now, in a few words.
    pub before: String,
}

#[derive(Debug)]
enum Doing {
    Policy {
        name: &'static str,
        body: Value,
        overridden: Map<String, Value>,
    },
    Breaker {
        upstreams: Vec<String>,
    },
    Warm {
        keys: Vec<String>,
    },
    Purge {
        keys: Vec<String>,
    },
    Setting {
        name: &'static str,
        to: String,
        was: String,
    },
    DropIdle {
        ids: Vec<String>,
    },
}

/// Why a step cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is done through something that was not named.
    #[error("this step is done through {what}, which was not named")]
    Nowhere {
        /// What it is done through.
        what: &'static str,
    },
    /// A server could not be asked.
    #[error("{what}: {fault}")]
    Unread {
        /// What was asked.
        what: String,
        /// Why there is no answer.
        fault: Fault,
    },
    /// A server said no.
    #[error("{what}: {why}")]
    Failed {
        /// What was asked.
        what: String,
        /// What was the answer.
        why: String,
    },
    /// It would do nothing, or harm.
    #[error("{0}")]
    Senseless(String),
}

impl Refused {
    fn unread(what: &str, fault: Fault) -> Refused {
        let what = what.to_owned();
        Refused::Unread { what, fault }
    }
}

impl Work {
    /// Works out what a step changes. It only reads.
    ///
    /// # Errors
    /// When the system cannot be read, or the step would do nothing or harm.
    pub async fn prepare(action: &Action, means: &Means) -> Result<Work, Refused> {
        match action {
            Action::Policy { name, settings } => policy::policy(name, settings, means).await,
            Action::HoldBreaker => breaker(means).await,
            Action::Warm => warm(means).await,
            Action::Purge => purge(means),
            Action::Setting { name, to } => setting(name, to, means).await,
            Action::DropIdleClients { idle_s } => idle(*idle_s, means).await,
        }
    }

    /// Whether it can be taken back.
    pub fn can_be_undone(&self) -> bool {
        matches!(
            self.kind,
            Doing::Policy { .. } | Doing::Breaker { .. } | Doing::Setting { .. }
        )
    }

    /// Does it.
    ///
    /// # Errors
    /// When a server says no. Nothing is half done then: what was done of several is taken back.
    pub async fn apply(&mut self, means: &Means) -> Result<String, Refused> {
        match &self.kind {
            Doing::Policy { name, body, .. } => {
                let path = format!("policies/{name}");
                order(means, Method::PATCH, &path, Some(body)).await?;
                Ok(format!("{name} is changed"))
            }
            Doing::Breaker { upstreams } => {
                for (done, upstream) in upstreams.iter().enumerate() {
                    let held = order(means, Method::POST, &format!("breakers/{upstream}/open"), None).await;
                    if let Err(refused) = held {
                        for upstream in &upstreams[..done] {
                            let _ =
                                order(means, Method::POST, &format!("breakers/{upstream}/auto"), None).await;
                        }
                        return Err(refused);
                    }
                }
                Ok(format!("{} breakers are held open", upstreams.len()))
            }
            Doing::Warm { keys } => {
                order(means, Method::POST, "warm", Some(&json!({ "keys": keys }))).await?;
                Ok("the gateway is loading them".to_owned())
            }
            Doing::Purge { keys } => {
                order(means, Method::POST, "purge", Some(&json!({ "keys": keys }))).await?;
                Ok(format!("{} keys are purged", keys.len()))
            }
            Doing::Setting { name, to, was } => {
                if let Err(refused) = configure(&mut self.line, means, name, to).await {
                    // It may have become something else, or be done and not told.
                    let _ = configure(&mut self.line, means, name, was).await;
                    return Err(refused);
                }
                Ok(format!("{name} is {to}"))
            }
            Doing::DropIdle { ids } => drop_clients(&mut self.line, means, ids).await,
        }
    }

    /// Takes it back, and looks whether it is.
    ///
    /// # Errors
    /// When a server says no; then it says what is still changed.
    pub async fn undo(&mut self, means: &Means) -> Result<String, Refused> {
        match &self.kind {
            Doing::Policy { name, overridden, .. } => {
                let path = format!("policies/{name}");
                // The document is in force again, and then what somebody had changed before.
                order(means, Method::DELETE, &path, None).await?;
                if !overridden.is_empty() {
                    let before = Value::Object(overridden.clone());
                    order(means, Method::PATCH, &path, Some(&before)).await?;
                }
                Ok(format!("{name} is as it was"))
            }
            Doing::Breaker { upstreams } => {
                for upstream in upstreams {
                    order(means, Method::POST, &format!("breakers/{upstream}/auto"), None).await?;
                }
                Ok("the breakers are left to themselves".to_owned())
            }
            Doing::Setting { name, was, .. } => {
                configure(&mut self.line, means, name, was).await?;
                Ok(format!("{name} is {was} again"))
            }
            Doing::Warm { .. } | Doing::Purge { .. } | Doing::DropIdle { .. } => {
                Ok("there is nothing to take back".to_owned())
            }
        }
    }
}

fn gateway(means: &Means) -> Result<&Target, Refused> {
    means.gateway.as_ref().ok_or(Refused::Nowhere {
        what: "the gateway's admin API (--gateway http://…)",
    })
}

fn redis(means: &Means) -> Result<&Target, Refused> {
    means.redis.as_ref().ok_or(Refused::Nowhere {
        what: "Redis (redis://…)",
    })
}

async fn order(means: &Means, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Refused> {
    let target = gateway(means)?;
    let what = format!("{method} {target} {path}");
    let order = Order {
        method,
        path,
        body: body.map(Value::to_string),
        token: means.token.as_deref(),
    };
    let answer = ask(target, &order, ANSWER_MAX, Instant::now() + PATIENCE).await;
    let answer = answer.map_err(|fault| Refused::unread(&what, fault))?;
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let why = match &said["error"] {
        Value::String(text) => text.clone(),
        Value::Array(list) => list
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join("; "),
        _ => format!("status {}", answer.status),
    };
    Err(Refused::Failed { what, why })
}

fn read(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

async fn breaker(means: &Means) -> Result<Work, Refused> {
    let state = read(&order(means, Method::GET, "state", None).await?);
    let sites = state["sites"].as_array().into_iter().flatten();
    let upstreams: Vec<String> = sites
        .filter_map(|site| Some(site["upstream"].as_str()?.to_owned()))
        .collect();
    if upstreams.is_empty() {
        return Err(Refused::Senseless("the gateway has no upstream".to_owned()));
    }
    let held: Vec<&str> = state["sites"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|site| site["breaker"].as_str())
        .collect();
    Ok(Work {
        command: format!("POST {}/breakers/{}/open", gateway(means)?, upstreams.join(",")),
        before: held.join(", "),
        kind: Doing::Breaker { upstreams },
        line: Line::default(),
    })
}

async fn warm(means: &Means) -> Result<Work, Refused> {
    if means.keys.is_empty() {
        return Err(Refused::Senseless(
            "which keys? name them with --key, or have `protect.warm.automatic` on, which knows what was hot"
                .to_owned(),
        ));
    }
    let state = read(&order(means, Method::GET, "state", None).await?);
    if state["warming"]["under_way"] == json!(true) {
        return Err(Refused::Senseless("the gateway is warming already".to_owned()));
    }
    Ok(Work {
        command: format!("POST {}/warm, {} keys", gateway(means)?, means.keys.len()),
        before: "not warming".to_owned(),
        kind: Doing::Warm {
            keys: means.keys.clone(),
        },
        line: Line::default(),
    })
}

fn purge(means: &Means) -> Result<Work, Refused> {
    if means.keys.is_empty() {
        return Err(Refused::Senseless("which keys? name them with --key".to_owned()));
    }
    Ok(Work {
        command: format!("POST {}/purge, {} keys", gateway(means)?, means.keys.len()),
        before: "whatever is kept".to_owned(),
        kind: Doing::Purge {
            keys: means.keys.clone(),
        },
        line: Line::default(),
    })
}

/// A connection to Redis. One that has no room for clients is asked again and again, for somebody goes.
async fn let_in(target: &Target, deadline: Instant) -> Result<Wire, Fault> {
    loop {
        match connected(target, deadline).await {
            Err(fault) if fault.why == Why::TooManyClients => {
                if Instant::now() + AGAIN >= deadline {
                    return Err(fault);
                }
                tokio::time::sleep(AGAIN).await;
            }
            done => return done,
        }
    }
}

/// A connection to Redis, opened when it is needed and kept then.
#[derive(Default)]
struct Line(Option<Wire>);

impl Line {
    /// Asks one thing.
    async fn ask(&mut self, target: &Target, question: &[&str]) -> Result<Said, Refused> {
        let what = format!(
            "{} at {target}",
            question.iter().take(3).copied().collect::<Vec<_>>().join(" ")
        );
        let failed = |fault: Fault| Refused::unread(&what, fault);
        let deadline = Instant::now() + PATIENCE;
        let mut wire = match self.0.take().filter(|wire| !wire.is_broken() && !wire.owes()) {
            Some(wire) => wire,
            None => let_in(target, deadline).await.map_err(failed)?,
        };
        let said = wire.ask(words(question), deadline).await.map_err(failed)?;
        self.0 = Some(wire);
        match said.error() {
            Some(error) => Err(failed(Fault::said(target, error))),
            None => Ok(said),
        }
    }
}

async fn value_of(line: &mut Line, target: &Target, name: &str) -> Result<String, Refused> {
    let said = line.ask(target, &["CONFIG", "GET", name]).await?;
    let parts = crate::probe::items(&said);
    parts
        .get(1)
        .map(text)
        .ok_or_else(|| Refused::Senseless(format!("this Redis has no setting {name}")))
}

async fn info(line: &mut Line, target: &Target, field: &str) -> Result<Option<f64>, Refused> {
    let said = line.ask(target, &["INFO", "memory"]).await?;
    let all = text(&said);
    let found = all
        .lines()
        .find_map(|line| line.trim().strip_prefix(field)?.strip_prefix(':'));
    Ok(found.and_then(|value| value.parse().ok()))
}

async fn setting(name: &'static str, to: &To, means: &Means) -> Result<Work, Refused> {
    let target = redis(means)?;
    let mut line = Line::default();
    let was = value_of(&mut line, target, name).await?;
    let to = match to {
        To::Value(value) => (*value).to_owned(),
        To::Times(factor) => {
            let number: f64 = was
                .parse()
                .map_err(|_| Refused::Senseless(format!("{name} is {was}, which is no number")))?;
            if number <= 0.0 {
                return Err(Refused::Senseless(format!(
                    "{name} is {was}: there is no limit that could be raised"
                )));
            }
            format!("{:.0}", number * factor)
        }
    };
    if to == was {
        return Err(Refused::Senseless(format!("{name} is {was} already")));
    }
    if name == "maxmemory" {
        let room = info(&mut line, target, "total_system_memory").await?;
        let wanted: f64 = to.parse().unwrap_or(f64::INFINITY);
        if room.is_some_and(|room| wanted > 0.8 * room) {
            return Err(Refused::Senseless(format!(
                "{to} bytes are more than four fifths of the machine's memory: the kernel would kill it"
            )));
        }
    }
    Ok(Work {
        command: format!(
            "redis-cli -h {} -p {} config set {name} {to}",
            target.host(),
            target.port()
        ),
        before: format!("{name} is {was}"),
        kind: Doing::Setting { name, to, was },
        line,
    })
}

async fn configure(line: &mut Line, means: &Means, name: &str, to: &str) -> Result<(), Refused> {
    let target = redis(means)?;
    line.ask(target, &["CONFIG", "SET", name, to]).await?;
    let is = value_of(line, target, name).await?;
    // What is set to more than the system allows becomes less without a word.
    if is == to {
        return Ok(());
    }
    Err(Refused::Failed {
        what: format!("CONFIG SET {name} {to}"),
        why: format!("it is {is} now"),
    })
}

async fn idle(idle_s: u64, means: &Means) -> Result<Work, Refused> {
    let target = redis(means)?;
    let mut kept = Line::default();
    let said = kept.ask(target, &["CLIENT", "LIST", "TYPE", "normal"]).await?;
    let all = text(&said);
    let mut ids = Vec::new();
    let mut clients = 0;
    for line in all.lines() {
        clients += 1;
        let field = |name: &str| {
            line.split(' ')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let idle = field("idle")
            .and_then(|idle| idle.parse::<u64>().ok())
            .unwrap_or(0);
        // Who subscribes or blocks is silent because that is what it does.
        let waits = field("sub").is_some_and(|count| count != "0")
            || field("psub").is_some_and(|count| count != "0")
            || field("flags").is_some_and(|flags| flags.contains(['b', 'P', 'x']));
        if idle >= idle_s && !waits && ids.len() < DROPPED_MAX {
            ids.extend(field("id").map(str::to_owned));
        }
    }
    if ids.is_empty() {
        return Err(Refused::Senseless(format!(
            "none of {clients} clients has been idle for {idle_s} s"
        )));
    }
    Ok(Work {
        command: format!(
            "redis-cli client kill id …, for {} of {clients} clients",
            ids.len()
        ),
        before: format!("{clients} clients"),
        kind: Doing::DropIdle { ids },
        line: kept,
    })
}

async fn drop_clients(line: &mut Line, means: &Means, ids: &[String]) -> Result<String, Refused> {
    let target = redis(means)?;
    let mut dropped = 0;
    for id in ids {
        match line.ask(target, &["CLIENT", "KILL", "ID", id]).await {
            Ok(said) => dropped += crate::probe::number(&said).unwrap_or(0),
            // Who has gone by himself is gone.
            Err(Refused::Unread { fault, .. }) if fault.text.contains("No such client") => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(format!("{dropped} idle clients are gone"))
}
