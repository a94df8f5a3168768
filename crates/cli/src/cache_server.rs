//! `seawall cache-server`: a cache where there is no Redis.

use std::net::SocketAddr;

use seawall_drill::server::{Server, Settings, StartError};

use crate::output::print;
use crate::stop::Stop;

/// Runs a small cache server that Redis clients can talk to, in memory, for trials and tests
#[derive(clap::Args)]
#[command(after_help = "\
It behaves as Redis 7 does in what a cache needs; docs/cache-server.md says what it has and what it lacks. It ends with SIGTERM \
or Ctrl-C, and with it everything it holds.

  seawall cache-server --listen 127.0.0.1:6380 --set maxmemory=100mb --set maxmemory-policy=allkeys-lru

Exit status: 0 ended; 2 the input is wrong; 3 it could not start.")]
pub(crate) struct Arguments {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6379")]
    listen: SocketAddr,

    /// A parameter of CONFIG SET; can be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    config: Vec<String>,
}

/// Serves until told to stop.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    let mut settings = Settings {
        address: arguments.listen,
        ..Settings::default()
    };
    for pair in &arguments.config {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Stop::Input(
                format!("`{pair}` sets nothing"),
                "write NAME=VALUE, such as maxmemory=100mb".to_owned(),
            )
        })?;
        settings.config.push((name.to_owned(), value.to_owned()));
    }
    let server = Server::start(&settings).map_err(|error| match error {
        StartError::Config(what) => {
            Stop::Input(what, "docs/cache-server.md lists what can be set".to_owned())
        }
        error => Stop::Failed(error.to_string()),
    })?;
    print(&format!("listening on {}\n", server.address()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Failed(format!("failed to start: {error}")))?;
    runtime
        .block_on(told_to_stop())
        .map_err(|error| Stop::Failed(format!("failed to listen for signals: {error}")))?;
    server.stop();
    Ok(true)
}

async fn told_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
