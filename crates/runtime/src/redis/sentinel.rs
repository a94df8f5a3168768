//! Sentinels: who the master is, asked anew when the one that is known does not serve.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::redis::{Cmd, Value, cmd};
use seawall_core::guard::CacheFault;
use tokio::time::Instant;

use super::config::ConfigError;
use super::dial::{Dial, Place, Wire};
use super::lane::{Failure, Link};
use super::turns::Turns;

/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(200);
/// What was learnt is doubted after so long, for a master that was replaced may go on answering for a while.
const DOUBT_AFTER: Duration = Duration::from_secs(5);
/// One sentinel, or a master that is asked whether it is one, is given so long.
const ASK_FOR: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Sentinels {
    wire: Arc<Wire>,
    watchers: Vec<Link>,
    name: String,
    master: RwLock<Option<(Arc<Link>, Instant)>>,
    rounds: Turns,
}

impl Sentinels {
    pub(super) fn new(
        wire: Arc<Wire>,
        sentinel_wire: &Arc<Wire>,
        places: &[Place],
        name: &str,
    ) -> Result<Arc<Sentinels>, ConfigError> {
        let link = |place: &Place| Dial::new(sentinel_wire, place).map(Link::new);
        Ok(Arc::new(Sentinels {
            wire,
            watchers: places.iter().map(link).collect::<Result<_, _>>()?,
            name: name.to_owned(),
            master: RwLock::new(None),
            rounds: Turns::new(),
        }))
    }

    pub(super) async fn call(self: &Arc<Sentinels>, cmd: &Cmd) -> Result<Value, Failure> {
        let master = self.master().await?;
        // The caller may leave before the answer: then the master is in doubt too.
        let doubt = Doubt(self);
        let result = master.call(cmd).await;
        let lost = matches!(
            result.as_ref().map_err(Failure::fault),
            Err(CacheFault::Refused | CacheFault::TimedOut | CacheFault::Reset | CacheFault::ReadOnly)
        );
        if !lost {
            std::mem::forget(doubt);
        }
        result
    }

    /// Where the master is.
    pub(super) async fn dial(self: &Arc<Sentinels>) -> Result<Dial, CacheFault> {
        let master = self.master().await?;
        Dial::new(&self.wire, master.place()).map_err(|_| CacheFault::Refused)
    }

    async fn master(self: &Arc<Sentinels>) -> Result<Arc<Link>, CacheFault> {
        if let Some((link, since)) = self.known() {
            if since.elapsed() > DOUBT_AFTER {
                self.refresh();
            }
            return Ok(link);
        }
        let mut asked = self.rounds.watch();
        self.refresh();
        // A caller's own time ends the wait.
        let _ = asked.changed().await;
        self.known().map(|(link, _)| link).ok_or(CacheFault::Unavailable)
    }

    fn known(&self) -> Option<(Arc<Link>, Instant)> {
        let master = self.master.read().unwrap_or_else(PoisonError::into_inner);
        master.clone()
    }

    /// Has the sentinels asked, unless they are being asked.
    pub(super) fn refresh(self: &Arc<Sentinels>) {
        // Outside of a runtime nobody waits for an answer either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && self.rounds.want()
        {
            runtime.spawn(Round(Arc::clone(self)).run());
        }
    }

    /// Asks one sentinel after the other, and believes the first whose master says that it is one.
    async fn ask(&self) {
        for sentinel in &self.watchers {
            let mut question = cmd("SENTINEL");
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
            let Ok(Ok(answer)) = tokio::time::timeout(ASK_FOR, sentinel.call(&question)).await else {
                continue;
            };
            let Some(place) = place(&answer) else { continue };
            let known = self.known().map(|(link, _)| link);
            let link = match known.filter(|link| *link.place() == place) {
                Some(link) => link,
                None => match Dial::new(&self.wire, &place) {
                    Ok(dial) => Arc::new(Link::new(dial)),
                    Err(_) => continue,
                },
            };
            let role = cmd("ROLE");
            if let Ok(Ok(role)) = tokio::time::timeout(ASK_FOR, link.call(&role)).await
                && is_master(&role)
            {
                let mut master = self.master.write().unwrap_or_else(PoisonError::into_inner);
                *master = Some((link, Instant::now()));
                return;
            }
        }
    }
}

/// The task that asks. However it ends, another one may begin.
struct Round(Arc<Sentinels>);

impl Round {
    async fn run(self) {
        loop {
            self.0.ask().await;
            self.0.rounds.done();
            tokio::time::sleep(PAUSE).await;
            if !self.0.rounds.again() {
                std::mem::forget(self);
                return;
            }
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.0.rounds.end();
    }
}

/// A call to a master that has not been answered.
struct Doubt<'a>(&'a Arc<Sentinels>);

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.0.refresh();
    }
}

fn place(answer: &Value) -> Option<Place> {
    let Value::Array(parts) = answer else { return None };
    let [Value::BulkString(host), Value::BulkString(port)] = &parts[..] else {
        return None;
    };
    let host = String::from_utf8(host.clone()).ok()?;
    let port = std::str::from_utf8(port).ok()?.parse().ok()?;
    Some(Place { host, port })
}

fn is_master(role: &Value) -> bool {
    let Value::Array(role) = role else { return false };
    matches!(role.first(), Some(Value::BulkString(role)) if role == b"master")
}
