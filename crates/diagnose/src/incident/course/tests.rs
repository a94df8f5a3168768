//! A cache that hangs, watched from the beginning, from the middle, and for very long.

#![expect(clippy::float_cmp, reason = "whole numbers are counted")]

use seawall_core::record::{Metric, Series};

use super::*;
use crate::Failure;

const PERIOD: Span = Span::secs(1);

fn at(second: usize) -> Utc {
    Utc::from_millis(1_795_312_800_000).after_s(second as f64)
}

fn point(metric: Metric, component: &str, label: Option<&str>, value: f64) -> Point {
    Point {
        metric,
        component: component.to_owned(),
        instance: None,
        label: label.map(str::to_owned),
        value,
    }
}

/// What is measured in a second: a cache of 95% hits, and 1000 calls, of which a share is lost.
fn sample(hangs: bool, lost: f64, hit_rate: f64) -> Vec<Point> {
    let hung = f64::from(u8::from(hangs));
    let lookups = 1_000.0 * (1.0 - hung);
    let good = 1_000.0 * (1.0 - lost);
    vec![
        point(Metric::CacheHits, "redis", None, lookups * hit_rate),
        point(Metric::CacheMisses, "redis", None, lookups * (1.0 - hit_rate)),
        point(Metric::Probes, "redis", None, 1.0),
        point(Metric::ProbeFailures, "redis", Some("reply_timed_out"), hung),
        point(Metric::ProbeFailures, "redis", Some("alive_timed_out"), hung),
        point(Metric::Requests, "web", Some("fresh"), good),
        point(Metric::Requests, "web", Some("timeout"), 1_000.0 - good),
        point(Metric::Goodput, "web", None, good),
    ]
}

/// Calm, but for these seconds.
fn hung(from: usize, to: usize) -> impl Fn(usize) -> Vec<Point> {
    move |second| {
        let hangs = (from..to).contains(&second);
        sample(hangs, if hangs { 0.8 } else { 0.0 }, 0.95)
    }
}

fn watched(course: &mut Course, seconds: std::ops::Range<usize>, sample: impl Fn(usize) -> Vec<Point>) {
    for second in seconds {
        course.observe(at(second), &sample(second));
    }
}

fn kinds(incident: &Incident) -> Vec<String> {
    let kind = |entry: &super::super::Entry| {
        let told = serde_json::to_value(entry).expect("plain data");
        told["kind"].as_str().expect("it has one").to_owned()
    };
    incident.timeline.iter().map(kind).collect()
}

#[test]
fn an_incident_from_its_beginning_to_its_closing() {
    let mut course = Course::new(PERIOD);
    watched(&mut course, 0..60, hung(60, 100));
    assert!(course.incident().is_none() && !course.is_learning());
    watched(&mut course, 60..160, hung(60, 100));
    let incident = course.incident().expect("it hung");
    assert_eq!(
        kinds(incident),
        ["opened", "judged", "mitigated", "over", "recovered", "closed"],
        "{incident:#?}"
    );
    assert_eq!(incident.cause().map(|found| found.failure), Some(Failure::Hung));
    assert_eq!((incident.severity, incident.worst), (Severity::P0, Severity::P0));
    assert!(
        incident.began >= at(60) && incident.began <= at(62),
        "{}",
        incident.began
    );
    assert_eq!(incident.opened.since_s(incident.began), 1.0);
    let since = |instant: Option<Utc>| instant.map(|instant| instant.since_s(at(100)));
    assert!(
        since(incident.mitigated()).is_some_and(|after| after < 4.0),
        "{:?}",
        incident.mitigated()
    );
    assert!(
        since(incident.over).is_some_and(|after| after < 6.0),
        "{:?}",
        incident.over
    );
    assert!(incident.recovered >= incident.over && incident.closed > incident.recovered);
    // Impact: what the record says from its beginning on, of 1000 calls a second 800 lost for 40 s.
    let seen = at(100).since_s(incident.began);
    assert_eq!(incident.tally.timed_out, 800.0 * seen, "{:?}", incident.tally);
    assert_eq!(incident.tally.lost(), incident.tally.timed_out);
    assert_eq!(incident.usual.hit_rate, Some(0.95));
}

