//! The admin API: see what is in force, change it, purge, warm, hold a breaker open or closed. Never on the public
//! listener.
//!
//! Whoever reaches it may change everything, so beyond this machine it wants a bearer token. On this machine alone it
//! may do without; then requests that a browser makes for some page are refused, for the page may be anybody's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Extension, Json as Given, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use seawall_core::policies::Policies;
use seawall_scenario::ProtectionName;
use serde::Deserialize;
use serde_json::{Value, json};
use tower_service::Service as _;

use crate::config::changes;
use crate::fields::Client;
use crate::gateway::Inside;
use crate::server::{Handler, Limits};
use crate::site::{prefix_tag, word_tag};
use crate::upstream::Hold;
use crate::{metrics, warming};

/// No body is longer.
const BODY_MAX: usize = 1 << 20;
/// So many addresses are purged at a time.
const PURGE_MAX: usize = 10_000;
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who asks.
#[derive(Clone)]
struct Who(String);

/// The admin API.
pub(crate) struct Admin {
    inside: Arc<Inside>,
    router: Router,
}

impl Admin {
    pub(crate) fn new(inside: &Arc<Inside>) -> Admin {
        let router = Router::new()
            .route("/state", get(state))
            .route("/policies", get(policies).patch(change_all))
            .route(
                "/policies/{name}",
                patch(change_one).get(policy).delete(take_back),
            )
            .route("/breakers/{upstream}/{hold}", post(hold))
            .route("/purge", post(purge))
            .route("/warm", post(warm))
            .route("/audit", get(audit))
            .route("/metrics", get(page))
            .route("/health/live", get(live))
            .route("/health/ready", get(ready))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .with_state(Arc::clone(inside));
        Admin {
            inside: Arc::clone(inside),
            router,
        }
    }

    /// Few people ask, and none of them slowly.
    pub(crate) fn limits() -> Limits {
        Limits {
            connections: 256,
            head: 16 << 10,
            headers: 64,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_secs(10),
            write_rate: 1_000,
            streams: 32,
        }
    }

    /// Who asks, or why not.
    fn identify(&self, client: std::net::IpAddr, path: &str, headers: &HeaderMap) -> Result<Who, Response> {
        // What asks for health has no token, and learns nothing that a connection attempt would not tell.
        if path.starts_with("/health/") {
            return Ok(Who(client.to_string()));
        }
        let Some(token) = &self.inside.token else {
            return if is_local(headers) {
                Ok(Who(format!("{client} (this machine)")))
            } else {
                Err(problem(
                    StatusCode::FORBIDDEN,
                    "this is for this machine, and not for pages in a browser",
                ))
            };
        };
        if token.is_in(headers.get(AUTHORIZATION)) {
            return Ok(Who(format!("{client} (token)")));
        }
        tracing::warn!(%client, path, "the admin API was asked without the token");
        let mut response = problem(StatusCode::UNAUTHORIZED, "the bearer token is missing or wrong");
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        Err(response)
    }
}

impl Handler for Admin {
    type Body = Body;

    async fn handle(self: &Arc<Self>, client: Client, mut request: Request<Incoming>) -> Response {
        let who = match self.identify(client.ip, request.uri().path(), request.headers()) {
            Ok(who) => who,
            Err(response) => return response,
        };
        request.extensions_mut().insert(who);
        let mut router = self.router.clone();
        let answer = tokio::time::timeout(Duration::from_secs(30), router.call(request)).await;
        match answer {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => problem(StatusCode::REQUEST_TIMEOUT, "it took too long"),
        }
    }
}

/// Whether a request is for this machine by name, and made by no page of another.
fn is_local(headers: &HeaderMap) -> bool {
    let named = |value: &HeaderValue| {
        let Ok(value) = value.to_str() else { return false };
        let host = value.split_once("://").map_or(value, |(_, host)| host);
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        matches!(host, "localhost" | "127.0.0.1" | "[::1]")
            || matches!(name, "localhost" | "127.0.0.1" | "[::1]")
    };
    let site = headers.get(SEC_FETCH_SITE);
    headers.get(HOST).is_some_and(named)
        && headers.get(ORIGIN).is_none_or(named)
        && site.is_none_or(|site| site == "same-origin" || site == "none")
}

/// What is wrong, as JSON.
fn problem(status: StatusCode, what: &str) -> Response {
    (status, Json(json!({ "error": what }))).into_response()
}

fn problems(what: &[String]) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": what }))).into_response()
}

