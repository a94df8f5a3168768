//! A listener to which nothing comes: in a partition not even the first packet of a connection arrives.
//!
//! A program cannot drop packets, but it can leave the kernel no room for connections: with a backlog of none and one that
//! nobody accepts, Linux drops the first packet of each further one (listen(2), tcp(7)), and its client sends it again
//! after one, three, seven seconds, as it would through a real partition.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// The usual backlog of a listener (that of tokio).
const BACKLOG: i32 = 1_024;
/// On one machine a connection comes about within this, or not at all.
const SOON: Duration = Duration::from_millis(50);
/// So many connections fill a backlog of none, on any system.
const FILLERS_MAX: usize = 8;

/// A listener that hears nothing for as long as this is held.
pub(super) struct Deaf {
    fillers: Vec<TcpStream>,
}

impl Deaf {
    /// Leaves no room for connections. Where that fails, connections come about and then hear nothing, which is near.
    pub(super) async fn make(listener: &TcpListener) -> io::Result<Deaf> {
        let address = listener.local_addr()?;
        rustix::net::listen(listener, 0)?;
        let mut fillers = Vec::new();
        while fillers.len() < FILLERS_MAX {
            match tokio::time::timeout(SOON, TcpStream::connect(address)).await {
                Ok(Ok(filler)) => fillers.push(filler),
                // It has no room any more.
                _ => break,
            }
        }
        Ok(Deaf { fillers })
    }

    /// It hears again; connections from these addresses were made to fill it, and are nobody's.
    pub(super) fn end(self, listener: &TcpListener) -> io::Result<BTreeSet<SocketAddr>> {
        rustix::net::listen(listener, BACKLOG)?;
        self.fillers.iter().map(TcpStream::local_addr).collect()
    }
}
