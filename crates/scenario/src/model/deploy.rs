//! The tables of the gateway's document that a scenario does not have.

use std::net::SocketAddr;

use seawall_core::balance::Ejection;
use seawall_core::shed::Priority;
use seawall_core::time::Span;
use seawall_core::ttl::Class;

use crate::element::{element, settings};
use crate::form::{
    Count, Duration, Flag, Form, HostPort, List, Period, ServiceName, Share, Size, Socket, Text,
};
use crate::model::Place;
use crate::node::Node;
use crate::reader::Reader;

element! {
    /// How the gateway listens, and what it bears from clients.
    pub struct Listener, "[gateway]", check = check_listener {
        /// Where clients come in.
        listen: SocketAddr, default Socket = SocketAddr::from(([127, 0, 0, 1], 8080));
        /// Where the admin API listens; beyond loopback only with a token.
        admin: SocketAddr, default Socket = SocketAddr::from(([127, 0, 0, 1], 9090));
        /// A file that holds the admin API's bearer token; `SEAWALL_ADMIN_TOKEN` comes first.
        admin_token_file: Option<String>, optional Text;
        /// How many requests may be inside at a time; the next ones queue.
        concurrency: u32, default Count<1> = 4_096;
        /// How many connections there may be; the next one is closed.
        connections: u32, default Count<1> = 32_768;
        /// How many bytes the head of a request may have.
        head: u64, default Size = 32_768;
        /// How many header fields a request may have.
        headers: u32, default Count<1> = 100;
        /// How many bytes the body of a request may have.
        body: u64, default Size = 100_000_000;
        /// A request's head must have come this long after its first byte, and the first byte after connecting.
        head_timeout: Span, default Period = Span::secs(10);
        /// A connection on which nothing was asked for this long is closed.
        idle_timeout: Span, default Period = Span::secs(60);
        /// The longest pause between two parts of a body, in either direction.
        body_timeout: Span, default Period = Span::secs(30);
        /// After `body_timeout` of waiting for a client, it must have sent or read so many bytes for each second of it.
        body_rate: u64, default Size = 500;
        /// How many requests one HTTP/2 connection may have open.
        streams: u32, default Count<1> = 128;
        /// How long the gateway says that it is not ready before it stops listening, once told to stop.
        drain_delay: Span, default Duration = Span::ZERO;
        /// How long requests may take to end after that.
        drain: Span, default Duration = Span::secs(30);
        /// Whether `X-Forwarded-*` of clients are passed on: only behind a proxy that sets them.
        trust_forwarded: bool, default Flag = false;
        /// By what it calls itself in `Via` and `Cache-Status`.
        pseudonym: String, default Token = "seawall".to_owned();
        /// A file with the certificate chain; TLS is off when absent.
        certificate: Option<String>, optional Text;
        /// A file with its private key.
        private_key: Option<String>, optional Text;
    }
}

/// A word that may stand in a header field.
struct Token;

impl Form for Token {
    type Out = String;
    fn read(cx: &mut Reader, node: &Node) -> Option<String> {
        let text = cx.text(node, "a word")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
        if starts && text.len() <= 63 && text.chars().all(fits) {
            return Some(text.to_owned());
        }
        cx.mistake(
            node.at,
            "this cannot stand in a header field",
            "no word",
            "use letters, digits, `-`, `.` and `_`, a letter first",
        );
        None
    }
    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9._-]{0,62}$" })
    }
    fn spell(out: &String) -> serde_json::Value {
        serde_json::json!(out)
    }
}

fn check_listener(cx: &mut Reader, node: &Node, listener: &Listener) {
    if listener.listen == listener.admin && listener.listen.port() != 0 {
        cx.mistake(
            node.at_field("admin"),
            "clients and the admin API cannot share an address",
            "taken",
            "give the admin API another port",
        );
    }
    if listener.head < 8_192 {
        cx.mistake(
            node.at_field("head"),
            "this is less room than a common request needs",
            "too small",
            "make it at least \"8192b\"",
        );
    }
    if listener.certificate.is_some() != listener.private_key.is_some() {
        cx.mistake(
            node.at,
            "TLS needs a certificate and its private key",
            "only one of them",
            "give both `certificate` and `private_key`, or neither",
        );
    }
}

element! {
    /// Servers that can all answer the same requests.
    pub struct Upstream, "an upstream", check = check_upstream {
        /// The upstream's name.
        name: String, named;
        /// The servers, each a host and a port.
        addresses: Vec<String>, required List<HostPort>;
        /// How many connections to each of them at most.
        pool: u32, default Count<1> = 50;
        /// How long connecting may take.
        connect_timeout: Span, default Period = Span::secs(1);
        /// How long it may take until the head of a response has come.
        timeout: Span, default Period = Span::secs(30);
        /// Whether it is spoken to in HTTP/2.
        http2: bool, default Flag = false;
        /// Spoken to over TLS; in the clear when absent. `{}` trusts the authorities of this machine.
        tls: Option<UpstreamTls>, optional UpstreamTls;
        /// Asks each server whether it is well; not at all when absent.
        health: Option<HealthCheck>, optional HealthCheck;
        /// When a server that keeps failing is left out for a while.
        eject: Ejection, default Ejection = Ejection::default();
    }
}

