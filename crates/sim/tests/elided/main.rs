//! What the elided engine says: against formulas, and against the exact engine as one law against another.
//!
//! Both engines play the same scenarios from different seeds. Whatever a record holds is compared, window by window:
//! the means over runs must lie within the error that both leave.

mod alike;
mod formulas;
mod laws;
mod refused;
mod same;
#[expect(
    dead_code,
    reason = "it is shared with the tests of the exact engine, which use all of it"
)]
#[path = "../exact/support.rs"]
mod support;
