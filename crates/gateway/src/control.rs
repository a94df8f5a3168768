//! `Cache-Control`, read as RFC 9111, 5.2 says, for a shared cache.
//!
//! Directives are told apart without regard to case, an unknown one is passed over, and one that says how long in words
//! that are no number is taken for the strictest it could mean. It judges nothing: [`crate::judgement`] does.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// The longest that anything is taken to be fresh or stale, in seconds (RFC 9111, 1.2.2).
pub(crate) const SECONDS_MAX: u64 = 1 << 31;

/// What a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Nothing of it may be kept.
    pub(crate) no_store: bool,
    /// Not without asking the origin.
    pub(crate) no_cache: bool,
    /// Not without what is kept.
    pub(crate) only_if_cached: bool,
    /// Nothing older, in seconds.
    pub(crate) max_age: Option<u64>,
    /// Fresh for so many seconds more.
    pub(crate) min_fresh: Option<u64>,
    /// Stale for so many seconds is fine.
    pub(crate) max_stale: Option<u64>,
    /// Stale for so many seconds is fine when the origin fails (RFC 5861).
    pub(crate) stale_if_error: Option<u64>,
}

/// What a response says of its keeping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a directive of its own, and all may be there at once"
)]
pub(crate) struct Told {
    /// Not to be kept.
    pub(crate) no_store: bool,
    /// For one user.
    pub(crate) private: bool,
    /// For everyone.
    pub(crate) public: bool,
    /// Not to be used again without asking.
    pub(crate) no_cache: bool,
    /// Not to be used stale.
    pub(crate) must_revalidate: bool,
    /// Not to be used stale by a shared cache.
    pub(crate) proxy_revalidate: bool,
    /// Kept only by who knows what its status means.
    pub(crate) must_understand: bool,
    /// Fresh for so long, in seconds.
    pub(crate) max_age: Option<u64>,
    /// Fresh for so long in a shared cache.
    pub(crate) s_maxage: Option<u64>,
    /// Stale for so long while it is asked anew (RFC 5861).
    pub(crate) stale_while_revalidate: Option<u64>,
    /// Stale for so long when the origin fails (RFC 5861).
    pub(crate) stale_if_error: Option<u64>,
}

impl Asked {
    /// Of a request's fields.
    pub(crate) fn of(headers: &HeaderMap) -> Asked {
        let mut asked = Asked::default();
        if !headers.contains_key(CACHE_CONTROL) {
            // RFC 9111, 5.4.
            let pragma = headers
                .get_all(PRAGMA)
                .iter()
                .filter_map(|value| value.to_str().ok());
            asked.no_cache = pragma
                .flat_map(|value| value.split(','))
                .any(|word| word.trim().eq_ignore_ascii_case("no-cache"));
            return asked;
        }
        each(headers, |name, value| match name {
            "no-store" => asked.no_store = true,
            "no-cache" => asked.no_cache = true,
            "only-if-cached" => asked.only_if_cached = true,
            // One that cannot be read is passed over: clients do not decide how much work there is.
            "max-age" => asked.max_age = seconds(value).or(asked.max_age),
            "min-fresh" => asked.min_fresh = seconds(value).or(asked.min_fresh),
            "max-stale" if value.is_none() => asked.max_stale = Some(SECONDS_MAX),
            "max-stale" => asked.max_stale = seconds(value).or(asked.max_stale),
            "stale-if-error" => asked.stale_if_error = seconds(value).or(asked.stale_if_error),
            _ => {}
        });
        asked
    }
}

impl Told {
    /// Of a response's fields.
    pub(crate) fn of(headers: &HeaderMap) -> Told {
        let mut told = Told::default();
        each(headers, |name, value| match name {
            "no-store" => told.no_store = true,
            // With the names of fields it is about those alone; for a cache it is simpler, and allowed, to take it
            // for all (5.2.2.4, 5.2.2.7).
            "private" => told.private = true,
            "no-cache" => told.no_cache = true,
            "public" => told.public = true,
            "must-revalidate" => told.must_revalidate = true,
            "proxy-revalidate" => told.proxy_revalidate = true,
            "must-understand" => told.must_understand = true,
            "max-age" => shorter(&mut told.max_age, value),
            "s-maxage" => shorter(&mut told.s_maxage, value),
            "stale-while-revalidate" => {
                shorter(&mut told.stale_while_revalidate, value);
            }
            "stale-if-error" => shorter(&mut told.stale_if_error, value),
            _ => {}
        });
        told
    }

