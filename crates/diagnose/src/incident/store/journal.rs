//! The journal: lines that are appended, each with a check sum, and what incidents they come to.
//!
//! A line is eight hexadecimal digits (CRC-32 of what follows), a space, and JSON: the state of an incident without its
//! timeline, of which the newest counts, or an entry of a timeline. A line that was cut off by a crash, or is not what its check
//! sum says, is left out and counted; those around it still hold.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::incident::{Entry, Incident, What};

/// A journal is read up to this size, in bytes; it is never let grow so far.
const READ_MAX: u64 = 64 << 20;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// An incident, without its timeline.
    State(Box<Incident>),
    /// Something that happened in it.
    Entry {
        /// In which.
        id: String,
        /// What, and when.
        entry: Entry,
    },
}

/// What a journal holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The incidents, in the order of their first lines.
    pub(super) incidents: Vec<Incident>,
    /// Lines that are not what their check sums say.
    pub(super) bad: usize,
    /// Whether the last line was cut off.
    pub(super) torn: bool,
    /// How much of it holds, in bytes.
    pub(super) good: u64,
}

impl Line {
    /// As it is appended.
    pub(super) fn text(&self) -> io::Result<String> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{:08x} {json}\n", crc(json.as_bytes())))
    }

    /// What a line says, without its end; nothing when it is not whole.
    pub(super) fn read(line: &[u8]) -> Option<Line> {
        let (sum, json) = line.split_at_checked(9)?;
        let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
        let sum = u32::from_str_radix(sum, 16).ok()?;
        if sum != crc(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// Opens a file of ours to be read and appended to, and makes it when it is not there.
pub(super) fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Reads a journal from a place on: what its bytes are up to the last whole line, and how many there are.
pub(super) fn bytes(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Appends lines as one write. What could not be written whole is taken back as far as it can be.
pub(super) fn append(file: &mut File, lines: &[Line]) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut text = String::new();
    if end > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            // Somebody was cut off here.
            text.push('\n');
        }
    }
    for line in lines {
        text += &line.text()?;
    }
    let written = file.write_all(text.as_bytes());
    if written.is_err() {
        // Best effort: a line that is cut off is found out by its check sum.
        let _ = file.set_len(end);
    }
    written
}

/// What lines come to.
pub(super) fn content(bytes: &[u8]) -> Content {
    let mut content = Content::default();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        match Line::read(&rest[..end]) {
            Some(line) => fold(&mut content.incidents, line),
            None if end == 0 => {}
            None => content.bad += 1,
        }
        rest = &rest[end + 1..];
    }
    content.torn = !rest.is_empty();
    content.good = (bytes.len() - rest.len()) as u64;
    content.incidents.iter_mut().for_each(settle);
    content
}

fn fold(incidents: &mut Vec<Incident>, line: Line) {
    match line {
        Line::State(state) => match incidents.iter_mut().find(|known| known.id == state.id) {
            Some(known) => {
                let timeline = std::mem::take(&mut known.timeline);
                *known = Incident { timeline, ..*state };
            }
            None => incidents.push(*state),
        },
        Line::Entry { id, entry } => {
            // A state comes before the first entry; one that is lost takes its entries along.
            if let Some(known) = incidents.iter_mut().find(|known| known.id == id) {
                known.enter(entry.at, entry.what);
            }
        }
    }
}

/// Whoever closed it by hand may have done so between two states of the one who watches.
fn settle(incident: &mut Incident) {
    let last = incident
        .timeline
        .iter()
        .rev()
        .find(|entry| matches!(entry.what, What::ClosedByHand { .. } | What::Reopened));
    if let Some(Entry {
        at,
        what: What::ClosedByHand { false_alarm, .. },
    }) = last
    {
        let (at, false_alarm) = (*at, *false_alarm);
        incident.closed.get_or_insert(at);
        incident.false_alarm |= false_alarm;
    }
}

/// CRC-32 as in ISO 3309 and zlib.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_sum_is_the_usual_one() {
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn every_damage_is_found() {
        let line = Line::State(Box::new(crate::incident::tests::example()));
        let text = line.text().expect("plain data");
        let whole = text.trim_end().as_bytes();
        assert_eq!(Line::read(whole).as_ref(), Some(&line));
        for at in 0..whole.len() {
            assert_eq!(Line::read(&whole[..at]), None, "cut at {at}");
            let mut damaged = whole.to_vec();
            damaged[at] ^= 0x10;
            assert_ne!(Line::read(&damaged).as_ref(), Some(&line), "damaged at {at}");
        }
    }
}
