#!/usr/bin/python3
"""Holds the alert rules against simulated incidents.

A run of the simulator is written as OpenMetrics and handed to Prometheus' own rule engine (`promtool test rules`), with
the period of a real scrape. What fires, and how soon after the fault, must be what a person on call would want; and in
a system where nothing is wrong nothing may fire.

    tests/incidents.py [target/release/seawall]            asserts
    tests/incidents.py BINARY show SCENARIO [VARIANT]…     prints what fires when
"""
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
# T=0 of a scenario in OpenMetrics: 2001-01-01T00:00:00Z.
EPOCH_S = 978_307_200
# Seconds between two scrapes, and between two evaluations.
SCRAPE_S = 15
# Seconds that a run of the simulator or of promtool may take.
PATIENCE_S = 120

SAMPLE = re.compile(r"^([a-z_]+)\{(.*)\} (\S+) (\S+)$")
FIRING = re.compile(r'\{alertname=\\?"(\w+)\\?", variant=\\?"([\w-]+)\\?"\}')


def simulate(binary, scenario, variants, folder, sets=()):
    """Plays a scenario and gives its series: {name{labels}: {seconds: value}}."""
    out = folder / "metrics.txt"
    words = [str(binary), "simulate", scenario, "--every", f"{SCRAPE_S}s", "--openmetrics", str(out)]
    for variant in variants:
        words += ["--variant", variant]
    for each in sets:
        words += ["--set", each]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    # 1 is an expectation that was not met; that is judged elsewhere.
    assert done.returncode in (0, 1), f"{' '.join(words)}: {done.stderr}"
    series = {}
    for line in out.read_text().splitlines():
        match = SAMPLE.match(line)
        if match:
            name, labels, value, time = match.groups()
            # Nodes one by one add nothing to an alert, but much to the time that this takes.
            if "instance=" in labels and name == "cache_entries":
                continue
            series.setdefault(f"{name}{{{labels}}}", {})[round(float(time)) - EPOCH_S] = value
    assert series, f"{scenario} left no series"
    return series


def firing(series, folder):
    """What Prometheus' rule engine makes of it: {seconds: {(variant, alert)}}."""
    times = sorted({time for values in series.values() for time in values})
    begin, end = times[0], times[-1]
    steps = range(begin, end + 1, SCRAPE_S)
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{SCRAPE_S}s",
        "group_eval_order": groups(),
        "tests": [{
            "interval": f"{SCRAPE_S}s",
            "input_series": [
                {"series": name, "values": " ".join(values.get(time, "_") for time in steps)}
                for name, values in series.items()
            ],
            # Each of these fails where anything fires, and says what did.
            "promql_expr_test": [
                {"expr": 'group by (alertname, variant) (ALERTS{alertstate="firing"})',
                 "eval_time": f"{time - begin}s", "exp_samples": []}
                for time in steps
            ],
        }],
    }
    # JSON is YAML.
    path = folder / "incident.yml"
    path.write_text(json.dumps(test))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=PATIENCE_S)
    found = {time: set() for time in steps}
    if "SUCCESS" in done.stdout:
        return found
    text = done.stdout + done.stderr
    assert "FAILED" in text and "got:" in text, text[:2000]
    for part in re.split(r"\n\s+expr: ", text)[1:]:
        time = duration_s(re.search(r"time: (\S+),", part).group(1)) + begin
        found[time] = {(variant, alert) for alert, variant in FIRING.findall(part.split("got:")[1])}
    return found


