//! Real faults on real servers.
//!
//! What is here stands between real processes: [`proxy`] carries their connections and breaks them as it is told. It is
//! no simulator: faults are the machines of `seawall-core` that the simulator uses too, driven in real time.

pub mod keeper;
pub mod paced;
pub mod proxy;
pub mod stack;
