//! The library under tokio's paused clock: what it must do, whatever fails behind it.

mod abuse;
mod basics;
mod changes;
mod fleet;
mod loads;
mod support;
mod tiers;
mod told;
mod warming;
