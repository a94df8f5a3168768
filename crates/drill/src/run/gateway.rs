//! A gateway of the scenario as a real one: its document is written from the scenario's tables.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use seawall_core::policies::Policies;
use seawall_core::shed::Priority;
use seawall_scenario::{Place, ProtectionName};
use serde_json::Value;
use tokio::time::Instant;

use super::system::{Gate, System, keeping};
use super::{NoDrill, Order, asking};
use crate::keeper::Program;
use crate::stack::free_port;

/// It serves within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// As many as it bears, where the scenario says nothing.
const CONCURRENCY: u32 = 30_000;
/// Failures after which an instance is left out: the scenario's gateway leaves none out.
const NEVER: u32 = 1_000_000_000;
/// Connections to each instance, so that it is the instance's line that is waited in.
const POOL: u32 = 4_000;

/// Starts one and waits until it serves.
pub(super) async fn start(order: &Order, system: &System, at: usize) -> Result<Gate, NoDrill> {
    let name = &system.scaled.scenario.gateways[at].name;
    let failed = |why: &dyn std::fmt::Display| NoDrill::Failed(format!("failed to start `{name}`: {why}"));
    let port = || free_port().map_err(|error| failed(&error));
    let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let (listen, admin) = (local(port()?), local(port()?));
    let file = system.keeper.folder().join(format!("{name}.toml"));
    std::fs::write(&file, document(system, at, listen, admin)).map_err(|error| failed(&error))?;
    let program = Program {
        name: name.clone(),
        file: order.program.clone(),
        args: vec!["gateway".into(), "--config".into(), file.display().to_string()],
        env: [("SEAWALL_LOG".to_owned(), "warn".to_owned())].into(),
        address: Some(listen),
        ..Program::default()
    };
    let pid = keeping(|| system.keeper.run(&program))?;
    let begun = Instant::now();
    while asking::page(admin).await.is_err() {
        if let Some(how) = keeping(|| system.keeper.ended(pid))? {
            let log = system.keeper.folder().join(format!("{name}.log"));
            let said = std::fs::read_to_string(log).unwrap_or_default();
            return Err(failed(&format!("it ended ({how}): {}", said.trim())));
        }
        if begun.elapsed() > PATIENCE {
            return Err(failed(&"it does not answer"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let address = system
        .link(name, listen, &system.scaled.scenario.gateways[at].latency)
        .await?;
    Ok(Gate { address, admin })
}

fn document(system: &System, at: usize, listen: SocketAddr, admin: SocketAddr) -> String {
    let scenario = &system.scaled.scenario;
    let gateway = &scenario.gateways[at];
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "[gateway]\nlisten = \"{listen}\"\nadmin = \"{admin}\"\nconcurrency = {}\nconnections = {CONCURRENCY}\n",
        gateway.concurrency.unwrap_or(CONCURRENCY),
    );
    let doors: Vec<String> = system
        .door_of(gateway.calls)
        .iter()
        .map(|door| format!("\"{door}\""))
        .collect();
    let _ = write!(
        text,
        "\n[upstream.service]\naddresses = [{}]\npool = {POOL}\ntimeout = \"60s\"\neject = {{ failures = {NEVER}, time = \"1s\", share_max = \"1%\" }}\n",
        doors.join(", ")
    );
    for client in scenario
        .clients
        .iter()
        .filter(|client| client.calls == Place::Gateway(at))
    {
        let _ = write!(
            text,
            "\n[[route]]\nupstream = \"service\"\npath = \"/{}\"\npriority = {}\ncache = false\n",
            client.name,
            word(client.priority),
        );
    }
    let policies = system
        .scaled
        .resized(&scenario.policies(Place::Gateway(at)), Place::Gateway(at));
    for (key, value) in spelled(&policies) {
        let _ = write!(text, "\n[protect.{key}]\n");
        if let Value::Object(settings) = value {
            for (setting, value) in settings {
                let _ = writeln!(text, "{setting} = {}", toml_of(&value));
            }
        }
    }
    text
}

fn word(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "\"low\"",
        Priority::Normal => "\"normal\"",
        Priority::High => "\"high\"",
    }
}

/// All protections that a gateway can have, those that are off included: it has some on without a word.
pub(super) fn spelled(policies: &Policies) -> Vec<(&'static str, Value)> {
    let names = ProtectionName::ALL.iter();
    let switched = names.filter(|name| !matches!(name, ProtectionName::Integrity | ProtectionName::Balance));
    switched
        .map(|name| match name.spell(policies) {
            Some(Value::Object(mut settings)) if name.is_at_the_door() => {
                settings.insert("on".to_owned(), Value::Bool(true));
                (name.key(), Value::Object(settings))
            }
            _ => (name.key(), serde_json::json!({ "on": false })),
        })
        .collect()
}

/// A value as TOML writes it, on one line.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let entries: Vec<String> = table
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{key} = {}", toml_of(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(toml_of).collect();
            format!("[{}]", items.join(", "))
        }
        // Strings and numbers are written the same way.
        other => other.to_string(),
    }
}
