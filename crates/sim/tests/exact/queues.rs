//! Queues: Erlang, M/M/c/K, M/G/1, processor sharing, the universal scalability law, Little.
//!
//! Means are taken from gauges, which are read at fixed instants that know nothing of the arrivals, so their mean
//! over a run estimates the mean over time; a wait follows by Little's law. Services take a second on average.

use seawall_core::record::Metric;

use crate::support::{Estimate, mean, published, runs, scenario, share, sum};

/// Erlang B (1917): the share of calls that find all `c` servers taken, at `a` Erlang.
fn erlang_b(c: u32, a: f64) -> f64 {
    (1..=c).fold(1.0, |b, k| a * b / (f64::from(k) + a * b))
}

/// Erlang C (1917): the share of calls that wait.
fn erlang_c(c: u32, a: f64) -> f64 {
    let b = erlang_b(c, a);
    b / (1.0 - a / f64::from(c) * (1.0 - b))
}

/// M/M/c/K: the share of calls that find `k` in the system, and the mean number in it.
fn mmck(c: u32, k: u32, a: f64) -> (f64, f64) {
    let mut weights = vec![1.0];
    for n in 1..=k {
        weights.push(weights[n as usize - 1] * a / f64::from(n.min(c)));
    }
    let total: f64 = weights.iter().sum();
    let number: f64 = weights.iter().enumerate().map(|(n, w)| n as f64 * w).sum();
    (weights[k as usize] / total, number / total)
}

/// A service of `c` threads that is called at random; `more` says more about it. Gauges are read every 20 s, which
/// is about as long as a queue remembers.
fn station(duration: u32, rate: f64, threads: u32, more: &str) -> String {
    format!(
        r#"
        [run]
        duration = "{duration}s"
        warmup = "200s"
        every = "20s"
        [client.web]
        calls = "app"
        rate = "{rate}/s"
        keys = {{ uniform = {{ count = 10 }} }}
        [service.app]
        threads = {threads}
        {more}
        "#
    )
}

const EXPONENTIAL: &str = "service_time = { exponential = \"1s\" }";

#[test]
fn the_formulas_are_those_of_the_tables() {
    published("B(10, 8)", erlang_b(10, 8.0), 0.121_661, 1e-5);
    published("C(10, 8)", erlang_c(10, 8.0), 0.409_180, 1e-5);
    published("B(100, 90)", erlang_b(100, 90.0), 0.026_957, 2e-5);
    published("C(100, 90)", erlang_c(100, 90.0), 0.216_940, 1e-5);
    published("B(35, 80)", erlang_b(35, 80.0), 0.571_551, 1e-5);
    published("M/M/1/10 blocks", mmck(1, 10, 0.9).0, 0.050_814, 1e-5);
    published("M/M/1/10 holds", mmck(1, 10, 0.9).1, 3.969_44, 1e-5);
    published("M/M/35/36 blocks", mmck(35, 36, 80.0).0, 0.566_424, 1e-5);
}

#[test]
fn waits_are_those_of_erlang_c() {
    for (c, a, duration, width) in [
        (1_u32, 0.7, 60_000, 0.05),
        (10, 8.0, 16_000, 0.06),
        (100, 90.0, 5_000, 0.12),
    ] {
        let often = station(duration, a, c, EXPONENTIAL).replace("\"20s\"", "\"2s\"");
        let text = if c == 1 {
            station(duration, a, c, EXPONENTIAL)
        } else {
            often
        };
        let runs = runs(&scenario(&text), 20);
        let over = 0.0..f64::from(duration);
        let wait = erlang_c(c, a) / (f64::from(c) - a);
        let waited = Estimate::over(&runs, |record| {
            mean(record, Metric::QueueDepth, "app", over.clone()) / a
        });
        waited.agrees(&format!("the wait of M/M/{c} at {a}"), wait, width);
        let busy = Estimate::over(&runs, |record| {
            mean(record, Metric::ThreadsBusy, "app", over.clone())
        });
        busy.agrees(&format!("the servers of M/M/{c} at {a} that work"), a, 0.01);
        // An arrival finds what an instant finds, when arrivals are Poisson (Wolff, 1982).
        let all_busy = Estimate::over(&runs, |record| {
            let busy = &record.values(Metric::ThreadsBusy, "app", None)[record.window(over.start, over.end)];
            busy.iter().filter(|busy| **busy >= f64::from(c)).count() as f64 / busy.len() as f64
        });
        all_busy.agrees(
            &format!("the share of M/M/{c} at {a} that waits"),
            erlang_c(c, a),
            width,
        );
    }
}

