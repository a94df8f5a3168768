//! `seawall drill`: the same scenario on real servers, what was measured beside what was predicted.

use seawall_core::record::Record;
use seawall_drill::app::What;
use seawall_drill::run::{self, Ending, News, NoDrill, Order, Ran};
use seawall_drill::steady::Steady;
use seawall_drill::verdict::{self, Measure};
use seawall_scenario::{Document, Scenario};
use seawall_sim::{Engine, Options, replicate};

use crate::output::print;
use crate::playing::{judged, processors, setting, share};
use crate::simulate::variants_of;
use crate::source::document;
use crate::stop::Stop;

/// Drills a scenario: real servers, real faults, and what was measured beside what was predicted
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The scenario: a file, or the name of one that is built in
    #[arg(value_name = "NAME|FILE")]
    scenario: String,
    /// Only this variant; may be repeated [default: those that the scenario's `[drill]` names]
    #[arg(long, value_name = "NAME")]
    variant: Vec<String>,
    /// The share of the full size: 1, 0.01, 1/100 or 1% [default: the scenario's]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    scale: Option<f64>,
    /// The share of their time that slow things take [default: the scenario's]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    time: Option<f64>,
    /// With stand-ins in this process in the place of Redis and PostgreSQL
    #[arg(long)]
    embedded: bool,
    /// Changes the scenario, as if it were written there; may be repeated
    #[arg(long, value_name = "PATH=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
}

/// Drills the variants, one after the other.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, Stop> {
    let document = document(&arguments.scenario)?;
    let program = std::env::current_exe()
        .map_err(|error| Stop::Failed(format!("failed to find out what program this is: {error}")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stop::Failed(format!("failed to start threads: {error}")))?;
    let mut held = true;
    for variant in chosen(&document, arguments)? {
        let what = what(&document, variant, arguments)?;
        let scenario = what.scenario()?;
        let predicted = predict(&scenario, what.scale)?;
        let order = Order {
            what,
            program: program.clone(),
            embedded: arguments.embedded,
        };
        let ran = runtime.block_on(drilled(&order))?;
        let near = ran.steady.applied(&scenario, &predicted, &ran.record);
        let nearer = Steady::of_clients(&near, &predict(&near, order.what.scale)?, &ran.record);
        let predicted = predict(&nearer, order.what.scale)?;
        held &= tell(&scenario, &predicted, &ran)?;
    }
    Ok(held)
}

fn chosen<'d>(document: &'d Document, arguments: &Arguments) -> Result<Vec<&'d str>, Stop> {
    let asked = variants_of(document, &arguments.variant)?;
    if !arguments.variant.is_empty() {
        return Ok(asked);
    }
    let Some(first) = asked.first() else { return Ok(asked) };
    let scenario = document.scenario(first, &[])?;
    let named = |name: &&str| scenario.drill.variants.is_empty() || scenario.drill.variants.iter().any(|known| known == name);
    Ok(asked.into_iter().filter(named).collect())
}

fn what(document: &Document, variant: &str, arguments: &Arguments) -> Result<What, Stop> {
    let sets: Vec<(&str, &str)> = arguments.set.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
    let scenario = document.scenario(variant, &sets)?;
    Ok(What {
        name: document.name().to_owned(),
        text: document.text().to_owned(),
        variant: variant.to_owned(),
        sets: arguments.set.clone(),
        time: arguments.time.unwrap_or(scenario.drill.time),
        scale: arguments.scale.or(scenario.drill.scale).unwrap_or(scenario.run.scale),
    })
}

fn predict(scenario: &Scenario, scale: f64) -> Result<Record, Stop> {
    let options = Options {
        seed: scenario.run.seed,
        run: 0,
        scale,
        engine: Engine::Exact,
    };
    let jobs = [(scenario.clone(), options)];
    let mut results = replicate(&jobs, processors(), &|_| {});
    match results.pop() {
        Some(Ok(run)) => Ok(run.record),
        Some(Err(refusal)) => Err(Stop::Failed(format!("failed to predict: {refusal}"))),
        None => Err(Stop::Failed("failed to predict".to_owned())),
    }
}

async fn drilled(order: &Order) -> Result<Ran, Stop> {
    let (sender, mut news) = tokio::sync::mpsc::unbounded_channel();
    let telling = tokio::spawn(async move {
        while let Some(told) = news.recv().await {
            line(&told);
        }
    });
    let ran = run::run(order, &sender).await;
    drop(sender);
    let _ = telling.await;
    ran.map_err(|error| match error {
        NoDrill::Scenario(mistakes) => Stop::Document(mistakes),
        NoDrill::Refused(why) => Stop::Input(format!("this cannot be drilled here: {why}"), "nothing was started".into()),
        error => Stop::Failed(error.to_string()),
    })
}

#[expect(clippy::print_stderr, reason = "a person watches")]
fn line(news: &News) {
    match news {
        News::Stage(what) => eprintln!("{what}"),
        News::Ready(parts) => eprintln!("ready: {}", parts.join("; ")),
        News::Period(..) => {}
        News::Done(clock, what) => eprintln!("{clock:7.2} s  {what}"),
        News::Over(clock, what) => eprintln!("{clock:7.2} s  over: {what}"),
        News::Trouble(why) => eprintln!("trouble: {why}"),
    }
}

fn tell(scenario: &Scenario, predicted: &Record, ran: &Ran) -> Result<bool, Stop> {
    use std::fmt::Write;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}: {:?}", scenario.variant, ran.ending);
    for client in &ran.clients {
        let _ = writeln!(text, "  {}: {} calls, {} wrong, lag p99 {} µs, failures {:?}", client.name, client.calls(), client.wrong(), client.lag.value_at_quantile(0.99) / 1000, client.failures);
    }
    if ran.ending == Ending::Whole {
        let phases = verdict::phases(scenario);
        let compared = verdict::compare(scenario, predicted, &ran.record);
        for one in &compared {
            let phase = &phases[one.phase];
            let scale = if one.measure.is_time() { 1e3 } else { 1.0 };
            let _ = writeln!(
                text,
                "  {:>12} {:6.1}..{:5.1} {:>11} {:>10}: predicted {:>10.1} measured {:>10.1}  {:5.1}%",
                phase.name, phase.from, phase.to, one.measure.name(), one.of, one.predicted * scale, one.measured * scale, 100.0 * one.error
            );
        }
        for measure in Measure::ALL {
            let _ = writeln!(text, "  mean error of {}: {:.1}%", measure.name(), 100.0 * verdict::mean_error(&compared, measure));
        }
        let before = judged(scenario, std::slice::from_ref(predicted));
        for (predicted, measured) in before.iter().zip(judged(scenario, std::slice::from_ref(&ran.record))) {
            let _ = writeln!(text, "  [{}|{}] {}: predicted {}, measured {} (wanted {})", if predicted.met { "ok" } else { "--" }, if measured.met { "ok" } else { "NO" }, measured.that, predicted.seen, measured.seen, measured.wanted);
        }
    }
    for seen in &ran.evidence {
        let _ = writeln!(text, "  evidence: {seen}");
    }
    for left in ran.left.iter().chain(&ran.troubles) {
        let _ = writeln!(text, "  !! {left}");
    }
    print(&text)?;
    Ok(ran.ending == Ending::Whole && ran.left.is_empty())
}