def duration_s(text):
    """Seconds of a Prometheus duration such as 1h2m30s."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return round(sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|[dhms])", text)))


def groups():
    return re.findall(r"^  - name: (\S+)", RULES.read_text(), re.M)


def spans(found):
    """{variant: {alert: [first, last]}} in seconds after T=0."""
    out = {}
    for time, alerts in sorted(found.items()):
        for variant, alert in alerts:
            out.setdefault(variant, {}).setdefault(alert, [time, time])[1] = time
    return out


def show(binary, scenario, variants):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for variant, alerts in sorted(spans(firing(simulate(binary, scenario, variants, folder), folder)).items()):
            print(variant)
            for alert, (first, last) in sorted(alerts.items(), key=lambda item: item[1]):
                print(f"  {first:6}s to {last:6}s  {alert}")


# What must fire, and how many seconds after T=0 at the latest; what must never fire.
# Nothing at all may fire before T=0: then all is well.
HEALTHY = "tests/healthy.toml"
INCIDENTS = [
    # scenario, what is set in it, {variant: ({alert: seconds}, {never})}
    (HEALTHY, [], {"as-written": ({}, {"any"})}),
    ("redis-down", [], {
        "unprotected": ({"SeawallOriginOverloaded": 60, "SeawallCacheDown": 60, "SeawallServiceDown": 75,
                         "SeawallRetryStorm": 75, "SeawallOriginWasted": 60, "SeawallQueueGrowing": 75,
                         "SeawallServiceImpaired": 90},
                        {"SeawallBreakerOpen", "SeawallShedding", "SeawallDegraded", "SeawallCacheOutOfMemory"}),
        "seawall": ({"SeawallBreakerOpen": 45, "SeawallCacheDown": 90, "SeawallShedding": 90},
                    {"SeawallServiceDown", "SeawallRetryStorm", "SeawallOriginOverloaded", "SeawallOriginWasted",
                     "SeawallQueueGrowing", "SeawallSlow"}),
    }),
    ("fallback-active", [], {"unnoticed": ({"SeawallCacheDown": 60}, {"SeawallBreakerOpen"})}),
    # Here all entries expire at T=5m.
    ("stampede", [], {"unprotected": ({"SeawallStampede": 360, "SeawallCacheCold": 360, "SeawallServiceDown": 390},
                                      {"SeawallCacheDown", "SeawallEvictionsHurt"}),
                      "prevented": ({}, {"SeawallStampede", "SeawallServiceDown"})}),
    ("retry-storm", [], {"unprotected": ({"SeawallRetryStorm": 60, "SeawallServiceDown": 75}, set()),
                         "limit": ({}, {"SeawallRetryStorm", "SeawallServiceDown"})}),
    ("redis-out-of-memory", [], {"unprotected": ({"SeawallCacheOutOfMemory": 45}, {"SeawallCacheDown"}),
                                 "prevented": ({"SeawallEvictionsHurt": 420}, {"SeawallCacheOutOfMemory", "SeawallServiceDown"})}),
    ("redis-too-many-clients", [], {"unprotected": ({"SeawallCacheTooManyClients": 45}, {"SeawallCacheDown"})}),
    ("disk-exhaustion", [], {"unprotected": ({"SeawallCacheAccess": 45}, {"SeawallCacheOutOfMemory"})}),
    ("data-corruption", [], {"unprotected": ({"SeawallWrongAnswers": 30}, {"SeawallStampede"})}),
    ("memory-exhaustion", [], {"unprotected": ({"SeawallInstancesLost": 330}, {"SeawallCacheDown"})}),
    ("traffic-spike", ["run.warmup=6m"], {"unprotected": ({"SeawallTrafficSpike": 75, "SeawallServiceDown": 90}, {"SeawallCacheCold"})}),
    ("traffic-spike", [], {"shed-by-priority": ({"SeawallDegraded": 90, "SeawallShedding": 75}, {"SeawallOriginWasted"})}),
]
# A broken server is there from the beginning: what it says may be told before T=0.
AT_ONCE = {"SeawallCacheTooManyClients"}


def judge(alerts, must, never):
    """What is wrong with when these alerts fired, in words."""
    for alert, (first, _) in alerts.items():
        if first < 0 and alert not in AT_ONCE:
            yield f"{alert} fires at {first}s, before anything is wrong"
        if alert in never or "any" in never:
            yield f"{alert} fires at {first}s and must not"
    for alert, latest in must.items():
        if alert not in alerts:
            yield f"{alert} does not fire"
        elif alerts[alert][0] > latest:
            yield f"{alert} fires at {alerts[alert][0]}s, later than {latest}s"


def played(binary, name, sets, variants):
    """What fires in an incident: {variant: {alert: [first, last]}}."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        scenario = str(ROOT / name) if name.endswith(".toml") else name
        # A scenario without variants has one, which cannot be asked for.
        asked = [] if name == HEALTHY else list(variants)
        return spans(firing(simulate(binary, scenario, asked, folder, sets), folder))


def main(binary):
    names = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        all_found = list(pool.map(lambda incident: played(binary, *incident), INCIDENTS))
    failed = 0
    for (name, _, variants), found in zip(INCIDENTS, all_found, strict=True):
        assert set(found) <= set(variants), f"{name}: {set(found)} fire, {set(variants)} were expected to"
        for variant, (must, never) in variants.items():
            # What must not fire has to be something that could.
            assert set(must) | (never - {"any"}) <= names, (set(must) | never) - names
            alerts = found.get(variant, {})
            wrong = list(judge(alerts, must, never))
            failed += len(wrong)
            soonest = ", ".join(f"{alert} at {first}s" for alert, (first, _) in
                                sorted(alerts.items(), key=lambda item: item[1])[:3])
            print(f"  {'FAILED' if wrong else 'ok    '} {name} {variant}: {soonest or 'nothing fires'}")
            for words in wrong:
                print(f"           {words}")
    print(f"{len(INCIDENTS)} incidents: {'FAILED' if failed else 'what fires is what should'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[2] == "show":
        show(sys.argv[1], sys.argv[3], sys.argv[4:])
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "release" / "seawall")
