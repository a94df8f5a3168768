//! The scenario document: one file that is simulated, deployed and drilled.
//!
//! It describes a system as components and what each calls, what protects them, what happens to them and when, and
//! what must be seen. This crate reads such a document, finds everything that is wrong with it at once, and hands out
//! plain types in which every name is resolved. It is the only one that knows TOML. It runs nothing: engines take a
//! [`Scenario`], and give back records.

mod assemble;
mod consistency;
pub mod deployment;
mod describe;
mod document;
mod element;
pub mod explain;
mod form;
pub mod formula;
mod hasten;
mod judge;
mod mistakes;
pub mod model;
mod node;
mod numbers;
mod reader;
mod scale;
mod schema;
mod skip;
mod timeline;
pub mod units;

pub use deployment::Deployment;
pub use document::{AS_WRITTEN, BYTES_MAX, Document};
pub use explain::{Explanation, explain};
pub use judge::{Judged, Tolerance};
pub use mistakes::{MISTAKES_MAX, Mistake, Mistakes};
pub use model::*;
pub use scale::Scaled;
pub use schema::{deployment_schema, schema};
