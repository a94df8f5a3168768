//! The runs that are diagnosed.

use std::path::Path;

use seawall_scenario::{AS_WRITTEN, Document, Scenario};

/// A run.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
}

fn documents(root: &Path) -> Vec<(String, Document)> {
    let folder = std::fs::read_dir(root.join("scenarios")).expect("the scenarios are there");
    let mut paths: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = paths.into_iter().map(|path| {
        let name = path
            .file_stem()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&path).expect("a scenario is a text");
        let document = Document::parse(&name, &text).expect("a scenario that comes with Seawall is right");
        (name, document)
    });
    read.collect()
}

fn variants(document: &Document) -> Vec<String> {
    let names: Vec<String> = document.variants().into_iter().map(str::to_owned).collect();
    if names.is_empty() {
        vec![AS_WRITTEN.to_owned()]
    } else {
        names
    }
}

/// Every variant of every scenario that comes with Seawall.
pub(crate) fn shipped(root: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, document) in documents(root) {
        for variant in variants(&document) {
            cases.push(Case {
                scenario: document.scenario(&variant, &[]).expect("it is right"),
                name: format!("{name}/{variant}"),
                seed: 1,
            });
        }
    }
    cases
}

/// A shop: a cache with nine hits in ten, a database with room for four times the misses.
const SHOP: &str = r#"
    [run]
    duration = "2m"
    warmup = "40s"
    prefilled = true

    [client.web]
    calls = "app"
    rate = "500/s"
    writes = "1%"
    keys = { zipf = { count = 20000, exponent = 0.9 } }
    timeout = "1s"
    SCHEDULE

    [service.app]
    instances = 4
    threads = 24
    queue = 100
    service_time = "1ms"
    caches = ["redis"]
    origin = "db"

    [cache.redis]
    ttl = "5m"
    latency = "600us"
    timeout = "200ms"

    [database.db]
    connections = 20
    service_time = { exponential = "20ms" }
    capacity = "400/s"
    timeout = "1s"

    [protect.coalesce]
"#;

/// Every fault of the vocabulary, on the part that it is about.
const FAULTS: &[(&str, &str)] = &[
    ("redis", "\"kill\""),
    ("redis", "\"hang\""),
    ("redis", "\"pause\""),
    ("redis", "{ latency = { add = \"100ms\", jitter = \"20ms\" } }"),
    ("redis", "{ bandwidth = { rate = \"60kb/s\" } }"),
    ("redis", "\"partition\""),
    ("redis", "\"refuse\""),
    ("redis", "\"reset\""),
    ("redis", "{ loss = { share = \"40%\" } }"),
    ("redis", "{ far_region = { add = \"80ms\" } }"),
    ("redis", "\"never_stored\""),
    ("redis", "\"out_of_memory\""),
    ("redis", "\"too_many_clients\""),
    ("redis", "{ slow = { factor = 150 } }"),
    ("redis", "\"loading\""),
    ("redis", "\"read_only\""),
    ("redis", "{ starve = { share = \"99%\" } }"),
    ("redis", "\"disk_full\""),
    ("redis", "\"flush\""),
    ("redis", "\"replace\""),
    ("redis", "{ expire = { share = \"80%\" } }"),
    ("redis", "{ corrupt = { share = \"30%\" } }"),
    ("web", "{ spike = { factor = 8 } }"),
    ("web", "{ hot_key = { share = \"60%\" } }"),
    ("web", "{ penetration = { share = \"70%\" } }"),
    ("db", "\"kill\""),
    ("db", "\"hang\""),
    ("db", "\"lock\""),
    ("db", "{ slow_query = { factor = 15 } }"),
    ("db", "{ connections = { max = 1 } }"),
    ("db", "{ latency = { add = \"300ms\" } }"),
    ("app", "{ crash = { instances = 3 } }"),
    ("app", "{ starve = { share = \"99%\" } }"),
];

const SEEDS: u64 = 3;

/// Every fault of the vocabulary, on a system of its own, with three seeds.
pub(crate) fn vocabulary() -> Vec<Case> {
    let mut cases = Vec::new();
    for (on, fault) in FAULTS {
        let instant = ["flush", "replace", "expire", "corrupt"]
            .iter()
            .any(|word| fault.contains(word));
        let lasts = if instant { "" } else { "for = \"45s\"\n" };
        let event = format!("[[timeline]]\nat = \"0s\"\n{lasts}on = \"{on}\"\nfault = {fault}\n");
        let text = format!("{}\n{event}", SHOP.replace("SCHEDULE", ""));
        let document = Document::parse("shop", &text).unwrap_or_else(|wrong| panic!("{fault}: {wrong:?}"));
        for seed in 1..=SEEDS {
            cases.push(Case {
                name: format!("shop, {on} {fault}, seed {seed}"),
                scenario: document.scenario(AS_WRITTEN, &[]).expect("it is right"),
                seed,
            });
        }
    }
    cases
}

/// A hundred runs in which nothing is the matter: scenarios of Seawall without what happens in them, and a shop that is
/// merely busy: waves, evenings, campaigns that it has room for.
pub(crate) fn calm(root: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, document) in documents(root) {
        let variant = variants(&document).swap_remove(0);
        if !document
            .scenario(&variant, &[])
            .expect("it is right")
            .run
            .prefilled
        {
            // It begins with an empty cache, whose entries then expire together: something is the matter.
            continue;
        }
        for seed in 11..=12 {
            let mut scenario = document.scenario(&variant, &[]).expect("it is right");
            scenario.timeline.clear();
            cases.push(Case {
                name: format!("{name} without its failure, seed {seed}"),
                scenario,
                seed,
            });
        }
    }
    let schedules = [
        "",
        "schedule = [{ at = \"0s\", rate = \"700/s\", over = \"20s\" }]",
        "schedule = [{ at = \"10s\", rate = \"900/s\", over = \"40s\" }, { at = \"80s\", rate = \"400/s\", over = \"20s\" }]",
        "schedule = [{ at = \"0s\", rate = \"800/s\" }, { at = \"30s\", rate = \"500/s\" }, { at = \"60s\", rate = \"800/s\" }]",
        "schedule = [{ at = \"5s\", rate = \"250/s\", over = \"10s\" }, { at = \"60s\", rate = \"750/s\", over = \"10s\" }]",
        "schedule = [{ at = \"0s\", rate = \"1k/s\", over = \"60s\" }]",
        "schedule = [{ at = \"20s\", rate = \"100/s\", over = \"10s\" }]",
    ];
    let mut seed = 100;
    while cases.len() < 104 {
        let schedule = schedules[seed as usize % schedules.len()];
        let text = SHOP.replace("SCHEDULE", schedule);
        let document = Document::parse("busy", &text).unwrap_or_else(|wrong| panic!("{schedule}: {wrong:?}"));
        cases.push(Case {
            name: format!("merely busy, seed {seed}"),
            scenario: document.scenario(AS_WRITTEN, &[]).expect("it is right"),
            seed,
        });
        seed += 1;
    }
    cases
}
