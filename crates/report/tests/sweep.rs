//! What a sweep and the limits of a system look like in each of their forms.

use seawall_report::class::Class;
use seawall_report::figures::{Column, Figures};
use seawall_report::limits::{self, Aim, Limits, Line, Probe, Scan, Trial, Turn};
use seawall_report::sweep::{Axis, Sweep, csv, html, json, text};

fn figures(class: Class, goodput: f64) -> Figures {
    Figures {
        class,
        goodput_before: 1.0,
        goodput_during: goodput,
        goodput_after: goodput,
        recovery_s: if class == Class::NeverRecovers {
            f64::NAN
        } else {
            12.0
        },
        origin: "postgres".into(),
        origin_peak_per_s: 1e6 * goodput,
        origin_peak_ratio: goodput * 2.0,
        requests: 1_000_000,
        engine: "exact".into(),
        ..Figures::default()
    }
}

/// Three rates by two TTLs, two variants; the worse the faster.
fn sweep() -> Sweep {
    let axis = |path: &str, values: &[&str], numbers: &[f64]| Axis {
        path: path.into(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        numbers: numbers.to_vec(),
    };
    let rows = (0..6).flat_map(|point| {
        let plain = match point % 3 {
            0 => figures(Class::Holds, 1.0),
            1 => figures(Class::Degrades, 0.6),
            _ if point > 3 => figures(Class::Ill, 0.01),
            _ => figures(Class::NeverRecovers, 0.05),
        };
        [plain, figures(Class::Holds, 0.97)]
    });
    Sweep {
        title: "Redis <goes> down".into(),
        about: "A million reads a second.".into(),
        file: "redis-down".into(),
        axes: vec![
            axis(
                "client.readers.rate",
                &["500k/s", "1M/s", "2M/s"],
                &[5e5, 1e6, 2e6],
            ),
            axis("cache.redis.sharding", &["ring", "modulo"], &[]),
        ],
        variants: vec!["unprotected".into(), "sea,wall".into()],
        settings: vec!["run.seed = 7".into()],
        seed: 7,
        runs: 1,
        scale: 0.001,
        rows: rows.collect(),
    }
}

#[test]
fn the_text_has_a_map() {
    insta::assert_snapshot!(text(&sweep(), 100));
}

#[test]
fn the_page_has_a_map_without_a_script() {
    let page = html(&sweep());
    let start = page.find("<main>").unwrap();
    let end = page.find("</main>").unwrap();
    let body = page[start..end].replace("><", ">\n<");
    insta::assert_snapshot!(body);
    assert!(page.contains("Redis &lt;goes&gt; down") && !page.contains("Redis <goes>"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "the page asks for nothing: {outside}");
    }
}

#[test]
fn a_page_with_a_third_axis_shows_one_slice_of_it() {
    let mut sweep = sweep();
    sweep.axes.push(Axis {
        path: "client.readers.retries".into(),
        values: vec!["0".into(), "3".into()],
        numbers: vec![0.0, 3.0],
    });
    sweep.rows = sweep.rows.iter().chain(&sweep.rows).cloned().collect();
    let page = html(&sweep);
    assert_eq!(page.matches("role=\"gridcell\"").count(), 6 * 2);
    assert!(page.contains("<span class=\"slice\" data-axis=\"client.readers.retries\">0</span>"));
    assert_eq!(sweep.place(11), [2, 1, 1]);
}

#[test]
fn the_table_has_a_row_for_each_variant_at_each_point() {
    let mut out = Vec::new();
    csv(&sweep(), &mut out).unwrap();
    let table = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 1 + 6 * 2);
    assert!(lines[0].starts_with("point,variant,client.readers.rate,cache.redis.sharding,class,met,"));
    assert!(
        lines[10].starts_with("4,\"sea,wall\",1000000,modulo,holds,"),
        "{}",
        lines[10]
    );
    let value: serde_json::Value = serde_json::from_str(&json(&sweep())).unwrap();
    assert_eq!(value["rows"][4]["class"], "never_recovers");
    assert!(value["rows"][4]["recovery_s"].is_null());
    assert_eq!(value["rows"][11]["client.readers.rate"], 2e6);
}

fn probe(factor: f64, class: Class, goodput: f64) -> Probe {
    Probe {
        factor,
        words: format!("{}/s", limits::number(280.0 * factor)),
        figures: figures(class, goodput),
    }
}

