//! What a shared cache may do with a response: RFC 9111, and RFC 5861 for what is stale. Decisions only; no clock.
//!
//! Where this is stricter than the RFC on purpose, `docs/gateway.md` says so: responses with `Set-Cookie` that are not
//! said to be for everyone are not kept, and what says nothing of its freshness is not kept for a request with cookies.

use http::header::{
    AGE, AUTHORIZATION, CONTENT_RANGE, COOKIE, DATE, ETAG, EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, SET_COOKIE,
};
use http::{HeaderMap, Method, StatusCode};

use crate::control::{Asked, SECONDS_MAX, Told, seconds};
use crate::stored::Response;

/// How long something is fresh that does not say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsaid {
    /// As an operator says, for the route.
    pub(crate) class_s: Option<u64>,
    /// This share of the time since it was last changed (4.2.2).
    pub(crate) share: f64,
    /// And no longer than this, in seconds.
    pub(crate) max_s: u64,
}

/// How a response is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keeping {
    /// How old it is already, in seconds.
    pub(crate) age: u64,
    /// How old it may be.
    pub(crate) lifetime: u64,
}

/// What may be done with what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// It answers.
    Fresh,
    /// It answers, stale as it is, because the client said that it may.
    StaleAllowed,
    /// It answers while it is asked for anew.
    StaleWhileRevalidate,
    /// The origin has to be asked. When that fails, it may answer if it is stale for at most so many seconds; `None`
    /// when the guard's policy alone decides.
    Ask {
        /// In seconds.
        on_error: Option<u64>,
    },
}

