//! RFC 9111 (and RFC 5861, RFC 9110 for conditions) as vectors: a response, a request after it, and what must become
//! of that. Each is played on the wire. The number is the section that says so.
//!
//! What is old is old by its `Age`, so nothing waits.

use std::time::Duration;

use crate::kit::{Origin, ask, gateway, response};

type Fields = &'static [(&'static str, &'static str)];

/// What becomes of the second request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Answered without the upstream.
    Hit,
    /// Answered without the upstream, past its freshness.
    Stale,
    /// The upstream is asked with conditions, and says that nothing has changed.
    Confirmed,
    /// The upstream is asked without conditions.
    Asked,
    /// Answered with 304 without the upstream.
    NotModified,
    /// Answered with 504 without the upstream.
    Impossible,
    /// The upstream was asked, failed, and the stale answer stands in.
    StandsIn,
    /// The upstream was asked and failed, and that is the answer.
    Fails,
}

use Then::{Asked, Confirmed, Fails, Hit, Impossible, NotModified, Stale, StandsIn};

/// Section, request, status and fields of the response, second request, what becomes of it.
type Vector = (&'static str, Fields, u16, Fields, Fields, Then);

const NONE: Fields = &[];
const FRESH: (&str, &str) = ("cache-control", "max-age=100");
const TAG: (&str, &str) = ("etag", "\"a\"");
const OLD: (&str, &str) = ("age", "200");
const FAILS: (&str, &str) = ("x-then", "503");
const LONG_AGO: (&str, &str) = ("last-modified", "Mon, 01 Jan 2001 00:00:00 GMT");

const VECTORS: &[Vector] = &[
    // 3: what is kept.
    ("3", NONE, 200, &[FRESH], NONE, Hit),
    ("3", NONE, 200, NONE, NONE, Asked),
    ("3", NONE, 404, &[FRESH], NONE, Hit),
    ("3", NONE, 410, &[FRESH], NONE, Hit),
    ("3", NONE, 301, &[FRESH, ("location", "/x")], NONE, Hit),
    ("3", NONE, 302, &[("location", "/x")], NONE, Asked),
    ("3", NONE, 302, &[FRESH, ("location", "/x")], NONE, Hit),
    ("3", NONE, 403, NONE, NONE, Asked),
    ("3", NONE, 403, &[FRESH], NONE, Hit),
    ("3", NONE, 500, &[FRESH], NONE, Asked),
    ("3", NONE, 501, &[FRESH], NONE, Hit),
    (
        "3.3",
        NONE,
        206,
        &[FRESH, ("content-range", "bytes 0-1/9")],
        NONE,
        Asked,
    ),
    // 3.5: credentials.
    ("3.5", &[("authorization", "Basic x")], 200, &[FRESH], NONE, Asked),
    (
        "3.5",
        &[("authorization", "Basic x")],
        200,
        &[("cache-control", "public, max-age=100")],
        NONE,
        Hit,
    ),
    (
        "3.5",
        &[("authorization", "Basic x")],
        200,
        &[("cache-control", "s-maxage=100")],
        NONE,
        Hit,
    ),
    (
        "3.5",
        &[("authorization", "Basic x")],
        200,
        &[("cache-control", "max-age=100, must-revalidate")],
        NONE,
        Hit,
    ),
    // Stricter than the RFC on purpose.
    ("3.5", NONE, 200, &[FRESH], &[("authorization", "Basic x")], Asked),
    (
        "3.5",
        NONE,
        200,
        &[("cache-control", "public, max-age=100")],
        &[("authorization", "Basic x")],
        Hit,
    ),
    ("7.3", NONE, 200, &[FRESH, ("set-cookie", "a=b")], NONE, Asked),
    (
        "7.3",
        NONE,
        200,
        &[("cache-control", "public, max-age=100"), ("set-cookie", "a=b")],
        NONE,
        Hit,
    ),
    // 4.1: Vary.
    (
        "4.1",
        &[("accept-language", "en")],
        200,
        &[FRESH, ("vary", "Accept-Language")],
        &[("accept-language", "en")],
        Hit,
    ),
    (
        "4.1",
        &[("accept-language", "en")],
        200,
        &[FRESH, ("vary", "Accept-Language")],
        &[("accept-language", "de")],
        Asked,
    ),
    (
        "4.1",
        &[("accept-language", "en")],
        200,
        &[FRESH, ("vary", "Accept-Language")],
        NONE,
        Asked,
    ),
    ("4.1", NONE, 200, &[FRESH, ("vary", "Accept-Language")], NONE, Hit),
    (
        "4.1",
        &[("accept-encoding", "gzip, br")],
        200,
        &[FRESH, ("vary", "accept-encoding")],
        &[("accept-encoding", "br,gzip")],
        Hit,
    ),
    (
        "4.1",
        &[("a", "1"), ("b", "2")],
        200,
        &[FRESH, ("vary", "a, b")],
        &[("a", "1"), ("b", "3")],
        Asked,
    ),
    ("4.1", NONE, 200, &[FRESH, ("vary", "*")], NONE, Asked),
    // 4.2.1: how long it is fresh.
    (
        "4.2.1",
        NONE,
        200,
        &[("cache-control", "max-age=1, s-maxage=500"), OLD],
        NONE,
        Hit,
    ),
    (
        "4.2.1",
        NONE,
        200,
        &[("cache-control", "max-age=500, s-maxage=1"), OLD, TAG],
        NONE,
        Confirmed,
    ),
    (
        "4.2.1",
        NONE,
        200,
        &[
            ("cache-control", "max-age=500"),
            ("expires", "Mon, 01 Jan 2001 00:00:00 GMT"),
        ],
        NONE,
        Hit,
    ),
    (
        "4.2.1",
        NONE,
        200,
        &[("cache-control", "max-age=500, max-age=100"), OLD, TAG],
        NONE,
        Confirmed,
    ),
    (
        "4.2.1",
        NONE,
        200,
        &[("cache-control", "max-age=abc"), TAG],
        NONE,
        Confirmed,
    ),
    (
        "4.2.1",
        NONE,
        200,
        &[("cache-control", "MAX-AGE=\"500\"")],
        NONE,
        Hit,
    ),
    // 4.2.2: when it does not say.
    ("4.2.2", NONE, 200, &[LONG_AGO], NONE, Hit),
    (
        "4.2.2",
        NONE,
        200,
        &[LONG_AGO, ("age", "100000")],
        NONE,
        Confirmed,
    ),
    ("4.2.2", NONE, 403, &[LONG_AGO], NONE, Asked),
    (
        "4.2.2",
        &[("cookie", "a=b")],
        200,
        &[LONG_AGO],
        &[("cookie", "a=b")],
        Asked,
    ),
    ("4.2.2", NONE, 200, &[TAG], NONE, Confirmed),
    // 4.2.3: how old it is.
    (
        "4.2.3",
        NONE,
        200,
        &[FRESH, ("age", "99999999999999999999"), TAG],
        NONE,
        Confirmed,
    ),
    (
        "4.2.3",
        NONE,
        200,
        &[FRESH, ("age", "200, 1"), TAG],
        NONE,
        Confirmed,
    ),
    (
        "4.2.3",
        NONE,
        200,
        &[FRESH, ("date", "Mon, 01 Jan 2001 00:00:00 GMT"), TAG],
        NONE,
        Confirmed,
    ),
    ("4.2.3", NONE, 200, &[FRESH, ("age", "50")], NONE, Hit),
    // 4.2.4: stale.
    ("4.2.4", NONE, 200, &[FRESH, OLD, TAG], NONE, Confirmed),
    ("4.2.4", NONE, 200, &[FRESH, OLD, TAG, FAILS], NONE, StandsIn),
    (
        "4.2.4",
        NONE,
        200,
        &[("cache-control", "max-age=100, must-revalidate"), OLD, TAG, FAILS],
        NONE,
        Fails,
    ),
    (
        "4.2.4",
        NONE,
        200,
        &[
            ("cache-control", "max-age=100, proxy-revalidate"),
            OLD,
            TAG,
            FAILS,
        ],
        NONE,
        Fails,
    ),
    (
        "4.2.4",
        NONE,
        200,
        &[("cache-control", "s-maxage=100"), OLD, TAG, FAILS],
        NONE,
        Fails,
    ),
    (
        "4.2.4",
        NONE,
        200,
        &[("cache-control", "no-cache"), TAG, FAILS],
        NONE,
        Fails,
    ),
    // 4.3: validation.
    ("4.3.1", NONE, 200, &[FRESH, OLD, LONG_AGO], NONE, Confirmed),
    (
        "4.3.2",
        NONE,
        200,
        &[FRESH, TAG],
        &[("if-none-match", "\"a\"")],
        NotModified,
    ),
    (
        "4.3.2",
        NONE,
        200,
        &[FRESH, TAG],
        &[("if-none-match", "W/\"a\"")],
        NotModified,
    ),
    (
        "4.3.2",
        NONE,
        200,
        &[FRESH, TAG],
        &[("if-none-match", "\"b\", \"a\"")],
        NotModified,
    ),
    (
        "4.3.2",
        NONE,
        200,
        &[FRESH, TAG],
        &[("if-none-match", "*")],
        NotModified,
    ),
    (
        "4.3.2",
        NONE,
        200,
        &[FRESH, TAG],
        &[("if-none-match", "\"b\"")],
        Hit,
    ),
    (
        "4.3.2",
        NONE,
        200,
        &[FRESH, LONG_AGO],
        &[("if-modified-since", "Tue, 02 Jan 2001 00:00:00 GMT")],
        NotModified,
    ),
    (
        "4.3.2",
        NONE,
        200,
        &[FRESH, LONG_AGO],
        &[("if-modified-since", "Sun, 31 Dec 2000 00:00:00 GMT")],
        Hit,
    ),
    (
        "4.3.2",
        NONE,
        200,
        &[FRESH, LONG_AGO],
        &[("if-modified-since", "yesterday")],
        Hit,
    ),
    (
        "4.3.2",
        NONE,
        200,
        &[FRESH, TAG, LONG_AGO],
        &[
            ("if-none-match", "\"b\""),
            ("if-modified-since", "Tue, 02 Jan 2001 00:00:00 GMT"),
        ],
        Hit,
    ),
    // 5.2.1: what requests ask for.
    (
        "5.2.1.1",
        NONE,
        200,
        &[FRESH, ("age", "50")],
        &[("cache-control", "max-age=60")],
        Hit,
    ),
    (
        "5.2.1.1",
        NONE,
        200,
        &[FRESH, ("age", "50"), TAG],
        &[("cache-control", "max-age=40")],
        Confirmed,
    ),
    (
        "5.2.1.2",
        NONE,
        200,
        &[FRESH, OLD, TAG],
        &[("cache-control", "max-stale=150")],
        Stale,
    ),
    (
        "5.2.1.2",
        NONE,
        200,
        &[FRESH, OLD, TAG],
        &[("cache-control", "max-stale")],
        Stale,
    ),
    (
        "5.2.1.2",
        NONE,
        200,
        &[FRESH, OLD, TAG],
        &[("cache-control", "max-stale=50")],
        Confirmed,
    ),
    (
        "5.2.1.2",
        NONE,
        200,
        &[("cache-control", "max-age=100, must-revalidate"), OLD, TAG],
        &[("cache-control", "max-stale")],
        Confirmed,
    ),
    (
        "5.2.1.3",
        NONE,
        200,
        &[FRESH, ("age", "50")],
        &[("cache-control", "min-fresh=20")],
        Hit,
    ),
    (
        "5.2.1.3",
        NONE,
        200,
        &[FRESH, ("age", "50"), TAG],
        &[("cache-control", "min-fresh=70")],
        Confirmed,
    ),
    (
        "5.2.1.4",
        NONE,
        200,
        &[FRESH, TAG],
        &[("cache-control", "no-cache")],
        Confirmed,
    ),
    (
        "5.2.1.5",
        NONE,
        200,
        &[FRESH],
        &[("cache-control", "no-store")],
        Asked,
    ),
    (
        "5.2.1.5",
        &[("cache-control", "no-store")],
        200,
        &[FRESH],
        NONE,
        Asked,
    ),
    (
        "5.2.1.7",
        NONE,
        200,
        &[FRESH],
        &[("cache-control", "only-if-cached")],
        Hit,
    ),
    (
        "5.2.1.7",
        NONE,
        200,
        &[FRESH, OLD, TAG],
        &[("cache-control", "only-if-cached")],
        Impossible,
    ),
    (
        "5.2.1.7",
        NONE,
        200,
        NONE,
        &[("cache-control", "only-if-cached")],
        Impossible,
    ),
    (
        "5.4",
        NONE,
        200,
        &[FRESH, TAG],
        &[("pragma", "no-cache")],
        Confirmed,
    ),
    (
        "5.4",
        NONE,
        200,
        &[FRESH, TAG],
        &[("pragma", "no-cache"), ("cache-control", "max-age=100")],
        Hit,
    ),
    // 5.2.2: what responses say.
    (
        "5.2.2.3",
        NONE,
        200,
        &[("cache-control", "must-understand, no-store, max-age=100")],
        NONE,
        Hit,
    ),
    (
        "5.2.2.3",
        NONE,
        299,
        &[("cache-control", "must-understand, max-age=100")],
        NONE,
        Asked,
    ),
    (
        "5.2.2.4",
        NONE,
        200,
        &[("cache-control", "no-cache, max-age=100"), TAG],
        NONE,
        Confirmed,
    ),
    (
        "5.2.2.4",
        NONE,
        200,
        &[("cache-control", "no-cache=\"x\", max-age=100"), TAG],
        NONE,
        Confirmed,
    ),
    (
        "5.2.2.5",
        NONE,
        200,
        &[("cache-control", "no-store, max-age=100")],
        NONE,
        Asked,
    ),
    (
        "5.2.2.7",
        NONE,
        200,
        &[("cache-control", "private, max-age=100")],
        NONE,
        Asked,
    ),
    (
        "5.2.2.9",
        NONE,
        200,
        &[("cache-control", "public"), LONG_AGO],
        NONE,
        Hit,
    ),
    (
        "5.2.3",
        NONE,
        200,
        &[("cache-control", "max-age=100, unknown=\"no-store, private\"")],
        NONE,
        Hit,
    ),
    ("5.3", NONE, 200, &[("expires", "0"), TAG], NONE, Confirmed),
    (
        "5.3",
        NONE,
        200,
        &[("expires", "Fri, 01 Jan 2100 00:00:00 GMT")],
        NONE,
        Hit,
    ),
    (
        "5.3",
        NONE,
        200,
        &[("expires", "Mon, 01 Jan 2001 00:00:00 GMT"), TAG],
        NONE,
        Confirmed,
    ),
    // RFC 5861.
    (
        "5861-3",
        NONE,
        200,
        &[
            ("cache-control", "max-age=100, stale-while-revalidate=150"),
            OLD,
            TAG,
        ],
        NONE,
        Stale,
    ),
    (
        "5861-3",
        NONE,
        200,
        &[
            ("cache-control", "max-age=100, stale-while-revalidate=50"),
            OLD,
            TAG,
        ],
        NONE,
        Confirmed,
    ),
    (
        "5861-4",
        NONE,
        200,
        &[("cache-control", "max-age=100, stale-if-error=150"), OLD, FAILS],
        NONE,
        StandsIn,
    ),
    (
        "5861-4",
        NONE,
        200,
        &[
            ("cache-control", "max-age=100, stale-if-error=0"),
            OLD,
            TAG,
            FAILS,
        ],
        NONE,
        Fails,
    ),
    (
        "5861-4",
        NONE,
        200,
        &[FRESH, OLD, TAG, FAILS],
        &[("cache-control", "stale-if-error=0")],
        Fails,
    ),
];

/// The number of the vector that a target is for.
fn number(target: &str) -> usize {
    target.trim_start_matches('/').parse().expect("a number")
}

fn of<'f>(fields: &'f [(&str, &str)], name: &str) -> Option<&'f str> {
    fields
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

