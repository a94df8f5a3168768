//! What a drill looks like in each of its forms.

mod fixture;

use seawall_core::record::{Metric, Record, Series};
use seawall_report::drill::summary::{self, Row};
use seawall_report::drill::{Drill, Expectation, Line, Mood, Standing, Told, html, text, verdicts};

/// The same record, with all its numbers a little different.
fn shifted(record: &Record, by: f64) -> Record {
    let mut shifted = Record::new(record.period, record.origin, record.periods);
    for series in record.series() {
        let gauge = matches!(series.metric, Metric::BreakerState | Metric::ThrottleRatio);
        let values = series
            .values
            .iter()
            .map(|value| if gauge { *value } else { value * by })
            .collect();
        shifted.push(Series {
            values,
            ..series.clone()
        });
    }
    shifted
}

fn line(phase: usize, measure: &str, of: &str, predicted: f64, measured: f64, error: f64) -> Line {
    Line {
        phase,
        measure: measure.into(),
        of: of.into(),
        is_time: measure.starts_with('p'),
        predicted,
        measured,
        error,
    }
}

fn expectation(that: &str, standing: Standing, measured: &str) -> Expectation {
    Expectation {
        that: that.into(),
        standing,
        wanted: "mean above 99%".into(),
        predicted: "99.8%".into(),
        measured: measured.into(),
    }
}

/// Two variants: one that deviated, one that held.
fn drill() -> Drill {
    let mut report = fixture::redis_down(1, 900);
    report.variants.truncate(2);
    report
        .happenings
        .retain(|happening| happening.variant.is_none_or(|variant| variant < 2));
    let phases = vec![
        ("before".to_owned(), -60.0, 0.0),
        ("kill".to_owned(), 0.0, 300.0),
        ("after".to_owned(), 300.0, 840.0),
    ];
    let bad = Told {
        verdict: "deviated".into(),
        mood: Mood::Bad,
        why: "1 of 3 expectations not met: everybody is answered (measured 41%, wanted mean above 99%)"
            .into(),
        took_s: 31.5,
        predicted: [1.05, 0.97, 1.12]
            .map(|by| shifted(&report.variants[0].records[0], by))
            .to_vec(),
        prediction: "Predicted by the exact engine.".into(),
        predicted_well: Some(false),
        errors: (0.03, 0.24),
        phases: phases.clone(),
        lines: vec![
            line(0, "goodput", "readers", 100_000.0, 99_800.0, 0.002),
            line(0, "origin load", "db", 5_000.0, 5_100.0, 0.02),
            line(1, "goodput", "readers", 41_000.0, 47_000.0, 0.06),
            line(1, "origin load", "db", 20_000.0, 28_000.0, 0.4),
            line(1, "p50", "readers", 0.004, 0.0041, 0.025),
            line(1, "p99", "readers", 2.0, f64::NAN, f64::NAN),
        ],
        expectations: vec![
            expectation("everybody is answered", Standing::NotMet, "41%"),
            expectation("the database is bored", Standing::Met, "12%"),
            expectation("the second minute is calm", Standing::NotJudged, "60%"),
        ],
        wrong: (0, Vec::new()),
        happened: vec![
            (0.01, "redis is down, and comes back empty".into()),
            (300.0, "over: redis is down".into()),
        ],
        doubts: vec!["calls of `readers` were sent up to 60ms late".into()],
        notes: vec![
            "readers: 120000 calls, 99% of them sent no later than 0.4 ms after they were due".into(),
        ],
        parts: vec!["Redis 7.0.15".into(), "PostgreSQL 15".into()],
        advice: vec!["compare with the other variants".into()],
        ..Told::default()
    };
    let good = Told {
        verdict: "held".into(),
        mood: Mood::Good,
        why: "all 3 expectations met; no wrong answer, and nothing is left behind".into(),
        predicted: vec![shifted(&report.variants[1].records[0], 0.9)],
        predicted_well: Some(true),
        errors: (0.01, 0.08),
        took_s: 30.0,
        lines: vec![line(0, "goodput", "readers", 100_000.0, 99_900.0, 0.001)],
        phases,
        ..Told::default()
    };
    Drill {
        report,
        told: vec![bad, good],
        where_and_when: "Drilled 2026-11-21 22:35:44 UTC on linux".into(),
    }
}

#[test]
fn the_verdicts_come_first_and_alone() {
    insta::assert_snapshot!(verdicts(&drill(), 100));
}

