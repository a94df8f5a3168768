#!/usr/bin/python3
"""What the usual alert rules on a Redis exporter's metrics say in the same drills, beside Seawall's diagnosis.

    seawall drill --all --history drills/ --table docs/drills.md
    tests/exporter.py drills/ docs/drills.md           writes the table behind what the drills have written
    tests/exporter.py --check                          asserts that the rules fire where they should

The rules are written from the conditions that public collections have in common, with their usual thresholds and
waits. Each drill is given to Prometheus' own rule engine (`promtool test rules`) in the scenario's own time: a drill
that took a twelfth of the time is stretched to the whole of it, so that waits of minutes have the minutes they need.
An exporter connects anew and asks for INFO at each scrape: that is the step of our prober of which `redis_up` is made.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

# Seconds between two scrapes, and between two evaluations: Prometheus' usual ones.
SCRAPE_S = 15
# Seconds that promtool may take.
PATIENCE_S = 120
# A prober that met one of these got no INFO from a new connection, or none at all.
SILENT = ("connect_", "reply_", "alive_", "info_")

HITS, MISSES = "redis_keyspace_hits_total", "redis_keyspace_misses_total"
# Name, condition, how long, what a person learns from it.
RULES = [
    ("RedisDown", "redis_up == 0", "1m"),
    ("RedisRestarted", "redis_uptime_in_seconds < 60 and redis_up == 1", "0s"),
    ("RedisMemoryNearlyFull", "redis_memory_used_bytes / (redis_memory_max_bytes > 0) > 0.9", "2m"),
    ("RedisTooManyConnections", "redis_connected_clients / redis_config_maxclients > 0.9", "2m"),
    ("RedisRejectsConnections", "increase(redis_rejected_connections_total[1m]) > 0", "0s"),
    ("RedisEvicts", "rate(redis_evicted_keys_total[1m]) > 0", "5m"),
    ("RedisHitRateLow", f"rate({HITS}[1m]) / (rate({HITS}[1m]) + rate({MISSES}[1m])) < 0.5", "2m"),
    ("RedisSlowCommands", "increase(redis_slowlog_length[1m]) > 0", "1m"),
    ("RedisIsReplica", "redis_replica == 1", "0s"),
]
# What an exporter shows, from what a prober has recorded: its name, ours, and whether it only ever grows.
SHOWN = [
    ("redis_uptime_in_seconds", "cache_uptime_seconds", False),
    ("redis_memory_used_bytes", "cache_memory_bytes", False),
    ("redis_memory_max_bytes", "cache_memory_limit_bytes", False),
    ("redis_connected_clients", "cache_clients", False),
    ("redis_config_maxclients", "cache_clients_limit", False),
    ("redis_replica", "cache_replica", False),
    ("redis_rejected_connections_total", "cache_rejected_connections_total", True),
    ("redis_evicted_keys_total", "cache_evictions_total", True),
    ("redis_slowlog_length", "cache_slow_commands_total", True),
    (HITS, "cache_hits_total", True),
    (MISSES, "cache_misses_total", True),
]
FROM, TO = "<!-- exporter: from here on written by tests/exporter.py -->", "<!-- exporter: up to here -->"


def kept(folder):
    """All drills of a folder, the last one of each variant: [(scenario, variant, share of the time, drill)]."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        one = json.loads(path.read_text())
        one = one.get("seawall", one)
        for drill in one.get("variants", []):
            found[one["scenario"], drill["variant"]] = (one["time"], drill)
    return [(*names, *rest) for names, rest in sorted(found.items())]


def series_of(told, metric):
    """{(component, node, label): values} of a metric."""
    same = [one for one in told["series"] if one["metric"] == metric]
    return {(one["of"], one.get("instance"), one.get("label")): one["values"] for one in same}


