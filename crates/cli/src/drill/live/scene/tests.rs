use super::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use seawall_core::time::{Span as Time, Time as Instant};
use seawall_scenario::Document;

fn scene() -> Scene {
    let text = r#"
        title = "the cache stands still"
        run = { duration = "20s", warmup = "5s" }
        client.web = { calls = "app", rate = "100/s", keys = { uniform = { count = 10 } } }
        service.app = { caches = ["redis"], origin = "db" }
        cache.redis = { ttl = "1h" }
        database.db = { service_time = "1ms" }
        timeline = [{ at = "5s", for = "10s", on = "redis", fault = "hang" }]
    "#;
    let document = Document::parse("still.toml", text).expect("a good document");
    let scenario = document.scenario("as-written", &[]).expect("a variant");
    Scene::new(
        "still.toml",
        &scenario,
        &seawall_drill::verdict::phases(&scenario),
    )
}

fn drawn(scene: &Scene) -> String {
    let mut terminal = Terminal::new(TestBackend::new(90, 20)).expect("it is in memory");
    terminal.draw(|frame| scene.draw(frame)).expect("it is in memory");
    terminal.backend().to_string()
}

fn period(at: f64, last: [u64; 6]) -> News {
    let progress = Progress {
        now: Instant::ZERO,
        in_flight: 3,
        ended: last,
        overruns: 0,
        last,
        p50: Time::millis(2),
        p99: Time::millis(40),
    };
    News::Period(at, vec![("web".to_owned(), progress)])
}

#[test]
fn what_is_in_force_is_told_until_it_is_over() {
    let mut scene = scene();
    scene.hear(&News::Stage("starting servers".into()));
    let text = drawn(&scene);
    assert!(
        text.contains("still.toml, as-written  starting servers"),
        "{text}"
    );
    assert!(
        text.contains("not begun") && text.contains("nothing is broken on purpose"),
        "{text}"
    );
    scene.hear(&News::Ready(vec!["one Redis".into()]));
    scene.hear(&period(6.0, [90, 0, 0, 10, 0, 0]));
    scene.hear(&News::Done(5.0, scene.lasting[0].clone()));
    let text = drawn(&scene);
    assert!(text.contains("! redis accepts and never answers"), "{text}");
    assert!(text.contains("6 s of 20 s") && text.contains("hang"), "{text}");
    assert!(
        text.contains("100/s, 90% answered well") && text.contains("p50 2.0 ms, p99 40.0 ms"),
        "{text}"
    );
    scene.hear(&News::Over(15.0, scene.lasting[0].clone()));
    let text = drawn(&scene);
    assert!(
        text.contains("nothing is broken on purpose") && text.contains("over: redis accepts"),
        "{text}"
    );
}

#[test]
fn a_wrong_answer_is_not_to_be_overlooked() {
    let mut scene = scene();
    scene.hear(&period(1.0, [90, 0, 2, 0, 0, 0]));
    assert!(drawn(&scene).contains("2 WRONG ANSWERS"));
}

#[test]
fn a_small_terminal_is_no_reason_to_fall() {
    let mut scene = scene();
    scene.hear(&period(1.0, [90, 0, 0, 0, 0, 0]));
    for size in [(1, 1), (10, 3), (30, 8)] {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("it is in memory");
        terminal.draw(|frame| scene.draw(frame)).expect("it is in memory");
    }
}
