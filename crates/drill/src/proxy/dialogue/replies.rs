//! What a server says: replies in RESP2 and RESP3, of which only the ends are looked for.

use super::{At, BULK_MAX, LINE_MAX, Step, number};

/// A reply has no more elements.
const ELEMENTS_MAX: i64 = u32::MAX as i64;

/// Reads what a server says.
#[derive(Debug, Default)]
pub(super) struct Replies {
    at: At,
    /// The front of the line under way: its type and a number.
    line: Vec<u8>,
    /// How many elements the reply under way still has.
    left: u64,
    /// Whether it is one that nobody asked for.
    push: bool,
}

impl Replies {
    /// Whether no reply is under way.
    pub(super) fn between(&self) -> bool {
        self.left == 0 && self.line.is_empty()
    }

    pub(super) fn read(&mut self, rest: &mut &[u8]) -> Step {
        match self.at {
            At::Line => {
                let end = rest.iter().position(|byte| *byte == b'\n');
                let length = end.map_or(rest.len(), |end| end + 1);
                let (taken, left) = rest.split_at(length);
                *rest = left;
                let room = LINE_MAX - self.line.len();
                self.line.extend_from_slice(&taken[..length.min(room)]);
                if end.is_none() {
                    return Step::More;
                }
                let step = self.understand();
                self.line.clear();
                step
            }
            At::Bulk(left) => {
                let length = left.min(rest.len() as u64);
                *rest = &rest[length as usize..];
                if left > length {
                    self.at = At::Bulk(left - length);
                    return Step::More;
                }
                self.at = At::Line;
                self.element()
            }
        }
    }

    fn understand(&mut self) -> Step {
        if self.left == 0 {
            self.left = 1;
            self.push = self.line[0] == b'>';
        }
        if b"+-:_#,(".contains(&self.line[0]) {
            return self.element();
        }
        let Some((kind, number)) = number(&self.line) else {
            return Step::Broken;
        };
        let elements = match kind {
            b'$' | b'=' | b'!' if (0..=BULK_MAX).contains(&number) => {
                self.at = At::Bulk(number as u64 + 2);
                return Step::More;
            }
            b'$' | b'*' if number == -1 => 0,
            b'*' | b'~' | b'>' if (0..=ELEMENTS_MAX).contains(&number) => number as u64,
            b'%' if (0..=ELEMENTS_MAX).contains(&number) => 2 * number as u64,
            // What is said about a reply comes before it.
            b'|' if (0..=ELEMENTS_MAX).contains(&number) => 2 * number as u64 + 1,
            _ => return Step::Broken,
        };
        self.left = self.left.saturating_add(elements);
        self.element()
    }

    /// An element has come to its end.
    fn element(&mut self) -> Step {
        self.left -= 1;
        if self.left > 0 || self.push {
            Step::More
        } else {
            Step::Over
        }
    }
}
