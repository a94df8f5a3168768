//! The fault proxy, from outside: sockets on both sides, and its HTTP API.

#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod api;
mod ends;
mod repeats;
mod resp;
mod toxics;
