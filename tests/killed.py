#!/usr/bin/python3
"""Kills drills at random moments (SIGKILL, which nobody can catch) and looks for what they leave behind.

A drill starts servers, stops them in their tracks, takes processors away, mounts disks. After each kill there must be no
process, no stopped server, no mount, no control group and no folder left.

    tests/killed.py PATH_OF_SEAWALL [--runs N] [--seed N]
"""
import argparse
import collections
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

# Each has another thing in force when it is killed.
DRILLS = [
    ("redis-unreachable", "unprotected", "a server that stands still"),
    ("disk-exhaustion", "limit", "a small disk that is full"),
    ("redis-out-of-memory", "prevented", "settings of a server"),
    ("cache-node-loss", "limit", "a server that is down"),
    ("retry-storm", "limit", "a lock in PostgreSQL"),
    ("cache-partition", "with-local-cache", "broken links, and a gateway"),
    ("memory-exhaustion", "rolling-restart-and-limit", "instances that are down"),
]
# Cleaning up ends servers politely, and a busy disk is tried again.
PATIENCE_S = 30.0
MARK = "SEAWALL_KILLED_TEST"


def ours(mark):
    """Processes that have inherited the mark, with what they are and how they are."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if f"{MARK}={mark}".encode() not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state != "Z":
            found[int(entry.name)] = (state, command.strip()[:100])
    return found


def groups():
    root = pathlib.Path("/sys/fs/cgroup")
    return {str(path) for path in root.glob("**/seawall*")} if root.is_dir() else set()


def left(mark, folder, before):
    """What is left, in words."""
    things = [f"process {pid} ({state}): {command}" for pid, (state, command) in ours(mark).items()]
    mounts = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    things += [f"mount: {line.split()[1]}" for line in mounts if folder in line]
    things += [f"control group: {group}" for group in groups() - before]
    things += [f"file: {path}" for path in pathlib.Path(folder).iterdir()]
    return things


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("seawall", type=pathlib.Path)
    arguments.add_argument("--runs", type=int, default=4)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    seawall = given.seawall.resolve()
    draw = random.Random(given.seed)
    moments = collections.Counter()
    longest = 0.0
    for run in range(given.runs):
        scenario, variant, what = DRILLS[run % len(DRILLS)]
        mark = f"{os.getpid()}-{run}"
        # PostgreSQL refuses to be root: its user has to get into this folder.
        folder = tempfile.mkdtemp(prefix="killed-")
        os.chmod(folder, 0o755)
        before = groups()
        environment = {**os.environ, MARK: mark, "TMPDIR": folder, "XDG_STATE_HOME": "/nonexistent"}
        log = tempfile.TemporaryFile()
        drill = subprocess.Popen(
            [str(seawall), "drill", scenario, "--variant", variant, "--scale", "1/5"],
            env=environment, stdout=log, stderr=log
        )
        # From the first breath to well into the fault.
        time.sleep(draw.uniform(0.0, 18.0))
        if drill.poll() not in (None, 3, 4):
            log.seek(0)
            print(f"failed: the drill of {scenario} ended by itself: {log.read().decode(errors='replace')[-600:]}")
            return 1
        log.seek(0)
        said = log.read().decode(errors="replace")
        # A busy machine may have ended it already; nothing may be left then, either.
        moment = "ended before" if drill.poll() is not None else "in force" if " s  " in said else "running" if "ready" in said else "starting"
        moments[moment] += 1
        if drill.poll() is None:
            drill.send_signal(signal.SIGKILL)
        drill.wait()
        killed = time.monotonic()
        while things := left(mark, folder, before):
            if time.monotonic() - killed > PATIENCE_S:
                print(f"failed: run {run}, {scenario} ({what}), killed while {moment}; left behind:")
                print("\n".join(f"  {thing}" for thing in things))
                return 1
            time.sleep(0.1)
        longest = max(longest, time.monotonic() - killed)
        shutil.rmtree(folder)
    told = ", ".join(f"{count} {moment}" for moment, count in sorted(moments.items()))
    print(f"{given.runs} drills were killed ({told}); nothing was left behind, after {longest:.1f} s at the latest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
