//! An HTTP gateway that keeps what stands behind it standing, for services in any language.
//!
//! It answers from memory what may be answered from memory (RFC 9111), and what may not goes through the library's
//! guard: one load however many ask, a limit on what is inside the upstream, a breaker, one deadline, stale answers
//! within bounds. Before that stands the door: rate limit, throttle, shedding by priority, a bounded queue. All of it
//! is switched and tuned by one document, which `seawall simulate` plays too, and while running.
//!
//! It is no web server and runs no code of yours. It holds nothing without a bound: connections, heads, bodies, queues,
//! pools and time.
//!
//! ```
//! use seawall_gateway::{Config, Gateway};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let document = r#"
//!     [gateway]
//!     listen = "127.0.0.1:0"
//!     admin = "127.0.0.1:0"
//!     [upstream.api]
//!     addresses = ["127.0.0.1:8000"]
//! "#;
//! let gateway = Gateway::start(Config::of_text("seawall.toml", document)).await?;
//! assert_ne!(gateway.address(), gateway.admin());
//! assert!(gateway.drain().await, "nothing was under way");
//! # Ok::<(), seawall_gateway::StartError>(()) }).unwrap();
//! ```

pub mod framing;

mod admin;
mod answers;
mod audit;
mod body;
mod caching;
mod clock;
mod config;
mod control;
mod door;
mod exchange;
mod failure;
mod fields;
mod gateway;
mod judgement;
mod life;
mod line;
mod load;
mod metrics;
mod pace;
mod passing;
mod pool;
mod routes;
mod server;
mod site;
mod stored;
mod tier;
mod timer;
mod tls;
mod token;
mod upstream;
mod variables;
mod vary;
mod warming;
mod wire;

pub use config::Config;
pub use gateway::{Gateway, StartError, run};
pub use site::default_policies;
