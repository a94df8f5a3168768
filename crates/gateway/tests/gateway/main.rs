//! The gateway on real sockets: an upstream that does as it is told, a gateway before it, and clients that may misbehave.

mod abuse;
mod admin;
mod caching;
mod config;
mod door;
mod drain;
mod kit;
mod passing;
mod pool;
mod routing;
mod tier;
mod tls;
mod vectors;
