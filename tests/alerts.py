#!/usr/bin/python3
"""Holds the alert rules against their tests, and the tests against changed rules.

First `promtool` checks deploy/prometheus/rules.yml and plays rules_test.yml on it. Then each alert is changed in one place:
a threshold by a quarter up and down, a comparison turned round, `and` made `or`, a selection dropped, the delay doubled and
removed. A change that no test notices is a gap in the tests, and fails here.

    tests/alerts.py            all
    tests/alerts.py RedisDown  the changes of one alert, one by one
"""
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "prometheus"
# Seconds that one call of promtool may take.
PATIENCE_S = 120

RECORDED = re.compile(r"seawall:[a-z_0-9]+:[a-z_0-9]+")
# A number that stands behind a comparison or before a factor, and not in a window, a function's arguments or a name.
NUMBER = re.compile(r"(?<![\w.:\[(])(\d+(?:\.\d+)?)(?![\w.:\]])(?!\s*,)")
COMPARISON = re.compile(r"(?<![=!~<>])(<=|>=|==|<|>)(?![=~])")
DELAY = re.compile(r"(\d+)([sm])")


def promtool(*words):
    # One stream: what failed goes to the other one, and belongs to the file that was named before it.
    return subprocess.run(["promtool", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=PATIENCE_S)


def changed(expr):
    """Every expression that differs from this one in one place, with what was done."""
    quoted = [match.span() for match in re.finditer(r'"[^"]*"', expr)]
    plain = lambda at: not any(begin <= at < end for begin, end in quoted)
    put = lambda match, text: expr[:match.start()] + text + expr[match.end():]
    for match in NUMBER.finditer(expr):
        if not plain(match.start()):
            continue
        number = float(match.group())
        # Nothing is a quarter more than nothing, and 0 and 1 after == are states.
        if re.search(r"==\s*$", expr[:match.start()]):
            continue
        if number == 0:
            yield "0 to 1e12", put(match, "1e12")
            continue
        for factor in (1.25, 0.8):
            yield f"{match.group()} to {number * factor:g}", put(match, f"{number * factor:g}")
    turned = {"<": ">", ">": "<", "<=": ">", ">=": "<", "==": "!="}
    for match in COMPARISON.finditer(expr):
        if plain(match.start()):
            yield f"{match.group()} to {turned[match.group()]}", put(match, turned[match.group()])
            if re.match(r"\s*0(?![.\d])", expr[match.end():]) and match.group() == ">":
                yield "> 0 to >= 0", put(match, ">=")
    for match in re.finditer(r"\band\b", expr):
        yield f"`and` at {match.start()} to `or`", put(match, "or")
    for match in re.finditer(r"\{[^}]*\}", expr):
        yield f"without {match.group()}", put(match, "")


def mutants(alert, records):
    """(what was done, rules) for each change of this alert, and of the records that have thresholds of their own."""
    for what, expr in changed(alert["expr"]):
        yield what, [*records, {**alert, "expr": expr}]
    if "for" in alert:
        count, unit = DELAY.fullmatch(alert["for"]).groups()
        yield "twice the delay", [*records, {**alert, "for": f"{int(count) * 2}{unit}"}]
        yield "no delay", [*records, {key: value for key, value in alert.items() if key != "for"}]
    for index, record in enumerate(records):
        if "strain" in record["record"]:
            for what, expr in changed(record["expr"]):
                yield f"{record['record']}: {what}", [
                    *records[:index], {**record, "expr": expr}, *records[index + 1:], alert]


def needed(expr, records):
    """The records that an expression uses, those that they use among them, in their order."""
    names, todo = set(), [expr]
    while todo:
        for name in set(RECORDED.findall(todo.pop())) - names:
            names.add(name)
            todo += [record["expr"] for record in records if record["record"] == name]
    return [record for record in records if record["record"] in names]


def judged(paths):
    """{path: whether its tests passed}, by one call of promtool."""
    parts = re.split(r"Unit Testing:\s+(\S+)\n", promtool("test", "rules", *paths).stdout)[1:]
    verdicts = dict(zip(parts[::2], parts[1::2], strict=True))
    assert set(verdicts) == set(paths), f"promtool judged {len(verdicts)} of {len(paths)}"
    for path, text in verdicts.items():
        # A changed rule that cannot be read would fail too, and prove nothing.
        assert text.strip() == "SUCCESS" or "got:" in text, f"{path}: {text[:500]}"
    return {path: text.strip() == "SUCCESS" for path, text in verdicts.items()}


def main(only):
    rules, tests = (yaml.safe_load((FOLDER / name).read_text()) for name in ("rules.yml", "rules_test.yml"))
    for words in (["check", "rules", FOLDER / "rules.yml"], ["test", "rules", FOLDER / "rules_test.yml"]):
        done = promtool(*words)
        if done.returncode:
            sys.exit(done.stdout)
    everything = [rule for group in rules["groups"] for rule in group["rules"]]
    records = [rule for rule in everything if "record" in rule]
    alerts = [rule for rule in everything if "alert" in rule]
    names = [alert["alert"] for alert in alerts]
    assert len(set(names)) == len(names), "two alerts of one name"
    cases = {test["name"]: test for test in tests["tests"]}
    assert set(cases) == set(names), f"not both ruled and tested: {set(cases) ^ set(names)}"

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        done_to = {}
        for alert in alerts:
            if only and alert["alert"] != only:
                continue
            used = needed(alert["expr"], records)
            variants = [("nothing", [*used, alert]), *mutants(alert, used)]
            assert len(variants) > 2, f"{alert['alert']}: nothing to change"
            for number, (what, ruled) in enumerate(variants):
                stem = f"{alert['alert']}-{number}"
                # JSON is YAML, and is written faster.
                (folder / f"{stem}.rules.json").write_text(
                    json.dumps({"groups": [{"name": "changed", "rules": ruled}]}))
                path = folder / f"{stem}.json"
                path.write_text(json.dumps({
                    "rule_files": [f"{stem}.rules.json"], "evaluation_interval": "15s", "tests": [cases[alert["alert"]]]}))
                done_to[str(path)] = (alert["alert"], what)
        paths = list(done_to)
        lots = [paths[begin::8] for begin in range(min(8, len(paths)))]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            passed = {path: good for lot in pool.map(judged, lots) for path, good in lot.items()}
    failed = False
    noticed = {}
    for path, (alert, what) in done_to.items():
        if only:
            print(f"{'passes' if passed[path] else 'fails '}  {what}")
        if what == "nothing" and not passed[path]:
            failed = True
            print(f"{alert}: fails although nothing was changed")
        # A changed record shows in any alert that uses it.
        change = what if RECORDED.match(what) else f"{alert}: {what}"
        noticed[change] = noticed.get(change, False) or not passed[path] or what == "nothing"
    for change in (change for change, seen in noticed.items() if not seen):
        failed = True
        print(f"no test notices the change: {change}")
    changes = sum(what != "nothing" for _, what in done_to.values())
    print(f"{len(records)} records, {len(alerts)} alerts, {changes} changed rules: {'FAILED' if failed else 'each change is noticed'}")
    sys.exit(failed)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
