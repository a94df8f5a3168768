//! Patterns of names, as `KEYS`, `SCAN` and `PSUBSCRIBE` of Redis take them: `*`, `?`, `[a-z]`, `[^a]`, `\`.
//!
//! ```
//! use seawall_resp::glob::matches;
//! assert!(matches(b"user:[0-9]*", b"user:17", false));
//! assert!(!matches(b"USER:*", b"user:17", false) && matches(b"USER:*", b"user:17", true));
//! ```

/// Whether a text matches. It takes time in proportion to the product of both lengths, and no more.
pub fn matches(pattern: &[u8], text: &[u8], any_case: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star does not fit.
    let mut star = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        let fits = if t < text.len() {
            one(&pattern[p..], text[t], any_case)
        } else {
            None
        };
        if let Some(length) = fits {
            p += length;
            t += 1;
            continue;
        }
        match &mut star {
            Some((after, from)) if *from < text.len() => {
                *from += 1;
                (p, t) = (*after, *from);
            }
            _ => return false,
        }
    }
}

/// How much of the pattern stands for this byte; nothing when it does not.
fn one(pattern: &[u8], byte: u8, any_case: bool) -> Option<usize> {
    let same = |a: u8, b: u8| a == b || any_case && a.eq_ignore_ascii_case(&b);
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => same(*escaped, byte).then_some(2),
        [b'[', rest @ ..] => class(rest, byte, any_case).map(|length| length + 1),
        [plain, ..] => same(*plain, byte).then_some(1),
    }
}

fn class(pattern: &[u8], byte: u8, any_case: bool) -> Option<usize> {
    let lower = |byte: u8| if any_case { byte.to_ascii_lowercase() } else { byte };
    let not = pattern.first() == Some(&b'^');
    let mut at = usize::from(not);
    let mut within = false;
    loop {
        match &pattern[at.min(pattern.len())..] {
            // One that is not closed ends with the pattern.
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                within |= lower(*escaped) == lower(byte);
                at += 2;
            }
            [from, b'-', to, ..] => {
                let (from, to) = (lower(*from.min(to)), lower(*from.max(to)));
                within |= (from..=to).contains(&lower(byte));
                at += 3;
            }
            [plain, ..] => {
                within |= lower(*plain) == lower(byte);
                at += 1;
            }
        }
    }
    (within != not).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_redis() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("[", "a", false),
            ("[a", "a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("user:*", "user:1", true),
            ("user:*", "usage:1", false),
            ("*:1", "user:11:1", true),
            ("h[^e]llo", "hbllo", true),
            ("k[0-9]", "kx", false),
            ("a[b", "ab", true),
            // What follows the dash ends the range, also when it is a bracket.
            ("[Z-]", "[", true),
            ("[a-]", "-", false),
            ("*a", "aab", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), false),
                fits,
                "{pattern} {text}"
            );
        }
        assert!(matches(b"MAX*", b"maxmemory", true));
    }

    #[test]
    fn stars_do_not_multiply() {
        let pattern = b"*a".repeat(1_000);
        let text = b"a".repeat(900);
        assert!(!matches(&pattern, &text, false));
    }
}