#[test]
fn a_second_service_that_suffers_calls_for_more_people() {
    let escalated = |lost: f64, services: &[&str]| {
        let mut course = Course::new(PERIOD);
        watched(&mut course, 0..90, |second| {
            let mut points = hung(60, 100)(second);
            let lost = if second >= 60 { lost } else { 0.0 };
            points.push(point(
                Metric::Requests,
                "search",
                Some("fresh"),
                100.0 * (1.0 - lost),
            ));
            points.push(point(Metric::Requests, "search", Some("error"), 100.0 * lost));
            points.push(point(Metric::Goodput, "search", None, 100.0 * (1.0 - lost)));
            points.extend(
                services
                    .iter()
                    .map(|name| point(Metric::ThreadsBusy, name, None, 1.0)),
            );
            points
        });
        course.open().expect("it hangs").escalate.join("; ")
    };
    assert_eq!(escalated(0.5, &[]), "2 services are affected");
    assert_eq!(escalated(0.0, &[]), "");
    assert_eq!(escalated(0.5, &["web", "search"]), "2 services are affected");
    // Two groups of callers of one service.
    assert_eq!(escalated(0.5, &["app"]), "");
}

#[test]
fn its_cost_is_what_the_record_says() {
    let mut course = Course::new(PERIOD);
    let play = hung(60, 100);
    watched(&mut course, 0..160, &play);
    let incident = course.incident().expect("it hung");
    let closed = incident
        .timeline
        .iter()
        .find(|entry| matches!(entry.what, What::Over { .. }))
        .expect("it is over");
    let (from, to) = (
        incident.began.since_s(at(0)) as usize,
        closed.at.since_s(at(0)) as usize,
    );
    let mut record = Record::new(PERIOD, Span::ZERO, 160);
    for (metric, label) in [(Metric::Requests, "fresh"), (Metric::Requests, "timeout")] {
        let value = |second| {
            let found = play(second)
                .into_iter()
                .find(|one| one.metric == metric && one.label.as_deref() == Some(label));
            found.expect("each second has it").value
        };
        record.push(Series::new(metric, "web", (0..160).map(value).collect()).labelled(label));
    }
    let sum = |label| {
        record.values(Metric::Requests, "web", label)[from..=to]
            .iter()
            .sum::<f64>()
    };
    // The second in which it was certain to be over is no more counted.
    let last = record.values(Metric::Requests, "web", None)[to];
    assert_eq!(incident.tally.asked, sum(None) - last);
    assert_eq!(incident.tally.lost(), sum(Some("timeout")));
}

#[test]
fn another_process_goes_on_with_it() {
    let play = hung(60, 120);
    let mut course = Course::new(PERIOD);
    watched(&mut course, 0..80, &play);
    let before = course.open().expect("it hangs").clone();
    let calm = course.calm(at(79)).expect("a minute of it");
    // Through the disk, as it is.
    let text = serde_json::to_string(&(&before, &calm)).expect("plain data");
    let (kept, calm): (Incident, Calm) = serde_json::from_str(&text).expect("what was written");
    let mut course = Course::new(PERIOD).taking_up(at(90), Some(kept), Some(calm));
    watched(&mut course, 91..180, &play);
    let incident = course.incident().expect("it was there");
    assert_eq!(incident.id, before.id);
    assert_eq!(
        kinds(incident),
        [
            "opened",
            "judged",
            "watched_again",
            "mitigated",
            "over",
            "recovered",
            "closed"
        ]
    );
    assert!(
        incident.over.is_some_and(|over| over.since_s(at(120)) < 6.0),
        "{:?}",
        incident.over
    );
    assert!(incident.tally.blind_s >= 11.0, "{:?}", incident.tally);
}

#[test]
fn who_comes_when_it_is_over_closes_it() {
    let play = hung(60, 80);
    let mut course = Course::new(PERIOD);
    watched(&mut course, 0..75, &play);
    let (kept, calm) = (course.open().cloned(), course.calm(at(75)));
    let mut course = Course::new(PERIOD).taking_up(at(300), kept, calm);
    watched(&mut course, 301..330, &play);
    assert_eq!(
        kinds(course.incident().expect("it was there"))[2..],
        ["watched_again", "mitigated", "over", "recovered", "closed"]
    );
}

#[test]
fn an_incident_may_outlast_the_window() {
    let mut course = Course::new(PERIOD);
    watched(&mut course, 0..1_500, hung(60, 1_400));
    let incident = course.incident().expect("it hung");
    assert_eq!(incident.timeline[0].at, incident.opened);
    assert_eq!(
        kinds(incident),
        ["opened", "judged", "mitigated", "over", "recovered", "closed"]
    );
    assert!(
        incident
            .over
            .is_some_and(|over| over.since_s(at(1_400)) < 6.0 && over > at(1_400))
    );
}

