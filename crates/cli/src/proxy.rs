//! `seawall proxy`: breaks connections.

use std::path::{Path, PathBuf};
use std::time::Duration;

use seawall_core::rng::Seed;
use seawall_drill::proxy::{self, Draft, Options, ProxyError};

use crate::log;
use crate::stop::Stop;

/// Runs the fault proxy: carries TCP connections and breaks them as its HTTP API is told
#[derive(clap::Args)]
#[command(after_help = "\
The API is Toxiproxy's, so its clients in any language drive this one; docs/proxy.md says what is wrong with a connection \
when. SIGTERM drains. SEAWALL_LOG is error, warn, info (the default), debug or trace.

  seawall proxy --listen 127.0.0.1:26379 --upstream 127.0.0.1:6379 --name redis
  curl 127.0.0.1:8474/proxies/redis/toxics -d '{\"type\":\"latency\",\"attributes\":{\"latency\":200}}'

Exit status: 0 drained; 1 connections were still open when the grace was over; 2 the input is wrong; 3 it could not start.")]
pub(crate) struct Arguments {
    /// Where one proxy listens
    #[arg(long, value_name = "HOST:PORT", requires = "upstream")]
    listen: Option<String>,

    /// The server behind that proxy
    #[arg(long, value_name = "HOST:PORT", requires = "listen")]
    upstream: Option<String>,

    /// The name of that proxy
    #[arg(long, default_value = "proxy")]
    name: String,

    /// A list of proxies, as Toxiproxy's configuration file has it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where the HTTP API listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8474")]
    api: String,

    /// With the same seed, the same bytes on the same connections meet the same faults
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// For so many seconds connections may go on after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u64,
}

/// Carries until told to stop.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    log::start();
    let mut drafts = match &arguments.config {
        Some(path) => read(path)?,
        None => Vec::new(),
    };
    if let (Some(listen), Some(upstream)) = (&arguments.listen, &arguments.upstream) {
        drafts.push(Draft {
            name: arguments.name.clone(),
            listen: listen.clone(),
            upstream: upstream.clone(),
            enabled: None,
        });
    }
    let options = Options {
        api: arguments.api.clone(),
        seed: Seed(arguments.seed),
        drafts,
        grace: Duration::from_secs(arguments.grace),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Failed(format!("failed to start threads: {error}")))?;
    runtime
        .block_on(proxy::run(options))
        .map_err(|error| match error {
            ProxyError::Listen { .. } => Stop::Failed(error.to_string()),
            error => Stop::Input(
                error.to_string(),
                "each proxy wants a name and an upstream".to_owned(),
            ),
        })
}

/// The proxies of a configuration file.
fn read(path: &Path) -> Result<Vec<Draft>, Stop> {
    let wrong = |what: String| {
        Stop::Input(
            format!("{}: {what}", path.display()),
            r#"write [{"name": "redis", "listen": "127.0.0.1:26379", "upstream": "127.0.0.1:6379"}]"#
                .to_owned(),
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    proxy::drafts(&value).map_err(|error| wrong(error.to_string()))
}
