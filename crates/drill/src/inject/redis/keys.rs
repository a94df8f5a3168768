//! Entries that are gone at once. What is gone stays so: it comes back as it is asked for.

use std::time::Duration;

use bytes::Bytes;
use seawall_core::rng::{Seed, Stream, mix};
use tokio::time::{Instant, sleep};

use super::Server;
use super::client::{Client, count, text};
use crate::inject::{Answer, Evidence, Failed, Fault, Injection, LEASE_MAX, NoEffect, NotUndone, Refused};
use crate::resp::Value;

/// Keys are walked through in steps of this many.
const STEP: &str = "500";
/// So many of those that will be gone are looked at.
const SAMPLE: usize = 1_000;

/// A walk through all keys of a server, in bounded memory. A key that is moved meanwhile may come twice.
pub(super) struct Walk {
    cursor: String,
    done: bool,
    kind: Option<&'static str>,
}

impl Walk {
    /// Of all keys, or of those of one type.
    pub(super) fn new(kind: Option<&'static str>) -> Walk {
        Walk {
            cursor: "0".into(),
            done: false,
            kind,
        }
    }

    /// The next keys; nothing when all have come.
    pub(super) async fn next(&mut self, client: &mut Client) -> Result<Option<Vec<Bytes>>, Failed> {
        if self.done {
            return Ok(None);
        }
        let mut words = vec!["SCAN", &self.cursor, "COUNT", STEP];
        words.extend(self.kind.into_iter().flat_map(|kind| ["TYPE", kind]));
        let Value::Array(said) = client.order(&words).await? else {
            return Err(Failed::new("SCAN answers with something else"));
        };
        let [cursor, Value::Array(keys)] = &said[..] else {
            return Err(Failed::new("SCAN answers with something else"));
        };
        self.cursor = text(cursor);
        self.done = self.cursor == "0";
        let keys = keys.iter().filter_map(|key| match key {
            Value::Bulk(key) => Some(key.clone()),
            _ => None,
        });
        Ok(Some(keys.collect()))
    }
}

/// The random stream of a key: whether it is chosen does not depend on what else there is.
pub(super) fn drawn(seed: Seed, key: &[u8]) -> Stream {
    let hash = key.iter().fold(0, |hash, byte| mix(hash ^ u64::from(*byte)));
    seed.stream("inject", hash)
}

/// Lets this share of the entries expire at once.
///
/// # Errors
/// When the server cannot be talked to.
pub async fn expire(server: &Server, share: f64, seed: Seed) -> Result<Injection, Refused> {
    let mut client = server.client_or_refused().await?;
    let mut walk = Walk::new(None);
    let (mut all, mut gone) = (0, 0);
    while let Some(keys) = walk.next(&mut client).await? {
        all += keys.len();
        let chosen: Vec<Bytes> = keys
            .into_iter()
            .filter(|key| drawn(seed, key).chance(share))
            .collect();
        gone += expired(&mut client, &chosen).await?;
    }
    Ok(Injection::new(Emptied {
        done: format!("let {:.0}% of {all} keys expire at once", share * 100.0),
        seen: format!("{gone} keys were there and then were not"),
        is_felt: gone > 0,
    }))
}

/// Lets keys expire and looks at once, before anybody fills them again; says how many are gone.
async fn expired(client: &mut Client, keys: &[Bytes]) -> Result<u64, Failed> {
    // A deadline in the past removes a key at once, on every replica too.
    let past = Bytes::from_static(b"1");
    let mut words = Vec::with_capacity(keys.len() * 2);
    for key in keys {
        words.push(vec![Bytes::from_static(b"PEXPIREAT"), key.clone(), past.clone()]);
        words.push(vec![Bytes::from_static(b"EXISTS"), key.clone()]);
    }
    let said = client.all(&words).await?;
    let pairs = said.chunks_exact(2);
    Ok(pairs
        .filter(|pair| pair[0] == Value::Integer(1) && pair[1] == Value::Integer(0))
        .count() as u64)
}

