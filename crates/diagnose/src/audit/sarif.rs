//! An audit as SARIF 2.1.0 (OASIS), which tools for code review and CI read.

use serde_json::{Value as Json, json};

use super::RULES;
use super::rule::{Audit, Severity};

/// The document.
pub fn sarif(audit: &Audit, version: &str) -> Json {
    let rules: Vec<Json> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.title },
                "fullDescription": { "text": rule.why },
                "help": { "text": rule.mend, "markdown": rule.mend },
                "defaultConfiguration": { "level": level(rule.severity) },
                "properties": { "tags": ["reliability", "cache"] },
            })
        })
        .collect();
    let results: Vec<Json> = audit
        .checks
        .iter()
        .map(|check| {
            let index = RULES.iter().position(|rule| rule.id == check.id);
            let mend = check.mend.join("\n");
            json!({
                "ruleId": check.id,
                "ruleIndex": index,
                "level": level(check.severity),
                "message": { "text": format!("{}: {}\n{mend}", check.title, check.read) },
                "locations": [{
                    "physicalLocation": { "artifactLocation": { "uri": check.target } },
                    "logicalLocations": [{ "fullyQualifiedName": check.target, "kind": "resource" }],
                }],
                "partialFingerprints": { "seawall/v1": format!("{} {}", check.id, check.target) },
                "properties": { "severity": check.severity.name(), "mend": check.mend },
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "seawall", "semanticVersion": version, "rules": rules } },
            "columnKind": "utf16CodeUnits",
            "results": results,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}