/// The upstream of all vectors.
async fn origin() -> Origin {
    let asked = std::sync::Mutex::new(vec![0; VECTORS.len()]);
    Origin::new(move |seen| {
        let number = number(&seen.target);
        let (_, _, status, fields, ..) = VECTORS[number];
        let mut asked = asked.lock().expect("nobody panics");
        asked[number] += 1;
        let conditional =
            seen.headers.contains_key("if-none-match") || seen.headers.contains_key("if-modified-since");
        let answer = if asked[number] > 1 && of(fields, "x-then").is_some() {
            response(503, &[], "it failed")
        } else if asked[number] > 1 && conditional {
            let fields: Vec<_> = fields.iter().filter(|field| **field != OLD).copied().collect();
            response(304, &fields, "")
        } else {
            response(status, fields, "the answer")
        };
        (Duration::ZERO, answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors() {
    assert!(VECTORS.len() >= 60, "{}", VECTORS.len());
    let origin = origin().await;
    // Failures are meant, and many: nothing may open a breaker.
    let gateway = gateway(&[origin.address], "[protect]\norigin_breaker = { on = false }\n").await;
    let mut wrong = Vec::new();
    for (number, (section, first, status, _, second, then)) in VECTORS.iter().enumerate() {
        let target = format!("/{number}");
        let count = || {
            let seen = origin.seen.lock().unwrap();
            seen.iter().filter(|seen| seen.target == target).count()
        };
        let one = ask(gateway.address(), "GET", &target, first, "").await;
        if one.status != *status || count() != 1 {
            wrong.push(format!(
                "{number} ({section}): the first answer is {} after {} calls",
                one.status,
                count()
            ));
        }
        let two = ask(gateway.address(), "GET", &target, second, "").await;
        let told = two.field("cache-status");
        let condition = |seen: &crate::kit::Seen| {
            seen.headers.contains_key("if-none-match") || seen.headers.contains_key("if-modified-since")
        };
        let asked: Vec<bool> = {
            let seen = origin.seen.lock().unwrap();
            seen.iter()
                .filter(|seen| seen.target == target)
                .map(condition)
                .skip(1)
                .collect()
        };
        let whole = two.body == "the answer" && two.status == *status;
        let is = match then {
            Hit => asked.is_empty() && whole && told.contains("; hit; ttl=") && !two.field("age").is_empty(),
            // It is asked for anew behind the answer.
            Stale => whole && told.contains("hit") && told.contains("ttl=-"),
            Confirmed => asked == [true] && whole,
            Asked => asked == [false] && two.status == *status,
            NotModified => asked.is_empty() && two.status == 304 && two.body.is_empty(),
            Impossible => asked.is_empty() && two.status == 504,
            StandsIn => asked.len() == 1 && whole && told.contains("stale-if-error"),
            Fails => asked.len() == 1 && two.status >= 500,
        };
        if !is {
            let vector = VECTORS[number];
            wrong.push(format!(
                "{number} {vector:?}:\n   asked {asked:?}, {} {:?} {}",
                two.status, two.body, told
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        VECTORS.len(),
        wrong.join("\n")
    );
}