/// The body, or what is wrong with it.
fn body<T>(given: Result<Given<T>, JsonRejection>) -> Result<T, Response> {
    match given {
        Ok(Given(body)) => Ok(body),
        Err(wrong) => Err(problem(wrong.status(), &wrong.body_text())),
    }
}

type Shared = State<Arc<Inside>>;

async fn state(State(inside): Shared) -> Response {
    let live = inside.live.load_full();
    let sites: Vec<Value> = live
        .sites
        .iter()
        .map(|site| {
            let servers = site.upstream.servers.iter().enumerate();
            let servers: Vec<Value> = servers
                .map(|(place, server)| {
                    json!({
                        "address": server.authority.as_str(),
                        "well": server.well.load(Ordering::Relaxed),
                        "ejected": site.upstream.is_ejected(place),
                        "in_flight": server.in_flight(),
                    })
                })
                .collect();
            let (stats, health) = (site.keep.cache.stats(), site.keep.cache.health());
            let down = health.parts.iter().any(|part| part.name == "origin" && !part.up);
            let memory = stats.tiers.first();
            json!({
                "upstream": &*site.upstream.name,
                "breaker": breaker(site.upstream.held(), down),
                "servers": servers,
                "requests": site.upstream.requests.load(Ordering::Relaxed),
                "errors": site.upstream.errors.load(Ordering::Relaxed),
                "loads": stats.loads,
                "coalesced": stats.coalesced,
                "stale_served": stats.stale_served,
                "loads_in_flight": stats.in_flight,
                "loads_waiting": stats.queued,
                "entries": memory.and_then(|memory| memory.entries),
                "bytes": stats.memory_bytes,
                "hits": memory.map(|memory| memory.hits),
            })
        })
        .collect();
    let door = inside.door.standing();
    Json(json!({
        "draining": inside.draining.load(Ordering::Acquire),
        "connections": inside.connections.open.load(Ordering::Relaxed),
        "door": {
            "inside": door.inside, "places": door.concurrency, "queued": door.queued,
            "degradation_level": door.level, "throttle_share": door.share, "rate": door.rate,
        },
        "sites": sites,
        "warming": {
            "under_way": inside.warming.is_under_way(),
            "done": inside.warming.done.load(Ordering::Relaxed),
            "of": inside.warming.of.load(Ordering::Relaxed),
        },
        "config": inside.desk.report(),
    }))
    .into_response()
}

fn breaker(held: Hold, down: bool) -> &'static str {
    match (held, down) {
        (Hold::Open, _) => "held open",
        (Hold::Closed, _) => "held closed",
        (Hold::Auto, true) => "open",
        (Hold::Auto, false) => "closed",
    }
}

/// All protections of a place, as the document spells them.
fn spelled(policies: &Policies) -> Value {
    let all = ProtectionName::ALL.iter().map(|name| {
        let settings = match name.spell(policies) {
            Some(Value::Object(mut settings)) => {
                settings.insert("on".to_owned(), json!(true));
                Value::Object(settings)
            }
            Some(value) => value,
            None => json!({ "on": false }),
        };
        (name.key().to_owned(), settings)
    });
    Value::Object(all.collect())
}

fn all_policies(inside: &Inside) -> Value {
    let live = inside.live.load();
    let sites = live.sites.iter();
    let sites = sites.map(|site| (site.upstream.name.to_string(), spelled(&site.policies)));
    json!({
        "gateway": spelled(&live.door),
        "upstreams": Value::Object(sites.collect()),
        "overrides": inside.desk.report()["overrides"],
    })
}

async fn policies(State(inside): Shared) -> Response {
    Json(all_policies(&inside)).into_response()
}

/// One protection, everywhere.
fn one_policy(inside: &Inside, name: &str) -> Result<Value, Response> {
    if ProtectionName::from_key(name).is_none() {
        return Err(problem(
            StatusCode::NOT_FOUND,
            "there is no protection of this name",
        ));
    }
    let all = all_policies(inside);
    let upstreams = all["upstreams"].as_object().into_iter().flatten();
    let upstreams = upstreams.map(|(upstream, policies)| (upstream.clone(), policies[name].clone()));
    Ok(json!({ "gateway": all["gateway"][name], "upstreams": Value::Object(upstreams.collect()) }))
}

async fn policy(State(inside): Shared, Path(name): Path<String>) -> Response {
    one_policy(&inside, &name).map_or_else(|response| response, |policy| Json(policy).into_response())
}

