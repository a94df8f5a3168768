//! What is asked: an address, and who we are there. No password ever leaves it as text.

use std::fmt;

/// A server to be asked, as a person writes it: `redis://`, `rediss://`, `postgres://`, `http://` or `https://`.
///
/// It is shown without user, password and parameters:
///
/// ```
/// use seawall_diagnose::probe::Target;
/// let target: Target = "redis://app:secret@cache.internal:6380/2".parse()?;
/// assert_eq!(target.to_string(), "redis://cache.internal:6380/2");
/// assert_eq!(format!("{target:?}"), "redis://cache.internal:6380/2");
/// # Ok::<(), seawall_diagnose::probe::BadTarget>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    kind: Kind,
    tls: bool,
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<String>,
    /// A bearer token, which no address holds.
    token: Option<String>,
    /// What follows the address, without its first slash and without parameters.
    rest: String,
    /// As it was written.
    whole: String,
}

/// What is spoken at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// RESP.
    Redis,
    /// PostgreSQL's protocol.
    Postgres,
    /// HTTP/1.1.
    Http,
}

/// An address that cannot be read. It does not repeat what was written, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// No scheme that is known.
    #[error(
        "an address begins with redis://, rediss://, postgres://, http:// or https://, and this one with {0}"
    )]
    Scheme(String),
    /// Nothing where the host should be.
    #[error("{0}: the host is missing")]
    Host(&'static str),
    /// A port that is none.
    #[error("{0}: the port is not a number from 1 to 65535")]
    Port(&'static str),
    /// A Redis database that is no number.
    #[error("redis://…/N: N is the number of a database, from 0 to 65535")]
    Database,
    /// `%` without two digits, or not text.
    #[error("{0}: a % in user or password is followed by two hexadecimal digits of UTF-8")]
    Escape(&'static str),
}

/// Scheme, what it means, whether with TLS, its usual port.
const SCHEMES: [(&str, Kind, bool, u16); 6] = [
    ("redis", Kind::Redis, false, 6379),
    ("rediss", Kind::Redis, true, 6379),
    ("postgres", Kind::Postgres, false, 5432),
    ("postgresql", Kind::Postgres, false, 5432),
    ("http", Kind::Http, false, 80),
    ("https", Kind::Http, true, 443),
];

impl std::str::FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Target, BadTarget> {
        let known = text.split_once("://").and_then(|(scheme, after)| {
            let known = SCHEMES.iter().find(|(name, ..)| *name == scheme)?;
            Some((known, after))
        });
        let Some(((scheme, kind, tls, usual), after)) = known else {
            let shown = text.split_once("://").map_or("none", |(scheme, _)| scheme);
            let shown: String = shown.chars().take(20).collect();
            return Err(BadTarget::Scheme(shown));
        };
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let rest = rest.trim_start_matches('/').to_owned();
        let (login, place) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(login, place)| (Some(login), place));
        let (host, port) = place_of(place, scheme, *usual)?;
        let mut user = None;
        let mut password = None;
        if let Some(login) = login {
            let (name, word) = login
                .split_once(':')
                .map_or((login, None), |(name, word)| (name, Some(word)));
            user = (!name.is_empty()).then(|| decoded(name, scheme)).transpose()?;
            password = word.map(|word| decoded(word, scheme)).transpose()?;
        }
        let number = rest.is_empty() || rest.parse::<u16>().is_ok();
        if *kind == Kind::Redis && !number {
            return Err(BadTarget::Database);
        }
        Ok(Target {
            kind: *kind,
            tls: *tls,
            host,
            port,
            user,
            password,
            token: None,
            rest,
            whole: text.to_owned(),
        })
    }
}

