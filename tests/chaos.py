#!/usr/bin/python3
"""Drills as Chaos Toolkit has them: experiments that it validates and runs, journals that it reports.

The toolkit is unmodified, in the versions that `tests/clients` pins.

    tests/chaos.py PATH_OF_SEAWALL
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
clients = root / "tests" / "clients"
scratch = root / "target" / "clients"
seawall = pathlib.Path(sys.argv[1]).resolve()
here = scratch / "drills"
# The experiment names `seawall`, and finds it as anybody would.
environment = {
    **os.environ,
    "PATH": f"{here / 'bin'}:{os.environ['PATH']}",
    "XDG_STATE_HOME": str(here / "state"),
    "CHAOSTOOLKIT_DISABLE_VERSION_CHECK": "1",
}

# A system that is small and over soon, and something that goes wrong with its cache.
SMALL = """
title = "Something is wrong with the cache"
about = "It is slow, or what it holds is damaged."
[environment]
test = true
[run]
duration = "8s"
warmup = "4s"
every = "500ms"
prefilled = true
[client.web]
calls = "app"
rate = "50/s"
keys = { uniform = { count = 200 } }
timeout = "1s"
[service.app]
service_time = "1ms"
caches = ["redis"]
origin = "db"
[cache.redis]
ttl = "5m"
latency = "1ms"
timeout = "50ms"
[database.db]
connections = 20
service_time = "2ms"
timeout = "2s"
[[timeline]]
at = "2s"
on = "redis"
FAULT
[[expect]]
that = "half of the readers are answered"
metric = "goodput_ratio"
of = "web"
over = ["0s", "8s"]
mean = { above = "50%" }
"""


def fail(what):
    print(f"failed: {what}")
    sys.exit(1)


def run(*command, **more):
    done = subprocess.run(
        [str(word) for word in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=here, env=environment, **more
    )
    return done.returncode, done.stdout


def toolkit():
    """The environment of the toolkit, made once for each set of versions, and shared with the proxy's test."""
    wanted = (clients / "requirements.txt").read_text()
    home = scratch / "toolkit"
    made = home / "requirements.txt"
    if not made.exists() or made.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        for command in (
            ("/usr/bin/python3", "-m", "venv", home),
            (home / "bin" / "pip", "install", "-q", "--disable-pip-version-check", "-r", clients / "requirements.txt"),
        ):
            status, told = run(*command)
            if status != 0:
                fail(told)
        made.write_text(wanted)
    return home / "bin"


def every_scenario_is_an_experiment(chaos):
    names = sorted(path.stem for path in (root / "scenarios").glob("*.toml") if "\n[drill]\n" in path.read_text())
    if not names:
        fail("no scenario is drilled")
    for name in names:
        file = here / f"{name}.json"
        status, told = run("seawall", "drill", name, "--experiment", file, timeout=60)
        if status != 0:
            fail(f"{name}: exit {status}: {told}")
        status, told = run(chaos, "--no-version-check", "validate", file, timeout=120)
        if status != 0 or "valid" not in told:
            fail(f"{name}: {told}")
        experiment = json.loads(file.read_text())
        if not experiment["method"] or not experiment["rollbacks"]:
            fail(f"{name}: it does nothing")
    print(f"  {len(names)} experiments are valid")


def an_experiment_is_run(chaos):
    """Once with a cache that is slow, which the readers bear, and once with wrong answers, which nobody has to bear."""
    for fault, deviated in (
        ('for = "2s"\nfault = { latency = { add = "200ms" } }', False),
        ('fault = { corrupt = { share = "50%" } }', True),
    ):
        (here / "small.toml").write_text(SMALL.replace("FAULT", fault))
        for old in here.glob("small-*"):
            old.unlink()
        status, told = run("seawall", "drill", "small.toml", "--experiment", "small-experiment.json", timeout=60)
        if status != 0:
            fail(told)
        status, told = run(
            chaos, "--no-version-check", "run", "--journal-path", "small-chaos.json", "small-experiment.json", timeout=300
        )
        journal = json.loads((here / "small-chaos.json").read_text())
        if journal["deviated"] != deviated or journal["status"] != "completed" or (status == 0) == deviated:
            fail(f"{fault}: {journal['status']}, deviated: {journal['deviated']}, exit {status}: {told}")
        [action] = journal["run"]
        if action["output"]["status"] != int(deviated):
            fail(f"{fault}: the drill ended with {action['output']}")
        [rollback] = journal["rollbacks"]
        if rollback["output"]["status"] != 0 or (here / "small-experiment-journal.json").exists():
            fail(f"{fault}: {rollback['output']}")
    print("  an experiment is run, holds and deviates")


def a_journal_is_read():
    """What `chaoslib` itself writes has these keys, and its reader of journals takes ours."""
    [ours] = list(here.glob("small-experiment-journal.*.json"))[-1:]
    journal, theirs = json.loads(ours.read_text()), json.loads((here / "small-chaos.json").read_text())
    missing = set(theirs) - set(journal)
    if missing:
        fail(f"the journal has no {', '.join(sorted(missing))}")
    for place in ("before", "after"):
        lacking = set(theirs["steady_states"][place]) - set(journal["steady_states"][place])
        lacking |= set(theirs["steady_states"][place]["probes"][0]) - set(journal["steady_states"][place]["probes"][0])
        if lacking:
            fail(f"the state {place} has no {', '.join(sorted(lacking))}")
    lacking = (set(theirs["run"][0]) - set(journal["run"][0])) | (set(theirs["rollbacks"][0]) - set(journal["rollbacks"][0]))
    if lacking:
        fail(f"activities have no {', '.join(sorted(lacking))}")
    if theirs["chaoslib-version"] != journal["chaoslib-version"]:
        fail(f"the journal is of chaoslib {journal['chaoslib-version']}, and this is {theirs['chaoslib-version']}")
    print("  a journal has all that the toolkit's own has")


shutil.rmtree(here, ignore_errors=True)
(here / "bin").mkdir(parents=True)
(here / "bin" / "seawall").symlink_to(seawall)
chaos = toolkit() / "chaos"
every_scenario_is_an_experiment(chaos)
an_experiment_is_run(chaos)
a_journal_is_read()
