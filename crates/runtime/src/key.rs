//! Keys: what a cache is asked by, and the one byte form that all processes of a fleet agree on.
//!
//! The guard and the ring know a key by 64 bits, which two keys may share. So nothing is answered by those alone: what
//! is kept in memory or being loaded has the whole key beside it, and what is in a store has 128 bits of it.
//!
//! ```
//! use seawall::Key;
//! ("en", 42_u64).with_bytes(|bytes| assert_eq!(bytes, b"en:42"));
//! // Parts are told apart whatever is in them.
//! ("a:b", "c").with_bytes(|bytes| assert_eq!(bytes, b"a%3Ab:c"));
//! ```

use std::fmt::Write as _;
use std::sync::Arc;

use seawall_core::rng::mix;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

/// A key of a cache.
///
/// To derive one from parts, use a tuple; for a type of your own, call `with_bytes` of what identifies it.
pub trait Key: Eq + Clone + Send + Sync + 'static {
    /// Calls `f` with the bytes that stand for this key: the same in every process and release, and different for
    /// different keys. Where they are printable, they are part of the name in a store.
    fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R;
}

macro_rules! bytes_key {
    ($($type:ty as $bytes:expr),+ $(,)?) => {
        $(impl Key for $type {
            #[inline]
            fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
                let bytes: for<'b> fn(&'b $type) -> &'b [u8] = $bytes;
                f(bytes(self))
            }
        })+
    };
}

bytes_key!(
    String as |text| text.as_bytes(),
    &'static str as |text| text.as_bytes(),
    Box<str> as |text| text.as_bytes(),
    Arc<str> as |text| text.as_bytes(),
    Vec<u8> as |bytes| bytes,
    Arc<[u8]> as |bytes| bytes,
    bytes::Bytes as |bytes| bytes,
);

macro_rules! number_key {
    ($($type:ty),+) => {
        $(impl Key for $type {
            #[inline]
            fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
                // Decimal digits of 128 bits, and a sign.
                let mut digits = [0_u8; 40];
                let mut start = digits.len();
                let mut rest = self.unsigned_abs_or_same();
                loop {
                    start -= 1;
                    digits[start] = b'0' + (rest % 10) as u8;
                    rest /= 10;
                    if rest == 0 {
                        break;
                    }
                }
                if self.is_below_zero() {
                    start -= 1;
                    digits[start] = b'-';
                }
                f(&digits[start..])
            }
        })+
    };
}

trait Number: Copy {
    type Size;
    fn unsigned_abs_or_same(self) -> Self::Size;
    fn is_below_zero(self) -> bool;
}

macro_rules! unsigned {
    ($($type:ty),+) => {
        $(impl Number for $type {
            type Size = $type;
            fn unsigned_abs_or_same(self) -> $type {
                self
            }
            fn is_below_zero(self) -> bool {
                false
            }
        })+
    };
}

macro_rules! signed {
    ($($type:ty as $size:ty),+) => {
        $(impl Number for $type {
            type Size = $size;
            fn unsigned_abs_or_same(self) -> $size {
                self.unsigned_abs()
            }
            fn is_below_zero(self) -> bool {
                self < 0
            }
        })+
    };
}

unsigned!(u16, u32, u64, u128, usize);
signed!(i16 as u16, i32 as u32, i64 as u64, i128 as u128, isize as usize);
number_key!(u16, u32, u64, u128, usize, i16, i32, i64, i128, isize);

/// Adds a part of a tuple, with what separates parts escaped.
fn add_part(bytes: &mut Vec<u8>, part: &impl Key) {
    part.with_bytes(|part| {
        for byte in part {
            match byte {
                b':' => bytes.extend_from_slice(b"%3A"),
                b'%' => bytes.extend_from_slice(b"%25"),
                byte => bytes.push(*byte),
            }
        }
    });
}

macro_rules! tuple_key {
    ($($part:ident $index:tt),+) => {
        impl<$($part: Key),+> Key for ($($part,)+) {
            fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
                let mut bytes = Vec::with_capacity(64);
                $(
                    if $index > 0 {
                        bytes.push(b':');
                    }
                    add_part(&mut bytes, &self.$index);
                )+
                f(&bytes)
            }
        }
    };
}

