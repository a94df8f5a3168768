//! Engines that run a scenario in virtual time, and the kernels that they stand on.

pub mod agenda;