def exported(told, time):
    """What an exporter of each Redis would have shown at each scrape: {series: {seconds: value}}."""
    period, origin = told["period"] / time, told["origin"] / time
    nodes = sorted({key[:2] for key in series_of(told, "probes_total")}, key=str)
    caches = {key[0] for key in series_of(told, "cache_uptime_seconds")}
    out = {}
    for of, node in (one for one in nodes if one[0] in caches):
        name = of if node is None else f"{of}-{node}"
        failures = [
            values for (component, number, label), values in series_of(told, "probe_failures_total").items()
            if (component, number) == (of, node) and label.startswith(SILENT)
        ]
        probes = series_of(told, "probes_total")[of, node, None]
        shown = {"redis_up": state([
            None if not asked else float(not any(values[at] for values in failures))
            for at, asked in enumerate(probes)
        ])}
        for theirs, ours, grows in SHOWN:
            mine = series_of(told, ours)
            values = mine.get((of, node, None), mine.get((of, None, None)))
            if values:
                shown[theirs] = total(values) if grows else state(values)
        up = shown["redis_up"]
        for theirs, values in shown.items():
            # Who is not up shows nothing else.
            out[f'{theirs}{{instance="{name}"}}'] = scraped(
                [value if theirs == "redis_up" or up[at] == 1 else None for at, value in enumerate(values)],
                period, origin)
    return out


def state(values):
    """What was told last holds until the next time; a prober asks once a second, and a period may be shorter."""
    out, last, age = [], None, 0
    for value in values:
        age = 0 if value is not None else age + 1
        last = value if value is not None else last if age < 3 else None
        out.append(last)
    return out


def total(values):
    """A counter, from what was added in each period."""
    out, so_far = [], 0.0
    for value in values:
        so_far += value or 0.0
        out.append(so_far)
    return out


def scraped(values, period, origin):
    """{seconds after T=0: value} at each scrape."""
    out = {}
    first = -int(origin // SCRAPE_S) * SCRAPE_S
    for at in range(first, int(len(values) * period - origin) + 1, SCRAPE_S):
        place = int((at + origin) / period) - 1
        if 0 <= place < len(values) and values[place] is not None:
            out[at] = values[place]
    return out


def firing(series):
    """What the rule engine makes of it: {alert: the first second after T=0, or before}."""
    times = sorted({time for values in series.values() for time in values})
    if not times:
        return {}
    begin, steps = times[0], range(times[0], times[-1] + 1, SCRAPE_S)
    rules = {"groups": [{"name": "redis", "rules": [
        {"alert": name, "expr": expr, "for": wait} for name, expr, wait in RULES]}]}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "rules.yml").write_text(json.dumps(rules))
        test = {
            "rule_files": [str(folder / "rules.yml")],
            "evaluation_interval": f"{SCRAPE_S}s",
            "tests": [{
                "interval": f"{SCRAPE_S}s",
                "input_series": [
                    {"series": name, "values": " ".join(str(values.get(time, "_")) for time in steps)}
                    for name, values in series.items() if values
                ],
                # Each of these fails where anything fires, and says what did.
                "promql_expr_test": [
                    {"expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                     "eval_time": f"{time - begin}s", "exp_samples": []}
                    for time in steps
                ],
            }],
        }
        path = folder / "test.yml"
        path.write_text(json.dumps(test))
        done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=PATIENCE_S)
    text = done.stdout + done.stderr
    if "SUCCESS" in done.stdout:
        return {}
    assert "FAILED" in text and "got:" in text, text[:2000]
    found = {}
    for part in re.split(r"\n\s+expr: ", text)[1:]:
        time = seconds(re.search(r"time: (\S+),", part).group(1)) + begin
        for alert in re.findall(r'alertname=\\?"(\w+)', part.split("got:")[1]):
            found[alert] = min(found.get(alert, time), time)
    return found