/// Seconds since 1970 of a date in a field.
pub(crate) fn date(headers: &HeaderMap, name: &http::HeaderName) -> Option<u64> {
    let mut lines = headers.get_all(name).iter();
    let (value, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let at = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    at.duration_since(std::time::UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}

/// Statuses that may be kept without a word (RFC 9110, 15.1), but for 206, which is not kept at all.
fn is_heuristic(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// Whether and for how long a response to a GET is kept (3, 3.5, 4.2). `asked_at` and `now` are seconds since 1970, of
/// the request and of the response.
pub(crate) fn keep(
    (asked_at, now): (u64, u64),
    request: &HeaderMap,
    status: StatusCode,
    headers: &HeaderMap,
    unsaid: &Unsaid,
) -> Option<Keeping> {
    let told = Told::of(headers);
    let understood = is_heuristic(status) || matches!(status.as_u16(), 302 | 303 | 307);
    let partial = status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE);
    if status.is_informational() || status == StatusCode::NOT_MODIFIED || partial {
        return None;
    }
    // 5.2.2.3: who understands the status may pass over no-store.
    let no_store = told.no_store && !(told.must_understand && understood);
    if no_store
        || told.private
        || (told.must_understand && !understood)
        || status.is_server_error() && status != 501
    {
        return None;
    }
    if request.contains_key(AUTHORIZATION) && !told.is_for_all() {
        return None;
    }
    if headers.contains_key(SET_COOKIE) && !(told.public || told.s_maxage.is_some()) {
        return None;
    }
    let said = told.s_maxage.or(told.max_age).or_else(|| expires(now, headers));
    let validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    let lifetime = match said {
        Some(said) => said,
        None if told.no_cache && validator => 0,
        None if request.contains_key(COOKIE) && !told.public => return None,
        None if is_heuristic(status) || told.public => guess(now, headers, unsaid)?,
        None => return None,
    };
    let lifetime = if told.no_cache { 0 } else { lifetime };
    let stale_wanted = told.stale_if_error.is_some() || told.stale_while_revalidate.is_some();
    // Nothing would ever be answered with it.
    if lifetime == 0 && !validator && !stale_wanted {
        return None;
    }
    Some(Keeping {
        age: age(asked_at, now, headers),
        lifetime,
    })
}

/// 5.3; a date that cannot be read has passed.
fn expires(now: u64, headers: &HeaderMap) -> Option<u64> {
    headers.get(EXPIRES)?;
    let until = date(headers, &EXPIRES).unwrap_or(0);
    let from = date(headers, &DATE).unwrap_or(now);
    Some(until.saturating_sub(from).min(SECONDS_MAX))
}

/// 4.2.2.
fn guess(now: u64, headers: &HeaderMap, unsaid: &Unsaid) -> Option<u64> {
    if let Some(class) = unsaid.class_s {
        return Some(class);
    }
    let modified = date(headers, &LAST_MODIFIED);
    let since = modified.map(|modified| date(headers, &DATE).unwrap_or(now).saturating_sub(modified));
    match since {
        Some(since) => Some(((since as f64 * unsaid.share) as u64).min(unsaid.max_s)),
        // With an ETag alone it is asked for each time, and that is cheap.
        None => headers.contains_key(ETAG).then_some(0),
    }
}

/// How old a response is when it comes (4.2.3).
fn age(asked_at: u64, now: u64, headers: &HeaderMap) -> u64 {
    let apparent = date(headers, &DATE).map_or(0, |date| now.saturating_sub(date));
    let said = headers.get(AGE).and_then(|age| age.to_str().ok());
    // Of a list the first counts (5.1).
    let said = said.and_then(|age| seconds(age.split(',').next()));
    let corrected = said.unwrap_or(0) + now.saturating_sub(asked_at);
    apparent.max(corrected).min(SECONDS_MAX)
}

/// What may be done with what is kept (4, 4.2.4, 5.2.1; RFC 5861).
pub(crate) fn reuse(now_ms: u64, asked: &Asked, stored: &Response) -> Use {
    let (age, told) = (stored.age_at(now_ms), &stored.told);
    let forbids = told.forbids_stale();
    let on_error = match (forbids, asked.stale_if_error, told.stale_if_error) {
        // RFC 5861, 4, would let stale-if-error past must-revalidate; RFC 9111, 5.2.2.2, does not.
        (true, ..) => Some(0),
        (false, Some(asked), told) => Some(told.map_or(asked, |told| told.max(asked))),
        (false, None, told) => told,
    };
    let ask = Use::Ask { on_error };
    if asked.no_cache || asked.max_age.is_some_and(|max| age > max) {
        return ask;
    }
    if age < stored.lifetime {
        let left = stored.lifetime - age;
        return match asked.min_fresh {
            Some(wanted) if left < wanted => ask,
            _ => Use::Fresh,
        };
    }
    let past = age - stored.lifetime;
    if forbids || asked.min_fresh.is_some() {
        ask
    } else if asked.max_stale.is_some_and(|max| past <= max) {
        Use::StaleAllowed
    } else if told.stale_while_revalidate.is_some_and(|max| past < max) {
        Use::StaleWhileRevalidate
    } else {
        ask
    }
}

/// Whether a response may be kept or looked for at all, by its request alone.
pub(crate) fn is_cacheable(method: &Method, asked: &Asked) -> bool {
    (*method == Method::GET || *method == Method::HEAD) && !asked.no_store
}

/// Whether a conditional request is answered with 304 (RFC 9110, 13.1.2, 13.1.3, 13.2.2).
pub(crate) fn is_not_modified(request: &HeaderMap, stored: &Response) -> bool {
    if stored.status != StatusCode::OK {
        return false;
    }
    let mut conditions = request.get_all(IF_NONE_MATCH).iter().peekable();
    if conditions.peek().is_some() {
        let Some(tag) = stored.head.fields().get(ETAG).and_then(|tag| tag.to_str().ok()) else {
            return conditions.any(|condition| condition.as_bytes().trim_ascii() == b"*");
        };
        return conditions
            .filter_map(|condition| condition.to_str().ok())
            .any(|condition| condition.trim() == "*" || tags(condition).any(|one| weak(one) == weak(tag)));
    }
    let Some(since) = date(request, &IF_MODIFIED_SINCE) else {
        return false;
    };
    stored.modified.is_some_and(|modified| modified <= since)
}

/// The entity tags of a list. A comma may stand within one.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let open = rest.find('"')?;
        let close = open + 1 + rest[open + 1..].find('"')?;
        let start = if rest[..open].ends_with("W/") {
            open - 2
        } else {
            open
        };
        let tag = &rest[start..=close];
        rest = &rest[close + 1..];
        Some(tag)
    })
}

/// For weak comparison (RFC 9110, 8.8.3.2).
fn weak(tag: &str) -> &str {
    tag.trim().strip_prefix("W/").unwrap_or(tag.trim())
}

#[cfg(test)]
mod tests;
