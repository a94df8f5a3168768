//! From a live system to the scenario that simulates it.
//!
//! [`measure`] asks for a while, as a probe does, and looks at some keys. [`document`] writes what came of it as a scenario, each
//! number with where it comes from, and what could not be measured as what it is: assumed.

mod measure;
mod popularity;
mod pulse;
mod scenario;

pub use measure::{Database, Measured, Past, Unmeasured, Wanted, measure};
pub use popularity::{EXPONENT, Keys, Leaving, hit_rate};
pub use scenario::{Assumed, document};