#[test]
fn who_waits_waits_exponentially() {
    // P(W > t | W > 0) = e^(−(cμ−λ)t): one period as long as the run, so that its quantiles are those of the run.
    let text = station(12_000, 8.0, 10, EXPONENTIAL)
        .replace("\"200s\"", "\"12000s\"")
        .replace("\"20s\"", "\"12000s\"");
    let runs = runs(&scenario(&text), 20);
    for (label, q) in [("0.5", 0.5_f64), ("0.9", 0.9), ("0.99", 0.99)] {
        let waited = Estimate::over(&runs, |record| {
            record.values(Metric::QueueWait, "app", Some(label))[1]
        });
        waited.agrees(
            &format!("the {label} quantile of the wait"),
            -(1.0 - q).ln() / 2.0,
            0.08,
        );
    }
}

#[test]
fn who_finds_no_server_is_lost_as_by_erlang_b() {
    for (c, a, duration, width) in [
        (10, 8.0, 3_000, 0.03),
        (100, 90.0, 800, 0.1),
        (35, 80.0, 400, 0.01),
    ] {
        // Erlang's loss does not depend on the law of the service (Sevastyanov, 1957).
        for law in [EXPONENTIAL, "service_time = \"1s\""] {
            let runs = runs(
                &scenario(&station(duration, a, c, &format!("{law}\nqueue = 0"))),
                20,
            );
            let lost = Estimate::over(&runs, |record| {
                share(record, "web", "error", 0.0..f64::from(duration))
            });
            lost.agrees(&format!("B({c}, {a}) with {law}"), erlang_b(c, a), width);
        }
    }
}

#[test]
fn a_bounded_line_blocks_as_by_mmck() {
    for (c, k, a, duration, width) in [
        (1, 10, 0.9, 40_000, 0.06),
        (35, 36, 80.0, 400, 0.01),
        (4, 12, 5.0, 8_000, 0.03),
    ] {
        let queue = k - c;
        let text = station(duration, a, c, &format!("{EXPONENTIAL}\nqueue = {queue}"));
        let runs = runs(&scenario(&text), 20);
        let (blocked, inside) = mmck(c, k, a);
        let over = 0.0..f64::from(duration);
        let lost = Estimate::over(&runs, |record| share(record, "web", "error", over.clone()));
        lost.agrees(&format!("M/M/{c}/{k} at {a} blocks"), blocked, width);
        let held = Estimate::over(&runs, |record| {
            mean(record, Metric::InFlight, "app", over.clone())
        });
        held.agrees(&format!("M/M/{c}/{k} at {a} holds"), inside, 0.02);
    }
}

#[test]
fn waits_depend_on_the_variance_of_work_as_by_pollaczek_and_khinchine() {
    // A log-normal law with a squared coefficient of variation of 4 has σ² = ln 5; its mean is a second.
    let sigma = 5.0_f64.ln().sqrt();
    let median = (-0.5 * sigma * sigma).exp();
    let p99 = median * (2.326_347_874_040_841 * sigma).exp();
    let lognormal = format!(
        "service_time = {{ lognormal = {{ median = \"{}ns\", p99 = \"{}ns\" }} }}",
        (median * 1e9).round(),
        (p99 * 1e9).round()
    );
    // The positive half of a normal law, with half of the draws nothing: E = s/√(2π), cv² = π − 1.
    let deviation = (2.0 * std::f64::consts::PI).sqrt();
    let half_normal = format!(
        "service_time = {{ normal = {{ mean = \"0s\", deviation = \"{}ns\" }} }}",
        (deviation * 1e9).round()
    );
    let cases = [
        (
            "fixed",
            "service_time = \"1s\"".to_owned(),
            0.0,
            0.8,
            40_000,
            0.05,
        ),
        (
            "even",
            "service_time = { uniform = { min = \"0s\", max = \"2s\" } }".to_owned(),
            1.0 / 3.0,
            0.5,
            60_000,
            0.05,
        ),
        (
            "half normal",
            half_normal,
            std::f64::consts::PI - 1.0,
            0.7,
            60_000,
            0.08,
        ),
        ("log-normal", lognormal, 4.0, 0.8, 160_000, 0.09),
    ];
    for (name, law, cv2, rho, duration, width) in cases {
        let runs = runs(&scenario(&station(duration, rho, 1, &law)), 20);
        let waited = Estimate::over(&runs, |record| {
            mean(record, Metric::QueueDepth, "app", 0.0..f64::from(duration)) / rho
        });
        let truth = rho * (1.0 + cv2) / (2.0 * (1.0 - rho));
        waited.agrees(&format!("the wait for {name} work"), truth, width);
    }
}

/// A database node behind a service that adds nothing to it.
fn database(duration: u32, rate: f64, more: &str) -> String {
    let text = station(duration, rate, 1_000_000, "origin = \"db\"");
    format!("{text}\n[database.db]\n{more}")
}