#[test]
fn the_hit_rate_has_to_come_back() {
    // It is back after 40 s, in steps too small to be a finding of their own.
    let play = |second: usize| {
        let hangs = (60..100).contains(&second);
        let rate = if (100..140).contains(&second) { 0.88 } else { 0.95 };
        sample(hangs, if hangs { 0.8 } else { 0.0 }, rate)
    };
    let mut course = Course::new(PERIOD);
    watched(&mut course, 0..130, play);
    assert_eq!(course.open().map(Incident::state), Some("recovering"));
    watched(&mut course, 130..160, play);
    let incident = course.incident().expect("it hung");
    assert!(
        incident
            .recovered
            .is_some_and(|at_| (40.0..50.0).contains(&at_.since_s(at(100)))),
        "{:?}",
        incident.recovered
    );
}

#[test]
fn what_is_soon_back_is_the_same() {
    let play = |second: usize| {
        let hangs =
            (60..80).contains(&second) || (200..220).contains(&second) || (900..920).contains(&second);
        sample(hangs, 0.0, 0.95)
    };
    let mut course = Course::new(PERIOD);
    watched(&mut course, 0..150, play);
    let first = course.incident().expect("it hung").id.clone();
    watched(&mut course, 150..300, play);
    let incident = course.incident().expect("it hung");
    assert_eq!(
        (incident.id.as_str(), incident.is_open()),
        (first.as_str(), false)
    );
    assert!(
        kinds(incident).contains(&"reopened".to_owned()),
        "{:?}",
        kinds(incident)
    );
    watched(&mut course, 300..1_000, play);
    assert_ne!(
        course.incident().expect("it hung").id,
        first,
        "eleven minutes later it is another"
    );
}

#[test]
fn what_is_closed_by_hand_stays_closed_while_it_lasts() {
    let play = hung(60, 200);
    let mut course = Course::new(PERIOD);
    watched(&mut course, 0..80, &play);
    let id = course.open().expect("it hangs").id.clone();
    let by = |false_alarm| What::ClosedByHand {
        by: "me".to_owned(),
        false_alarm,
    };
    course.take("another", at(80), by(false));
    assert!(course.open().is_some());
    course.take(&id, at(80), by(true));
    watched(&mut course, 80..200, &play);
    assert_eq!(course.incident().map(Incident::state), Some("false alarm"));
    // It goes, comes back, and is told of again.
    watched(&mut course, 200..300, &play);
    watched(&mut course, 300..310, hung(300, 400));
    assert!(course.open().is_some_and(|incident| incident.id != id));
}

fn alert(name: &str, firing: bool) -> Alert {
    Alert {
        fingerprint: format!("of-{name}"),
        name: name.to_owned(),
        firing,
        severity: Some("critical".to_owned()),
        summary: None,
        starts: Some(at(20)),
    }
}

#[test]
fn alerts_belong_to_the_incident_or_begin_one() {
    let play = hung(60, 100);
    let mut course = Course::new(PERIOD);
    watched(&mut course, 0..30, &play);
    assert!(course.hear(at(30), &alert("Slow", true)));
    assert!(!course.hear(at(31), &alert("Slow", true)), "the same again");
    let id = course.open().expect("an alert says so").id.clone();
    assert_eq!(
        course.open().map(|incident| (incident.began, incident.severity)),
        Some((at(20), Severity::P1))
    );
    watched(&mut course, 31..70, &play);
    // What is found now is what was reported.
    let incident = course.open().expect("it hangs");
    assert_eq!(
        (incident.id.as_str(), incident.fingerprint.as_str()),
        (id.as_str(), "hung/redis")
    );
    assert!(course.hear(at(70), &alert("RedisDown", true)));
    assert!(course.hear(at(71), &alert("RedisDown", false)));
    assert!(!course.hear(at(72), &alert("Other", false)), "it never fired");
    watched(&mut course, 72..160, &play);
    assert!(course.open().is_none());
    // The alert still fires: it has been told of.
    assert!(!course.hear(at(161), &alert("Slow", true)));
    assert!(course.open().is_none());
    assert_eq!(
        kinds(course.incident().expect("it was there"))[..5],
        ["opened", "alerted", "turned", "judged", "alerted"]
    );
}

#[test]
fn a_reported_incident_ends_with_its_alert() {
    let mut course = Course::new(PERIOD);
    watched(&mut course, 0..30, hung(0, 0));
    course.hear(at(30), &alert("Slow", true));
    watched(&mut course, 31..60, hung(0, 0));
    assert!(course.open().is_some());
    course.hear(at(60), &alert("Slow", false));
    watched(&mut course, 61..62, hung(0, 0));
    assert_eq!(course.incident().map(Incident::state), Some("closed"));
}