tuple_key!(A 0, B 1);
tuple_key!(A 0, B 1, C 2);
tuple_key!(A 0, B 1, C 2, D 3);

/// Where a key is, as a [`Store`](crate::Store) is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The 64 bits by which it is spread over nodes.
    pub hash: u64,
    /// 128 bits of it, which every value carries.
    pub digest: u128,
    /// Its name in a store: `cache:key` where the key is short and printable, otherwise `cache:#` and its digest.
    pub text: Arc<str>,
}

/// A longer key is named by its digest.
const TEXT_MAX: usize = 200;

/// Turns keys into addresses, the same way in every process.
#[derive(Clone, Debug)]
pub(crate) struct Namer {
    name: Arc<str>,
    seed: u64,
}

impl Namer {
    pub(crate) fn new(name: &Arc<str>) -> Namer {
        Namer {
            name: Arc::clone(name),
            seed: xxh3_64(name.as_bytes()),
        }
    }

    /// The 64 bits by which the guard knows a key. `salt` gives other bits to a key that met another with the same.
    #[inline]
    pub(crate) fn hash(&self, key: &impl Key, salt: u32) -> u64 {
        key.with_bytes(|bytes| {
            if salt == 0 {
                xxh3_64_with_seed(bytes, self.seed)
            } else {
                xxh3_64_with_seed(bytes, mix(self.seed ^ u64::from(salt)))
            }
        })
    }

    pub(crate) fn address(&self, key: &impl Key, hash: u64) -> Address {
        key.with_bytes(|bytes| {
            let digest = xxh3_128_with_seed(bytes, self.seed);
            let printable = bytes.len() <= TEXT_MAX && bytes.iter().all(u8::is_ascii_graphic);
            let mut text = String::with_capacity(self.name.len() + bytes.len().min(TEXT_MAX) + 34);
            text.push_str(&self.name);
            text.push(':');
            // Writing to a string does not fail.
            let _ = match std::str::from_utf8(bytes) {
                Ok(bytes) if printable => text.write_str(bytes),
                _ => write!(text, "#{digest:032x}"),
            };
            Address {
                hash,
                digest,
                text: text.into(),
            }
        })
    }

    pub(crate) fn tag(&self, tag: &str) -> u64 {
        xxh3_64_with_seed(tag.as_bytes(), self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(key: &impl Key) -> Vec<u8> {
        key.with_bytes(<[u8]>::to_vec)
    }

    #[test]
    fn numbers_are_their_digits() {
        assert_eq!(bytes_of(&0_u64), b"0");
        assert_eq!(bytes_of(&u128::MAX), u128::MAX.to_string().as_bytes());
        assert_eq!(bytes_of(&i64::MIN), i64::MIN.to_string().as_bytes());
        assert_eq!(bytes_of(&-7_i16), b"-7");
    }

    #[test]
    fn an_address_never_changes() {
        // What one release has stored, the next one finds.
        let namer = Namer::new(&"users".into());
        let hash = namer.hash(&42_u64, 0);
        let address = namer.address(&42_u64, hash);
        assert_eq!(&*address.text, "users:42");
        assert_eq!((address.hash, address.digest), (PINNED_HASH, PINNED_DIGEST));
        let spaced = namer.address(&"two words".to_owned(), 0);
        assert!(spaced.text.starts_with("users:#") && spaced.text.len() == "users:#".len() + 32);
        assert_ne!(hash, Namer::new(&"posts".into()).hash(&42_u64, 0));
        assert_ne!(hash, namer.hash(&42_u64, 1));
    }

    const PINNED_HASH: u64 = 13_058_319_322_741_508_101;
    const PINNED_DIGEST: u128 = 155_296_905_321_062_011_110_919_137_030_045_730_821;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn different_tuples_have_different_bytes(a in "[a:%]{0,3}", b in "[a:%]{0,3}", c in "[a:%]{0,3}", d in "[a:%]{0,3}") {
            let (one, other) = ((a.clone(), b.clone()), (c.clone(), d.clone()));
            prop_assert_eq!(bytes_of(&one) == bytes_of(&other), one == other);
        }
    }
}
