//! The envelope: what goes into a store with each value, and what is demanded of it before it is an answer.
//!
//! All numbers are big-endian, so that a script in the store can compare versions as strings:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | `SWL` and the version of this format (1) |
//! | 4 | flags: 1 "there is no such thing" |
//! | 5 | the codec |
//! | 6..8 | the version of the value's type |
//! | 8..16 | the version of the value; a higher one is newer |
//! | 16..24 | when the origin was asked, in microseconds since 1970, as all instants |
//! | 24..32 | until when it is fresh |
//! | 32..40 | from when on a reader refreshes it |
//! | 40..48 | until when it may be served stale |
//! | 48..52 | what computing it cost, in microseconds |
//! | 52..54 | how many tags there are |
//! | 54..56 | zero |
//! | 56..72 | 128 bits of the key |
//! | 72..80 | xxh3 of everything else |
//! | 80.. | tags, eight bytes each; then the value |
//!
//! ```
//! use seawall::envelope::{Damage, Envelope};
//! let envelope = Envelope { version: 7, fresh_until_us: 60_000, digest: 42, ..Envelope::default() };
//! let bytes = envelope.seal(b"value");
//! let (opened, value) = Envelope::open(&bytes, 42)?;
//! assert_eq!((opened.version, &value[..]), (7, &b"value"[..]));
//! assert_eq!(Envelope::open(&bytes, 43), Err(Damage::OtherKey));
//! # Ok::<(), Damage>(())
//! ```

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

const MAGIC: &[u8; 3] = b"SWL";
const FORMAT: u8 = 1;
const HEAD: usize = 80;
const CHECKSUM: std::ops::Range<usize> = 72..80;
const NEGATIVE: u8 = 1;

/// A value carries at most so many tags.
pub const TAGS_MAX: usize = 64;

/// Where the version of a value lies in its envelope; big-endian, so it can be compared as a string.
pub const VERSION_AT: std::ops::Range<usize> = 8..16;

/// Where the 128 bits of the key lie: the version of another key's envelope says nothing about this one.
pub const DIGEST_AT: std::ops::Range<usize> = 56..72;

/// What a store keeps beside a value.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Envelope {
    /// Whether it says "there is no such thing", and holds no value.
    pub negative: bool,
    /// What wrote the value.
    pub codec: u8,
    /// The version of the value's type.
    pub value_version: u16,
    /// The version of the value.
    pub version: u64,
    /// When the origin was asked.
    pub created_us: u64,
    /// Until when it is fresh.
    pub fresh_until_us: u64,
    /// From when on a reader refreshes it in the background.
    pub refresh_at_us: u64,
    /// Until when it may be served stale.
    pub stale_until_us: u64,
    /// What computing it cost.
    pub cost_us: u32,
    /// 128 bits of its key.
    pub digest: u128,
    /// Hashes of its tags; at most [`TAGS_MAX`] are kept.
    pub tags: Vec<u64>,
}

/// Why bytes from a store are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// They were not written by this library.
    #[error("not one of ours")]
    Foreign,
    /// They were written by another release, in another format.
    #[error("written in another format")]
    OtherFormat,
    /// They are cut short.
    #[error("cut short")]
    Short,
    /// They were changed since they were written.
    #[error("the checksum is wrong")]
    Checksum,
    /// They are the value of another key.
    #[error("the value of another key")]
    OtherKey,
    /// They are of another version of the type, or were written by another codec.
    #[error("of another version of the type")]
    OtherType,
    /// The codec cannot read them.
    #[error("the codec cannot read it")]
    Unreadable,
}

impl Damage {
    /// Whether the bytes can never be an answer, to any release; otherwise they may be right for another one.
    pub const fn is_corrupt(self) -> bool {
        matches!(self, Damage::Short | Damage::Checksum)
    }
}

