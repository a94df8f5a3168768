//! What the vectors on the wire do not reach: times that would have to pass. The vectors are in `tests/gateway`.

use http::header::{HeaderName, HeaderValue};

use super::*;
use bytes::Bytes;

const NOW: u64 = 1_750_000_000;
const UNSAID: Unsaid = Unsaid {
    class_s: None,
    share: 0.1,
    max_s: 86_400,
};

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let fields = fields.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )
    });
    fields.collect()
}

fn http_date(secs: u64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs))
}

fn kept(fields: &[(&'static str, &str)]) -> Option<Keeping> {
    keep(
        (NOW, NOW),
        &HeaderMap::new(),
        StatusCode::OK,
        &headers(fields),
        &UNSAID,
    )
}

#[test]
fn lifetimes_and_ages() {
    let (hour_ago, in_an_hour) = (http_date(NOW - 3_600), http_date(NOW + 3_600));
    let lifetime = |fields: &[(&'static str, &str)]| kept(fields).map(|keeping| keeping.lifetime);
    assert_eq!(lifetime(&[("expires", &in_an_hour)]), Some(3_600));
    assert_eq!(
        lifetime(&[("expires", &in_an_hour), ("date", &hour_ago)]),
        Some(7_200)
    );
    assert_eq!(lifetime(&[("last-modified", &hour_ago)]), Some(360), "a tenth");
    let years_ago = http_date(NOW - 1_000_000_000);
    assert_eq!(
        lifetime(&[("last-modified", &years_ago)]),
        Some(86_400),
        "and no more"
    );
    assert_eq!(
        lifetime(&[("expires", &in_an_hour), ("expires", &hour_ago)]),
        None,
        "two that contradict are none"
    );
    let age = |asked_at, fields: &[(&'static str, &str)]| {
        let fields = headers(&[fields, &[("cache-control", "max-age=9")]].concat());
        keep(
            (asked_at, NOW),
            &HeaderMap::new(),
            StatusCode::OK,
            &fields,
            &UNSAID,
        )
        .map(|keeping| keeping.age)
    };
    assert_eq!(age(NOW, &[]), Some(0));
    assert_eq!(age(NOW - 4, &[("age", "3")]), Some(7), "with the time on the way");
    assert_eq!(age(NOW - 4, &[("age", "3"), ("date", &hour_ago)]), Some(3_600));
    assert_eq!(
        age(NOW, &[("date", &in_an_hour)]),
        Some(0),
        "a clock that is ahead"
    );
    let class = Unsaid {
        class_s: Some(900),
        ..UNSAID
    };
    let keeping = |fields: &[(&'static str, &str)]| {
        keep(
            (NOW, NOW),
            &HeaderMap::new(),
            StatusCode::OK,
            &headers(fields),
            &class,
        )
        .map(|keeping| keeping.lifetime)
    };
    assert_eq!(keeping(&[]), Some(900));
    assert_eq!(
        keeping(&[("cache-control", "max-age=5")]),
        Some(5),
        "a response's own word comes first"
    );
}

#[test]
fn from_fresh_to_gone_as_time_passes() {
    let fields = headers(&[(
        "cache-control",
        "max-age=100, stale-while-revalidate=50, stale-if-error=300",
    )]);
    let stored = Response {
        status: StatusCode::OK,
        told: Told::of(&fields),
        head: crate::stored::Head::new(fields, &http::HeaderValue::from_static("1.1 seawall")),
        body: Bytes::new(),
        received_ms: NOW * 1_000,
        age: 10,
        lifetime: 100,
        chosen_by: Vec::new(),
        modified: None,
    };
    let after = |secs: u64, asked: &Asked| reuse((NOW + secs) * 1_000, asked, &stored);
    let plain = Asked::default();
    let ask = Use::Ask { on_error: Some(300) };
    assert_eq!(after(89, &plain), Use::Fresh);
    assert_eq!(after(90, &plain), Use::StaleWhileRevalidate);
    assert_eq!(after(139, &plain), Use::StaleWhileRevalidate);
    assert_eq!(after(140, &plain), ask);
    let fresher = Asked {
        min_fresh: Some(20),
        ..plain
    };
    assert_eq!((after(70, &fresher), after(71, &fresher)), (Use::Fresh, ask));
    let older = Asked {
        max_stale: Some(60),
        ..plain
    };
    assert_eq!((after(150, &older), after(151, &older)), (Use::StaleAllowed, ask));
    let longer = Asked {
        stale_if_error: Some(400),
        ..plain
    };
    assert_eq!(after(200, &longer), Use::Ask { on_error: Some(400) });
}

#[test]
fn entity_tags_are_compared_as_whole_words() {
    let read: Vec<&str> = tags("\"a,b\" , W/\"c\",\"\"").collect();
    assert_eq!(read, ["\"a,b\"", "W/\"c\"", "\"\""]);
    assert_eq!(tags("a, b\"").count(), 0);
}
