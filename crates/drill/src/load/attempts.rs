//! One call, with its attempts: patience and retries as the simulated clients have them.

use std::sync::Arc;

use bytes::Bytes;
use seawall_core::record::Ending;
use seawall_core::time::Time;
use tokio::time::{sleep_until, timeout_at};

use super::target::{Call, Reply, Target};
use super::truth::Judgement;
use super::{PATIENCE, Run};

/// What was asked for, and when it was due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) key: u64,
    /// The version that is written; nothing when it is a read.
    pub(crate) version: Option<u64>,
    pub(crate) due: Time,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) due: Time,
    pub(crate) sent: Time,
    pub(crate) at: Time,
    pub(crate) ending: Ending,
    /// What went wrong, or how old it was.
    pub(crate) detail: Detail,
}

#[derive(Clone, Debug)]
pub(crate) enum Detail {
    None,
    Stale(seawall_core::time::Span),
    Wrong(&'static str, u64),
    Failed(String),
}

/// Leaves whatever happens, also by a panic of the target.
struct Presence(Arc<Run>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Makes a call and counts how it ended.
pub(crate) async fn make<T: Target>(run: Arc<Run>, target: Arc<T>, asked: Asked) {
    let presence = Presence(Arc::clone(&run));
    let sent = run.now();
    let write: Option<Bytes> = asked
        .version
        .map(|version| run.truth.value(asked.key, version).into());
    let patience = run.settings.timeout.unwrap_or(PATIENCE);
    let (mut born, mut tries) = (asked.due, 0);
    loop {
        let call = Call {
            key: asked.key,
            write: write.clone(),
        };
        let deadline = born + patience;
        let reply = timeout_at(run.instant(deadline), target.call(call)).await;
        // An answer that the timer let through at the last moment is late all the same.
        let now = run.now();
        let reply = reply.ok().filter(|_| now <= deadline);
        let at = if reply.is_some() { now } else { deadline };
        let (ending, detail) = judge(&run, &asked, born, reply);
        if matches!(ending, Ending::Error | Ending::Timeout) && tries < run.settings.retries {
            run.tally().retried(at);
            tries += 1;
            born = at + run.settings.backoff;
            sleep_until(run.instant(born)).await;
            continue;
        }
        if let Some(version) = asked.version {
            // Of a write that failed at any try it is not known whether it was done, or will be.
            let there = ending == Ending::Fresh && tries == 0;
            run.truth.end(at, asked.key, version, there);
        }
        let ended = Ended {
            due: asked.due,
            sent,
            at,
            ending,
            detail,
        };
        run.tally().ended(ended);
        drop(presence);
        return;
    }
}

fn judge(run: &Run, asked: &Asked, born: Time, reply: Option<Reply>) -> (Ending, Detail) {
    let judgement = match reply {
        None => return (Ending::Timeout, Detail::None),
        Some(Reply::Shed) => return (Ending::Shed, Detail::None),
        Some(Reply::Failed(why)) => return (Ending::Error, Detail::Failed(why)),
        Some(Reply::Done) => return (Ending::Fresh, Detail::None),
        Some(Reply::Value(_) | Reply::Absent) if asked.version.is_some() => Judgement::Fresh,
        Some(Reply::Value(value)) => run.truth.judge(born, asked.key, Some(&value)),
        Some(Reply::Absent) => {
            let there = asked.key & seawall_core::keys::MISSING == 0;
            if there && !run.truth.absent_is_wrong() {
                return (Ending::Error, Detail::Failed("not there".to_owned()));
            }
            run.truth.judge(born, asked.key, None)
        }
    };
    match judgement {
        Judgement::Fresh => (Ending::Fresh, Detail::None),
        Judgement::Stale(age) => (Ending::Stale, Detail::Stale(age)),
        Judgement::Wrong(how) => (Ending::Wrong, Detail::Wrong(how, asked.key)),
    }
}
