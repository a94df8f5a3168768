//! The cache server: against a real Redis, under unmodified clients, and under the library.

mod clients;
mod conditions;
mod library;
mod likeness;
mod redis_server;
mod wire;
