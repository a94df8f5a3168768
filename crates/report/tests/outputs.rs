//! What the report looks like in each of its forms.

mod fixture;

use seawall_core::time::Span;
use seawall_report::{html, json, openmetrics, series_csv, text};

#[test]
fn the_text_reads_well() {
    insta::assert_snapshot!(text(&fixture::redis_down(1, 1500), 100));
}

#[test]
fn several_runs_carry_intervals() {
    insta::assert_snapshot!(text(&fixture::redis_down(3, 400), 80));
}

#[test]
fn no_line_of_the_text_is_too_wide() {
    for columns in [60, 80, 100] {
        let text = text(&fixture::redis_down(3, 400), columns);
        let widest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= columns, "{columns}: {widest}");
    }
}

#[test]
fn the_json_says_what_a_script_wants() {
    let value: serde_json::Value = serde_json::from_str(&json(&fixture::redis_down(1, 400))).unwrap();
    assert_eq!(value["met"], false);
    assert_eq!(value["variants"][4]["fate"], "degrades");
    assert_eq!(value["variants"][1]["expectations"][1]["met"], false);
    assert!(
        value["variants"][0]["goodput_ratio"]["during"]["mean"]
            .as_f64()
            .unwrap()
            < 0.05
    );
}

#[test]
fn the_csv_is_long_and_complete() {
    let report = fixture::redis_down(1, 100);
    let mut out = Vec::new();
    series_csv(&report, None, &mut out).unwrap();
    let csv = String::from_utf8(out).unwrap();
    assert!(csv.starts_with("variant,run,time_s,metric,component,instance,value\n"));
    assert!(csv.contains("\nunprotected,0,-59,\"requests_total{outcome=\"\"fresh\"\"}\",readers,,"));
    assert!(csv.contains("\nseawall,0,1,cache_entries,redis,3,"));
    let rows = csv
        .lines()
        .filter(|line| line.contains(",origin_requests_total,db,,"))
        .count();
    assert_eq!(rows, 5 * 100);
    let mut longer = Vec::new();
    series_csv(&report, Some(Span::secs(10)), &mut longer).unwrap();
    let longer = String::from_utf8(longer).unwrap();
    let rows = longer
        .lines()
        .filter(|line| line.contains(",origin_requests_total,db,,"))
        .count();
    assert_eq!(rows, 5 * 10);
}

#[test]
fn openmetrics_keeps_families_together_and_ends() {
    let mut out = Vec::new();
    openmetrics(&fixture::redis_down(2, 100), None, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("\n# EOF\n"));
    assert!(text.contains("# TYPE cache_hits counter\n"));
    assert!(text.contains("# UNIT request_duration_seconds seconds\n"));
    let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let mut unique = types.clone();
    unique.dedup();
    assert_eq!(types, unique);
    // A counter never falls.
    let start = "origin_requests_total{variant=\"seawall\",run=\"1\",component=\"db\"} ";
    let values: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix(start))
        .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(values.len() == 100 && values.windows(2).all(|pair| pair[0] <= pair[1]));
    assert!(text.contains(" 978307200\n"), "zero is at 2001-01-01");
}

#[test]
fn the_page_is_one_small_file_that_asks_for_nothing() {
    let page = html(&fixture::redis_down(3, 1500));
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
    for asks in ["src=", "href=", "url(http", "@import", "fetch(", "XMLHttpRequest"] {
        assert!(!page.contains(asks), "{asks}");
    }
    assert_eq!(page, html(&fixture::redis_down(3, 1500)), "the same bytes");
    // For a look at it: SEAWALL_PAGES=/tmp cargo test -p seawall-report
    if let Ok(folder) = std::env::var("SEAWALL_PAGES") {
        std::fs::write(format!("{folder}/page3.html"), &page).unwrap();
        std::fs::write(
            format!("{folder}/page1.html"),
            html(&fixture::redis_down(1, 1500)),
        )
        .unwrap();
    }
}

#[test]
fn a_page_of_many_variants_and_runs_stays_small() {
    let mut report = fixture::redis_down(2, 3000);
    let copies = report.variants.clone();
    report
        .variants
        .extend(copies.iter().cloned().chain(copies.clone()));
    let page = html(&report);
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
}

#[test]
fn every_word_is_escaped() {
    let mut report = fixture::redis_down(1, 100);
    let evil = "</script><img onerror='x'>\"&";
    report.title = evil.into();
    report.variants[0].name = evil.into();
    report.variants[1].judged[1].that = evil.into();
    report.happenings[0].what = evil.into();
    let page = html(&report);
    assert!(!page.contains("<img"));
    assert_eq!(
        page.matches("</script>").count(),
        2,
        "only the page's own elements end"
    );
}

/// Debian's promtool is the judge, where it is installed.
#[test]
fn prometheus_takes_it_in() {
    let folder = std::env::temp_dir().join(format!("seawall-openmetrics-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("run.om");
    let mut out = Vec::new();
    openmetrics(&fixture::redis_down(1, 100), None, &mut out).unwrap();
    std::fs::write(&file, out).unwrap();
    let blocks = folder.join("blocks");
    let run = std::process::Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, &blocks])
        .output();
    let taken = run.as_ref().map(|output| output.status.success());
    let made = std::fs::read_dir(&blocks).map_or(0, Iterator::count);
    std::fs::remove_dir_all(&folder).unwrap();
    match taken {
        Ok(taken) => assert!(taken && made > 0, "{run:?}"),
        Err(error) => assert_eq!(
            error.kind(),
            std::io::ErrorKind::NotFound,
            "promtool is not installed"
        ),
    }
}
