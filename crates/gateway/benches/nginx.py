#!/usr/bin/env python3
"""The gateway beside nginx with `proxy_cache`, on this machine, in one run.

    cargo build --release -p seawall-cli && crates/gateway/benches/nginx.py [SECONDS] [ROUNDS]

Both are held to one core and have one thread; wrk and the upstream (an nginx of its own, the same for both) share
another. They take turns, round by round, so that whatever else the machine does falls on both. It prints requests per
second, latency, and the processor time that the process took for a request (which says more than the other two while
the machine has something else to do), of

- hit: one of 1 000 bodies of 1 KB that are kept,
- miss: an address that was never asked for, kept afterwards,
- pass: a response that says `no-store`,

as the medians of the rounds, the ratio (1 is as nginx, more is better), and the memory of a connection: what the
process grew by when 10 000 connections had been opened, and when each had asked once and gone idle.

With `--check` it fails when a ratio of requests per second is below 0.8.
"""

import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SEAWALL = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release", "seawall")
KEYS = 1000
IDLE = 10_000
CONNECTIONS = 64
LEAST = 0.8

HIT = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/hit/" .. (n %% %d))
end
""" % KEYS

MISS = """
local n = 0
local run = os.getenv("RUN")
request = function()
  n = n + 1
  return wrk.format("GET", "/miss/" .. run .. "/" .. n)
end
"""

PASS = """
request = function()
  return wrk.format("GET", "/pass/x")
end
"""

SCRIPTS = {"hit": HIT, "miss": MISS, "pass": PASS}

COMMON = """
{user}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
worker_rlimit_nofile 65536;
events {{ worker_connections 32768; }}
http {{
  access_log off;
  server_tokens off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  keepalive_timeout 300s;
  tcp_nodelay on;
  default_type text/plain;
  {server}
}}
"""

ORIGIN = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location /pass/ {{ add_header Cache-Control no-store; return 200 "{body}"; }}
    location / {{ add_header Cache-Control "max-age=3600"; return 200 "{body}"; }}
  }}
"""

# What nginx's own documentation advises: a pool of connections to the upstream, HTTP/1.1 to it, a lock so that a key is
# asked for once. The kept bodies are in memory, as the gateway's are. What is passed needs no lock: with one, requests for
# what turns out not to be for keeping wait for each other.
PROXY = """
  proxy_cache_path {store} levels=1:2 keys_zone=zone:64m max_size=512m inactive=1h use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $remote_addr;
    location /pass/ {{ proxy_pass http://origin; }}
    location / {{
      proxy_pass http://origin;
      proxy_cache zone;
      proxy_cache_lock on;
      add_header X-Cache $upstream_cache_status;
    }}
  }}
"""

SEAWALL_TOML = """
[gateway]
listen = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
idle_timeout = "300s"
head_timeout = "300s"

[upstream.origin]
addresses = ["127.0.0.1:{origin}"]
pool = 64

[cache]
memory = "512mb"
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    until = time.time() + 10
    while time.time() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on {port}")


class Process:
    """A server that ends with this."""

    def __init__(self, command, core, **more):
        self.process = subprocess.Popen(["taskset", "-c", str(core), *command], **more)

    def family(self):
        """It and its children."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [pid, *(int(child) for child in f.read().split())]

    def memory(self):
        total = 0
        for pid in self.family():
            with open(f"/proc/{pid}/status") as f:
                total += int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1))
        return total * 1024

    def busy(self):
        """Seconds of processor time that it has taken."""
        total = 0
        for pid in self.family():
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
                    total += int(f.read().split()[0])
        return total / 1e9

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def nginx(folder, server, core):
    os.makedirs(folder)
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as f:
        # Started by root, its workers would be somebody who cannot read the folder.
        user = "user root;" if os.geteuid() == 0 else ""
        f.write(COMMON.format(folder=folder, server=server, user=user))
    return Process(["nginx", "-c", path, "-p", folder, "-e", os.path.join(folder, "error.log")], core)


