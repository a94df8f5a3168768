//! Questions to live servers: read-only, bounded, each with a deadline and with a meaning of its own when it fails.
//!
//! A round asks everything at once and comes to a [`Sample`]; samples make a [`Recording`], and that the record which
//! findings are made from, by the code that reads simulated runs. A server that hangs costs one deadline and is a
//! finding. Nothing here judges, and nothing is changed but a key of our own.
//!
//! What a question tells when it fails, of a Redis:
//!
//! | step | it asks | and when that fails |
//! | --- | --- | --- |
//! | `connect` | a new connection | machine, network or listener |
//! | `alive` | a command of the wrong form, which is refused before anything can hold it | the process does not run |
//! | `reply` | `PING`, on a connection that was there before and on a new one | clients are not served |
//! | `info` | `INFO all` | it is too busy to tell of itself |
//! | `write` | a key of ours, with a short life | writes are refused or held |
//! | `read` | that key | it came back different, or was gone |

pub mod app;
pub mod details;
mod dial;
mod fault;
mod home;
pub(crate) mod http;
mod info;
pub mod keys;
pub mod kubernetes;
pub mod log;
mod page;
pub mod postgres;
mod prober;
pub mod prometheus;
pub mod redis;
mod sample;
mod step;
mod target;
mod wire;

pub use details::Details;
pub(crate) use dial::dial;
pub use fault::{Fault, Why};
use home::home;
pub(crate) use http::basic;
pub use info::Info;
pub use log::{LogCounter, LogProbe};
pub use page::Page;
pub use prober::{Options, Prober, TARGETS_MAX};
pub use sample::{Place, Point, Recording, Sample, Trouble};
pub use step::Step;
pub use target::{BadTarget, Kind, Target};
pub(crate) use wire::{Wire, items, number, text, words};
