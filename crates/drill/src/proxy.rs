//! A TCP proxy that breaks connections as it is told, while they live.
//!
//! It is Toxiproxy's API on our own machinery: what a fault does to the bytes of a connection is decided by
//! [`seawall_core::flow`], which stands on the link that the simulator uses, so a second of latency or a lost packet is
//! the same in both. Beyond Toxiproxy it stalls, parts, corrupts, and breaks single commands of Redis; and with a seed
//! it does the same again: each connection, in order of acceptance, and each toxic have draws of their own, and what
//! happens to a byte depends on its place in the stream, not on how TCP cut it.
//!
//! It is no load balancer and no TLS endpoint. Everything is bounded: proxies, toxics, connections, bytes on their way.
//!
//! ```
//! use seawall_core::rng::Seed;
//! use seawall_drill::proxy::{Draft, Kind, Latency, Proxies, Side, Toxic};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let proxies = Proxies::new(Seed(7));
//! let draft = Draft { name: "redis".into(), upstream: "127.0.0.1:6379".into(), ..Draft::default() };
//! let redis = proxies.add(&draft).await?;
//! assert!(redis.listen.starts_with("127.0.0.1:"));
//! let slow = Kind::Latency(Latency { latency: 100, ..Latency::default() });
//! proxies.add_toxic("redis", Toxic::new(Side::Downstream, slow)).await?;
//! assert_eq!(proxies.view("redis").await?.toxics[0].name, "latency_downstream");
//! proxies.remove_toxic("redis", "latency_downstream").await?;
//! # Ok::<(), seawall_drill::proxy::ProxyError>(()) }).unwrap();
//! ```

mod api;
mod attributes;
mod chain;
mod counters;
mod deaf;
mod dialogue;
mod draft;
mod fleet;
mod passage;
mod pump;
mod service;
mod toxic;
mod way;

pub use api::{Api, drafts};
pub use attributes::{
    Bandwidth, Corrupt, Kind, Latency, LimitData, Noop, Partition, ResetPeer, Resp, Slicer, SlowClose, Stall,
    Timeout,
};
pub use draft::{Draft, ProxyError, View};
pub use fleet::Proxies;
pub use service::{Options, run};
pub use toxic::{Side, Toxic, ToxicError};
