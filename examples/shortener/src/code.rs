//! Codes: what stands for a link.

use std::fmt;

use seawall::Key;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^7 codes are 3.5 million million, so that one that is made up rarely exists.
const DRAWN: usize = 7;

/// A code that is well formed: seven letters or digits, and one more that has to fit them.
///
/// Who makes codes up (a crawler, an attacker) hits what fits once in 62 times. All others are turned away here, before
/// they cost a look-up, a place in a cache or a query. Those that fit are remembered as absent for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code(String);

impl Code {
    pub(crate) fn parse(text: &str) -> Option<Code> {
        let (drawn, check) = text.as_bytes().split_at_checked(DRAWN)?;
        (check == [check_of(drawn)?]).then(|| Code(text.to_owned()))
    }

    /// A code that nobody can guess.
    pub(crate) fn draw() -> Result<Code, getrandom::Error> {
        let mut code = String::with_capacity(DRAWN + 1);
        while code.len() < DRAWN {
            let mut random = [0; 16];
            getrandom::fill(&mut random)?;
            // 62 does not divide 256: what is left over would make some letters likelier, so it is drawn again.
            let letters = random
                .iter()
                .filter_map(|byte| ALPHABET.get(usize::from(byte & 63)));
            code.extend(letters.take(DRAWN - code.len()).map(|letter| char::from(*letter)));
        }
        code.extend(check_of(code.as_bytes()).map(char::from));
        Ok(Code(code))
    }
}

/// The letter that fits these: it changes when one of them does, or when two that differ change places.
fn check_of(drawn: &[u8]) -> Option<u8> {
    let mut sum = 0;
    for (weight, letter) in (1..).zip(drawn) {
        let value = ALPHABET.iter().position(|other| other == letter)?;
        // 61 is a prime, so no weight below it loses anything.
        sum += weight * value;
    }
    ALPHABET.get(sum % 61).copied()
}

/// Its bytes are its name in the caches.
impl Key for Code {
    fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(self.0.as_bytes())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_is_well_formed_and_little_else_is() {
        for _ in 0..100 {
            let code = Code::draw().expect("there is randomness");
            assert_eq!(Code::parse(&code.0).as_ref(), Some(&code));
            let fitting = ALPHABET.iter().filter(|check| {
                let text = format!("{}{}", &code.0[..DRAWN], char::from(**check));
                Code::parse(&text).is_some()
            });
            assert_eq!(fitting.count(), 1);
        }
        for text in [
            "",
            "short",
            "with-dash",
            "äöüäöü",
            "0000000",
            "000000000",
            "../../et",
        ] {
            assert_eq!(Code::parse(text), None, "{text}");
        }
        assert!(Code::parse("00000000").is_some());
    }
}
