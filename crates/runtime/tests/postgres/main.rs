//! A real PostgreSQL that refuses, hangs, is full or locked; and the adapter before it.
//!
//! The machine needs `postgres` (Debian's package `postgresql`).

#[path = "../support/mod.rs"]
mod support;

mod adapter;
mod survive;
mod world;