#[test]
fn the_text_has_all_of_it() {
    let text = text(&drill(), 90);
    for line in text.lines() {
        assert!(line.chars().count() <= 90, "{line}");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_nobody_may_overlook_is_told_in_text_and_page() {
    let mut drill = drill();
    drill.told[1].wrong = (3, vec![4711, 4712]);
    drill.told[1].left = vec!["redis still stands still".into()];
    drill.told[1].troubles = vec!["no cgroups here".into()];
    let (text, page) = (text(&drill, 90), html(&drill));
    for word in [
        "3 wrong answers",
        "4711",
        "redis still stands still",
        "no cgroups here",
    ] {
        assert!(text.contains(word) && page.contains(word), "{word}");
    }
}

#[test]
fn the_page_has_what_was_predicted_under_what_was_measured() {
    let page = html(&drill());
    let data = page
        .split("type=\"application/json\">")
        .nth(1)
        .and_then(|rest| rest.split("</script>").next());
    let data: serde_json::Value = serde_json::from_str(data.expect("it has data")).expect("it is JSON");
    assert_eq!(data["over"], true);
    let charts = data["charts"].as_array().expect("there are charts");
    let answers = charts
        .iter()
        .find(|chart| chart["form"] == "stack")
        .expect("answers are a stack");
    let over = &answers["over"][0][0];
    assert_eq!(
        over["points"].as_array().expect("a line").len(),
        answers["data"][0][0].as_array().expect("a curve").len()
    );
    let (low, high) = (&over["band"][0][0], &over["band"][1][0]);
    assert!(
        low.as_f64() < over["points"][0].as_f64() && over["points"][0].as_f64() < high.as_f64(),
        "{low} {high}"
    );
    // One predicted run has no band.
    assert!(answers["over"][1][0]["band"].is_null());
    let load = charts
        .iter()
        .find(|chart| chart["title"] == "Load on the origin")
        .expect("there is an origin");
    assert_eq!(
        load["over"][0].as_array().map(Vec::len),
        load["curves"].as_array().map(Vec::len)
    );
    if let Ok(folder) = std::env::var("SEAWALL_PAGES") {
        std::fs::write(format!("{folder}/drill.html"), &page).unwrap();
        std::fs::write(
            format!("{folder}/drills.html"),
            summary::html(&rows(), "Drilled on linux"),
        )
        .unwrap();
    }
    // A simulation has nothing under its curves.
    assert!(seawall_report::html(&fixture::redis_down(1, 100)).contains("\"over\":false"));
}

#[test]
fn the_page_is_one_small_file_with_every_word_escaped() {
    let mut drill = drill();
    let evil = "</script><img onerror='x'>\"&";
    drill.report.title = evil.into();
    drill.report.variants[0].name = evil.into();
    drill.told[0].why = evil.into();
    drill.told[0].parts[0] = evil.into();
    drill.told[0].expectations[0].that = evil.into();
    drill.told[0].happened[0].1 = evil.into();
    let page = html(&drill);
    assert!(!page.contains("<img") && page.matches("</script>").count() == 2);
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
    for asks in ["src=", "href=", "url(http", "@import", "fetch(", "XMLHttpRequest"] {
        assert!(!page.contains(asks), "{asks}");
    }
}

fn rows() -> Vec<Row> {
    let drill = drill();
    let row = |place: usize, variant: &str| Row {
        scenario: "redis-down".into(),
        title: "The cache dies".into(),
        variant: variant.into(),
        told: drill.told[place].clone(),
        refused: None,
        page: Some("redis-down.html".into()),
    };
    vec![
        row(0, "unprotected"),
        row(1, "seawall"),
        Row {
            scenario: "stampede".into(),
            variant: "as-seen".into(),
            refused: Some("this cannot be drilled here: no | cgroups".into()),
            ..Row::default()
        },
    ]
}

#[test]
fn many_drills_are_one_table() {
    insta::assert_snapshot!(summary::text(&rows()));
    insta::assert_snapshot!(summary::markdown(
        &rows(),
        "seawall drill --all",
        "Drilled on linux."
    ));
    let page = summary::html(&rows(), "Drilled on linux");
    assert!(
        page.contains("href=\"redis-down.html\"") && page.contains("not drilled"),
        "{page}"
    );
    // A browser reads the first of two attributes and drops the other.
    assert!(page.contains("class=\"mark bad\""), "{page}");
}
