//! Some keys, looked at: how long they live, how large and how hot they are.
//!
//! `SCAN` gives a stretch of the table, `RANDOMKEY` one here and there. Small key spaces are walked whole; of large ones
//! so many random keys are looked at. A sample finds what is common. It finds one key that is hot or big only by luck,
//! and says of how many it looked at how many.

use bytes::Bytes;
use seawall_resp::Value;
use tokio::time::Instant;

use super::details::pattern;
use super::fault::Fault;
use super::info::Info;
use super::wire::{Wire, Words, items, number, text, words};

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// Entries of the database.
    pub keys: u64,
    /// Those that were looked at.
    pub seen: Vec<Seen>,
    /// Whether all were.
    pub whole: bool,
    /// How often a key was looked up for it, which the server counts as hits.
    pub lookups: u64,
}

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What keys of its kind have in common.
    pub pattern: String,
    /// How long it still lives, in seconds; nothing when for ever.
    pub ttl: Option<f64>,
    /// Bytes that it takes.
    pub bytes: Option<u64>,
    /// About how often it was asked for lately, where the server counts it (policies `*-lfu`).
    pub frequency: Option<f64>,
    /// How long nobody has asked for it, in seconds, where the server knows (all other policies).
    pub idle: Option<f64>,
}

/// Key spaces up to this size are walked, larger ones are sampled.
const WALKED_MAX: u64 = 2_000;
/// So many questions are sent at once.
const BATCH: usize = 64;
/// A walk takes no more steps.
const STEPS_MAX: usize = 2_000;

