//! One PostgreSQL.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{NoServer, Server, debian_postgres, on_a_port, program};
use crate::keeper::{Keeper, Pid, Program};

const PING: Duration = Duration::from_millis(500);
/// How long it may take to end.
const FAREWELL: Duration = Duration::from_secs(5);
/// A new cluster of databases is made within this time.
const INIT: Duration = Duration::from_mins(1);
/// Whom it runs as when Seawall is root, which PostgreSQL refuses to be.
pub(crate) const USERS: [&str; 2] = ["postgres", "nobody"];
/// The user that it is made with; it lets everybody in from the loopback address.
pub(crate) const USER: &str = "drill";

/// A `postgres` of the drill's own, with a user `drill` and a database `postgres`.
#[derive(Clone, Debug)]
pub struct Postgres(Server);

impl Postgres {
    /// Makes a cluster of databases and starts a server on it, with these settings besides.
    ///
    /// # Errors
    /// When there is no PostgreSQL, or it does not start.
    pub async fn start(keeper: &Keeper, name: &str, settings: &[(&str, &str)]) -> Result<Postgres, NoServer> {
        let folders = debian_postgres();
        let found = |file: &str| {
            program(file, &folders).ok_or_else(|| NoServer::Missing {
                program: file.to_owned(),
                package: "postgresql".into(),
            })
        };
        let (initdb, postgres) = (found("initdb")?, found("postgres")?);
        let data = keeper.folder().join(name);
        init(keeper, name, initdb, &data).await?;
        let (postgres, data) = (&postgres, &data);
        on_a_port(name, |address| async move {
            let port = address.port().to_string();
            // What is lost when the machine fails does not matter here, and what it costs to keep it would be measured.
            let own = [
                ("port", port.as_str()),
                ("listen_addresses", "127.0.0.1"),
                ("unix_socket_directories", ""),
                ("fsync", "off"),
                ("synchronous_commit", "off"),
                ("autovacuum", "off"),
                ("shared_buffers", "16MB"),
                ("dynamic_shared_memory_type", "mmap"),
                ("max_connections", "700"),
            ];
            let mut args = vec!["-D".to_owned(), data.display().to_string()];
            for (key, value) in own.iter().chain(settings) {
                args.push("-c".to_owned());
                args.push(format!("{key}={value}"));
            }
            let program = Program {
                name: name.to_owned(),
                file: postgres.clone(),
                args,
                folder: Some(data.clone()),
                users: USERS.map(str::to_owned).to_vec(),
                // At once and without a word to clients; a kill would leave shared memory behind.
                quit: Some("QUIT".into()),
                address: Some(address),
                ..Program::default()
            };
            let server = Server::start(keeper, program, address, || lets_in(address));
            server.await.map(Postgres)
        })
        .await
    }

    /// Its program.
    pub(crate) fn file() -> Option<PathBuf> {
        program("postgres", &debian_postgres())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Its first process, which has one more for each connection.
    pub fn pid(&self) -> Pid {
        self.0.pid()
    }

    /// Ends it without a word to anybody's queries. Nobody listens any more; what it holds stays.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&self, keeper: &Keeper) -> Result<(), NoServer> {
        Ok(keeper.end(self.0.pid(), FAREWELL)?)
    }

    /// Starts it again on its port, with what it holds.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&self, keeper: &Keeper) -> Result<(), NoServer> {
        let address = self.0.address;
        self.0.restart(keeper, FAREWELL, &[], || lets_in(address)).await
    }
}

async fn init(keeper: &Keeper, name: &str, initdb: PathBuf, data: &PathBuf) -> Result<(), NoServer> {
    let silent = |why: String| NoServer::Silent {
        name: format!("{name}-initdb"),
        why,
        log: super::log_of(keeper.folder(), &format!("{name}-initdb")),
    };
    std::fs::create_dir_all(data).map_err(|error| silent(format!("failed to make its folder: {error}")))?;
    let users = USERS.map(str::to_owned).to_vec();
    keeper.give(data, &users)?;
    let words = [
        "-U",
        USER,
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
        "-D",
    ];
    let mut args: Vec<String> = words.map(str::to_owned).to_vec();
    args.push(data.display().to_string());
    let pid = keeper.run(&Program {
        name: format!("{name}-initdb"),
        file: initdb,
        args,
        folder: Some(data.clone()),
        users,
        ..Program::default()
    })?;
    let begun = tokio::time::Instant::now();
    loop {
        match keeper.ended(pid)? {
            Some(how) if how.contains("exit status: 0") => return Ok(()),
            Some(how) => return Err(silent(format!("it ended ({how})"))),
            None if begun.elapsed() > INIT => {
                keeper.end(pid, Duration::ZERO)?;
                return Err(silent(format!("it took more than {} s", INIT.as_secs())));
            }
            None => tokio::time::sleep(super::GLANCE).await,
        }
    }
}

/// Whether a PostgreSQL lets somebody in here: the first message of its protocol (version 3.0), answered by one that
/// asks for no more (`R`, 0) and not by an error ("the database system is starting up").
async fn lets_in(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut words = Vec::new();
        words.extend(196_608_u32.to_be_bytes());
        for word in ["user", USER, "database", "postgres", ""] {
            words.extend(word.as_bytes());
            words.push(0);
        }
        let length = words.len() as u32 + 4;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&words).await?;
        let mut reply = [0; 9];
        stream.read_exact(&mut reply).await?;
        std::io::Result::Ok(reply == [b'R', 0, 0, 0, 8, 0, 0, 0, 0])
    };
    matches!(timeout(PING, asked).await, Ok(Ok(true)))
}
