//! The scenario document.

mod element;
pub mod model;

pub use model::*;
