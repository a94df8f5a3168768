//! Which requests go where: the first route that fits, in the order of the document.

use std::sync::Arc;

use http::Method;
use seawall_core::shed::Priority;
use seawall_core::ttl::Class;
use seawall_scenario::Place;

/// A route, ready to be compared with requests.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    host: Host,
    path: String,
    methods: Vec<Method>,
    /// The upstream's place in the document.
    pub(crate) upstream: usize,
    pub(crate) class: Option<Class>,
    pub(crate) priority: Priority,
    pub(crate) cache: bool,
}

#[derive(Clone, Debug)]
enum Host {
    Any,
    /// This one.
    One(String),
    /// All that end with this, which begins with a dot.
    Below(String),
}

impl Route {
    pub(crate) fn new(route: &seawall_scenario::Route) -> Route {
        let host = route.host.as_deref().map(str::to_ascii_lowercase);
        let methods = route.methods.iter();
        Route {
            host: match host {
                None => Host::Any,
                Some(host) => match host.strip_prefix('*') {
                    Some(below) => Host::Below(below.to_owned()),
                    None => Host::One(host),
                },
            },
            path: route.path.clone(),
            methods: methods.filter_map(|method| method.parse().ok()).collect(),
            upstream: match route.upstream {
                Place::Service(index) => index,
                _ => 0,
            },
            class: route.class,
            priority: route.priority,
            cache: route.cache,
        }
    }

    fn fits(&self, host: &str, path: &str, method: &Method) -> bool {
        let name = without_port(host);
        let host_fits = match &self.host {
            Host::Any => true,
            Host::One(one) => one == host || one == name,
            Host::Below(below) => name.ends_with(below.as_str()) && name.len() > below.len(),
        };
        host_fits && below(path, &self.path) && (self.methods.is_empty() || self.methods.contains(method))
    }
}

/// The first route that fits.
pub(crate) fn find<'r>(
    routes: &'r [Arc<Route>],
    host: &str,
    path: &str,
    method: &Method,
) -> Option<&'r Arc<Route>> {
    routes.iter().find(|route| route.fits(host, path, method))
}

/// Whether a path is a prefix's own or below it: `/api` has `/api/x`, and not `/apix`.
fn below(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: Option<&str>, path: &str, methods: &[&str]) -> Arc<Route> {
        Arc::new(Route::new(&seawall_scenario::Route {
            upstream: Place::Service(0),
            host: host.map(str::to_owned),
            path: path.to_owned(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            class: None,
            priority: Priority::Normal,
            cache: true,
        }))
    }

    #[test]
    fn the_first_that_fits() {
        let routes = [
            route(Some("Api.example.org"), "/v1", &["GET"]),
            route(Some("*.example.org"), "/", &[]),
            route(None, "/static/", &[]),
        ];
        let found = |host: &str, path: &str, method: Method| {
            let found = find(&routes, host, path, &method);
            found.and_then(|found| routes.iter().position(|route| Arc::ptr_eq(route, found)))
        };
        assert_eq!(found("api.example.org:8080", "/v1/x", Method::GET), Some(0));
        assert_eq!(found("api.example.org", "/v1", Method::GET), Some(0));
        assert_eq!(found("api.example.org", "/v1", Method::POST), Some(1));
        assert_eq!(found("api.example.org", "/v10", Method::GET), Some(1));
        assert_eq!(found("example.org", "/static/a", Method::GET), Some(2));
        assert_eq!(found("evilexample.org", "/", Method::GET), None);
        assert_eq!(found("[::1]:80", "/static", Method::GET), None);
    }
}
