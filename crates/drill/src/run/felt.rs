//! Whether a fault is felt, asked from outside: before it, while it is in force, and when it is over.
//!
//! What an [injection](crate::inject) does it proves itself. This is for all else: what is done to links, kills, crashes,
//! and what clients do. A [`Watch`] begins to look when the fault does and goes on until it is felt; after the fault it
//! looks until it is gone. It does not judge what becomes of a fault that was not felt.

mod counted;
mod signs;
mod spot;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::asking;
use crate::proxy::Proxies;
pub(crate) use counted::Counted;
pub(crate) use spot::{Sign, Spot, Usual};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(30);
/// A fault has this long to be felt, also when it is to end before.
const LEAST: Duration = Duration::from_secs(1);
/// What is gone shows within this time.
const HEALING: Duration = Duration::from_secs(10);

/// What has been noticed so far. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Noticed>>);

#[derive(Debug, Default)]
struct Noticed {
    felt: Option<String>,
    last: Option<String>,
    told: bool,
}

impl Heard {
    fn noticed(&self) -> MutexGuard<'_, Noticed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was felt, and how. What was felt first counts.
    pub(crate) fn felt(&self, how: String) {
        self.noticed().felt.get_or_insert(how);
    }

    /// It was not felt, and what was seen instead.
    pub(crate) fn missed(&self, instead: String) {
        self.noticed().last = Some(instead);
    }
}

/// How it shows that a fault is gone.
#[derive(Clone)]
pub(crate) enum Gone {
    /// Where it was felt, it no longer is.
    Spot(Spot, Sign, Usual),
    /// A proxy has no such toxic.
    Toxic(Proxies, String, String),
    /// None of these instances holds an event for one that is under way.
    Told(Vec<SocketAddr>, usize),
    /// The client sends what it always does.
    Counted(Counted),
}

/// Somebody who looks at a fault.
pub(crate) struct Watch {
    heard: Heard,
    looking: Option<JoinHandle<()>>,
    begun: Instant,
    gone: Vec<Gone>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.iter().for_each(JoinHandle::abort);
    }
}

impl Watch {
    /// Asks here until this is seen.
    pub(crate) fn at(spot: Spot, sign: Sign, usual: Usual) -> Watch {
        let gone = Gone::Spot(spot.clone(), sign.clone(), usual);
        Watch::of(vec![gone], |heard| async move {
            let mut before = Vec::new();
            loop {
                match spot.look(&sign, &usual, &mut before).await {
                    Ok(seen) => return heard.felt(seen),
                    Err(instead) => heard.missed(instead),
                }
                sleep(PAUSE).await;
            }
        })
    }

    /// Looks at what a client sends.
    pub(crate) fn counted(counted: Counted) -> Watch {
        let gone = Gone::Counted(counted.clone());
        Watch::of(vec![gone], |heard| async move {
            let mut window = counted.window();
            loop {
                sleep(PAUSE).await;
                match counted.felt(&mut window) {
                    Ok(seen) => return heard.felt(seen),
                    Err(instead) => heard.missed(instead),
                }
            }
        })
    }

    /// Looks in a way of its own, and tells what it has heard.
    pub(crate) fn of<F>(gone: Vec<Gone>, look: impl FnOnce(Heard) -> F) -> Watch
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let heard = Heard::default();
        let looking = tokio::spawn(look(heard.clone()));
        Watch {
            heard,
            looking: Some(looking),
            begun: Instant::now(),
            gone,
        }
    }

    /// Looks at nothing: somebody else notices it.
    pub(crate) fn for_others(instead: &str, gone: Vec<Gone>) -> Watch {
        let heard = Heard::default();
        heard.missed(instead.to_owned());
        Watch {
            heard,
            looking: None,
            begun: Instant::now(),
            gone,
        }
    }

    /// It is gone when this is seen, too.
    pub(crate) fn and_gone(mut self, gone: Gone) -> Watch {
        self.gone.push(gone);
        self
    }

    /// Where others say what they have noticed.
    pub(crate) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// What was felt, once.
    pub(crate) fn news(&self) -> Option<String> {
        let mut told = self.heard.noticed();
        if told.told || told.felt.is_none() {
            return None;
        }
        told.told = true;
        told.felt.clone()
    }

    /// Ends the look; what was felt, or what was seen instead.
    pub(crate) async fn end(mut self) -> (Result<String, String>, Vec<Gone>) {
        if let Some(mut looking) = self.looking.take() {
            let _ = timeout_at(self.begun + LEAST, &mut looking).await;
            looking.abort();
        }
        let told = self.heard.noticed();
        let felt = match (&told.felt, &told.last) {
            (Some(felt), _) => Ok(felt.clone()),
            (None, Some(instead)) => Err(instead.clone()),
            (None, None) => Err("nothing was seen of it".to_owned()),
        };
        drop(told);
        (felt, std::mem::take(&mut self.gone))
    }
}

impl Gone {
    /// Whether it is, and by what.
    async fn is(&self) -> Result<String, String> {
        match self {
            Gone::Spot(spot, sign, usual) => spot.look_after(sign, usual).await,
            Gone::Toxic(proxies, proxy, toxic) => match proxies.view(proxy).await {
                Ok(view) if view.toxics.iter().any(|one| one.name == *toxic) => {
                    Err(format!("the proxy `{proxy}` still has `{toxic}`"))
                }
                Ok(_) => Ok(format!("the proxy `{proxy}` lets through")),
                Err(error) => Err(error.to_string()),
            },
            Gone::Told(controls, event) => {
                for control in controls {
                    let active = asking::active(*control)
                        .await
                        .map_err(|error| error.to_string())?;
                    if active.contains(event) {
                        return Err(format!("the instance at {control} still does it"));
                    }
                }
                Ok("no instance does it any more".to_owned())
            }
            Gone::Counted(counted) => counted.gone().await,
        }
    }
}

/// Looks until it is gone: for as long as others may be in the way, and then for as long as healing takes. `others` becomes
/// true when nobody is any more.
pub(crate) async fn until_gone(
    gone: Vec<Gone>,
    mut others: tokio::sync::watch::Receiver<bool>,
) -> Result<Vec<String>, String> {
    let mut seen = Vec::new();
    let mut patience = None;
    for one in gone {
        loop {
            let why = match one.is().await {
                Ok(how) => break seen.push(how),
                Err(why) => why,
            };
            if *others.borrow_and_update() {
                let until = *patience.get_or_insert_with(|| Instant::now() + HEALING);
                if Instant::now() > until {
                    return Err(why);
                }
            }
            sleep(PAUSE * 3).await;
        }
    }
    Ok(seen)
}
