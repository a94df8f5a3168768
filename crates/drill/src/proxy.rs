//! A TCP proxy that breaks connections as it is told.

mod dialogue;
mod glob;
mod toxic;

pub use toxic::*;
