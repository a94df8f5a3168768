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
    assert!((plain.run.scale - 1.0 / 400.0).abs() < 1e-12);
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
    assert!((scenario.clients[0].rate - 5_000.0).abs() < 1e-9);
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
fn a_setting_of_a_component_that_is_not_there_names_the_nearest() {
    let document = Document::parse("redis-down.toml", REDIS_DOWN).unwrap();
    let said = |path: &str| {
        let mistakes = document.scenario("breaker", &[(path, "1")]).unwrap_err();
        let all = mistakes.list();
        assert_eq!(all.len(), 1, "one mistake, one answer: {all:?}");
        (all[0].message.clone(), all[0].help.clone().unwrap())
    };
    let (message, help) = said("client.wbe.rate");
    assert_eq!(message, "there is no client called `wbe`");
    assert_eq!(help, "did you mean `web`?");
    let (_, help) = said("cache.memcached-of-old.nodes");
    assert_eq!(help, "use `redis`");
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

const SMALL: &str = r#"
[run]
duration = "10m"
[client.web]
calls = "door"
rate = "100/s"
keys = { zipf = { count = 100, exponent = 1 } }
[gateway.door]
calls = "app"
[service.app]
caches = ["l1", "redis"]
origin = "api"
[service.api]
service_time = "5ms"
[cache.l1]
kind = "local"
ttl = "1s"
[cache.redis]
nodes = 4
entry_size = "1kb"
maxmemory = "64kb"
capacity = 100
[protect]
throttle = {}
queue = { places = 5, at = ["api"] }
coalesce = { window = "1s" }
breaker = { failures = 5, window = "10s", at = ["app", "api"] }
rate = { rate = "500/s" }
"#;

#[test]
fn protections_stand_where_they_belong() {
    let text = format!(
        "{SMALL}\n[variant.on]\n[variant.off]\nprotect.coalesce.on = false\nprotect.rate = {{ adaptive = {{ min = \"10/s\", max = \"1k/s\" }} }}\n"
    );
    let document = Document::parse("small", &text).unwrap_or_else(|wrong| panic!("{:?}", wrong.list()));
    let on = document.scenario("on", &[]).unwrap();
    let (door, app, api) = (Place::Gateway(0), Place::Service(0), Place::Service(1));
    let has = |place| {
        let policies = on.policies(place);
        [
            policies.throttle.is_some(),
            policies.queue.is_some(),
            policies.coalesce.is_some(),
            policies.breaker.is_some(),
        ]
    };
    assert_eq!(has(door), [true, false, false, false]);
    assert_eq!(has(app), [false, false, true, true]);
    assert_eq!(has(api), [false, true, false, true]);
    assert!(
        (on.policies(door).rate.unwrap().burst - 50.0).abs() < 1e-9,
        "a tenth of a second's worth"
    );
    let off = document.scenario("off", &[]).unwrap();
    assert!(off.policies(app).coalesce.is_none());
    let rate = off.policies(door).rate.unwrap();
    assert!((rate.rate - 500.0).abs() < 1e-9 && rate.adaptive.is_some());
    assert_eq!(on.services[0].caches, [0, 1]);
    assert_eq!(on.caches[1].entries_max(), Some(64));
}

#[test]
fn a_variant_replaces_what_it_says_otherwise() {
    let text = format!(
        "{SMALL}\n[variant.even]\nclient.web.keys = {{ uniform = 5 }}\nservice.api.service_time = {{ exponential = \"1ms\" }}\n\
         cache.redis.maxmemory = \"none\"\n[variant.flat]\nclient.web.keys = {{ zipf = {{ exponent = 0 }} }}\n"
    );
    let document = Document::parse("small", &text).unwrap_or_else(|wrong| panic!("{:?}", wrong.list()));
    let even = document.scenario("even", &[]).unwrap();
    assert_eq!(even.clients[0].keys, Keys::Uniform { count: 5 });
    assert_eq!(even.caches[1].entries_max(), Some(100));
    let flat = document.scenario("flat", &[]).unwrap();
    assert_eq!(
        flat.clients[0].keys,
        Keys::Zipf {
            count: 100,
            exponent: 0.0
        },
        "the count is still the document's"
    );
}

#[test]
fn what_happens_is_in_order_of_time_and_remembers() {
    let text = format!(
        "{SMALL}\n[[timeline]]\nat = \"3m\"\naction = {{ protect = {{ coalesce = {{}}, breaker = {{ probes = 2 }} }} }}\n\
         [[timeline]]\nat = \"2m\"\naction = {{ unprotect = [\"coalesce\"] }}\n\
         [[timeline]]\nat = \"1m\"\naction = {{ protect = {{ breaker = {{ failures = 9 }} }} }}\n\
         [[timeline]]\nat = \"1m\"\non = \"redis\"\nnodes = \"1-2\"\nfor = \"5s\"\nfault = {{ latency = \"200ms\" }}\n"
    );
    let document = Document::parse("small", &text).unwrap_or_else(|wrong| panic!("{:?}", wrong.list()));
    let scenario = document.scenario(seawall_scenario::AS_WRITTEN, &[]).unwrap();
    let at: Vec<u64> = scenario
        .timeline
        .iter()
        .map(|event| event.at.as_nanos() / 60_000_000_000)
        .collect();
    assert_eq!(at, [1, 1, 2, 3]);
    assert_eq!(scenario.timeline[1].nodes, Some(vec![1, 2]));
    assert_eq!(
        scenario.describe(&scenario.timeline[1]),
        "calls to nodes 1–2 of redis take 200ms longer"
    );
    let seawall_scenario::What::Action(seawall_scenario::Action::Protect(last)) = &scenario.timeline[3].what
    else {
        panic!("{:?}", scenario.timeline);
    };
    let settings: Vec<&Setting> = last.iter().map(|protection| &protection.setting).collect();
    let [Setting::Breaker(breaker), Setting::Coalesce(coalesce)] = settings[..] else {
        panic!("{settings:?}");
    };
    assert_eq!(
        coalesce.window,
        Span::ZERO,
        "what was switched off comes back with defaults"
    );
    assert_eq!(
        (breaker.failures, breaker.probes),
        (9, 2),
        "what was tuned before is kept"
    );
}

#[test]
fn what_was_prepared_and_off_is_switched_on_as_prepared() {
    let text = format!(
        "{}\n[[timeline]]\nat = \"1m\"\naction = {{ protect = {{ coalesce = {{}} }} }}\n",
        SMALL.replace("{ window = \"1s\" }", "{ window = \"1s\", on = false }")
    );
    let document = Document::parse("small", &text).unwrap_or_else(|wrong| panic!("{:?}", wrong.list()));
    let scenario = document.scenario(seawall_scenario::AS_WRITTEN, &[]).unwrap();
    let mut policies = scenario.policies(Place::Service(0));
    assert!(policies.coalesce.is_none());
    if let seawall_scenario::What::Action(seawall_scenario::Action::Protect(list)) =
        &scenario.timeline[0].what
    {
        for protection in list {
            protection.setting.apply(&mut policies);
        }
    }
    assert_eq!(
        policies.coalesce.map(|coalesce| coalesce.window),
        Some(Span::secs(1))
    );
}
