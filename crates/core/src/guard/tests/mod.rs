//! The guard in a small world: what others got wrong, each thing by itself, and what holds whatever happens.

mod aside;
mod driver;
mod operations;
mod path;
mod semantics;
