//! Entries that are there and are not right: of another type, or with other bytes.
//!
//! The server itself keeps a list of what was broken, and how: so the keeper can have all of it removed that still is
//! broken, by one command, and nothing that somebody has put right meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use seawall::envelope::{DIGEST_AT, Envelope};
use seawall_core::rng::Seed;
use sha1_smol::Sha1;

use super::Server;
use super::client::{Client, count, text};
use super::keys::{Walk, drawn};
use crate::inject::lease::Lease;
use crate::inject::{Answer, Evidence, Failed, Fault, Injection, NoEffect, NotUndone, Refused};
use crate::keeper::Keeper;
use crate::resp::Value;

/// Removes what is still broken: `ARGV[2]` pages of the list `KEYS[1]` from `ARGV[1]` on. Says where to go on, and how
/// many it has removed. At the end the list is removed too.
const REMOVE: &str = "local at, gone, pages = ARGV[1], 0, tonumber(ARGV[2]) \
    repeat \
      local page = redis.call('HSCAN', KEYS[1], at, 'COUNT', 500) at, pages = page[1], pages - 1 \
      for i = 1, #page[2], 2 do \
        local key, what = page[2][i], page[2][i + 1] \
        local type = redis.call('TYPE', key)['ok'] \
        if type == what or type == 'string' and redis.sha1hex(redis.call('GET', key)) == what then \
          redis.call('UNLINK', key) gone = gone + 1 \
        end \
      end \
    until at == '0' or pages == 0 \
    if at == '0' then redis.call('UNLINK', KEYS[1]) end \
    return {at, gone}";
/// Makes lists of the strings `ARGV`, with the time that they had, and notes them in `KEYS[1]`. Says how many. They are not
/// given as keys, for those of a node of a cluster would have to be of one slot.
const TO_LISTS: &str = "local made = 0 \
    for _, key in ipairs(ARGV) do \
      if redis.call('TYPE', key)['ok'] == 'string' then \
        local left = redis.call('PTTL', key) \
        redis.call('HSET', KEYS[1], key, 'list') \
        redis.call('DEL', key) redis.call('RPUSH', key, 'no string') \
        if left > 0 then redis.call('PEXPIRE', key, left) end \
        made = made + 1 \
      end \
    end return made";
/// What the list is called, and what else when a cluster keeps that name elsewhere.
const LIST: &str = "seawall:broken";
const NAMES: u32 = 200;
/// So many keys are looked at again.
const SAMPLE: &str = "100";
/// One byte in so many is another one, and one at least.
const SPARED: usize = 16;
/// No longer value is touched.
const VALUE_MAX: usize = 1 << 20;

/// Replaces this share of the strings by lists, so that reading them is an error.
///
/// # Errors
/// When the server cannot be talked to or runs no scripts.
pub async fn wrong_type(
    keeper: &Arc<Keeper>,
    server: &Server,
    share: f64,
    seed: Seed,
    max: Duration,
) -> Result<Injection, Refused> {
    let broken = Broken::begin(keeper, server, share, How::Type, max).await?;
    broken.finish(seed).await
}

/// Flips bits of one byte in sixteen of this share of the strings, and leaves them the time that they had. What is flipped
/// follows from the seed and the key alone.
///
/// # Errors
/// When the server cannot be talked to or runs no scripts.
pub async fn corrupt(
    keeper: &Arc<Keeper>,
    server: &Server,
    share: f64,
    seed: Seed,
    max: Duration,
) -> Result<Injection, Refused> {
    let broken = Broken::begin(keeper, server, share, How::Bytes, max).await?;
    broken.finish(seed).await
}

/// The same with the values of the library, whose checksums are made right again: what a faulty program writes. Nothing but
/// a look at the value itself tells that it is wrong.
///
/// # Errors
/// As [`corrupt`].
pub async fn forge(
    keeper: &Arc<Keeper>,
    server: &Server,
    share: f64,
    seed: Seed,
    max: Duration,
) -> Result<Injection, Refused> {
    let broken = Broken::begin(keeper, server, share, How::Values, max).await?;
    broken.finish(seed).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Type,
    Bytes,
    Values,
}

struct Broken {
    server: Server,
    client: Client,
    lease: Lease,
    list: String,
    how: How,
    share: f64,
    count: u64,
    all: u64,
}

