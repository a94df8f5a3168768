//! How it shows that instances store wrongly, or not at all.

use std::net::SocketAddr;
use std::time::Duration;

use seawall_core::record::Metric;
use tokio::time::sleep;

use super::asking;
use super::felt::Heard;
use crate::app::FOR_EVER;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// So many loads have to leave nothing behind.
const LOADS: f64 = 5.0;

/// Looks for entries that have longer to live than any rule allows.
pub(super) async fn lives_for_ever(nodes: &[SocketAddr], heard: &Heard) {
    let mut cursors = vec!["0".to_owned(); nodes.len()];
    loop {
        for (node, cursor) in nodes.iter().zip(&mut cursors) {
            let Ok((next, lives)) = asking::lives(*node, cursor).await else {
                continue;
            };
            *cursor = next;
            let all = lives.len();
            // Half of that is more than anything else is kept for.
            let long = lives.iter().filter(|left| **left > FOR_EVER / 2).count();
            if long > 0 {
                return heard.felt(format!(
                    "{long} of {all} entries that were looked at do not expire"
                ));
            }
            heard.missed(format!("all of {all} entries that were looked at expire"));
        }
        sleep(PAUSE).await;
    }
}

/// Looks for loads after which nothing is stored.
pub(super) async fn is_not_stored(controls: &[SocketAddr], heard: &Heard) {
    // What is on its way when the rule changes is still stored.
    sleep(PAUSE * 2).await;
    let Some(before) = stored(controls).await else {
        return heard.missed("no instance says what it stores".to_owned());
    };
    loop {
        sleep(PAUSE).await;
        let Some(now) = stored(controls).await else {
            continue;
        };
        let (loads, sets) = (now.0 - before.0, now.1 - before.1);
        let seen = format!("{loads} loads left {sets} entries behind");
        if sets > loads / 10.0 {
            return heard.missed(seen);
        }
        if loads >= LOADS {
            return heard.felt(seen);
        }
        heard.missed(seen);
    }
}

/// Loads and stores of all instances together.
async fn stored(controls: &[SocketAddr]) -> Option<(f64, f64)> {
    let (mut loads, mut sets) = (0.0, 0.0);
    for control in controls {
        let page = asking::page(*control).await.ok()?;
        loads += page.sum(Metric::Loads.name(), &[]);
        sets += page.sum(Metric::CacheSets.name(), &[]);
    }
    Some((loads, sets))
}

/// Asks instances whether they do it.
pub(super) async fn is_told(controls: &[SocketAddr], event: usize, heard: &Heard) {
    for control in controls {
        match asking::active(*control).await {
            Ok(active) if active.contains(&event) => {}
            Ok(_) => return heard.missed(format!("the instance at {control} does not do it")),
            Err(error) => return heard.missed(error.to_string()),
        }
    }
    heard.felt(format!("{} instances do it", controls.len()));
}
