//! Commands that took long, the latest of them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::client::Client;

/// Of a command so many arguments are kept, and so many bytes of each.
const ARGS_MAX: usize = 32;
const ARG_MAX: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct Slowlog {
    pub(crate) entries: VecDeque<Slow>,
    next: i64,
}

#[derive(Debug)]
pub(crate) struct Slow {
    pub(crate) id: i64,
    /// In milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) took: Duration,
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) address: SocketAddr,
    pub(crate) name: Bytes,
}

impl Slowlog {
    pub(crate) fn note(
        &mut self,
        now: u64,
        took: Duration,
        args: &[Bytes],
        client: &Client,
        entries_max: usize,
    ) {
        let shown = if args.len() > ARGS_MAX {
            ARGS_MAX - 1
        } else {
            args.len()
        };
        let mut kept: Vec<Vec<u8>> = args[..shown].iter().map(short).collect();
        if shown < args.len() {
            kept.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
        }
        self.entries.push_front(Slow {
            id: self.next,
            at: now,
            took,
            args: kept,
            address: client.address,
            name: client.name.clone(),
        });
        self.next += 1;
        self.entries.truncate(entries_max);
    }
}

fn short(arg: &Bytes) -> Vec<u8> {
    if arg.len() <= ARG_MAX {
        return arg.to_vec();
    }
    let mut short = arg[..ARG_MAX].to_vec();
    short.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_MAX).as_bytes());
    short
}
