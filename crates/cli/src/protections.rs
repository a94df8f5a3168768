//! `--protect FILE`: the protections of a gateway's document, for a scenario to be played with.

use std::path::Path;

use seawall_gateway::{Config, default_policies};
use seawall_scenario::{Place, ProtectionName};
use serde_json::Value;

use crate::stop::Stop;

/// What the document's protections come to, with those that a gateway has without a word: settings of a scenario. What
/// is off is switched off.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, String)>, Stop> {
    let config = Config::read(path).map_err(|error| {
        let help = "it is the gateway's own document: docs/gateway.md has one to begin with";
        Stop::Input(error.to_string(), help.to_owned())
    })?;
    let deployment = config.check()?;
    let base = default_policies();
    let door = deployment.policies(Place::Gateway(0), &base);
    let sites: Vec<_> = (0..deployment.upstreams.len())
        .map(|upstream| deployment.policies(Place::Service(upstream), &base))
        .collect();
    let mut settings = Vec::new();
    for name in ProtectionName::ALL.iter().copied() {
        let at_the_door = name.is_at_the_door();
        let policies = if at_the_door { &door } else { &sites[0] };
        let spelled = name.spell(policies);
        if !at_the_door && sites.iter().any(|site| name.spell(site) != spelled) {
            return Err(Stop::Input(
                format!(
                    "{} protects its upstreams differently: `{}`",
                    path.display(),
                    name.key()
                ),
                "a scenario has one place for it; leave one upstream in a copy, and play that".to_owned(),
            ));
        }
        let value = spelled.map_or_else(|| "{ on = false }".to_owned(), |value| toml(&value));
        settings.push((format!("protect.{}", name.key()), value));
    }
    Ok(settings)
}

/// A value as TOML spells it on one line.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields: Vec<String> = fields
                .map(|(key, value)| format!("{key} = {}", toml(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        // JSON's texts and numbers are TOML's too.
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_on_one_line() {
        let value = json!({ "on": true, "window": "5s", "more": [{ "share": 0.5 }], "absent": null });
        assert_eq!(
            toml(&value),
            r#"{ more = [{ share = 0.5 }], on = true, window = "5s" }"#
        );
    }
}
