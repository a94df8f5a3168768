//! The tier in Redis, against real servers.

#[path = "../support/mod.rs"]
mod support;

mod backplane;
mod facts;
mod fleet;
mod store;
mod survive;
mod topologies;
mod world;