impl Envelope {
    /// The bytes that a store keeps.
    pub fn seal(&self, value: &[u8]) -> Bytes {
        let tags = &self.tags[..self.tags.len().min(TAGS_MAX)];
        let mut bytes = Vec::with_capacity(HEAD + tags.len() * 8 + value.len());
        bytes.extend_from_slice(MAGIC);
        bytes.push(FORMAT);
        bytes.push(if self.negative { NEGATIVE } else { 0 });
        bytes.push(self.codec);
        bytes.extend_from_slice(&self.value_version.to_be_bytes());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(&self.created_us.to_be_bytes());
        bytes.extend_from_slice(&self.fresh_until_us.to_be_bytes());
        bytes.extend_from_slice(&self.refresh_at_us.to_be_bytes());
        bytes.extend_from_slice(&self.stale_until_us.to_be_bytes());
        bytes.extend_from_slice(&self.cost_us.to_be_bytes());
        bytes.extend_from_slice(&(tags.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.digest.to_be_bytes());
        bytes.extend_from_slice(&[0; 8]);
        for tag in tags {
            bytes.extend_from_slice(&tag.to_be_bytes());
        }
        bytes.extend_from_slice(value);
        let checksum = checksum(&bytes);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        bytes.into()
    }

    /// What a store kept for the key with this digest, and the bytes of its value.
    ///
    /// # Errors
    /// When it is not what had been stored for this key.
    pub fn open(bytes: &Bytes, digest: u128) -> Result<(Envelope, Bytes), Damage> {
        if !bytes.starts_with(MAGIC) {
            return Err(Damage::Foreign);
        }
        if bytes.len() < HEAD {
            return Err(Damage::Short);
        }
        if bytes[3] != FORMAT {
            return Err(Damage::OtherFormat);
        }
        if u64::from_be_bytes(field(bytes, CHECKSUM.start)) != checksum(bytes) {
            return Err(Damage::Checksum);
        }
        let tags = usize::from(u16::from_be_bytes(field(bytes, 52)));
        let value_at = HEAD + tags * 8;
        if tags > TAGS_MAX || bytes.len() < value_at {
            return Err(Damage::Short);
        }
        let envelope = Envelope {
            negative: bytes[4] & NEGATIVE != 0,
            codec: bytes[5],
            value_version: u16::from_be_bytes(field(bytes, 6)),
            version: u64::from_be_bytes(field(bytes, VERSION_AT.start)),
            created_us: u64::from_be_bytes(field(bytes, 16)),
            fresh_until_us: u64::from_be_bytes(field(bytes, 24)),
            refresh_at_us: u64::from_be_bytes(field(bytes, 32)),
            stale_until_us: u64::from_be_bytes(field(bytes, 40)),
            cost_us: u32::from_be_bytes(field(bytes, 48)),
            digest: u128::from_be_bytes(field(bytes, 56)),
            tags: (0..tags)
                .map(|tag| u64::from_be_bytes(field(bytes, HEAD + tag * 8)))
                .collect(),
        };
        if envelope.digest != digest {
            return Err(Damage::OtherKey);
        }
        Ok((envelope, bytes.slice(value_at..)))
    }
}

/// The `N` bytes at `at`, which the caller knows to be there.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&bytes[..CHECKSUM.start]);
    hash.update(&bytes[CHECKSUM.end..]);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(tags: usize) -> Envelope {
        Envelope {
            negative: false,
            codec: 1,
            value_version: 3,
            version: u64::MAX - 1,
            created_us: 1_700_000_000_000,
            fresh_until_us: 1_700_000_300_000,
            refresh_at_us: 1_700_000_290_000,
            stale_until_us: u64::MAX,
            cost_us: 12_000,
            digest: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
            tags: (0..tags as u64).collect(),
        }
    }

    #[test]
    fn the_layout_never_changes() {
        // A store outlives a release.
        let bytes = sample(1).seal(b"value");
        assert_eq!(bytes.len(), 80 + 8 + 5);
        assert_eq!(&bytes[..8], b"SWL\x01\x00\x01\x00\x03");
        assert_eq!(&bytes[VERSION_AT], &(u64::MAX - 1).to_be_bytes());
        assert_eq!(&bytes[88..], b"value");
        assert_eq!(u64::from_be_bytes(field(&bytes, 72)), PINNED_CHECKSUM);
    }

    const PINNED_CHECKSUM: u64 = 10_440_470_890_085_307_183;

    #[test]
    fn what_is_not_ours_is_told_apart() {
        let sealed = sample(0).seal(b"value");
        let open = |bytes: Vec<u8>| Envelope::open(&bytes.into(), sample(0).digest).err();
        assert_eq!(open(b"{\"json\":true}".to_vec()), Some(Damage::Foreign));
        assert_eq!(open(Vec::new()), Some(Damage::Foreign));
        assert_eq!(open(sealed[..79].to_vec()), Some(Damage::Short));
        let mut newer = sealed.to_vec();
        newer[3] = 2;
        assert_eq!(open(newer), Some(Damage::OtherFormat));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_sealed_is_opened(
            tags in 0_usize..80,
            value in prop::collection::vec(any::<u8>(), 0..200),
            negative in any::<bool>(),
            numbers in any::<[u64; 5]>(),
        ) {
            let mut envelope = sample(tags);
            envelope.negative = negative;
            [envelope.version, envelope.created_us, envelope.fresh_until_us, envelope.refresh_at_us, envelope.stale_until_us] = numbers;
            let sealed = envelope.seal(&value);
            envelope.tags.truncate(TAGS_MAX);
            let (opened, bytes) = Envelope::open(&sealed, envelope.digest)?;
            prop_assert_eq!(opened, envelope);
            prop_assert_eq!(&bytes[..], &value[..]);
        }

        #[test]
        fn no_flipped_byte_is_an_answer(value in prop::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let sealed = sample(2).seal(&value);
            let mut bytes = sealed.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(Envelope::open(&bytes.into(), sample(2).digest).is_err());
        }

        #[test]
        fn nothing_cut_short_or_made_up_is_an_answer(value in prop::collection::vec(any::<u8>(), 0..60), cut in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let sealed = sample(2).seal(&value);
            let cut = cut.index(sealed.len());
            prop_assert!(Envelope::open(&sealed.slice(..cut), sample(2).digest).is_err());
            prop_assert!(Envelope::open(&noise.clone().into(), sample(2).digest).is_err());
            let mut ours = b"SWL\x01".to_vec();
            ours.extend_from_slice(&noise);
            prop_assert!(Envelope::open(&ours.into(), sample(2).digest).is_err());
        }
    }
}
