//! Documents that are right, and what is read from them.

use seawall_core::time::Span;
use seawall_scenario::{Document, Keys, Place, Setting};

const REDIS_DOWN: &str = include_str!("fixtures/redis-down.toml");

#[test]
fn the_example_is_read_in_all_its_variants() {
    let document = Document::parse("redis-down.toml", REDIS_DOWN).unwrap_or_else(|mistakes| {
        panic!("{:?}", mistakes.list());
    });
    assert_eq!(
        document.variants(),
        ["unprotected", "breaker", "breaker-and-throttle"]
    );
    let plain = document.scenario("unprotected", &[]).unwrap();
    assert_eq!(plain.variant_about, "nothing on");
    assert_eq!(plain.clients[0].calls, Place::Gateway(0));
    assert_eq!(
        plain.clients[0].keys,
        Keys::Zipf {
            count: 1_000_000,
            exponent: 0.9
        }
    );
    assert_eq!(plain.databases[0].nodes(), 16);
    assert_eq!(plain.run.scale, 1.0 / 400.0);
    assert!(plain.policies(Place::Service(0)).breaker.is_none());
    assert_eq!(plain.expects.len(), 2);
    let both = document.scenario("breaker-and-throttle", &[]).unwrap();
    assert_eq!(both.expects.len(), 3);
    assert_eq!(both.policies(Place::Service(0)).breaker.unwrap().failures, 5);
    assert!(both.policies(Place::Service(0)).throttle.is_none());
    assert_eq!(
        both.policies(Place::Gateway(0)).throttle.unwrap().latency,
        Some(Span::millis(100))
    );
    assert_eq!(both.policies(Place::Service(0)).limit.unwrap().initial, 20);
}

#[test]
fn settings_from_the_command_line_are_laid_over_everything() {
    let document = Document::parse("redis-down.toml", REDIS_DOWN).unwrap();
    let sets = [
        ("protect.breaker.failures", "3"),
        ("client.web.rate", "5k/s"),
        ("protect.coalesce.window", "\"1s\""),
        ("timeline.0.for", "10m"),
    ];
    let scenario = document.scenario("breaker", &sets).unwrap();
    assert_eq!(scenario.clients[0].rate, 5_000.0);
    assert_eq!(scenario.timeline[0].for_, Some(Span::secs(600)));
    let policies = scenario.policies(Place::Service(0));
    assert_eq!(policies.breaker.unwrap().failures, 3);
    assert_eq!(policies.coalesce.unwrap().window, Span::secs(1));

    let mistakes = document
        .scenario(
            "breaker",
            &[("protect.braker.failures", "3"), ("client.web.rate", "fast")],
        )
        .unwrap_err();
    let said: Vec<(&str, &str, &str)> = mistakes
        .list()
        .iter()
        .map(|mistake| {
            let text = mistake.source.inner();
            (
                mistake.source.name(),
                &text[mistake.span.clone()],
                mistake.help.as_deref().unwrap_or(""),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("--set", "braker", "did you mean `breaker`?"),
            ("--set", "fast", "write it as \"200/s\""),
        ]
    );
    assert!(
        document.scenario("braker", &[]).unwrap_err().list()[0]
            .help
            .as_deref()
            .unwrap()
            .contains("breaker")
    );
}

#[test]
fn an_action_tunes_what_was_there() {
    let text = format!(
        "{REDIS_DOWN}\n[[variant.breaker.timeline]]\nat = \"1m\"\naction = {{ protect = {{ breaker = {{ open_for = \"9s\" }} }} }}\n"
    );
    let document = Document::parse("redis-down.toml", &text).unwrap();
    let scenario = document.scenario("breaker", &[]).unwrap();
    let seawall_scenario::What::Action(seawall_scenario::Action::Protect(protections)) =
        &scenario.timeline[1].what
    else {
        panic!("the action at 1m is the second event: {:?}", scenario.timeline);
    };
    let Setting::Breaker(breaker) = &protections[0].setting else {
        panic!("{protections:?}");
    };
    assert_eq!((breaker.failures, breaker.open_for), (5, Span::secs(9)));
}