element! {
    /// How servers are spoken to over TLS.
    pub struct UpstreamTls, "`tls`" {
        /// A file (PEM) with the authorities that are trusted; those of this machine when absent.
        authority: Option<String>, optional Text;
        /// The name that their certificates have to bear; the address's host when absent.
        name: Option<String>, optional Text;
    }
}

fn check_upstream(cx: &mut Reader, node: &Node, upstream: &Upstream) {
    if upstream.addresses.is_empty() || upstream.addresses.len() > 64 {
        cx.mistake(
            node.at_field("addresses"),
            "an upstream has between 1 and 64 addresses",
            "out of range",
            "name at least one server, such as \"127.0.0.1:8000\"",
        );
    }
}

element! {
    /// How a server is asked whether it is well.
    pub struct HealthCheck, "`health`" {
        /// The path that is asked for; any answer below 400 is well.
        path: String, default Text = "/health".to_owned();
        /// How often.
        every: Span, default Period = Span::secs(5);
        /// How long an answer may take.
        timeout: Span, default Period = Span::secs(2);
        /// After this many failures in a row it is out.
        failures: u32, default Count<1> = 2;
        /// After this many successes in a row it is back.
        successes: u32, default Count<1> = 2;
    }
}

settings! {
    /// When a server that keeps failing is left out for a while.
    Ejection, "`eject`" {
        /// After this many failures in a row.
        failures: Count<1>;
        /// For this long.
        time: Period;
        /// At most this share of the servers is out at a time; never all.
        share_max: Share;
    }
}

element! {
    /// Which requests go where.
    pub struct Route, "a route", check = check_route {
        /// The upstream.
        upstream: Place, required ServiceName;
        /// Requests for this host only; `*.example.org` for all below it.
        host: Option<String>, optional Text;
        /// Requests whose path begins with this, at a `/`.
        path: String, default Text = "/".to_owned();
        /// Requests with these methods only; all when empty.
        methods: Vec<String>, default List<Text> = Vec::new();
        /// The class of what does not say how long it lives; it is not kept when absent.
        class: Option<Class>, optional Class;
        /// What is shed last.
        priority: Priority, default Priority = Priority::Normal;
        /// Whether responses are kept at all.
        cache: bool, default Flag = true;
    }
}

impl Route {
    /// All requests to one upstream.
    pub(crate) fn all(upstream: Place) -> Route {
        Route {
            upstream,
            host: None,
            path: "/".to_owned(),
            methods: Vec::new(),
            class: None,
            priority: Priority::Normal,
            cache: true,
        }
    }
}

fn check_route(cx: &mut Reader, node: &Node, route: &Route) {
    if !route.path.starts_with('/') {
        cx.mistake(
            node.at_field("path"),
            "a path begins with `/`",
            "no path",
            "write it as \"/api\"",
        );
    }
    let wrong = |method: &&String| method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase());
    if let Some(method) = route.methods.iter().find(wrong) {
        let message = format!("`{}` is no method", crate::reader::clip(method));
        cx.mistake(
            node.at_field("methods"),
            message,
            "no method",
            "write methods in capitals, such as \"GET\"",
        );
    }
}

element! {
    /// What is kept, and for how long at most.
    pub struct CacheTable, "[cache]" {
        /// How many bytes memory holds, over all upstreams.
        memory: u64, default Size = 256 << 20;
        /// Memory keeps nothing for longer than this.
        ttl_max: Span, default Period = Span::secs(86_400);
        /// Larger bodies are passed through and not kept.
        body_max: u64, default Size = 1 << 20;
        /// How long it is remembered that something is not for keeping, so that nobody waits for another's request for it.
        pass: Span, default Duration = Span::secs(120);
        /// How much of its age a response without any word on freshness is fresh for (RFC 9111, 4.2.2).
        heuristic: f64, default Share = 0.1;
        /// The longest that it is.
        heuristic_max: Span, default Duration = Span::secs(86_400);
        /// A second tier that gateways share, and that outlives them; none when absent.
        redis: Option<RedisTier>, optional RedisTier;
    }
}

element! {
    /// A second tier that gateways share.
    pub struct RedisTier, "`redis`", check = check_redis {
        /// Where it is, such as `redis://redis:6379`; `SEAWALL_REDIS_URL` comes first, and is the place for a password.
        url: Option<String>, optional Text;
        /// What the names of its keys begin with; gateways with the same one share what they keep.
        prefix: String, default Text = "seawall:".to_owned();
        /// How long one call may take.
        timeout: Span, default Period = Span::millis(250);
        /// It keeps nothing for longer than this.
        ttl: Span, default Period = Span::secs(3_600);
    }
}

impl Default for RedisTier {
    fn default() -> RedisTier {
        RedisTier {
            url: None,
            prefix: "seawall:".to_owned(),
            timeout: Span::millis(250),
            ttl: Span::secs(3_600),
        }
    }
}

fn check_redis(cx: &mut Reader, node: &Node, redis: &RedisTier) {
    if redis.url.as_ref().is_some_and(|url| url.contains('@')) {
        // At the key: the log quotes what is underlined.
        let key = node.entries().iter().find(|entry| entry.key == "url");
        cx.mistake(
            key.map_or(node.at, |entry| entry.key_at),
            "a password does not belong into a file that people pass around",
            "with a login",
            "give the URL in the variable SEAWALL_REDIS_URL",
        );
    }
}
