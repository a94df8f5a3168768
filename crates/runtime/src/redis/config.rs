//! How a tier in Redis is described.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::Cluster;
use super::dial::{Dial, Place, Wire};
use super::lane::Link;
use super::pubsub::RedisBackplane;
use super::sentinel::Sentinels;
use super::slot::SLOTS;
use super::{Redis, Route};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A cluster's keys are spread over so many breakers, where nobody says.
const PARTITIONS: u16 = 64;
const PARTITIONS_MAX: u16 = 1024;
/// A ring has at most so many servers, spare ones included.
const SERVERS_MAX: usize = 1024;

/// Something that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

/// Why a description of Redis is none. No error repeats what may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It does not begin with a scheme that is known.
    #[error(
        "a Redis URL begins with redis://, redis-ring://, redis-cluster:// or redis-sentinel://, or the same with rediss"
    )]
    Scheme,
    /// No server is named.
    #[error("no server is named")]
    NoServer,
    /// There are too many servers.
    #[error("at most {SERVERS_MAX} servers")]
    TooManyServers,
    /// A port is no number from 1 to 65535.
    #[error("the port of server {0} (counted from 1) is no number from 1 to 65535")]
    Port(usize),
    /// A path is not what the scheme wants.
    #[error("{0}")]
    Path(&'static str),
    /// A percent sign is not followed by two hexadecimal digits.
    #[error("the user or the password has a percent sign that is not followed by two hexadecimal digits")]
    Escape,
    /// A setting does not go with this kind of Redis.
    #[error("{0}")]
    Unfit(&'static str),
    /// The certificates cannot be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(String),
}

/// Describes a tier in Redis. Every setting has a default.
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisBuilder {
    pub(super) name: String,
    pub(super) prefix: String,
    kind: Kind,
    places: Vec<Place>,
    spares: Vec<String>,
    spare_ttl: Duration,
    wire: Wire,
    sentinel_user: Option<String>,
    sentinel_password: Option<Secret>,
    partitions: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Single,
    Ring,
    Cluster,
    Sentinel { master: String },
}

impl RedisBuilder {
    fn new(kind: Kind, places: Vec<Place>) -> RedisBuilder {
        RedisBuilder {
            name: "redis".to_owned(),
            prefix: String::new(),
            kind,
            places,
            spares: Vec::new(),
            spare_ttl: Duration::ZERO,
            wire: Wire::default(),
            sentinel_user: None,
            sentinel_password: None,
            partitions: PARTITIONS,
        }
    }

    pub(super) fn single(host: String, port: u16) -> RedisBuilder {
        RedisBuilder::new(Kind::Single, vec![Place { host, port }])
    }

    pub(super) fn from_url(url: &str) -> Result<RedisBuilder, ConfigError> {
        let (scheme, rest) = url.split_once("://").ok_or(ConfigError::Scheme)?;
        let (tls, kind) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, kind),
            None => (false, scheme.strip_prefix("redis").ok_or(ConfigError::Scheme)?),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user_info, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(user_info), hosts),
            None => (None, authority),
        };
        let no_path = || match path {
            "" => Ok(()),
            _ => Err(ConfigError::Path("a cluster has no databases to choose from")),
        };
        let (kind, port, database) = match kind {
            "" => (Kind::Single, PORT, path),
            "-ring" => (Kind::Ring, PORT, path),
            "-cluster" => {
                no_path()?;
                (Kind::Cluster, PORT, "")
            }
            "-sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let master = master.to_owned();
                (Kind::Sentinel { master }, SENTINEL_PORT, database)
            }
            _ => return Err(ConfigError::Scheme),
        };
        let places = Place::parse_all(hosts, port)?;
        let mut builder = RedisBuilder::new(kind, places);
        builder.wire.tls = tls;
        builder.wire.database = match database {
            "" => 0,
            number => number
                .parse()
                .map_err(|_| ConfigError::Path("a database is a number"))?,
        };
        if let Some(user_info) = user_info {
            let (user, password) = user_info.split_once(':').unwrap_or(("", user_info));
            builder.wire.user = Some(unescape(user)?).filter(|user| !user.is_empty());
            builder.wire.password = Some(Secret(unescape(password)?));
        }
        builder.check()?;
        Ok(builder)
    }

    /// What the tier is called in metrics and health; `redis` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What the name of each key begins with, for a Redis that others use too.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Who we are.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.wire.user = Some(user.into());
        self
    }

    /// The password.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.wire.password = Some(password.into());
        self
    }

    /// Who we are to sentinels, and the password; nobody where this is not said.
    pub fn sentinel_login(mut self, user: Option<String>, password: impl Into<Secret>) -> Self {
        self.sentinel_user = user;
        self.sentinel_password = Some(password.into());
        self
    }

    /// Over TLS, with the certificates of the system, or with those of this authority (PEM) alone.
    pub fn tls(mut self, authority: Option<Vec<u8>>) -> Self {
        self.wire.tls = true;
        self.wire.authority = authority;
        self
    }

    /// The certificate and the key (PEM) by which the server knows us. Over TLS.
    pub fn client_certificate(mut self, certificate: Vec<u8>, key: impl Into<Secret>) -> Self {
        self.wire.tls = true;
        self.wire.identity = Some((certificate, key.into()));
        self
    }

    /// So many connections to each server; 2 by default, 64 at most.
    pub fn connections(mut self, connections: usize) -> Self {
        self.wire.lanes = connections.clamp(1, 64);
        self
    }

    /// So many calls at a time on each connection; 256 by default. Others wait for their turn within their own time.
    pub fn in_flight_max(mut self, calls: usize) -> Self {
        self.wire.in_flight_max = calls.clamp(1, 1 << 16);
        self
    }

    /// Opening a connection takes this long at most, the greeting included; 1 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.wire.connect_timeout = timeout;
        self
    }

    /// No call waits longer than this for a response, whatever it was told; 1 s by default.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.wire.response_timeout = timeout;
        self
    }

    /// Spare servers of a ring (`host` or `host:port`): they stand in for a server whose breaker is open, and keep nothing
    /// for longer than `ttl`.
    pub fn spares<S: Into<String>>(mut self, servers: impl IntoIterator<Item = S>, ttl: Duration) -> Self {
        self.spares = servers.into_iter().map(Into::into).collect();
        self.spare_ttl = ttl;
        self
    }

    /// The keys of a cluster are spread over so many slots, each with a breaker of its own, so that a lost master stops
    /// being asked for its share and no other is; 64 by default. All processes have to agree.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions.clamp(1, PARTITIONS_MAX);
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.places.is_empty() {
            return Err(ConfigError::NoServer);
        }
        if self.places.len() + self.spares.len() > SERVERS_MAX {
            return Err(ConfigError::TooManyServers);
        }
        match &self.kind {
            Kind::Single if self.places.len() > 1 => Err(ConfigError::Unfit(
                "one server has one address; several are redis-ring, redis-cluster or redis-sentinel",
            )),
            Kind::Sentinel { master } if master.is_empty() => Err(ConfigError::Path(
                "sentinels are asked for a master by its name: …/name",
            )),
            Kind::Single | Kind::Cluster | Kind::Sentinel { .. } if !self.spares.is_empty() => {
                Err(ConfigError::Unfit("spare servers are for a ring"))
            }
            _ => Ok(()),
        }
    }

    /// The tier. Nothing is connected yet; the first call does.
    ///
    /// # Errors
    /// When settings do not go together, or certificates cannot be read.
    pub fn build(&self) -> Result<Redis, ConfigError> {
        self.check()?;
        let wire = Arc::new(self.wire.clone());
        let link = |place: &Place| Dial::new(&wire, place).map(Link::new);
        let mut spares = None;
        let route = match &self.kind {
            Kind::Single | Kind::Ring => {
                let spare_places = Place::parse_all(&self.spares.join(","), PORT);
                let spare_places = if self.spares.is_empty() {
                    Vec::new()
                } else {
                    spare_places?
                };
                spares = (!spare_places.is_empty()).then_some((spare_places.len() as u16, self.spare_ttl));
                let places = self.places.iter().chain(&spare_places);
                Route::Ring(places.map(link).collect::<Result<_, _>>()?)
            }
            Kind::Cluster => {
                debug_assert!(self.partitions <= SLOTS);
                Route::Cluster(Cluster::new(wire, &self.places, self.partitions)?)
            }
            Kind::Sentinel { master } => {
                Route::Sentinels(Sentinels::new(wire, &self.sentinel_wire(), &self.places, master)?)
            }
        };
        Ok(Redis::new(self, route, spares))
    }

    /// What carries invalidations between processes over this Redis, on a channel of this name. All processes have to use
    /// the same servers, in the same order. It begins when it is called within a runtime of tokio.
    ///
    /// # Errors
    /// As [`RedisBuilder::build`].
    pub fn backplane(&self, channel: impl Into<String>) -> Result<Arc<RedisBackplane>, ConfigError> {
        self.check()?;
        let wire = Arc::new(self.wire.clone());
        let dial = |place: &Place| Dial::new(&wire, place);
        let hub = match &self.kind {
            // Of servers that know nothing of each other, all have to meet at one.
            Kind::Single | Kind::Ring => super::pubsub::Hub::Places(vec![dial(&self.places[0])?]),
            Kind::Cluster => {
                super::pubsub::Hub::Places(self.places.iter().map(dial).collect::<Result<_, _>>()?)
            }
            Kind::Sentinel { master } => super::pubsub::Hub::Sentinels(Sentinels::new(
                wire,
                &self.sentinel_wire(),
                &self.places,
                master,
            )?),
        };
        Ok(RedisBackplane::start(hub, channel.into()))
    }

    fn sentinel_wire(&self) -> Arc<Wire> {
        Arc::new(Wire {
            user: self.sentinel_user.clone(),
            password: self.sentinel_password.clone(),
            database: 0,
            lanes: 1,
            ..self.wire.clone()
        })
    }
}

