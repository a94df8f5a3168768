//! The cache server: against a real Redis, under unmodified clients, and under the library.

mod clients;
mod conditions;
mod library;
mod likeness;
#[path = "../support/redis_server.rs"]
mod redis_server;
#[path = "../support/wire.rs"]
mod wire;
