fn main() {
    let args: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&args[1]).unwrap();
    let document = seawall_scenario::Document::parse("x", &text).unwrap_or_else(|w| panic!("{:?}", w.list()));
    let only = args.get(2).cloned().unwrap_or_default();
    let scale: Option<f64> = args.get(3).and_then(|s| s.parse().ok());
    let escale: Option<f64> = args.get(4).and_then(|s| s.parse().ok()).or(scale);
    let dump = args.get(5).cloned();
    for variant in document.variants() {
        let name = variant.to_string();
        if only != "all" && only != name {
            continue;
        }
        let scenario = document.scenario(&name, &[]).unwrap();
        let mut runs = Vec::new();
        for engine in [seawall_sim::Engine::Exact, seawall_sim::Engine::Aggregate] {
            let s = if engine == seawall_sim::Engine::Exact {
                escale
            } else {
                scale
            };
            if s == Some(0.0) {
                runs.push(None);
                continue;
            }
            let options = seawall_sim::Options {
                seed: 1,
                run: 0,
                scale: s.unwrap_or(scenario.run.scale),
                engine,
            };
            let t = std::time::Instant::now();
            match seawall_sim::simulate(&scenario, &options, &|_| ()) {
                Ok(run) => {
                    println!(
                        "{name} {engine}: {:.2?} requests {} events {}",
                        t.elapsed(),
                        run.requests,
                        run.events
                    );
                    runs.push(Some(run));
                }
                Err(e) => {
                    println!("{name} {engine}: {e}");
                    runs.push(None);
                }
            }
        }
        use seawall_core::record::Metric;
        let client = scenario.clients[0].name.clone();
        let mut shown: Vec<(Metric, String, Option<&str>)> = vec![(Metric::Goodput, client.clone(), None)];
        for d in &scenario.databases {
            shown.push((Metric::OriginRequests, d.name.clone(), None));
            shown.push((Metric::OriginConnections, d.name.clone(), None));
            shown.push((Metric::OriginDuration, d.name.clone(), Some("0.99")));
        }
        for c in &scenario.caches {
            shown.push((Metric::CacheHits, c.name.clone(), None));
            shown.push((Metric::CacheMisses, c.name.clone(), None));
        }
        for c in &scenario.services {
            shown.push((Metric::ThreadsBusy, c.name.clone(), None));
            shown.push((Metric::BreakerState, c.name.clone(), None));
        }
        for c in &scenario.gateways {
            shown.push((Metric::ThrottleRatio, c.name.clone(), None));
        }
        shown.push((Metric::RequestDuration, client.clone(), Some("0.99")));
        let full = dump.is_some();
        for (metric, of, label) in shown {
            let vals: Vec<Option<Vec<f64>>> = runs
                .iter()
                .map(|r| r.as_ref().map(|r| r.record.values(metric, &of, label)))
                .collect();
            let Some(n) = vals.iter().flatten().map(|v| v.len()).max() else {
                continue;
            };
            if n == 0 {
                continue;
            }
            let (lo, hi, step) = match &dump {
                Some(d) => {
                    let p: Vec<usize> = d.split(',').map(|x| x.parse().unwrap()).collect();
                    (p[0], p[1].min(n), p[2])
                }
                None => (0, n, n / 14),
            };
            println!("  {} {of} {:?}", metric.name(), label);
            for (i, v) in vals.iter().enumerate() {
                let Some(v) = v else { continue };
                let line: Vec<String> = v[lo..hi]
                    .chunks(step.max(1))
                    .map(|c| {
                        let ok: Vec<f64> = c.iter().copied().filter(|x| !x.is_nan()).collect();
                        let m = ok.iter().sum::<f64>() / ok.len() as f64;
                        if m >= 1000.0 {
                            format!("{:.4}k", m / 1000.0)
                        } else {
                            format!("{m:.3}")
                        }
                    })
                    .collect();
                println!("    {} {}", ["exact", "aggr "][i], line.join(" "));
            }
        }
        let _ = full;
        for (i, r) in runs.iter().enumerate() {
            if let Some(r) = r {
                let judged = scenario.judge(std::slice::from_ref(&r.record));
                println!(
                    "  {}: {}",
                    ["exact", "aggr "][i],
                    judged
                        .iter()
                        .map(|j| if j.met { "." } else { "X" })
                        .collect::<String>()
                );
                for j in judged {
                    if !j.met || i == 1 {
                        println!(
                            "     {} {} | wanted {} seen {}",
                            if j.met { "ok" } else { "XX" },
                            j.that,
                            j.wanted,
                            j.seen
                        );
                    }
                }
            }
        }
    }
}
