"""The proxies that are compared. Each starts as its own users would start it, with one destination, `localhost`."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time

import processes

# The one in mitmproxy's script. It is as long as the value, because a response that is streamed keeps its length.
PLACEHOLDER = "placeholder0123456789abcdefghijklmnopqrs"


class Unavailable(Exception):
    """A proxy that is not installed, or does not work. Its text is the reason."""


class Side:
    """One of the proxies, running, or the direct way. It stops at the end of its `with`."""

    def __init__(self, name, bench, target=None, address=None, ca=None, token=None, process=None, log=None):
        self.name, self.address = name, address
        self.target = target or bench.origin.both
        self.ca, self.token = ca or bench.origin.ca, token or bench.origin.key
        self.process, self.log = process, log
        self.pids = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def wait(self):
        """Waits until the proxy listens."""
        host, port = self.address.split(":")
        for _ in range(400):
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
                self.pids = processes.tree(self.process.pid)
                return
            time.sleep(0.05)
        raise Unavailable(f"{self.name} did not start: {self.text()[-300:]}")

    def text(self):
        return pathlib.Path(self.log).read_text(errors="replace") if self.log else ""

    def check(self, hides):
        """Checks that the value arrives, and whether it is taken out of the response."""
        command = ["curl", "--silent", "--show-error", "--max-time", "20", "--cacert", self.ca, "--header",
                   f"authorization: Bearer {self.token}", f"https://{self.target}/reflect"]
        if self.address:
            command += ["--proxy", f"http://{self.address}", "--noproxy", ""]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.returncode or found.stdout != f"Bearer {self.token}":
            raise Unavailable(f"{self.name} does not {'replace the value' if hides else 'pass requests'}: "
                              f"{(found.stdout + found.stderr)[:300]!r}")

    def cpu(self):
        return processes.cpu(self.pids)

    def memory(self, field):
        return processes.memory(self.pids, field)


def port():
    """Returns a port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def started(side, hides):
    """Returns a side that runs and does its work, or stops it."""
    try:
        side.wait()
        side.check(hides)
    except Unavailable:
        side.__exit__()
        raise
    return side


def spawn(bench, name, command, folder=None, **environment):
    """Starts a program whose output goes to a file."""
    log = bench.work / f"{name}.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                   cwd=folder or bench.work, env={**os.environ, **environment})
    return {"process": process, "log": log}


def direct(bench, target=None):
    side = Side("direct", bench, target)
    side.check(False)
    return side


def ours(bench, name="ours", target=None, only=None, sends_value=True):
    """Starts our proxy with all secrets, or with one."""
    command = [bench.home.binary, "proxy", "--print-env", "json", *(["--only", only] if only else [])]
    environment = {**bench.home.environment, "SSL_CERT_FILE": bench.origin.ca}
    process = subprocess.Popen(command, env=environment, cwd=bench.home.home, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = process.stdout.readline()
    if not line:
        raise SystemExit("`secrets proxy` does not start")
    printed = json.loads(line)
    variables = printed["variables"]
    side = Side(name, bench, target, printed["url"].removeprefix("http://"), variables["NODE_EXTRA_CA_CERTS"],
                variables[bench.tag], process)
    try:
        started(side, True)
    except Unavailable as reason:
        raise SystemExit(str(reason))
    if not sends_value:
        # The request itself has the value, so the proxy has nothing to put in and nothing to record.
        side.token = bench.origin.key
    return side


def tinyproxy(bench):
    """Starts a proxy that opens blind tunnels."""
    program, number = bench.peer("TINYPROXY"), port()
    config = bench.work / "tinyproxy.conf"
    config.write_text(f"Port {number}\nListen 127.0.0.1\nMaxClients 4096\nTimeout 600\nLogLevel Critical\n")
    side = Side("tinyproxy", bench, address=f"127.0.0.1:{number}",
                **spawn(bench, "tinyproxy", [program, "-d", "-c", str(config)]))
    return started(side, False)


def mitmproxy(bench, streams=False):
    """Starts mitmproxy with a script. It reads each body as a whole, or passes it in pieces."""
    name = "mitmproxy, streaming" if streams else "mitmproxy"
    program, number = bench.peer("MITMDUMP"), port()
    state = bench.work / name.replace(", ", "-")
    script = pathlib.Path(__file__).with_name("mitmproxy_script.py")
    command = [program, "--quiet", "--listen-host", "127.0.0.1", "--listen-port", str(number), "--scripts", str(script),
               "--set", f"confdir={state}", "--set", f"ssl_verify_upstream_trusted_ca={bench.origin.ca}"]
    running = spawn(bench, state.name, command, BENCH_VALUE=bench.origin.key, BENCH_PLACEHOLDER=PLACEHOLDER,
                    BENCH_STREAM="1" if streams else "")
    side = Side(name, bench, address=f"127.0.0.1:{number}", ca=str(state / "mitmproxy-ca-cert.pem"), token=PLACEHOLDER,
                **running)
    # With streaming, the one piece of this response is searched too.
    return started(side, True)


def varlock(bench):
    """Starts varlock's proxy. Its requests cannot use HTTP/2."""
    program, number = bench.peer("VARLOCK").split(), port()
    state = bench.work / "varlock"
    state.mkdir(exist_ok=True)
    (state / ".env.schema").write_text(
        f'# @defaultRequired=false\n# ---\n# @sensitive @proxy(domain="localhost")\nAPI_KEY={bench.origin.key}\n')
    environment = {"HOME": str(state), "NODE_EXTRA_CA_CERTS": bench.origin.ca, "VARLOCK_TELEMETRY_DISABLED": "1"}
    proxy = [*program, "proxy"]
    command = [*proxy, "start", "--port", str(number), "--cert-dir", str(state / "certs")]
    side = Side("varlock", bench, address=f"127.0.0.1:{number}", ca=str(state / "certs" / "ca-cert.pem"),
                **spawn(bench, "varlock", command, state, **environment))
    try:
        side.wait()
        # It listens a little before it answers this.
        for _ in range(20):
            found = subprocess.run([*proxy, "env", "--full", "--format", "json"], cwd=state, capture_output=True, text=True,
                                   env={**os.environ, **environment})
            with contextlib.suppress(json.JSONDecodeError, KeyError):
                side.token = json.loads(found.stdout)["API_KEY"]
                break
        side.check(True)
    except Unavailable:
        side.__exit__()
        raise
    return side