/// Looks at no more than so many keys. Fewer are seen when the deadline comes first.
///
/// # Errors
/// When the connection is lost. A deadline that comes is none.
pub(crate) async fn survey(wire: &mut Wire, keys_max: usize, deadline: Instant) -> Result<Survey, Fault> {
    let said = wire.ask(words(&["DBSIZE"]), deadline).await?;
    let mut survey = Survey {
        keys: number(&said)
            .and_then(|keys| u64::try_from(keys).ok())
            .unwrap_or(0),
        ..Survey::default()
    };
    if survey.keys == 0 || keys_max == 0 {
        survey.whole = survey.keys == 0;
        return Ok(survey);
    }
    let walked = survey.keys <= WALKED_MAX.min(keys_max as u64);
    let names = if walked {
        let (names, whole) = walk(wire, keys_max, deadline).await?;
        survey.whole = whole;
        names
    } else {
        random(wire, keys_max, deadline).await?
    };
    let said = wire.ask(words(&["INFO", "memory"]), deadline).await?;
    let counts = Info::read(&text(&said)).is_some_and(|info| {
        let policy = info.field("maxmemory_policy");
        policy.is_some_and(|policy| policy.ends_with("lfu"))
    });
    for batch in names.chunks(BATCH) {
        // Each question about a key counts as a look-up, though not as a use.
        survey.lookups += batch.len() as u64 * 2;
        match look(wire, batch, counts, deadline).await {
            Ok(seen) => survey.seen.extend(seen),
            Err(fault) if fault.why == super::Why::TimedOut => {
                survey.whole = false;
                break;
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(survey)
}

/// Walks all of a small database.
async fn walk(wire: &mut Wire, keys_max: usize, deadline: Instant) -> Result<(Vec<Bytes>, bool), Fault> {
    let (mut names, mut cursor) = (Vec::new(), "0".to_owned());
    for _ in 0..STEPS_MAX {
        let said = match wire
            .ask(words(&["SCAN", &cursor, "COUNT", "100"]), deadline)
            .await
        {
            Ok(said) => said,
            Err(fault) if fault.why == super::Why::TimedOut => return Ok((names, false)),
            Err(fault) => return Err(fault),
        };
        let [next, found] = items(&said) else { break };
        names.extend(items(found).iter().filter_map(name));
        cursor = text(next);
        if cursor == "0" {
            names.sort_unstable();
            names.dedup();
            return Ok((names, true));
        }
        if names.len() >= keys_max {
            break;
        }
    }
    names.truncate(keys_max);
    Ok((names, false))
}

/// Keys drawn at random, none twice.
async fn random(wire: &mut Wire, keys_max: usize, deadline: Instant) -> Result<Vec<Bytes>, Fault> {
    let mut names = Vec::new();
    let mut left = keys_max;
    while left > 0 {
        let some = left.min(BATCH);
        left -= some;
        let questions = vec![words(&["RANDOMKEY"]); some];
        let heard = match all(wire, &questions, deadline).await {
            Ok(heard) => heard,
            Err(fault) if fault.why == super::Why::TimedOut => break,
            Err(fault) => return Err(fault),
        };
        names.extend(heard.iter().filter_map(name));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn name(said: &Value) -> Option<Bytes> {
    match said {
        Value::Bulk(name) if !name.starts_with(b"seawall:canary:") => Some(name.clone()),
        _ => None,
    }
}

/// Asks three things of each. None of them counts as a use of the key. What the server does not count is not asked for,
/// for it would answer with an error, and count that.
async fn look(wire: &mut Wire, names: &[Bytes], counts: bool, deadline: Instant) -> Result<Vec<Seen>, Fault> {
    let mut questions: Vec<Words> = Vec::with_capacity(names.len() * 3);
    for name in names {
        let of = |words: &[&'static str]| -> Words {
            let words = words.iter().map(|word| Bytes::from_static(word.as_bytes()));
            words.chain([name.clone()]).collect()
        };
        questions.push(of(&["PTTL"]));
        questions.push(of(&["MEMORY", "USAGE"]));
        questions.push(of(&["OBJECT", if counts { "FREQ" } else { "IDLETIME" }]));
    }
    let heard = all(wire, &questions, deadline).await?;
    let mut seen = Vec::with_capacity(names.len());
    for (name, said) in names.iter().zip(heard.chunks(3)) {
        let left = number(&said[0]);
        // -2: it is gone meanwhile.
        if left == Some(-2) {
            continue;
        }
        let used = number(&said[2]).map(|count| count as f64);
        seen.push(Seen {
            pattern: pattern(&String::from_utf8_lossy(name)),
            ttl: left.filter(|left| *left >= 0).map(|left| left as f64 / 1e3),
            bytes: number(&said[1]).and_then(|bytes| u64::try_from(bytes).ok()),
            frequency: used.filter(|_| counts).map(uses),
            idle: used.filter(|_| !counts),
        });
    }
    Ok(seen)
}

/// About how many uses a counter of Redis's LFU stands for, with its default `lfu-log-factor` of 10: it starts at 5 and
/// is raised from `c` with the probability `1/((c − 5)·10 + 1)` (redis.conf).
fn uses(counter: f64) -> f64 {
    let above = (counter - 5.0).max(0.0);
    above + 10.0 * above * (above - 1.0) / 2.0
}

async fn all(wire: &mut Wire, questions: &[Words], deadline: Instant) -> Result<Vec<Value>, Fault> {
    wire.send(questions, deadline).await?;
    let mut heard = Vec::with_capacity(questions.len());
    for _ in questions {
        heard.push(wire.hear(deadline).await?);
    }
    Ok(heard)
}

impl Survey {
    /// The share of those seen that live for ever; nothing when none were seen.
    pub fn forever(&self) -> Option<f64> {
        let forever = self.seen.iter().filter(|seen| seen.ttl.is_none()).count();
        (!self.seen.is_empty()).then(|| forever as f64 / self.seen.len() as f64)
    }

    /// The largest of those seen.
    pub fn biggest(&self) -> Option<&Seen> {
        self.seen.iter().max_by_key(|seen| seen.bytes)
    }

    /// The share of all uses that is the hottest key's, where uses are counted and all keys were seen.
    pub fn hottest_share(&self) -> Option<f64> {
        let uses: Vec<f64> = self.seen.iter().filter_map(|seen| seen.frequency).collect();
        let total: f64 = uses.iter().sum();
        let most = uses.iter().copied().fold(0.0, f64::max);
        (self.whole && total > 0.0).then(|| most / total)
    }

    /// The largest share of those with an end that end within one stretch of so many seconds, and in how many seconds
    /// that stretch begins. Nothing when fewer than 50 have an end.
    pub fn clustered(&self, stretch: f64) -> Option<(f64, f64)> {
        let mut ends: Vec<f64> = self.seen.iter().filter_map(|seen| seen.ttl).collect();
        if ends.len() < 50 {
            return None;
        }
        ends.sort_by(f64::total_cmp);
        let mut best = (0, 0.0);
        let mut from = 0;
        for (at, end) in ends.iter().enumerate() {
            while end - ends[from] > stretch {
                from += 1;
            }
            if at + 1 - from > best.0 {
                best = (at + 1 - from, ends[from]);
            }
        }
        Some((best.0 as f64 / ends.len() as f64, best.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ttl: Option<f64>) -> Seen {
        Seen {
            pattern: String::new(),
            ttl,
            bytes: None,
            frequency: None,
            idle: None,
        }
    }

    #[test]
    fn ends_that_come_together_are_found() {
        let spread = (0..100).map(|index| seen(Some(f64::from(index) * 10.0)));
        let mut survey = Survey {
            seen: spread.collect(),
            ..Survey::default()
        };
        let (share, _) = survey.clustered(10.0).expect("there are enough");
        assert!(share <= 0.02 + 1e-9, "{share}");
        survey
            .seen
            .extend((0..100).map(|index| seen(Some(300.0 + f64::from(index) * 0.01))));
        let (share, at) = survey.clustered(10.0).expect("there are enough");
        assert!(share > 0.5 && (290.0..=300.0).contains(&at), "{share} {at}");
        survey.seen.extend((0..200).map(|_| seen(None)));
        assert_eq!(survey.forever(), Some(0.5));
    }

    #[test]
    fn a_counter_stands_for_uses() {
        assert!(uses(5.0).abs() < 1e-9);
        assert!((uses(6.0) - 1.0).abs() < 1e-9);
        assert!((uses(10.0) - 105.0).abs() < 1e-9);
    }
}