fn unescape(text: &str) -> Result<String, ConfigError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (high, low) = (digit(), digit());
        bytes.push(
            high.zip(low)
                .map(|(high, low)| high << 4 | low)
                .ok_or(ConfigError::Escape)?,
        );
    }
    String::from_utf8(bytes).map_err(|_| ConfigError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(builder: &RedisBuilder) -> Vec<(&str, u16)> {
        let places = builder.places.iter();
        places.map(|place| (place.host.as_str(), place.port)).collect()
    }

    #[test]
    fn a_url_says_it_all() {
        let one = RedisBuilder::from_url("rediss://me:p%40ss@cache.example:7000/3").expect("it is one");
        assert_eq!(places(&one), [("cache.example", 7000)]);
        assert_eq!((one.wire.tls, one.wire.database), (true, 3));
        assert_eq!(one.wire.user.as_deref(), Some("me"));
        assert_eq!(one.wire.password, Some("p@ss".into()));
        let guarded = RedisBuilder::from_url("redis-sentinel://pw@[::1],b:5/main/2").expect("it is one");
        assert_eq!(places(&guarded), [("::1", SENTINEL_PORT), ("b", 5)]);
        assert_eq!((guarded.wire.database, guarded.wire.user), (2, None));
        let ring = RedisBuilder::from_url("redis-ring://a,b:1,c").expect("it is one");
        assert_eq!(places(&ring), [("a", PORT), ("b", 1), ("c", PORT)]);
        let ring = ring
            .spares(["d"], Duration::from_secs(1))
            .build()
            .expect("it is one");
        assert_eq!(crate::Store::nodes(&ring), 3);
        assert_eq!(crate::Store::spares(&ring), Some((1, Duration::from_secs(1))));
    }

    #[test]
    fn what_is_wrong_is_said_without_what_is_secret() {
        let wrong = |url: &str| {
            let error = RedisBuilder::from_url(url).expect_err(url);
            assert!(!error.to_string().contains("hunter2"), "{error}");
            error
        };
        assert_eq!(wrong("http://hunter2@a"), ConfigError::Scheme);
        assert_eq!(wrong("redis://hunter2@"), ConfigError::NoServer);
        assert_eq!(wrong("redis://hunter2@a:b"), ConfigError::Port(1));
        assert_eq!(wrong("redis://:hunter2%4@a"), ConfigError::Escape);
        assert!(matches!(wrong("redis://a,b"), ConfigError::Unfit(_)));
        assert!(matches!(wrong("redis-sentinel://a,b"), ConfigError::Path(_)));
        assert!(matches!(wrong("redis-cluster://a,b/1"), ConfigError::Path(_)));
    }

    #[test]
    fn a_password_is_never_shown() {
        let builder = RedisBuilder::from_url("redis://me:hunter2@a").expect("it is one");
        let built = builder.build().expect("it is one");
        let shown = format!("{builder:?} {built:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
