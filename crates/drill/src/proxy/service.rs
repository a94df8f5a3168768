//! The proxies and their API as a process: begun, and drained when told to stop.

use std::time::Duration;

use seawall_core::rng::Seed;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::api::Api;
use super::draft::{Draft, ProxyError};
use super::fleet::Proxies;

/// What the process is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the HTTP API listens, `host:port`.
    pub api: String,
    /// What all draws come from.
    pub seed: Seed,
    /// The proxies there are from the beginning.
    pub drafts: Vec<Draft>,
    /// For so long connections may go on after the signal to stop.
    pub grace: Duration,
}

/// Carries connections until SIGTERM or SIGINT, then drains; says whether all connections had ended.
///
/// # Errors
///
/// When a proxy or the API cannot listen, or a proxy lacks something.
pub async fn run(options: Options) -> Result<bool, ProxyError> {
    let refused = |source| ProxyError::Listen {
        address: options.api.clone(),
        source,
    };
    let (mut term, mut int) = signals().map_err(refused)?;
    let proxies = Proxies::new(options.seed);
    let views = proxies
        .populate(&options.drafts)
        .await
        .map_err(|(error, _)| error)?;
    for view in views {
        tracing::info!(
            name = view.name,
            listen = view.listen,
            upstream = view.upstream,
            "proxy"
        );
    }
    let api = Api::start(&options.api, proxies.clone()).await.map_err(refused)?;
    tracing::info!(listen = %api.address(), seed = options.seed.0, "api");
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("draining");
    api.end().await;
    Ok(proxies.drain(options.grace).await)
}

fn signals() -> std::io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}
