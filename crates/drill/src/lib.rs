//! Real faults on real servers.
//!
//! What is here stands between real processes: [`proxy`] carries their connections and breaks them as it is told,
//! [`server`] is a cache where there is no Redis, and [`load`] calls them. It is no simulator: faults and arrivals are the
//! machines of `seawall-core` that the simulator uses too, driven in real time.

pub mod app;
pub mod copies;
pub mod experiment;
pub mod history;
pub mod inject;
pub mod journal;
pub mod keeper;
pub mod kept;
pub mod load;
pub mod outcome;
pub mod paced;
pub mod proxy;
pub mod run;
pub mod server;
pub mod stack;
pub mod steady;
pub mod verdict;

pub use seawall_resp as resp;
use seawall_resp::glob;