#[test]
fn queries_share_a_node_whatever_their_law() {
    // M/G/1 under processor sharing: the number inside is geometric for every law of work (Kelly, 1979), so a query
    // of x seconds takes x/(1 − ρ).
    let laws = [
        "\"1s\"",
        "{ exponential = \"1s\" }",
        "{ uniform = { min = \"0s\", max = \"2s\" } }",
        "{ lognormal = { median = \"606530660ns\", p99 = \"6211000000ns\" } }",
    ];
    let rho = 0.6;
    for law in laws {
        let text = database(40_000, rho, &format!("service_time = {law}\ncapacity = \"1/s\""));
        let runs = runs(&scenario(&text), 20);
        let inside = Estimate::over(&runs, |record| {
            mean(record, Metric::OriginInFlight, "db", 0.0..40_000.0)
        });
        inside.agrees(&format!("queries of {law} inside"), rho / (1.0 - rho), 0.08);
        let idle = Estimate::over(&runs, |record| {
            let inside = &record.values(Metric::OriginInFlight, "db", None)[record.window(0.0, 40_000.0)];
            inside.iter().filter(|inside| **inside == 0.0).count() as f64 / inside.len() as f64
        });
        idle.agrees(&format!("idle time with queries of {law}"), 1.0 - rho, 0.04);
    }
}

#[test]
fn a_crowd_completes_what_the_scalability_law_says() {
    // Gunther, 2007. As many queries run as there are connections, because more always wait.
    let law = |n: f64| 1_000.0 * n / (1.0 + 0.02 * (n - 1.0) + 0.000_5 * n * (n - 1.0));
    published("X(44)", law(44.0), 15_681.0, 1e-4);
    published("X(200)", law(200.0), 8_039.0, 1e-4);
    assert!(law(44.0) > law(43.0) && law(44.0) > law(45.0), "44 is best");
    for n in [1, 10, 44, 200] {
        let exact = law(f64::from(n));
        let more = format!(
            "service_time = {{ exponential = \"1ms\" }}\nconnections = {n}\nqueue = 500\n\
             overload = {{ contention = 0.02, coherence = 0.0005 }}"
        );
        // Past the best, less than the best would be completed without ever crowding the node.
        let offered = if n > 44 { 17_000.0 } else { exact * 1.2 + 500.0 };
        let text = database(4, offered, &more)
            .replace("\"200s\"", "\"4s\"")
            .replace("\"20s\"", "\"4s\"");
        let runs = runs(&scenario(&text), 10);
        let completed = Estimate::over(&runs, |record| {
            sum(record, Metric::Goodput, "web", None, 0.0..4.0) / 4.0
        });
        completed.agrees(&format!("{n} queries together"), exact, 0.04);
    }
}

#[test]
fn little_holds_along_every_path() {
    // L = λW for each run by itself (Stidham, 1974): the time that calls spend inside, added up over calls, is the
    // number inside, added up over time. Periods are so short that few see two calls end, so quantiles tell each.
    let text = r#"
        [run]
        duration = "600s"
        warmup = "0s"
        every = "20ms"
        [client.web]
        calls = "app"
        rate = "4/s"
        schedule = [{ at = "580s", rate = "0/s" }]
        keys = { zipf = { count = 50, exponent = 1 } }
        [service.app]
        threads = 4
        service_time = { exponential = "200ms" }
        caches = ["redis"]
        origin = "db"
        [cache.redis]
        ttl = "5s"
        latency = { exponential = "100ms" }
        timeout = "250ms"
        [database.db]
        connections = 2
        service_time = { exponential = "300ms" }
        capacity = "4/s"
    "#;
    for run in runs(&scenario(text), 6) {
        let record = run.record;
        let ended = record.values(Metric::Requests, "web", None);
        let middle = record.values(Metric::RequestDuration, "web", Some("0.5"));
        let slowest = record.values(Metric::RequestDuration, "web", Some("0.99"));
        let spent: f64 = (0..ended.len())
            .filter(|period| ended[*period] > 0.0)
            .map(|period| ended[period] * (middle[period] + slowest[period]) / 2.0)
            .sum();
        let inside: f64 = record.values(Metric::InFlight, "app", None).iter().sum::<f64>() * 0.02;
        let last = record.values(Metric::InFlight, "app", None)[ended.len() - 1];
        assert!(last == 0.0, "all have left when the run ends");
        assert!(
            (spent / inside - 1.0).abs() < 0.005,
            "{spent} call-seconds, {inside} by the clock"
        );
        assert!(spent / ended.iter().sum::<f64>() > 0.2, "they took some time");
    }
}
