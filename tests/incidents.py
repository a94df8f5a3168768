#!/usr/bin/python3
"""Holds the alert rules against simulated incidents.

A run of the simulator is written as OpenMetrics and handed to Prometheus' own rule engine (`promtool test rules`), with
the period of a real scrape. What fires, and how soon after the fault, must be what a person on call would want; and in
a system where nothing is wrong nothing may fire.

    tests/incidents.py [target/release/seawall]            asserts
    tests/incidents.py BINARY show SCENARIO [VARIANT]…     prints what fires when
"""
import json
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


if __name__ == "__main__":
    show(sys.argv[1], sys.argv[3], sys.argv[4:])
