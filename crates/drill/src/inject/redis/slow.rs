//! A server whose one thread is busy with something else for a share of the time.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::Server;
use super::client::Client;
use crate::inject::{
    Answer, Evidence, Failed, Fault, HEALING, Injection, LEASE_MAX, NoEffect, NotUndone, Refused,
};

/// Counts as far as it is told. It touches nothing, so it may be stopped at any time.
const LOOP: &str = "local x = 0 for i = 1, tonumber(ARGV[1]) do x = x + i end return 1";
/// How far one that takes about a millisecond counts, to begin with.
const TURNS: f64 = 50_000.0;
/// The longest time that a server is held up at once.
const BURST_MAX: Duration = Duration::from_secs(1);
/// How many calls are measured before.
const CALLS: usize = 9;
/// So many calls have to wait.
const WAITS: usize = 3;
/// How long it is looked for them.
const LOOK: Duration = Duration::from_secs(5);

/// Takes this share of a server's single thread, in bursts of this length during which nobody is answered (blocking
/// `EVAL`). A call then waits for the rest of a burst as often as it meets one: `share · burst / 2` on average, and more
/// once what is left of the thread is not enough for all. That is not the same as every command taking longer.
///
/// When the drill is gone, the burst under way is the last.
///
/// # Errors
/// When the share is not between 0 and 0.95, the burst is longer than a second, or the server runs no scripts.
pub async fn slow(server: &Server, share: f64, burst: Duration, max: Duration) -> Result<Injection, Refused> {
    if !(share > 0.0 && share <= 0.95) || burst.is_zero() || burst > BURST_MAX {
        return Err(Refused::Impossible(format!(
            "a server cannot be busy for {share} of its time in bursts of {} ms: at most 0.95, and 1 s",
            burst.as_millis()
        )));
    }
    let mut client = server.client_or_refused().await?;
    client.patient(BURST_MAX * 5);
    let usual = median(&mut client).await?;
    // A short one first: it says whether scripts are run at all.
    let mut turns = TURNS;
    took(&mut client, turns)
        .await
        .map_err(|error| Refused::Impossible(error.to_string()))?;
    let until = Instant::now() + max.min(LEASE_MAX);
    let loops = tokio::spawn(async move {
        while Instant::now() < until {
            let took = took(&mut client, turns).await?;
            // As far as it would have counted in the time that it should have taken, not too far at once.
            turns *= (burst.as_secs_f64() / took.as_secs_f64()).clamp(0.5, 4.0);
            sleep(took.mul_f64((1.0 - share) / share)).await;
        }
        Ok(())
    });
    Ok(Injection::new(Busy {
        server: server.clone(),
        share,
        burst,
        usual,
        loops,
    }))
}

async fn took(client: &mut Client, turns: f64) -> Result<Duration, Failed> {
    let begun = Instant::now();
    client.order(&["EVAL", LOOP, "0", &format!("{turns:.0}")]).await?;
    Ok(begun.elapsed().max(Duration::from_micros(1)))
}

async fn call(client: &mut Client) -> Result<Duration, Failed> {
    let begun = Instant::now();
    client.order(&["PING"]).await?;
    Ok(begun.elapsed())
}

async fn median(client: &mut Client) -> Result<Duration, Failed> {
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        calls.push(call(client).await?);
    }
    calls.sort();
    Ok(calls[CALLS / 2])
}

struct Busy {
    server: Server,
    share: f64,
    burst: Duration,
    /// How long a call takes when nobody is in the way.
    usual: Duration,
    loops: JoinHandle<Result<(), Failed>>,
}

impl Fault for Busy {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            let mut client = self.server.client().await?;
            client.patient(BURST_MAX * 5);
            let begun = Instant::now();
            let long = self.usual + self.burst / 2;
            let (mut calls, mut waited) = (0, 0);
            while waited < WAITS {
                if begun.elapsed() > LOOK || self.loops.is_finished() {
                    return Err(NoEffect(format!(
                        "{waited} of {calls} PINGs waited for {} ms",
                        long.as_millis()
                    )));
                }
                calls += 1;
                if call(&mut client).await? >= long {
                    waited += 1;
                }
                // Not in step with the bursts.
                sleep(self.burst / 7).await;
            }
            Ok(Evidence::new(
                format!(
                    "took {:.0}% of the thread in bursts of {} ms",
                    self.share * 100.0,
                    self.burst.as_millis()
                ),
                format!(
                    "{waited} of {calls} PINGs waited for {} ms or more, and the median was {:.1} ms before",
                    long.as_millis(),
                    self.usual.as_secs_f64() * 1e3
                ),
            ))
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            self.loops.abort();
            let _ = self.loops.await;
            let begun = Instant::now();
            loop {
                let mut client = self.server.client().await?;
                let now = median(&mut client).await?;
                if now < self.usual + self.burst / 2 {
                    let said = format!("the median of {CALLS} PINGs is {:.1} ms", now.as_secs_f64() * 1e3);
                    return Ok(Evidence::new("ended the loops", said));
                }
                if begun.elapsed() > HEALING {
                    return Err(NotUndone(format!("PING still takes {} ms", now.as_millis())));
                }
            }
        })
    }
}