impl Broken {
    async fn begin(
        keeper: &Arc<Keeper>,
        server: &Server,
        share: f64,
        how: How,
        max: Duration,
    ) -> Result<Broken, Refused> {
        let mut client = server.client_or_refused().await?;
        let list = name(&mut client).await?;
        let all = ["EVAL", REMOVE, "1", &list, "0", "-1"];
        // What a keeper may undo has to be possible: here, of an empty list.
        client
            .order(&all)
            .await
            .map_err(|error| Refused::Impossible(error.to_string()))?;
        let lease = server.lease(keeper, &[&all], max).await?;
        Ok(Broken {
            server: server.clone(),
            client,
            lease,
            list,
            how,
            share,
            count: 0,
            all: 0,
        })
    }

    async fn finish(mut self, seed: Seed) -> Result<Injection, Refused> {
        let done = self.all(seed).await;
        self.lease.unless(done).await?;
        Ok(Injection::new(self))
    }

    /// Breaks them, step by step.
    async fn all(&mut self, seed: Seed) -> Result<(), Failed> {
        let mut walk = Walk::new(Some("string"));
        while let Some(keys) = walk.next(&mut self.client).await? {
            self.all += keys.len() as u64;
            let chosen: Vec<Bytes> = keys
                .into_iter()
                .filter(|key| drawn(seed, key).chance(self.share))
                .collect();
            if chosen.is_empty() {
                continue;
            }
            self.count += match self.how {
                How::Type => self.retype(chosen).await?,
                How::Bytes | How::Values => self.flip(chosen, seed).await?,
            };
        }
        Ok(())
    }

    async fn retype(&mut self, keys: Vec<Bytes>) -> Result<u64, Failed> {
        let mut words = ["EVAL", TO_LISTS, "1", &self.list]
            .map(|word| Bytes::from(word.to_owned()))
            .to_vec();
        words.extend(keys);
        Ok(count(&self.client.order(&words).await?))
    }

    async fn flip(&mut self, keys: Vec<Bytes>, seed: Seed) -> Result<u64, Failed> {
        let read: Vec<Vec<Bytes>> = keys
            .iter()
            .map(|key| vec![Bytes::from_static(b"GET"), key.clone()])
            .collect();
        let values = self.client.all(&read).await?;
        let (mut notes, mut writes) = (Vec::new(), Vec::new());
        for (key, value) in keys.into_iter().zip(values) {
            let Value::Bulk(value) = value else { continue };
            // A second visit of the walk must not flip it back.
            if value.is_empty() || value.len() > VALUE_MAX || self.is_noted(&key).await? {
                continue;
            }
            let value = match self.how {
                How::Values => forged(seed, &key, &value),
                _ => flipped(seed, &key, &value),
            };
            let digest = Sha1::from(&value).digest().to_string();
            let word = Bytes::from_static;
            notes.push(vec![
                word(b"HSET"),
                self.list.clone().into(),
                key.clone(),
                digest.into(),
            ]);
            writes.push(vec![
                word(b"SET"),
                key,
                value.into(),
                word(b"XX"),
                word(b"KEEPTTL"),
            ]);
        }
        // First the notes: what is broken is on the list, whenever this ends.
        for said in self.client.all(&notes).await? {
            told(&said)?;
        }
        let said = self.client.all(&writes).await?;
        said.iter().try_for_each(told)?;
        Ok(said.iter().filter(|said| !said.is_nil()).count() as u64)
    }

    async fn is_noted(&mut self, key: &Bytes) -> Result<bool, Failed> {
        let words = [
            Bytes::from_static(b"HEXISTS"),
            self.list.clone().into(),
            key.clone(),
        ];
        Ok(count(&self.client.order(&words).await?) == 1)
    }

    /// Some keys of the list, and how each was broken.
    async fn some(&mut self) -> Result<Vec<(Bytes, String)>, Failed> {
        let words = ["HRANDFIELD", &self.list, SAMPLE, "WITHVALUES"];
        let Value::Array(listed) = self.client.order(&words).await? else {
            return Err(Failed::new("HRANDFIELD answers with something else"));
        };
        let pair = |pair: &[Value]| match &pair[0] {
            Value::Bulk(key) => Some((key.clone(), text(&pair[1]))),
            _ => None,
        };
        Ok(listed.chunks_exact(2).filter_map(pair).collect())
    }

