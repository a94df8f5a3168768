//! Plays a scenario at many points, and finds where its behaviour turns.
//!
//! A [`Sweep`] is a grid over a document: an [`Axis`] for each thing that is varied, every variant played at every point
//! with the same seed, so that neighbours differ by what is varied and not by luck. It is cut in [`Shard`]s, played on
//! threads, and kept in a [`Journal`] from which it goes on after a kill. [`limits`] asks the other way round: not what
//! happens at a point, but at which point it begins to happen.
//!
//! What this crate is not: it knows no clock and no terminal, and it decides nothing about a run. What a run came to is
//! said by [`seawall_report::figures`].
//!
//! Same document and same [`Recipe`], same bytes, whatever the threads, the shards and the kills.
//!
//! ```
//! use seawall_sweep::Axis;
//! let axis = Axis::parse("client.readers.rate=100k/s..400k/s:4").expect("a good range");
//! assert_eq!(axis.values(), ["100k/s", "200k/s", "300k/s", "400k/s"]);
//! assert_eq!(axis.numbers()[3], 400_000.0);
//! ```

mod axis;
#[cfg(feature = "parquet")]
mod columns;
mod grid;
mod journal;
pub mod limits;
mod play;
mod recipe;

pub use axis::Axis;
#[cfg(feature = "parquet")]
pub use columns::parquet;
pub use grid::{POINTS_MAX, Shard, Sweep};
pub use journal::{Broken, Journal, merge};
pub use play::{Tell, figures, play};
pub use recipe::Recipe;