def seconds(text):
    """Seconds of a Prometheus duration such as 1h2m30s."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return round(sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|[dhms])", text)))


def table(folder):
    rows, names, spoke, exact, drills = [], {}, 0, 0, 0
    for scenario, variant, time, drill in kept(folder):
        said = drill.get("diagnosed")
        if not said or not said["truth"]:
            continue
        began = min([event["at"] for event in drill["happened"]] or [0.0]) / time
        fired = {alert: at for alert, at in firing(exported(drill["measured"], time)).items() if at >= began}
        drills += 1
        spoke += bool(fired)
        truth = " or ".join(said["truth"])
        for alert in fired or {"nothing": 0}:
            names.setdefault(alert, set()).add(truth)
        alerts = ", ".join(f"{alert} ({at - began:.0f}s)" for alert, at in sorted(fired.items(), key=lambda one: one[1]))
        first = said["first"] or "nothing"
        detected = f" ({said['detected_s']:.2g}s)" if said["detected_s"] is not None else ""
        rows.append(f"| {scenario} | {variant} | {truth} | {first}{detected} | {alerts or 'nothing'} |")
        exact += said["right"]
    assert rows, f"{folder} holds no drill with a diagnosis"
    lines = [
        "## Beside the usual alerts", "",
        f"In {spoke} of {drills} drills the rules that people usually have on a Redis exporter's metrics say anything at all;",
        f"the diagnosis is right in {exact}. Their times are those of the scenario at its own pace (rules wait for minutes); the",
        "diagnosis' are real seconds of the drill. Written by `tests/exporter.py`, with Prometheus' own rule engine.", "",
        "| alert | what it really was when it fired |", "| --- | --- |",
        *[f"| {alert} | {', '.join(sorted(truths))} |" for alert, truths in sorted(names.items())], "",
        "| scenario | variant | what was done | diagnosed as | alerts |", "| --- | --- | --- | --- | --- |", *rows,
    ]
    return "\n".join(lines)


def check():
    """A Redis that is well for five minutes, and then is not: in each of the ways that a rule is about."""
    known = (pathlib.Path(__file__).resolve().parent.parent / "docs" / "metrics.md").read_text()
    for _, ours, _ in SHOWN:
        assert f"`{ours}`" in known, f"docs/metrics.md knows no {ours}"
    told = lambda **changed: {"period": 1.0, "origin": 300.0, "series": [
        {"metric": metric, "of": "redis", "label": label, "values": [well] * 300 + [changed.get(metric, well)] * 600}
        for metric, label, well in [
            ("probes_total", None, 1.0), ("probe_failures_total", "reply_timed_out", 0.0),
            ("cache_uptime_seconds", None, 9e5), ("cache_memory_bytes", None, 5e6), ("cache_memory_limit_bytes", None, 1e7),
            ("cache_clients", None, 10.0), ("cache_clients_limit", None, 100.0), ("cache_replica", None, 0.0),
            ("cache_rejected_connections_total", None, 0.0), ("cache_evictions_total", None, 0.0), ("cache_slow_commands_total", None, 0.0),
            ("cache_hits_total", None, 90.0), ("cache_misses_total", None, 10.0)]]}
    for changed, wanted in [
        ({}, set()),
        ({"probe_failures_total": 1.0}, {"RedisDown"}),
        ({"cache_uptime_seconds": 5.0}, {"RedisRestarted"}),
        ({"cache_memory_bytes": 9.5e6}, {"RedisMemoryNearlyFull"}),
        ({"cache_clients": 95.0}, {"RedisTooManyConnections"}),
        ({"cache_rejected_connections_total": 2.0}, {"RedisRejectsConnections"}),
        ({"cache_evictions_total": 3.0}, {"RedisEvicts"}),
        ({"cache_hits_total": 1.0}, {"RedisHitRateLow"}),
        ({"cache_slow_commands_total": 1.0}, {"RedisSlowCommands"}),
        ({"cache_replica": 1.0}, {"RedisIsReplica"}),
    ]:
        found = firing(exported(told(**changed), 1.0))
        assert set(found) == wanted, f"{changed}: {found}, and not {wanted}"
        assert all(at >= 0 for at in found.values()), f"{changed}: {found}"
    assert len(exported(told(), 0.5)['redis_up{instance="redis"}']) == 120, "a drill in half of the time is stretched"
    print(f"{len(RULES)} rules fire for what they are about, and for nothing else")


def main():
    if sys.argv[1:] == ["--check"]:
        return check()
    folder, page = sys.argv[1], pathlib.Path(sys.argv[2])
    text = page.read_text()
    head = text.split(FROM)[0].rstrip()
    tail = text.split(TO)[1] if TO in text else "\n"
    page.write_text(f"{head}\n\n{FROM}\n\n{table(folder)}\n\n{TO}{tail}")
    print(f"{page} has it")


if __name__ == "__main__":
    main()