/// Removes all entries of a server (`FLUSHALL ASYNC`), of all its databases.
///
/// # Errors
/// When the server cannot be talked to or does not do it.
pub async fn flush(server: &Server) -> Result<Injection, Refused> {
    let mut client = server.client_or_refused().await?;
    let words = [vec!["DBSIZE"], vec!["FLUSHALL", "ASYNC"], vec!["DBSIZE"]];
    let said = client.all(&words).await?;
    if let Some(error) = said[1].error() {
        let error = String::from_utf8_lossy(error);
        return Err(Refused::Impossible(format!(
            "Redis at {} is not flushed: {error}",
            server.address
        )));
    }
    let (before, after) = (count(&said[0]), count(&said[2]));
    Ok(Injection::new(Emptied {
        done: "flushed all keys".into(),
        seen: format!("there were {before} keys, and {after} right after"),
        is_felt: after < before,
    }))
}

struct Emptied {
    done: String,
    seen: String,
    is_felt: bool,
}

impl Fault for Emptied {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            if !self.is_felt {
                return Err(NoEffect(self.seen.clone()));
            }
            Ok(Evidence::new(self.done.clone(), self.seen.clone()))
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async { Ok(nothing_to_undo()) })
    }
}

fn nothing_to_undo() -> Evidence {
    Evidence::new(
        "nothing is to be undone",
        "what is gone comes back as it is asked for",
    )
}

/// Lets this share of the entries that are there now expire together, in so long (`PEXPIREAT`). Those that are written
/// meanwhile have their own time.
///
/// # Errors
/// When the server cannot be talked to, or it is to be later than in an hour.
pub async fn expire_at(server: &Server, share: f64, seed: Seed, in_: Duration) -> Result<Injection, Refused> {
    if in_ > LEASE_MAX {
        return Err(Refused::Impossible(format!(
            "keys cannot expire in {} s: an hour at most",
            in_.as_secs()
        )));
    }
    let mut client = server.client_or_refused().await?;
    let instant = Instant::now() + in_;
    let at = (now_ms(&mut client).await? + in_.as_millis()).to_string();
    let mut walk = Walk::new(None);
    let (mut set, mut sample) = (0, Vec::new());
    while let Some(keys) = walk.next(&mut client).await? {
        let chosen = keys.into_iter().filter(|key| drawn(seed, key).chance(share));
        let words: Vec<[Bytes; 3]> = chosen
            .map(|key| [Bytes::from_static(b"PEXPIREAT"), key, Bytes::from(at.clone())])
            .collect();
        let said = client
            .all(&words.iter().map(|words| words.to_vec()).collect::<Vec<_>>())
            .await?;
        for ([_, key, _], said) in words.into_iter().zip(said) {
            set += count(&said);
            if count(&said) == 1 && sample.len() < SAMPLE {
                sample.push(key);
            }
        }
    }
    Ok(Injection::new(Due {
        server: server.clone(),
        instant,
        set,
        sample,
    }))
}

/// What the server's clock says, in milliseconds since 1970.
async fn now_ms(client: &mut Client) -> Result<u128, Failed> {
    let said = client.order(&["TIME"]).await?;
    let Value::Array(parts) = &said else {
        return Err(Failed::new("TIME answers with something else"));
    };
    let part = |at: usize| parts.get(at).and_then(|part| text(part).parse::<u128>().ok());
    match (part(0), part(1)) {
        (Some(seconds), Some(micros)) => Ok(seconds * 1_000 + micros / 1_000),
        _ => Err(Failed::new("TIME answers with something else")),
    }
}

struct Due {
    server: Server,
    instant: Instant,
    set: u64,
    sample: Vec<Bytes>,
}

impl Fault for Due {
    /// Waits for the instant and looks right after.
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            let mut client = self.server.client().await?;
            tokio::time::sleep_until(self.instant).await;
            // The two clocks do not agree to the millisecond.
            sleep(Duration::from_millis(2)).await;
            let exist = |key: &Bytes| vec![Bytes::from_static(b"EXISTS"), key.clone()];
            let words: Vec<Vec<Bytes>> = self.sample.iter().map(exist).collect();
            let there: u64 = client.all(&words).await?.iter().map(count).sum();
            let gone = self.sample.len() as u64 - there;
            let seen = format!("{gone} of {} that were looked at are gone", self.sample.len());
            if gone == 0 {
                return Err(NoEffect(seen));
            }
            Ok(Evidence::new(
                format!("let {} keys expire at one instant", self.set),
                seen,
            ))
        })
    }

    fn undo(self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async { Ok(nothing_to_undo()) })
    }
}