    /// How many of these are read as broken.
    async fn felt(&mut self, keys: &[(Bytes, String)]) -> Result<usize, Failed> {
        let mut felt = 0;
        for (key, what) in keys {
            let is_broken = match &self.client.ask(&[b"GET".as_slice(), key]).await? {
                Value::Bulk(value) => Sha1::from(value).digest().to_string() == *what,
                said => said.error().is_some_and(|error| error.starts_with(b"WRONGTYPE")),
            };
            felt += usize::from(is_broken);
        }
        Ok(felt)
    }

    fn done(&self) -> String {
        let how = match self.how {
            How::Type => "made lists of",
            How::Bytes => "flipped bits in",
            How::Values => "flipped bits in the values, not in the checksums, of",
        };
        format!("{how} {} of {} strings", self.count, self.all)
    }
}

fn told(said: &Value) -> Result<(), Failed> {
    match said.error() {
        None => Ok(()),
        Some(error) => Err(Failed::new(String::from_utf8_lossy(error))),
    }
}

/// The same bytes for the same seed, key and value, and always others than before.
fn flipped(seed: Seed, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut draws = drawn(seed, key);
    let mut value = value.to_vec();
    for part in value.chunks_mut(SPARED) {
        let at = draws.below(part.len() as u64) as usize;
        part[at] ^= 1 << draws.below(8);
    }
    value
}

/// The same for the value in an envelope of the library; what is none is flipped as it is.
fn forged(seed: Seed, key: &[u8], bytes: &Bytes) -> Vec<u8> {
    let digest = bytes.get(DIGEST_AT).and_then(|digest| digest.try_into().ok());
    let digest = digest.map_or(0, u128::from_be_bytes);
    match Envelope::open(bytes, digest) {
        Ok((envelope, value)) => envelope.seal(&flipped(seed, key, &value)).to_vec(),
        Err(_) => flipped(seed, key, bytes),
    }
}

/// A name for the list that this server keeps: in a cluster, most names are another server's.
async fn name(client: &mut Client) -> Result<String, Failed> {
    for number in 0..NAMES {
        let name = format!("{LIST}:{number}");
        let said = client.ask(&["EXISTS", &name]).await?;
        match said.error() {
            Some(error) if error.starts_with(b"MOVED") => {}
            _ => {
                told(&said)?;
                if count(&said) == 0 {
                    return Ok(name);
                }
            }
        }
    }
    Err(Failed::new(format!(
        "all names from {LIST}:0 on are another server's, or taken"
    )))
}

impl Fault for Broken {
    fn probe(&mut self) -> Answer<'_, NoEffect> {
        Box::pin(async {
            let some = self.some().await?;
            let (felt, looked) = (self.felt(&some).await?, some.len());
            let how = match self.how {
                How::Type => "answer GET with WRONGTYPE",
                How::Bytes | How::Values => "are read with other bytes",
            };
            let seen = format!("{felt} of {looked} that were looked at {how}");
            if felt == 0 {
                return Err(NoEffect(seen));
            }
            Ok(Evidence::new(self.done(), seen))
        })
    }

    fn undo(mut self: Box<Self>) -> Answer<'static, NotUndone> {
        Box::pin(async move {
            // The server may have been started again meanwhile.
            self.client = self.server.client().await?;
            let some = self.some().await?;
            let (mut at, mut gone) = ("0".to_owned(), 0);
            // In pages, so that others are answered in between.
            loop {
                let words = ["EVAL", REMOVE, "1", &self.list, &at, "1"];
                let said = self.client.order(&words).await?;
                let Value::Array(said) = said else { break };
                gone += said.get(1).map_or(0, count);
                at = said.first().map_or_else(|| "0".into(), text);
                if at == "0" {
                    break;
                }
            }
            self.lease.end().await?;
            match self.felt(&some).await? {
                0 => Ok(Evidence::new(
                    format!("removed {gone} that were still broken"),
                    format!("none of {} that were looked at is read as broken", some.len()),
                )),
                felt => Err(NotUndone(format!("{felt} are still read as broken"))),
            }
        })
    }
}
