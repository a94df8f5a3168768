//! A URL shortener: `GET /{code}` leads on, `POST /` makes a code. It stays up when its cache falls, and shows what that
//! takes of a service: see `links` for the part that matters.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `LISTEN` | where it listens; 127.0.0.1:8000 |
//! | `PUBLIC_URL` | what short links begin with; `http://` and where it listens |
//! | `DATABASE_URL` | `postgres://…` or `sqlite:…`; the file `links.db` |
//! | `DATABASE_READ_URL` | replicas for reads, separated by commas; the primary |
//! | `REDIS_URL` | a shared cache; none |
//! | `DRAIN_NOTICE` | seconds for which it says that it is leaving, before it does; 0 |

mod code;
mod database;
mod links;
mod serve;
mod web;

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::database::Database;
use crate::links::Links;
use crate::web::App;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();

    let database = variable("DATABASE_URL").unwrap_or_else(|| "sqlite:links.db?mode=rwc".to_owned());
    let database = Database::new(&database, variable("DATABASE_READ_URL").as_deref())?;
    // A database that is down is no reason not to start: what Redis holds is answered without it.
    if let Err(error) = database.prepare().await {
        tracing::warn!(%error, "the table could not be made");
    }
    let links = Links::new(database, variable("REDIS_URL").as_deref())?;

    let listener = TcpListener::bind(variable("LISTEN").as_deref().unwrap_or("127.0.0.1:8000")).await?;
    let address = listener.local_addr()?;
    let app = Arc::new(App {
        links,
        public: variable("PUBLIC_URL").unwrap_or_else(|| format!("http://{address}")),
        leaving: AtomicBool::new(false),
        creating: web::creating(),
    });
    tracing::info!("listening on {address}");

    let notice: u64 = variable("DRAIN_NOTICE").map_or(Ok(0), |seconds| seconds.parse())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let leave = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // First the load balancer has to hear of it; until then requests still come, and are answered.
        app.leaving.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(notice)).await;
    };
    serve::until(listener, web::router(Arc::clone(&app)), leave).await;
    Ok(())
}

/// An empty variable is as good as none: that is how a container's are often left.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
