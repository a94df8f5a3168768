//! How one server is reached.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo,
    TlsCertificates, cmd,
};
use seawall_core::guard::CacheFault;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config::{ConfigError, Secret};
use super::faults::{fault_of, of_text};

/// How all servers of a tier are spoken to.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) tls: bool,
    pub(super) authority: Option<Vec<u8>>,
    pub(super) identity: Option<(Vec<u8>, Secret)>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: i64,
    /// Connections to each server.
    pub(super) lanes: usize,
    pub(super) in_flight_max: usize,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
}

impl Default for Wire {
    fn default() -> Wire {
        Wire {
            tls: false,
            authority: None,
            identity: None,
            user: None,
            password: None,
            database: 0,
            lanes: 2,
            in_flight_max: 256,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        }
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`.
    pub(super) fn parse(text: &str, default_port: u16) -> Option<Place> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("")))
            }
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, Some("")),
            },
        };
        let port = match port? {
            "" if !text.ends_with(':') => default_port,
            port => port.parse().ok().filter(|port| *port > 0)?,
        };
        let host = host.to_owned();
        (!host.is_empty()).then_some(Place { host, port })
    }

    pub(super) fn parse_all(text: &str, default_port: u16) -> Result<Vec<Place>, ConfigError> {
        if text.is_empty() {
            return Err(ConfigError::NoServer);
        }
        let places = text.split(',').enumerate();
        places
            .map(|(at, text)| Place::parse(text, default_port).ok_or(ConfigError::Port(at + 1)))
            .collect()
    }
}

/// Opens connections to one server.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) wire: Arc<Wire>,
    pub(super) place: Place,
    client: Client,
}

impl fmt::Debug for Dial {
    // The client knows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dial({}:{})", self.place.host, self.place.port)
    }
}

impl Dial {
    pub(super) fn new(wire: &Arc<Wire>, place: &Place) -> Result<Dial, ConfigError> {
        let tls = |error: ::redis::RedisError| ConfigError::Tls(error.to_string());
        let address = if wire.tls {
            ConnectionAddr::TcpTls {
                host: place.host.clone(),
                port: place.port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(place.host.clone(), place.port)
        };
        let mut login = RedisConnectionInfo::default()
            .set_db(wire.database)
            .set_skip_set_lib_name();
        if let Some(user) = &wire.user {
            login = login.set_username(user);
        }
        if let Some(password) = &wire.password {
            login = login.set_password(password.reveal());
        }
        let info = address
            .into_connection_info()
            .map_err(tls)?
            .set_redis_settings(login);
        let client = if wire.authority.is_some() || wire.identity.is_some() {
            let certificates = TlsCertificates {
                client_tls: wire.identity.as_ref().map(|(certificate, key)| ClientTlsConfig {
                    client_cert: certificate.clone(),
                    client_key: key.reveal().as_bytes().to_vec(),
                }),
                root_cert: wire.authority.clone(),
            };
            Client::build_with_tls(info, certificates)
        } else {
            Client::open(info)
        };
        Ok(Dial {
            wire: Arc::clone(wire),
            place: place.clone(),
            client: client.map_err(tls)?,
        })
    }

    /// A connection that has been greeted, so that it is known whether the server serves.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, CacheFault> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.wire.connect_timeout))
            .set_response_timeout(Some(self.wire.response_timeout));
        let greeted = async {
            let mut connection = self
                .client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            cmd("PING").exec_async(&mut connection).await?;
            Ok(connection)
        };
        let error: ::redis::RedisError = match timeout(self.wire.connect_timeout, greeted).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => return Err(CacheFault::TimedOut),
        };
        match fault_of(&error) {
            CacheFault::Reset if !self.wire.tls => Err(self.last_words().await),
            fault => Err(fault),
        }
    }

    /// A connection for messages.
    pub(super) async fn listen(&self) -> Result<::redis::aio::PubSub, CacheFault> {
        match timeout(self.wire.connect_timeout, self.client.get_async_pubsub()).await {
            Ok(result) => result.map_err(|error| fault_of(&error)),
            Err(_) => Err(CacheFault::TimedOut),
        }
    }

    /// A server that turns us away says why and hangs up, before it was asked anything; who writes first may never read
    /// it. So this one only listens.
    async fn last_words(&self) -> CacheFault {
        let heard = async {
            let mut stream = TcpStream::connect((&*self.place.host, self.place.port)).await?;
            let mut words = [0; 64];
            let count = stream.read(&mut words).await?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&words[..count]).into_owned())
        };
        match timeout(LISTEN_FOR, heard).await {
            Ok(Ok(words)) if of_text(&words) != CacheFault::Error => of_text(&words),
            _ => CacheFault::Reset,
        }
    }
}

/// A server that has nothing to say to a new connection says nothing for so long.
const LISTEN_FOR: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let read = |text| Place::parse(text, 9).map(|place| (place.host, place.port));
        assert_eq!(read("a"), Some(("a".to_owned(), 9)));
        assert_eq!(read("a:1"), Some(("a".to_owned(), 1)));
        assert_eq!(read("[::1]:2"), Some(("::1".to_owned(), 2)));
        for wrong in ["", ":1", "a:", "a:0", "a:65536", "a:b", "[::1", "[::1]2"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
