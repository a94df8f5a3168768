#!/usr/bin/python3
"""Drives the fault proxy with clients of Toxiproxy that know nothing of Seawall.

First the tests that `toxiproxy_rust` ships in its release, then an experiment of Chaos Toolkit with its Toxiproxy
extension. Both are unmodified, in the versions that `tests/clients` pins.

    tests/proxy.py PATH_OF_SEAWALL
"""
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

root = pathlib.Path(__file__).resolve().parent.parent
clients = root / "tests" / "clients"
scratch = root / "target" / "clients"
seawall = pathlib.Path(sys.argv[1]).resolve()


def fail(what):
    print(f"failed: {what}")
    sys.exit(1)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Proxy:
    """`seawall proxy` for as long as a block lasts. It has to end in good order."""

    def __init__(self, *arguments, api=8474):
        self.api = api
        self.arguments = [str(seawall), "proxy", "--api", f"127.0.0.1:{api}", "--grace", "1", *arguments]

    def __enter__(self):
        self.process = subprocess.Popen(self.arguments, env={**os.environ, "SEAWALL_LOG": "warn"})
        until = time.monotonic() + 20
        while True:
            if self.process.poll() is not None:
                fail(f"the proxy ended with {self.process.returncode}; is port {self.api} taken?")
            try:
                socket.create_connection(("127.0.0.1", self.api), 1).close()
                return self
            except OSError:
                if time.monotonic() > until:
                    self.process.kill()
                    fail("the proxy does not listen")
                time.sleep(0.02)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            fail("the proxy does not end")
        if status not in (0, 1):
            fail(f"the proxy ended with {status}")


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    return done.returncode, done.stdout


def rust_client():
    """The tests of the crate, as they are in its release. They use the usual port, and 2000 and 2001."""
    package = scratch / "toxiproxy_rust"
    shutil.copytree(clients / "toxiproxy_rust", package, dirs_exist_ok=True)
    status, told = run("cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", package / "Cargo.toml")
    if status != 0:
        fail(told)
    described = json.loads(told[told.index("{"):])
    [client] = [each for each in described["packages"] if each["name"] == "toxiproxy_rust"]
    shipped = pathlib.Path(client["manifest_path"]).parent / "tests" / "toxiproxy_rust.rs"
    (package / "tests").mkdir(exist_ok=True)
    shutil.copy(shipped, package / "tests")
    build = ("cargo", "test", "--locked", "--manifest-path", package / "Cargo.toml", "--target-dir", scratch / "build")
    status, told = run(*build, "--no-run")
    if status != 0:
        fail(told)
    with Proxy():
        # They share one proxy.
        status, told = run(*build, "--test", "toxiproxy_rust", "--", "--test-threads", "1", timeout=300)
    ran = [line for line in told.splitlines() if line.startswith("test result: ok.")]
    if status != 0 or not ran or " 0 passed" in ran[0]:
        fail(told)
    print(f"  toxiproxy_rust {client['version']}: {ran[0].split('. ')[1].split(';')[0]} of its own tests")


class Page(http.server.BaseHTTPRequestHandler):
    """A server that says the same to everybody."""

    def do_GET(self):
        body = b"x" * 500
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def toolkit():
    """The environment of the toolkit, made once for each set of versions."""
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
    return home / "bin" / "chaos"


def chaos_toolkit():
    chaos = toolkit()
    page = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    api, listen = free_port(), free_port()
    here = scratch / "experiment"
    here.mkdir(parents=True, exist_ok=True)
    experiment = json.loads((clients / "experiment.json").read_text())
    experiment["configuration"]["web_url"] = f"http://127.0.0.1:{listen}/"
    (here / "experiment.json").write_text(json.dumps(experiment))
    environment = {**os.environ, "PROXY_URL": f"http://127.0.0.1:{api}", "CHAOSTOOLKIT_DISABLE_VERSION_CHECK": "1"}
    proxy = ("--name", "web", "--listen", f"127.0.0.1:{listen}", "--upstream", f"127.0.0.1:{page.server_port}")
    with Proxy(*proxy, api=api):
        for command in (("validate",), ("run", "--journal-path", "journal.json")):
            (here / "journal.json").unlink(missing_ok=True)
            status, told = run(chaos, "--no-version-check", *command, "experiment.json", cwd=here, env=environment, timeout=120)
            if status != 0:
                fail(told)
    page.shutdown()
    journal = json.loads((here / "journal.json").read_text())
    runs = {each["activity"]["name"]: each for each in journal["run"]}
    if journal["status"] != "completed" or journal["deviated"]:
        fail(f"the experiment {journal['status']}, deviated: {journal['deviated']}")
    for name, each in runs.items():
        expected = "failed" if name == "now it does not answer" else "succeeded"
        if each["status"] != expected:
            fail(f"{name}: {each['status']}, not {expected}: {each.get('exception')}")
        wanted = each["activity"].get("tolerance")
        if wanted is not None and each["output"] != wanted:
            fail(f"{name}: {each['output']}")
    for name in ("slowly, it answers", "through all of it, it answers"):
        if runs[name]["output"]["status"] != 200:
            fail(f"{name}: {runs[name]['output']}")
    if runs["slowly, it answers"]["duration"] < 0.29:
        fail(f"latency took {runs['slowly, it answers']['duration']} s")
    print(f"  chaostoolkit {journal['chaoslib-version']}: {len(runs)} activities, not deviated")


def refusals():
    """What is wrong is told at once, by the exit status too."""
    scratch.mkdir(parents=True, exist_ok=True)
    taken = socket.create_server(("127.0.0.1", 0))
    busy = f"127.0.0.1:{taken.getsockname()[1]}"
    for text, more, status, word in (
        ('[{"name": "a"}]', (), 2, "upstream at proxy 1"),
        ("{", (), 2, "config.json"),
        ("[]", ("--api", busy), 3, "address already in use"),
        ('[{"name": "a", "upstream": "b:1", "listen": "%s"}]' % busy, (), 3, "address already in use"),
    ):
        config = scratch / "config.json"
        config.write_text(text)
        arguments = ("--config", config, "--api", "127.0.0.1:0") if not more else ("--config", config, *more)
        came, told = run(seawall, "proxy", *arguments, timeout=20)
        if came != status or word not in told:
            fail(f"{text}: exit {came}, not {status}: {told}")
    taken.close()
    print("  wrong input is refused")


refusals()
rust_client()
chaos_toolkit()
