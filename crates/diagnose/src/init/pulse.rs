//! How far a database is: a question that is no work, asked again and again.
//!
//! What a server counts of a transaction is its own work. Callers also wait for the network, and for a pooler or a proxy
//! that stands between, and only somebody who calls the same address sees that. What stands between may let those pass who
//! only look, so this session does not bear their name.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::measure::Wanted;
use crate::probe::postgres::{CALLER, connect_as};
use crate::probe::{Kind, Target};

/// It is asked this often.
const EVERY: Duration = Duration::from_millis(100);
/// It ends so long before the window does: a session tells what it counted when it ends, and at other times once a second.
const EARLY: Duration = Duration::from_millis(1_200);

/// What came of it, of all databases together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pulses {
    /// How long each took, in seconds.
    pub(super) replies: Vec<f64>,
    /// Transactions that were ours.
    pub(super) transactions: f64,
}

impl Pulses {
    /// The median; nothing when nobody answered.
    pub(super) fn median(&self) -> Option<f64> {
        let mut sorted = self.replies.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    /// The mean; nothing when nobody answered.
    pub(super) fn mean(&self) -> Option<f64> {
        let count = self.replies.len() as f64;
        (count > 0.0).then(|| self.replies.iter().sum::<f64>() / count)
    }
}

/// Asks until shortly before the window ends. A database that does not answer is the rounds' to tell of.
pub(super) async fn pulses(targets: &[Target], wanted: Wanted) -> Pulses {
    let end = Instant::now() + wanted.window.saturating_sub(EARLY);
    let mut all = Pulses::default();
    let databases = targets.iter().filter(|target| target.kind() == Kind::Postgres);
    let each: Vec<_> = databases
        .map(|target| tokio::spawn(of_one(target.clone(), end, wanted.patience)))
        .collect();
    for one in each {
        // One that panicked has told nothing.
        let Ok(one) = one.await else { continue };
        all.replies.extend(one.replies);
        all.transactions += one.transactions;
    }
    all
}

async fn of_one(target: Target, end: Instant, patience: Duration) -> Pulses {
    use sqlx::{Connection, Executor};

    let mut pulses = Pulses::default();
    let Ok(mut connection) = connect_as(CALLER, &target, Instant::now() + patience).await else {
        return pulses;
    };
    pulses.transactions += 1.0;
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        match timeout_at(begun + patience, connection.execute("SELECT 1")).await {
            Ok(Ok(_)) => pulses.replies.push(begun.elapsed().as_secs_f64()),
            Ok(Err(_)) => break,
            Err(_) => return pulses,
        }
        pulses.transactions += 1.0;
    }
    // Its farewell is not waited for long.
    let _ = timeout_at(Instant::now() + patience, connection.close()).await;
    pulses
}
