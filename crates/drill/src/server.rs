//! A cache server in the process: what a drill uses where there is no Redis.
//!
//! It speaks RESP 2 and 3 and behaves as Redis 7 does in what a cache needs: strings with expiry, eviction, INFO, CLIENT,
//! CONFIG, SLOWLOG, channels, and the scripts of the library done natively. Unmodified clients work with it. It can be
//! made to hang, to load and to refuse. It is no database: there is no disk, no replication, no cluster, no Lua, no
//! transactions, and of other types only what it takes to have a key of the wrong one. Memory is estimated.
//!
//! It runs on a thread of its own, one command after the other, as Redis does.
//!
//! ```
//! use std::io::{Read, Write};
//! use seawall_drill::server::{Server, Settings};
//! let server = Server::start(&Settings::default())?;
//! let mut connection = std::net::TcpStream::connect(server.address())?;
//! connection.write_all(b"SET greeting hello\r\nGET greeting\r\n")?;
//! let mut answers = [0; 16];
//! connection.read_exact(&mut answers)?;
//! assert_eq!(&answers, b"+OK\r\n$5\r\nhello\r\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![expect(
    clippy::unnecessary_wraps,
    clippy::cast_possible_wrap,
    reason = "all commands are called alike; lengths, and milliseconds since 1970, stay far below 2^63"
)]

mod admin;
mod client;
mod clients;
mod command;
mod config;
mod connection;
mod eviction;
mod expiry;
mod info;
mod keys;
mod keyspace;
mod memory;
mod order;
mod pubsub;
mod script;
mod session;
mod slowlog;
mod state;
mod strings;
mod texts;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

use config::Config;
use state::State;

/// How the server fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Condition {
    /// It serves.
    #[default]
    Serving,
    /// It answers `LOADING` to whatever needs keys.
    Loading,
    /// It answers nothing and hangs up on nobody, as a stopped process.
    Hanging,
    /// Nobody listens, and connections are broken, as after the end of the process. What it holds stays.
    Refusing,
}

/// How the server begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens; port 0 for any that is free.
    pub address: SocketAddr,
    /// What `CONFIG SET` sets, from the start.
    pub config: Vec<(String, String)>,
    /// More bytes are never held, whatever `maxmemory` says: beyond it, writes are answered `OOM`.
    pub bytes_max: usize,
    /// Decides which keys go when the policy is random.
    pub seed: u64,
}

impl Default for Settings {
    /// On loopback, any port, at most a gibibyte.
    fn default() -> Settings {
        Settings {
            address: ([127, 0, 0, 1], 0).into(),
            config: Vec::new(),
            bytes_max: 1 << 30,
            seed: 0,
        }
    }
}

/// Why a server did not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or is none.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A parameter is unknown, or its value is none.
    #[error("the setting is refused: {0}")]
    Config(String),
    /// The operating system gave no thread.
    #[error("failed to start a thread: {0}")]
    Thread(io::Error),
}

/// A running server; it ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

/// What connections and the handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    condition: watch::Sender<Condition>,
    stop: watch::Sender<bool>,
    began: Instant,
    began_unix: u64,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In milliseconds since 1970; it never goes back.
    pub(crate) fn now(&self) -> u64 {
        self.began_unix + self.began.elapsed().as_millis() as u64
    }
}

impl Server {
    /// Begins to listen. When this returns, clients can connect.
    ///
    /// # Errors
    /// When the address cannot be listened on, or a setting is wrong.
    pub fn start(settings: &Settings) -> Result<Server, StartError> {
        let listen = |source| StartError::Listen {
            address: settings.address,
            source,
        };
        let listener = TcpListener::bind(settings.address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let mut config = Config::new(address.port());
        let pairs: Vec<(&[u8], &[u8])> = settings
            .config
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        config.set(&pairs).map_err(StartError::Config)?;
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let began_unix = unix.as_millis() as u64;
        let state = State::new(began_unix, config, settings.seed, settings.bytes_max);
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            condition: watch::Sender::new(Condition::Serving),
            stop: watch::Sender::new(false),
            began: Instant::now(),
            began_unix,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("cache-server".to_owned())
            .spawn(move || runtime.block_on(connection::listen(for_thread, listener, address)))
            .map_err(StartError::Thread)?;
        Ok(Server {
            shared,
            address,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL for clients.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// How it fares.
    pub fn condition(&self) -> Condition {
        *self.shared.condition.borrow()
    }

    /// Lets it fare otherwise, at once. A command under way is finished.
    pub fn set_condition(&self, condition: Condition) {
        let mut state = self.shared.state();
        state.condition = condition;
        if condition == Condition::Refusing {
            state.disconnect_all();
        }
        // Under the lock, so that no command is begun by the old condition after this returns.
        self.shared.condition.send_replace(condition);
    }

    /// Empties it, as a restart without a disk does.
    pub fn flush(&self) {
        self.shared.state().keys.flush_all();
    }

    /// Breaks all connections.
    pub fn disconnect_all(&self) {
        self.shared.state().disconnect_all();
    }

    /// Sets a parameter, as `CONFIG SET` does.
    ///
    /// # Errors
    /// The words of the refusal.
    pub fn configure(&self, name: &str, value: &str) -> Result<(), String> {
        self.shared
            .state()
            .config
            .set(&[(name.as_bytes(), value.as_bytes())])
    }

    /// Keys in all databases, those included that have expired and are still there.
    pub fn keys(&self) -> usize {
        let state = self.shared.state();
        (0..keyspace::DATABASES)
            .map(|database| state.keys.count(database))
            .sum()
    }

    /// Commands that were answered since it began, or since `CONFIG RESETSTAT`.
    pub fn commands(&self) -> u64 {
        self.shared.state().stats.commands
    }

    /// Ends it and waits until nobody listens any more.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told already.
            let _ = thread.join();
        }
    }
}