    /// Whether a stale answer is out of the question (RFC 9111, 4.2.4, 5.2.2.2, 5.2.2.8, 5.2.2.10).
    pub(crate) fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }

    /// Whether a request with credentials may be answered with it (RFC 9111, 3.5).
    pub(crate) fn is_for_all(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }
}

/// Of two that contradict each other the shorter one counts, and one that cannot be read is none at all (4.2.1).
fn shorter(before: &mut Option<u64>, value: Option<&str>) {
    let now = seconds(value).unwrap_or(0);
    *before = Some(before.map_or(now, |before| before.min(now)));
}

/// RFC 9111, 1.2.2.
pub(crate) fn seconds(value: Option<&str>) -> Option<u64> {
    let value = value?.trim();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(
        value
            .parse()
            .map_or(SECONDS_MAX, |seconds: u64| seconds.min(SECONDS_MAX)),
    )
}

/// Every directive, its name in small letters, its value without quotes.
fn each(headers: &HeaderMap, mut tell: impl FnMut(&str, Option<&str>)) {
    const NAME_MAX: usize = 32;
    for field in headers.get_all(CACHE_CONTROL) {
        let Ok(field) = field.to_str() else { continue };
        let mut rest = field;
        while !rest.is_empty() {
            let (directive, after) = split(rest);
            rest = after;
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (directive.trim(), None),
            };
            if !name.is_empty() && name.len() <= NAME_MAX {
                tell(&name.to_ascii_lowercase(), value);
            }
        }
    }
}

/// Up to the next comma that is not within quotes, and what follows it.
fn split(list: &str) -> (&str, &str) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (&list[..at], &list[at + 1..]),
            _ => {}
        }
    }
    (list, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn told(value: &str) -> Told {
        Told::of(&headers(&[("cache-control", value)]))
    }

    #[test]
    fn responses() {
        let plain = Told::default();
        assert_eq!(
            told("MAX-AGE=5"),
            Told {
                max_age: Some(5),
                ..plain
            }
        );
        assert_eq!(
            told("max-age=\"5\" , Public"),
            Told {
                max_age: Some(5),
                public: true,
                ..plain
            }
        );
        assert_eq!(
            told("max-age=5, max-age=3"),
            Told {
                max_age: Some(3),
                ..plain
            }
        );
        assert_eq!(
            told("max-age=five"),
            Told {
                max_age: Some(0),
                ..plain
            }
        );
        assert_eq!(
            told("max-age=-1"),
            Told {
                max_age: Some(0),
                ..plain
            }
        );
        assert_eq!(told("max-age=99999999999999999999").max_age, Some(SECONDS_MAX));
        assert_eq!(
            told("x=\"no-store, private\", no-cache=\"set-cookie\""),
            Told {
                no_cache: true,
                ..plain
            }
        );
        assert_eq!(
            told("ext=\"a\\\", no-store\",private"),
            Told {
                private: true,
                ..plain
            }
        );
        let two = Told::of(&headers(&[
            ("cache-control", "no-store"),
            ("cache-control", "s-maxage=9"),
        ]));
        assert!(two.no_store && two.s_maxage == Some(9) && two.forbids_stale() && two.is_for_all());
    }

    #[test]
    fn requests() {
        let asked = |value: &str| Asked::of(&headers(&[("cache-control", value)]));
        assert_eq!(asked("max-stale").max_stale, Some(SECONDS_MAX));
        assert_eq!(asked("max-stale=7, min-fresh=3, max-age=0").max_stale, Some(7));
        assert!(asked("only-if-cached").only_if_cached && asked("no-store").no_store);
        assert_eq!(asked("max-age=x"), Asked::default());
        assert!(Asked::of(&headers(&[("pragma", "x, No-Cache")])).no_cache);
        let both = headers(&[("pragma", "no-cache"), ("cache-control", "max-age=9")]);
        assert!(
            !Asked::of(&both).no_cache,
            "Pragma counts only where there is no Cache-Control"
        );
    }
}
