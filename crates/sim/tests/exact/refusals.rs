//! What cannot be played is refused in one sentence that says why, and nothing is played in its place.

use seawall_scenario::Document;
use seawall_sim::{Engine, Options, simulate};

const HEAD: &str = r#"
title = "refused"
[run]
duration = "1s"
[client.users]
calls = "app"
rate = "10/s"
keys = { uniform = { count = 10 } }
[service.app]
caches = ["near"]
origin = "db"
[database.db]
service_time = "1ms"
"#;

fn refusal(tail: &str, scale: f64) -> String {
    let document = Document::parse("refused.toml", &format!("{HEAD}{tail}")).expect("a good document");
    let scenario = document.scenario("as-written", &[]).expect("a variant");
    let options = Options {
        seed: 1,
        run: 0,
        scale,
        engine: Engine::Exact,
    };
    simulate(&scenario, &options, &|_| {})
        .expect_err("refused")
        .to_string()
}

#[test]
fn a_local_cache_cannot_hang_by_itself() {
    let tail = "[cache.near]\nkind = \"local\"\n[[timeline]]\nat = \"0s\"\non = \"near\"\nfault = \"hang\"";
    let said = refusal(tail, 1.0);
    assert!(
        said.contains("`cache.near` is each instance's own memory"),
        "{said}"
    );
}

#[test]
fn spare_nodes_are_refused_and_not_ignored() {
    let said = refusal("[cache.near]\ngutter = 1", 1.0);
    assert!(said.contains("`cache.near.gutter`"), "{said}");
}

#[test]
fn a_scale_is_a_share() {
    let said = refusal("[cache.near]", 1.5);
    assert!(said.contains("the scale is 1.5"), "{said}");
}
