//! One Redis.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{NoServer, Server, on_a_port, program};
use crate::keeper::{Keeper, Pid, Program};

/// A server that was just started answers within this time, or is asked again.
const PING: Duration = Duration::from_millis(500);
/// How long it may take to end.
const FAREWELL: Duration = Duration::from_secs(2);

/// A `redis-server` of the drill's own. It keeps nothing on disk unless it is told to.
#[derive(Clone, Debug)]
pub struct Redis(Server);

impl Redis {
    /// Starts one, with these settings besides, each as `redis.conf` spells it: a name and its value.
    ///
    /// # Errors
    /// When there is no `redis-server`, or it does not start.
    pub async fn start(keeper: &Keeper, name: &str, settings: &[(&str, &str)]) -> Result<Redis, NoServer> {
        let file = Redis::file().ok_or_else(|| NoServer::Missing {
            program: "redis-server".into(),
            package: "redis-server".into(),
        })?;
        let folder = keeper.folder().join(name);
        std::fs::create_dir_all(&folder).map_err(|error| NoServer::Silent {
            name: name.to_owned(),
            why: format!("failed to make its folder: {error}"),
            log: String::new(),
        })?;
        let (file, folder) = (&file, &folder);
        on_a_port(name, |address| async move {
            let port = address.port().to_string();
            let own = [
                ("bind", "127.0.0.1"),
                ("port", &port),
                ("save", ""),
                ("appendonly", "no"),
                ("daemonize", "no"),
                ("enable-debug-command", "no"),
            ];
            let args = [words(&own), words(settings)].concat();
            let program = Program {
                name: name.to_owned(),
                file: file.clone(),
                args,
                folder: Some(folder.clone()),
                address: Some(address),
                // It has nothing to write at its end, and would refuse to end without having written to a full disk.
                quit: Some("KILL".into()),
                ..Program::default()
            };
            let server = Server::start(keeper, program, address, || answers(address));
            server.await.map(Redis)
        })
        .await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.0.pid()
    }

    /// Kills it at once (SIGKILL). Nobody listens any more, and what it held is gone.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&self, keeper: &Keeper) -> Result<(), NoServer> {
        keeper.signal(self.0.pid(), "KILL")?;
        Ok(keeper.end(self.0.pid(), Duration::ZERO)?)
    }

    /// Starts it again on its port, empty: a snapshot is removed before.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&self, keeper: &Keeper) -> Result<(), NoServer> {
        let address = self.0.address;
        keeper.end(self.pid(), FAREWELL)?;
        // Without one there is nothing to remove.
        let _ = std::fs::remove_file(self.folder().join(SNAPSHOT));
        self.0.restart(keeper, FAREWELL, &[], || answers(address)).await
    }

    /// Kills it and starts it again on its port, with its last snapshot and, this one time, with these settings besides.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn reload(&self, keeper: &Keeper, settings: &[(&str, &str)]) -> Result<(), NoServer> {
        let address = self.0.address;
        self.kill(keeper)?;
        let more = words(settings);
        self.0.restart(keeper, FAREWELL, &more, || answers(address)).await
    }

    /// The folder that it runs in, where it puts its snapshot.
    pub fn folder(&self) -> &Path {
        self.0.program.folder.as_deref().unwrap_or(Path::new(""))
    }

    /// Its program.
    pub(crate) fn file() -> Option<PathBuf> {
        program("redis-server", &[PathBuf::from("/usr/local/bin")])
    }
}

/// The file of a snapshot in the server's folder, as Redis calls it when it is not told otherwise.
pub(crate) const SNAPSHOT: &str = "dump.rdb";

/// Settings as a command line spells them.
fn words(settings: &[(&str, &str)]) -> Vec<String> {
    let spelled = |(key, value): &(&str, &str)| [format!("--{key}"), (*value).to_owned()];
    settings.iter().flat_map(spelled).collect()
}

/// Whether a Redis answers here: anything, also that it is loading or wants a password.
async fn answers(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
        let mut reply = [0; 1];
        stream.read_exact(&mut reply).await?;
        std::io::Result::Ok(reply[0] == b'+' || reply[0] == b'-')
    };
    matches!(timeout(PING, asked).await, Ok(Ok(true)))
}