def seconds(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def wrk(folder, process, port, kind, length, core, run):
    script = os.path.join(folder, kind + ".lua")
    if not os.path.exists(script):
        with open(script, "w") as f:
            f.write(SCRIPTS[kind])
    command = ["taskset", "-c", str(core), "wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{length}s", "--latency"]
    before = process.busy()
    out = subprocess.run(
        [*command, "-s", script, f"http://127.0.0.1:{port}/"],
        env={**os.environ, "RUN": run},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    errors = re.search(r"(Non-2xx.*|Socket errors.*)", out)
    if errors:
        sys.exit(f"{kind}: {errors.group(1)}\n{out}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    p50 = seconds(re.search(r"\n +50%\s+(\S+)", out).group(1))
    p99 = seconds(re.search(r"\n +99%\s+(\S+)", out).group(1))
    count = int(re.search(r"(\d+) requests in", out).group(1))
    return rate, p50, p99, (process.busy() - before) / count


def idle(process, port):
    """Bytes a connection: opened, and idle after a request."""
    before = process.memory()
    sockets = []
    for _ in range(IDLE):
        s = socket.create_connection(("127.0.0.1", port), 5)
        sockets.append(s)
    time.sleep(1)
    opened = process.memory()
    for first in range(0, IDLE, 100):
        some = sockets[first : first + 100]
        for s in some:
            s.sendall(b"GET /hit/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for s in some:
            answer = b""
            while not answer.endswith(b"x" * 16):
                part = s.recv(65536)
                if not part:
                    sys.exit("an idle connection was closed")
                answer += part
    time.sleep(1)
    asked = process.memory()
    for s in sockets:
        s.close()
    return (opened - before) / IDLE, (asked - before) / IDLE


def main():
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    length = int(arguments[0]) if arguments else 4
    rounds = int(arguments[1]) if len(arguments) > 1 else 5
    only = os.environ.get("ONLY")
    for tool in ["nginx", "wrk", "taskset"]:
        shutil.which(tool) or sys.exit(f"{tool} is missing: apt-get install nginx-light wrk util-linux")
    os.path.exists(SEAWALL) or sys.exit(f"{SEAWALL} is missing: cargo build --release -p seawall-cli")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cores = sorted(os.sched_getaffinity(0))
    len(cores) >= 2 or sys.exit("this needs two cores")
    mine, other = cores[0], cores[1]
    folder = tempfile.mkdtemp(prefix="seawall-nginx-", dir="/dev/shm")
    running = []
    try:
        ports = {name: free_port() for name in ["origin", "nginx", "seawall", "admin"]}
        body = "x" * 1024
        running.append(nginx(f"{folder}/origin", ORIGIN.format(port=ports["origin"], body=body), other))
        proxy = PROXY.format(store=f"{folder}/store", origin=ports["origin"], port=ports["nginx"])
        running.append(nginx(f"{folder}/nginx", proxy, mine))
        toml = os.path.join(folder, "seawall.toml")
        with open(toml, "w") as f:
            f.write(SEAWALL_TOML.format(port=ports["seawall"], admin=ports["admin"], origin=ports["origin"]))
        running.append(Process([SEAWALL, "gateway", "--config", toml], mine, env={"SEAWALL_LOG": "warn"}))
        for port in ports.values():
            wait_for(port)
        measure(folder, running, ports, other, length, rounds, only)
    finally:
        for process in reversed(running):
            process.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(folder, running, ports, other, length, rounds, only):
    kinds = [kind for kind in SCRIPTS if only in (None, kind)]
    servers = dict(zip(["nginx", "seawall"], running[1:]))
    print(f"{'':4}{'':>8} {'req/s':>9} {'p50':>8} {'p99':>8} {'CPU':>8}")
    worst = []
    for kind in kinds:
        for name, process in servers.items():
            wrk(folder, process, ports[name], kind, 1, other, f"warm-{name}")
        found = {name: [] for name in servers}
        for turn in range(rounds):
            for name in list(servers)[:: 1 if turn % 2 == 0 else -1]:
                found[name].append(wrk(folder, servers[name], ports[name], kind, length, other, f"{turn}-{name}"))
        for name in servers:
            rate, p50, p99, busy = (statistics.median(values) for values in zip(*found[name]))
            print(f"{kind:4}{name:>8} {rate:>9.0f} {p50 * 1e6:>6.0f}us {p99 * 1e6:>6.0f}us {busy * 1e6:>6.1f}us")
        turns = zip(found["nginx"], found["seawall"])
        turns = [(b[0] / a[0], *(x / y for x, y in zip(a[1:], b[1:]))) for a, b in turns]
        rate, p50, p99, busy = (statistics.median(values) for values in zip(*turns))
        worst.append(rate)
        print(f"{'':4}{'ratio':>8} {rate:>9.2f} {p50:>8.2f} {p99:>8.2f} {busy:>8.2f}")
    if only is None:
        _, proxy, seawall = running
        for name, process in [("nginx", proxy), ("seawall", seawall)]:
            opened, asked = idle(process, ports[name])
            print(f"memory of a connection, {name}: {opened:.0f} bytes opened, {asked:.0f} bytes idle after a request")
    if "--check" in sys.argv and min(worst) < LEAST:
        sys.exit(f"below {LEAST} of nginx")


main()