fn place_of(place: &str, scheme: &'static str, usual: u16) -> Result<(String, u16), BadTarget> {
    let (host, port) = match place.strip_prefix('[') {
        Some(inside) => {
            let (host, after) = inside.split_once(']').ok_or(BadTarget::Host(scheme))?;
            (host, after.strip_prefix(':'))
        }
        None => place
            .rsplit_once(':')
            .map_or((place, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(BadTarget::Host(scheme));
    }
    let port = match port {
        None => usual,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(BadTarget::Port(scheme))?,
    };
    Ok((host.to_owned(), port))
}

/// Undoes `%40` and the like.
fn decoded(text: &str, scheme: &'static str) -> Result<String, BadTarget> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let digits = digits.filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.ok_or(BadTarget::Escape(scheme))?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| BadTarget::Escape(scheme))
}

impl Target {
    /// What is spoken there.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the connection is encrypted from its first byte.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// A name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where it was not written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The number of a Redis database; 0 where none was written.
    pub fn database(&self) -> u16 {
        self.rest.parse().unwrap_or(0)
    }

    /// The path of an HTTP address, without its first slash.
    pub fn path(&self) -> &str {
        &self.rest
    }

    /// With this password, where none was written.
    #[must_use]
    pub fn or_password(mut self, password: Option<String>) -> Target {
        self.password = self.password.or(password);
        self
    }

    /// With this bearer token, which an HTTP server is shown in place of a login.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Target {
        self.token = token;
        self
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// What is asked for at an HTTP address, with its parameters, which may be secret.
    pub(crate) fn path_and_query(&self) -> String {
        let after = self.whole.split_once("://").map_or("", |(_, after)| after);
        let from = after.find(['/', '?']).unwrap_or(after.len());
        let asked = after[from..].split('#').next().unwrap_or_default();
        if asked.starts_with('/') {
            asked.to_owned()
        } else {
            format!("/{asked}")
        }
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// As it was written, for a library that reads it itself. Never to be shown.
    pub(crate) fn whole(&self) -> &str {
        &self.whole
    }

    /// A text that somebody else wrote, with our password crossed out wherever it is in it, and not longer than a line.
    pub(crate) fn scrubbed(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in [self.password(), self.token(), Some(self.whole())]
            .into_iter()
            .flatten()
        {
            if !secret.is_empty() {
                text = text.replace(secret, "***");
            }
        }
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        text.chars().map(plain).take(TEXT_MAX).collect()
    }
}

/// So much of what a server says is repeated.
const TEXT_MAX: usize = 200;

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.kind, self.tls) {
            (Kind::Redis, false) => "redis",
            (Kind::Redis, true) => "rediss",
            (Kind::Postgres, _) => "postgres",
            (Kind::Http, false) => "http",
            (Kind::Http, true) => "https",
        };
        let host = &self.host;
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{}", self.port)?;
        } else {
            write!(f, "{scheme}://{host}:{}", self.port)?;
        }
        if self.rest.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.rest)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().expect(text)
    }

    #[test]
    fn all_parts_are_read() {
        let full = target("rediss://us%40er:p%3Aw%2f@[::1]:7000/3?x=1");
        assert_eq!(full.kind(), Kind::Redis);
        assert!(full.tls());
        assert_eq!((full.host(), full.port(), full.database()), ("::1", 7000, 3));
        assert_eq!((full.user(), full.password()), (Some("us@er"), Some("p:w/")));
        assert_eq!(full.to_string(), "rediss://[::1]:7000/3");

        let plain = target("redis://cache");
        assert_eq!((plain.port(), plain.database()), (6379, 0));
        assert_eq!(target("redis://:pw@h").password(), Some("pw"));
        assert_eq!(target("redis://:pw@h").user(), None);
        assert_eq!(
            target("postgresql://u@db/app").to_string(),
            "postgres://db:5432/app"
        );
        assert_eq!(target("http://prom:9090/prefix/").path(), "prefix/");
        assert_eq!(target("https://h").port(), 443);
    }

    #[test]
    fn what_is_wrong_is_told_without_repeating_it() {
        for (text, wrong) in [
            ("secret@host", BadTarget::Scheme("none".into())),
            ("mysql://u:secret@h", BadTarget::Scheme("mysql".into())),
            ("redis://:secret@", BadTarget::Host("redis")),
            ("redis://:secret@h:0", BadTarget::Port("redis")),
            ("redis://:secret@h:99999", BadTarget::Port("redis")),
            ("redis://:secret@h/secret", BadTarget::Database),
            ("redis://:secret%zz@h", BadTarget::Escape("redis")),
            ("redis://:secret%+1@h", BadTarget::Escape("redis")),
        ] {
            let error = text.parse::<Target>().expect_err(text);
            assert_eq!(error, wrong, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_servers_say_is_shown_without_the_password() {
        let target = target("redis://:hush@h");
        let said = target.scrubbed("ERR unknown command 'hush'\nredis://:hush@h");
        assert_eq!(said, "ERR unknown command '***' redis://:***@h");
        assert_eq!(target.scrubbed(&"x".repeat(1_000)).len(), TEXT_MAX);
        let admin = "http://h/".parse::<Target>().expect("it is one");
        let admin = admin.with_token(Some("quiet".to_owned()));
        assert_eq!(admin.scrubbed("no such token: quiet"), "no such token: ***");
        assert_eq!(format!("{admin:?} {admin}"), "http://h:80 http://h:80");
    }
}