async fn change_one(
    State(inside): Shared,
    Path(name): Path<String>,
    Extension(who): Extension<Who>,
    given: Result<Given<serde_json::Map<String, Value>>, JsonRejection>,
) -> Response {
    if ProtectionName::from_key(&name).is_none() {
        return problem(StatusCode::NOT_FOUND, "there is no protection of this name");
    }
    let settings = match body(given) {
        Ok(settings) => settings,
        Err(response) => return response,
    };
    let value = json!({ &*name: settings });
    change(&inside, &who, &value).unwrap_or_else(|| match one_policy(&inside, &name) {
        Ok(policy) => Json(policy).into_response(),
        Err(response) => response,
    })
}

async fn change_all(
    State(inside): Shared,
    Extension(who): Extension<Who>,
    given: Result<Given<serde_json::Map<String, Value>>, JsonRejection>,
) -> Response {
    match body(given) {
        Ok(settings) => change(&inside, &who, &Value::Object(settings))
            .unwrap_or_else(|| Json(all_policies(&inside)).into_response()),
        Err(response) => response,
    }
}

/// Changes protections; what is wrong with the change when something is.
fn change(inside: &Inside, who: &Who, value: &Value) -> Option<Response> {
    let mut list = Vec::new();
    if let Err(wrong) = changes("protect", value, &mut list) {
        return Some(problem(StatusCode::UNPROCESSABLE_ENTITY, &wrong));
    }
    if list.is_empty() {
        return Some(problem(StatusCode::UNPROCESSABLE_ENTITY, "this changes nothing"));
    }
    inside
        .desk
        .change(inside, &who.0, &list)
        .err()
        .map(|wrong| problems(&wrong))
}

async fn take_back(
    State(inside): Shared,
    Path(name): Path<String>,
    Extension(who): Extension<Who>,
) -> Response {
    if ProtectionName::from_key(&name).is_none() {
        return problem(StatusCode::NOT_FOUND, "there is no protection of this name");
    }
    let taken_back = [(format!("protect.{name}"), None)];
    match inside.desk.change(&inside, &who.0, &taken_back) {
        Ok(()) => {
            one_policy(&inside, &name).map_or_else(|response| response, |policy| Json(policy).into_response())
        }
        Err(wrong) => problems(&wrong),
    }
}

async fn hold(
    State(inside): Shared,
    Path((upstream, hold)): Path<(String, String)>,
    Extension(who): Extension<Who>,
) -> Response {
    let hold = match &*hold {
        "open" => Hold::Open,
        "close" => Hold::Closed,
        "auto" => Hold::Auto,
        _ => {
            return problem(
                StatusCode::NOT_FOUND,
                "a breaker is held `open`, `close`d, or left to itself: `auto`",
            );
        }
    };
    let live = inside.live.load_full();
    let Some(site) = live.sites.iter().find(|site| *site.upstream.name == *upstream) else {
        return problem(StatusCode::NOT_FOUND, "there is no upstream of this name");
    };
    let before = site.upstream.held();
    site.upstream.hold(hold);
    site.follow();
    let what = format!("breakers.{upstream}");
    inside.audit.note(
        &who.0,
        &what,
        json!(format!("{before:?}")),
        json!(format!("{hold:?}")),
    );
    Json(json!({ "upstream": upstream, "breaker": breaker(hold, false) })).into_response()
}

/// What is to be purged. Addresses are a host and a target, as `example.org/a?b`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Purge {
    /// These addresses.
    keys: Vec<String>,
    /// All below this address, which ends with `/`.
    prefix: Option<String>,
    /// All that the upstream gave this word in `Surrogate-Key`.
    tag: Option<String>,
}

