//! Patterns of keys, as `KEYS` and `SCAN` of Redis take them: `*`, `?`, `[a-z]`, `[^a]`, and `\` before what means itself.

/// Whether a key fits a pattern. It takes time in the product of both lengths at most.
pub(super) fn fits(pattern: &[u8], key: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where to go on when what follows the last star does not fit: one byte later each time.
    let mut star = None;
    while from < key.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, from));
            at += 1;
        } else if let Some(length) = one(&pattern[at..], key[from]) {
            at += length;
            from += 1;
        } else if let Some((behind, taken)) = star {
            at = behind;
            from = taken + 1;
            star = Some((behind, taken + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// The length of the front of a pattern that stands for this byte; none when it stands for another.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', rest @ ..] => {
            let (length, within) = set(rest, byte);
            within.then_some(length + 1)
        }
        [plain, ..] => (*plain == byte).then_some(1),
    }
}

/// The length of a set of bytes, behind its opening bracket, and whether it has this byte.
fn set(pattern: &[u8], byte: u8) -> (usize, bool) {
    let inverted = pattern.first() == Some(&b'^');
    let mut at = usize::from(inverted);
    let mut within = false;
    loop {
        match &pattern[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                within |= *escaped == byte;
                at += 2;
            }
            [from, b'-', to, ..] if *to != b']' => {
                within |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [plain, ..] => {
                within |= *plain == byte;
                at += 1;
            }
        }
    }
    (at, within != inverted)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_fit_as_in_redis() {
        let table = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("user:*", "user:1", true),
            ("user:*", "user:", true),
            ("user:*", "usage:1", false),
            ("*:1", "user:11:1", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyybzz", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hbllo", true),
            ("k[0-9]", "k7", true),
            ("k[9-0]", "k7", true),
            ("k[0-9]", "kx", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("[", "[", false),
            ("a[b", "ab", true),
            ("**a", "bba", true),
        ];
        for (pattern, key, expected) in table {
            assert_eq!(
                fits(pattern.as_bytes(), key.as_bytes()),
                expected,
                "{pattern} {key}"
            );
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!fits(pattern.as_bytes(), "a".repeat(500).as_bytes()));
    }
}
