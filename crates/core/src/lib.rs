//! What protects a cache's origin, as pure state machines.
//!
//! Nothing here does I/O, reads a clock, starts a thread or owns a source of randomness: `now` and a
//! [`rng::Stream`] are arguments. The simulator runs these machines in virtual time and the runtime runs the same
//! code in real time, so what is predicted is what is deployed. Nothing here knows either of them.

pub mod arrivals;
pub mod balance;
pub mod breaker;
pub mod coalesce;
pub mod deadline;
pub mod dist;
pub mod draw;
pub mod early;
pub mod epoch;
pub mod flow;
pub mod gate;
pub mod guard;
pub mod health;
pub mod histogram;
pub mod keymap;
pub mod keys;
pub mod lease;
pub mod limit;
pub mod link;
pub mod pace;
pub mod policies;
pub mod processor;
pub mod queue;
pub mod rate;
pub mod record;
pub mod retry;
pub mod ring;
pub mod rng;
pub mod shed;
pub mod sketch;
pub mod stale;
pub mod station;
pub mod throttle;
pub mod time;
pub mod ttl;
pub mod warm;