fn found() -> Limits {
    let turn = |line, better, worse| Turn { line, better, worse };
    Limits {
        title: "A retry storm".into(),
        file: "retry-storm".into(),
        variant: "unprotected".into(),
        seed: 1,
        runs: 3,
        scale: 1.0,
        tolerance: 0.05,
        rate: 280.0,
        as_written: figures(Class::NeverRecovers, 0.0),
        traffic: Scan {
            probes: vec![
                probe(0.25, Class::Holds, 1.0),
                probe(0.5, Class::Degrades, 0.7),
                probe(0.52, Class::NeverRecovers, 0.0),
                probe(0.6, Class::Degrades, 0.4),
                probe(1.0, Class::NeverRecovers, 0.0),
                probe(1.1, Class::Ill, 0.0),
            ],
            turns: vec![
                turn(Line::Worse(Class::Degrades), Some(0.25), Some(0.5)),
                turn(Line::Worse(Class::NeverRecovers), Some(0.5), Some(0.52)),
                turn(Line::Worse(Class::Ill), Some(1.0), Some(1.1)),
            ],
        },
        tried_at: 1.0,
        aim: Aim::Recover,
        unprotected: figures(Class::NeverRecovers, 0.0),
        trials: vec![
            Trial {
                settings: vec![("protect.limit".into(), "{ max = 20 }".into())],
                enough: true,
                figures: figures(Class::Degrades, 0.9),
            },
            Trial {
                settings: vec![("protect.hot".into(), "{}".into())],
                enough: false,
                figures: figures(Class::NeverRecovers, 0.1),
            },
        ],
        unfit: vec![("queue".into(), "there is no door".into())],
        loosest: vec![limits::Loosest {
            name: "limit".into(),
            tried: "max = 20".into(),
            enough: "max = 160".into(),
            not_enough: Some("max = 320".into()),
            mixed: false,
        }],
        database: Some(Scan {
            probes: vec![
                probe(1.0, Class::NeverRecovers, 0.0),
                probe(2.0, Class::Degrades, 0.9),
            ],
            turns: vec![turn(Line::Fails(Aim::Recover), Some(2.0), Some(1.0))],
        }),
        database_words: "db good for 300/s".into(),
        unfinished: vec!["how much database is needed".into()],
        played: 141,
        engines: vec!["exact".into()],
    }
}

#[test]
fn the_limits_begin_with_the_verdict() {
    insta::assert_snapshot!(limits::text(&found(), 100));
}

#[test]
fn what_is_not_monotone_is_said() {
    let value: serde_json::Value = serde_json::from_str(&limits::json(&found())).unwrap();
    assert_eq!(value["traffic"]["monotone"], false);
    assert_eq!(value["database"]["monotone"], true);
    assert_eq!(value["traffic"]["limits"][1]["worse_at_factor"], 0.52);
    assert_eq!(value["protections"]["are_enough"][0], "limit");
}

/// The guide's table of columns is written from the columns themselves.
#[test]
fn the_guide_names_every_column() {
    const BEGIN: &str = "<!-- columns -->\n";
    const END: &str = "<!-- end of columns -->";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sweep.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let start = guide.find(BEGIN).unwrap() + BEGIN.len();
    let end = guide.find(END).unwrap();
    let row = |column: &Column| format!("| `{}` | {} |\n", column.name, column.about.trim());
    let rows: String = Figures::COLUMNS.iter().map(row).collect();
    let table = format!("| column | what it holds |\n| --- | --- |\n{rows}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, format!("{}{table}{}", &guide[..start], &guide[end..])).unwrap();
        return;
    }
    assert_eq!(
        &guide[start..end],
        table,
        "docs/sweep.md is stale: run this test with UPDATE=1"
    );
}

/// The script runs in a real browser: it offers the figures, and repaints a map when one is chosen.
#[test]
fn a_browser_repaints_the_map() {
    let folder = std::env::temp_dir().join(format!("seawall-map-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let choose = "<script>const s = document.querySelector('#tools select'); s.value = '0'; \
                  s.dispatchEvent(new Event('change')); \
                  document.querySelectorAll('[role=gridcell]')[3].focus();</script></body>";
    let page = folder.join("page.html");
    std::fs::write(&page, html(&sweep()).replace("</body>", choose)).unwrap();
    let output = std::process::Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .args(["--timeout=20000", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium is there: ./test installs it");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    // A leftover folder in the temporary one hurts nobody.
    let _ = std::fs::remove_dir_all(&folder);
    assert_eq!(dom.matches("<option").count(), 14, "{dom}");
    assert!(dom.contains("aria-label=\"goodput during the fault 60%\"") && dom.contains(">60</div>"));
    assert!(
        dom.contains("<b>unprotected: holds</b><br>client.readers.rate = 500k/s"),
        "told"
    );
}
