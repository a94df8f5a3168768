//! Where a key of ours lives: on a node of a cluster, only some do.
//!
//! A key that belongs to another node is refused with `MOVED`, and that is counted as an error of the node that is asked.
//! So it is asked once which slots are its own (`CLUSTER NODES`), and a name is drawn until it falls into one of them.

use std::ops::RangeInclusive;

use tokio::time::Instant;

use super::fault::Fault;
use super::redis::random;
use super::wire::{Wire, text, words};

/// A name for a key of ours on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// It has not been asked yet.
    Unknown,
    /// A key with this tag lives there.
    Here(String),
    /// None does: it is a copy of another node, which takes no writes of clients.
    Nowhere,
}

/// So many names are drawn; a node with one slot in a thousand has one of them but for odds of one in 10^40.
const DRAWS_MAX: usize = 100_000;

/// Asks a node which keys are its own.
///
/// # Errors
/// When it does not answer. An answer that is an error is none: then any name will do.
pub(crate) async fn home(wire: &mut Wire, deadline: Instant) -> Result<Home, Fault> {
    let said = wire.ask(words(&["INFO", "cluster"]), deadline).await?;
    if !text(&said)
        .lines()
        .any(|line| line.trim_end() == "cluster_enabled:1")
    {
        return Ok(Home::Here(random()));
    }
    let said = wire.ask(words(&["CLUSTER", "NODES"]), deadline).await?;
    Ok(match said.error() {
        Some(_) => Home::Here(random()),
        None => of_nodes(&text(&said)),
    })
}

/// By the line of the node itself (Redis documentation, `CLUSTER NODES`).
fn of_nodes(told: &str) -> Home {
    let own = told
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let has = |flags: &str, wanted: &str| flags.split(',').any(|flag| flag == wanted);
    let Some(own) = own
        .into_iter()
        .find(|words| words.get(2).is_some_and(|flags| has(flags, "myself")))
    else {
        return Home::Here(random());
    };
    if has(own[2], "slave") {
        return Home::Nowhere;
    }
    let slots: Vec<RangeInclusive<u16>> = own.iter().skip(8).filter_map(|word| range(word)).collect();
    let draws = std::iter::repeat_with(random).take(DRAWS_MAX);
    let ours = draws.into_iter().find(|tag| {
        let slot = slot(tag.as_bytes());
        slots.iter().any(|range| range.contains(&slot))
    });
    // A node without slots refuses any name, and says why.
    Home::Here(ours.unwrap_or_else(random))
}

/// `7`, or `0-5460`; what moves is in brackets.
fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// The slot of a tag: CRC16 of the XMODEM kind, by 16384 (Redis cluster specification, appendix A).
fn slot(tag: &[u8]) -> u16 {
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let carry = crc & 0x8000 != 0;
            (crc << 1) ^ if carry { 0x1021 } else { 0 }
        })
    });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_drawn_that_belongs_there() {
        // The check value of that CRC.
        assert_eq!(slot(b"123456789"), 0x31c3);
        let told = "a 127.0.0.1:1@2 master - 0 0 1 connected 0-5460\n\
            b 127.0.0.1:2@3 myself,master - 0 0 2 connected 5461 6000-6100 [7000->-c]\n\
            c 127.0.0.1:3@4 slave b 0 0 2 connected\n";
        let Home::Here(tag) = of_nodes(told) else {
            panic!("some are its own")
        };
        let slot = slot(tag.as_bytes());
        assert!(slot == 5461 || (6000..=6100).contains(&slot), "{slot}");
        let copy = "c 127.0.0.1:3@4 myself,slave b 0 0 2 connected\n";
        assert_eq!(of_nodes(copy), Home::Nowhere);
        for strange in ["", "x", "a b myself", "a b myself,master - 0 0 0 connected"] {
            assert!(matches!(of_nodes(strange), Home::Here(_)), "{strange}");
        }
    }
}
