#!/usr/bin/python3
"""Holds the dashboards against the names of metrics, and against a real Prometheus.

Every name in a query is one of docs/metrics.md, of deploy/prometheus/rules.yml, or of the exporters' lists below. Then a
simulated incident is loaded into a Prometheus on a free port of this machine, and every query must be understood by it; each
that reads Seawall's metrics must also find something. Grafana itself is not run here: of the panels only the form is checked.

    tests/dashboards.py [target/release/seawall]
"""
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "grafana" / "dashboards"
# T=0 of a scenario in OpenMetrics: 2001-01-01T00:00:00Z.
EPOCH_S = 978_307_200
# Seconds that anything may take.
PATIENCE_S = 120

# What redis_exporter, postgres_exporter and Prometheus itself have; seen on the exporters of Debian.
FOREIGN = {
    "ALERTS", "up",
    "pg_locks_count", "pg_settings_max_connections", "pg_stat_activity_count", "pg_stat_activity_max_tx_duration", "pg_up",
    "redis_commands_duration_seconds_total", "redis_commands_failed_calls_total", "redis_commands_rejected_calls_total",
    "redis_commands_total", "redis_config_maxclients", "redis_connected_clients", "redis_evicted_keys_total",
    "redis_instance_info", "redis_keyspace_hits_total", "redis_keyspace_misses_total", "redis_loading_dump_file",
    "redis_master_link_up", "redis_memory_max_bytes", "redis_memory_used_bytes", "redis_rejected_connections_total",
    "redis_up", "redis_uptime_in_seconds",
}
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "offset", "bool", "Inf"}
# Seconds after T=0 at which is asked: all well, all lost, a protection at work, the cache back and empty. A ratio of
# nothing is not recorded, so not every query finds something each time.
INSTANTS_S = (-15, 45, 90, 1230)
UNITS = {"none", "short", "percentunit", "s", "reqps", "ops"}


def metrics():
    """The names of docs/metrics.md; durations also as the parts of a histogram."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.M)
    assert len(rows) > 20, "docs/metrics.md has no table of metrics any more"
    names = {name for name, _ in rows}
    for name, kind in rows:
        if kind == "duration":
            names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return names


def recorded():
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    return {rule["record"]: rule["expr"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}


def names_in(expr):
    """The names of the series that a query reads."""
    bare = re.sub(r'"[^"]*"', '""', expr)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = re.sub(r"\[[^]]*\]|\boffset\s+\w+", "", bare)
    found = re.findall(r"(?<![\w.])([A-Za-z_:][\w:]*)\b(?!\s*\()", bare)
    return {name for name in found if name not in WORDS}


def rules_are_known(known):
    """Every rule reads what there is."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            unknown = names_in(rule["expr"]) - known
            assert not unknown, f"{rule.get('alert') or rule['record']} reads {unknown}"


def form(path, model, known):
    """What Grafana needs, as far as it can be told without it. Gives the queries."""
    where = path.name
    for key in ("uid", "title", "schemaVersion", "panels", "templating", "time"):
        assert key in model, f"{where} has no {key}"
    variables = {each["name"]: each for each in model["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource", where
    assert "component" in variables, where
    ids, taken, queries = set(), set(), []
    for panel in model["panels"]:
        here = f"{where}: {panel['title']}"
        assert panel["id"] not in ids, f"{here}: id {panel['id']} twice"
        ids.add(panel["id"])
        place = panel["gridPos"]
        assert 0 <= place["x"] and place["x"] + place["w"] <= 24, f"{here}: outside of the grid"
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{here}: lies on another panel"
        taken |= cells
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS, f"{here}: unit {defaults['unit']}"
        lines = defaults["thresholds"]["steps"]
        assert lines[0]["value"] is None and all(
            low["value"] is None or low["value"] < high["value"] for low, high in zip(lines, lines[1:])), f"{here}: thresholds"
        assert panel["datasource"]["uid"] == "${datasource}", here
        assert panel["targets"], f"{here}: no query"
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}", here
            unknown = names_in(target["expr"]) - known
            assert not unknown, f"{here} reads {unknown}"
            used = set(re.findall(r"\$\{?(\w+)", target["expr"]))
            assert used <= set(variables), f"{here}: no variable {used - set(variables)}"
            queries.append((here, target["expr"]))
    return queries


def expanded(expr, rules):
    """The query with what would be recorded written out, since nothing was recorded in 2001."""
    for _ in range(8):
        names = sorted((name for name in rules if name in expr), key=len, reverse=True)
        if not names:
            return expr
        for name in names:
            pattern = re.compile(re.escape(name) + r"(?![\w:])(\{[^}]*\})?(\[(\w+)\])?")
            expr = pattern.sub(lambda match, name=name: f"({rules[name]})" + (f"[{match.group(3)}:15s]" if match.group(2) else ""), expr)
    raise AssertionError(f"records go round in circles: {expr[:200]}")


class Prometheus:
    """A server on a free port of this machine, ended by its process id."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "prometheus.yml").write_text(json.dumps({"rule_files": [str(ROOT / "deploy" / "prometheus" / "rules.yml")]}))
        self.log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{self.port}", "--storage.tsdb.retention.time=100y"],
            stdout=self.log, stderr=self.log)

    def __enter__(self):
        until = time.monotonic() + 30
        while time.monotonic() < until:
            assert self.process.poll() is None, pathlib.Path(self.log.name).read_text()[-2000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise TimeoutError("Prometheus does not get ready")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def ask(self, path, **words):
        body = urllib.parse.urlencode(words).encode() or None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", body, timeout=PATIENCE_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            return json.load(error)


def main(binary):
    known = metrics() | set(recorded()) | FOREIGN
    rules_are_known(known)
    done = subprocess.run([sys.executable, ROOT / "deploy" / "grafana" / "build.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    queries, uids = [], set()
    paths = sorted(FOLDER.glob("*.json"))
    assert len(paths) == 5, paths
    for path in paths:
        model = json.loads(path.read_text())
        assert model["uid"] not in uids, f"{path.name}: uid twice"
        uids.add(model["uid"])
        queries += form(path, model, known)

    rules = recorded()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        text = folder / "metrics.txt"
        subprocess.run([str(binary), "simulate", "redis-down", "--variant", "unprotected", "--variant", "breaker-and-throttle", "--every", "15s",
                        "--openmetrics", str(text)], capture_output=True, timeout=PATIENCE_S, check=False)
        subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")],
                       capture_output=True, timeout=PATIENCE_S, check=True)
        with Prometheus(folder) as prometheus:
            loaded = {rule["name"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]}
            assert set(rules) <= loaded, "Prometheus did not load the rules"
            empty = []
            for here, expr in queries:
                asked = expr.replace("$component", ".*").replace("$instance", ".*")
                found = 0
                for instant in INSTANTS_S:
                    answer = prometheus.ask("query", query=expanded(asked, rules), time=EPOCH_S + instant)
                    assert "resultType" in answer, f"{here}: {expr}: {answer}"
                    found += len(answer["result"])
                if not found:
                    empty.append((here, expr))
    missing = [(here, expr) for here, expr in empty if not names_in(expr) & FOREIGN]
    for here, expr in missing:
        print(f"finds nothing: {here}: {expr}")
    print(f"{len(paths)} dashboards, {len(queries)} queries: {'FAILED' if missing else 'each is understood and finds its series'}")
    sys.exit(bool(missing))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "release" / "seawall")
