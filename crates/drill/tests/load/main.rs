//! The load generator: what it sends, how it counts, and what it makes of a server that stands still.

mod clients;
mod frozen;
#[path = "../support/redis_server.rs"]
mod redis_server;
mod targets;
#[path = "../support/wire.rs"]
mod wire;