async fn purge(
    State(inside): Shared,
    Extension(who): Extension<Who>,
    given: Result<Given<Purge>, JsonRejection>,
) -> Response {
    let purge = match body(given) {
        Ok(purge) => purge,
        Err(response) => return response,
    };
    if purge.keys.is_empty() && purge.prefix.is_none() && purge.tag.is_none() {
        return problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "give `keys`, a `prefix` or a `tag`",
        );
    }
    if purge.keys.len() > PURGE_MAX {
        return problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "at most 10000 keys at a time; use a prefix or a tag",
        );
    }
    let slashes = |prefix: &String| prefix.matches('/').count();
    let fits = |prefix: &String| {
        prefix.ends_with('/')
            && (1..=crate::site::PREFIXES_MAX).contains(&slashes(prefix))
            && !prefix.contains('?')
    };
    if purge.prefix.as_ref().is_some_and(|prefix| !fits(prefix)) {
        let what = "a prefix is a host and a path of at most 8 parts that ends with `/`, as `example.org/a/`";
        return problem(StatusCode::UNPROCESSABLE_ENTITY, what);
    }
    let live = inside.live.load_full();
    for site in &live.sites {
        for key in &purge.keys {
            site.keep.purge(&key.as_str().into()).await;
        }
        if let Some(prefix) = &purge.prefix {
            site.keep.cache.invalidate_tag(&prefix_tag(prefix));
        }
        if let Some(tag) = &purge.tag {
            site.keep.cache.invalidate_tag(&word_tag(tag));
        }
    }
    let shown: Vec<&String> = purge.keys.iter().take(20).collect();
    let what = json!({ "keys": shown, "of": purge.keys.len(), "prefix": purge.prefix, "tag": purge.tag });
    inside.audit.note(&who.0, "purge", Value::Null, what.clone());
    Json(json!({ "purged": what })).into_response()
}

/// What is to be asked for before anybody does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Warm {
    /// Addresses: a host and a target.
    keys: Vec<String>,
}

async fn warm(
    State(inside): Shared,
    Extension(who): Extension<Who>,
    given: Result<Given<Warm>, JsonRejection>,
) -> Response {
    let keys = match body(given) {
        Ok(warm) => warm.keys,
        Err(response) => return response,
    };
    if keys.is_empty() || keys.len() > warming::ADDRESSES_MAX || keys.iter().any(|key| !key.contains('/')) {
        let what = "give between 1 and 100000 addresses, each a host and a target, as `example.org/a`";
        return problem(StatusCode::UNPROCESSABLE_ENTITY, what);
    }
    let count = keys.len();
    if !warming::begin(&inside, keys) {
        return problem(
            StatusCode::CONFLICT,
            "a warming is under way already; GET /state says how far",
        );
    }
    inside.audit.note(&who.0, "warm", Value::Null, json!(count));
    (StatusCode::ACCEPTED, Json(json!({ "warming": count }))).into_response()
}

async fn audit(State(inside): Shared) -> Response {
    Json(json!({ "changes": inside.audit.last() })).into_response()
}

async fn page(State(inside): Shared) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, kind)], metrics::page(&inside)).into_response()
}

async fn live() -> Response {
    Json(json!({ "status": "live" })).into_response()
}

/// Ready also without an upstream, as long as there is another or something is kept: taking the gateway out of
/// rotation would take that away too.
async fn ready(State(inside): Shared) -> Response {
    if inside.draining.load(Ordering::Acquire) {
        let what = Json(json!({ "status": "not ready", "why": "draining" }));
        return (StatusCode::SERVICE_UNAVAILABLE, what).into_response();
    }
    let live = inside.live.load_full();
    let mut impaired: Vec<String> = Vec::new();
    for site in &live.sites {
        let name = &site.upstream.name;
        let servers = site.upstream.servers.iter().enumerate();
        let out = servers.filter(|(place, server)| {
            !server.well.load(Ordering::Relaxed) || site.upstream.is_ejected(*place)
        });
        impaired.extend(out.map(|(_, server)| format!("{name}: {}", server.authority)));
        let health = site.keep.cache.health();
        impaired.extend(health.impaired().map(|part| format!("{name}: {part}")));
        if site.upstream.held() == Hold::Open {
            impaired.push(format!("{name}: held open"));
        }
    }
    if inside.desk.reloads().2 {
        impaired.push("document: the file was refused".to_owned());
    }
    let status = if impaired.is_empty() { "ready" } else { "degraded" };
    Json(json!({ "status": status, "impaired": impaired })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_others_are_told_apart() {
        let local = |fields: &[(HeaderName, &str)]| {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), value.parse().unwrap()));
            is_local(&fields.collect())
        };
        assert!(local(&[(HOST, "127.0.0.1:9090")]));
        assert!(local(&[(HOST, "localhost"), (ORIGIN, "http://localhost:3000")]));
        assert!(local(&[(HOST, "[::1]:9090")]));
        assert!(
            !local(&[(HOST, "evil.example:9090")]),
            "a name that was bound to this machine"
        );
        assert!(!local(&[(HOST, "127.0.0.1"), (ORIGIN, "https://evil.example")]));
        assert!(!local(&[(HOST, "127.0.0.1"), (ORIGIN, "null")]));
        assert!(!local(&[(HOST, "127.0.0.1"), (SEC_FETCH_SITE, "cross-site")]));
        assert!(!local(&[]));
    }
}
