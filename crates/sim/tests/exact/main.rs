//! What the exact engine says, against what is known: formulas, published cases, laws of conservation.
//!
//! Every test here is deterministic: its seeds are fixed. A number is compared with its formula by a confidence
//! interval over replications, and the interval must be narrow, so that agreement means something.

#![expect(
    clippy::float_cmp,
    reason = "counts and settings are whole numbers, and nothing is exactly nothing"
)]

mod actions;
mod caches;
mod conservation;
mod faults;
mod metastable;
mod operators;
mod protections;
mod queues;
mod refusals;
mod ripples;
mod same;
mod support;
