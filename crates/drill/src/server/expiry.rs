//! Times of expiry, as commands spell them, and the options of `SET` and `GETEX`.

use bytes::Bytes;

use super::command::{Call, Fault, NOT_INTEGER, SYNTAX};
use super::keyspace::FOREVER;
use crate::resp::integer;

/// How a time is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Millis,
}

/// A time of expiry that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    pub(crate) number: &'a Bytes,
    pub(crate) unit: Unit,
    /// Since 1970, and not from now on.
    pub(crate) absolute: bool,
}

impl Wanted<'_> {
    /// In milliseconds since 1970; never 0.
    pub(crate) fn resolve(self, now: u64, command: &str) -> Result<u64, Fault> {
        let number = integer(self.number).ok_or(NOT_INTEGER)?;
        let invalid = || Fault::new(format!("ERR invalid expire time in '{command}' command"));
        if number <= 0 {
            return Err(invalid());
        }
        let millis = match self.unit {
            Unit::Seconds => number.checked_mul(1_000),
            Unit::Millis => Some(number),
        };
        let from = if self.absolute { 0 } else { now as i64 };
        let at = millis.and_then(|millis| millis.checked_add(from));
        at.map(|at| at as u64).ok_or_else(invalid)
    }
}

#[expect(clippy::struct_excessive_bools, reason = "each is a word of the command")]
/// What `SET` and `GETEX` are told beside key and value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options<'a> {
    pub(crate) if_none: bool,
    pub(crate) if_some: bool,
    pub(crate) get: bool,
    pub(crate) keep: bool,
    pub(crate) persist: bool,
    pub(crate) expiry: Option<Wanted<'a>>,
}

impl<'a> Options<'a> {
    /// Reads the arguments from `from` on.
    pub(crate) fn read(call: &Call<'a>, from: usize, sets: bool) -> Result<Options<'a>, Fault> {
        let mut options = Options::default();
        let mut at = from;
        let mut spelled = None;
        while at < call.args.len() {
            let word = call.word(at);
            let next = call.args.get(at + 1);
            let others = options.keep || options.persist;
            let same = |word: &str| spelled.is_none() || spelled.as_deref() == Some(word);
            match (word.as_str(), next) {
                ("nx", _) if sets && !options.if_some => options.if_none = true,
                ("xx", _) if sets && !options.if_none => options.if_some = true,
                ("get", _) if sets => options.get = true,
                ("keepttl", _) if sets && !options.persist && spelled.is_none() => options.keep = true,
                ("persist", _) if !sets && !options.keep && spelled.is_none() => options.persist = true,
                (unit @ ("ex" | "px" | "exat" | "pxat"), Some(number)) if !others && same(unit) => {
                    options.expiry = Some(Wanted {
                        number,
                        unit: if unit.starts_with('e') {
                            Unit::Seconds
                        } else {
                            Unit::Millis
                        },
                        absolute: unit.ends_with("at"),
                    });
                    spelled = Some(word);
                    at += 1;
                }
                _ => return Err(SYNTAX),
            }
            at += 1;
        }
        Ok(options)
    }

    /// When the key expires; nothing when that does not change.
    pub(crate) fn expires(&self, now: u64, command: &str) -> Result<Option<u64>, Fault> {
        match self.expiry {
            Some(wanted) => wanted.resolve(now, command).map(Some),
            None if self.keep => Ok(None),
            None => Ok(Some(FOREVER)),
        }
    }
}
