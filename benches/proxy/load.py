"""The load generator of tests/origin (`test-load`): its origin, and its client."""

import json
import subprocess
import threading
import types


class Origin:
    """A running origin. `both` is its address with HTTP/2, and `http1` the one without."""

    def __init__(self, program, ca, key):
        self.ca, self.key = ca, key
        self.process = subprocess.Popen([program, "origin", ca, key], stdout=subprocess.PIPE, text=True)
        self.both, self.http1 = (f"localhost:{port}" for port in self.process.stdout.readline().split())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Load:
    """A client with open connections. `go` sends the requests and returns what they have shown."""

    def __init__(self, program, side, limit=300, **options):
        options = {"target": side.target, "ca": side.ca, "token": side.token, **options}
        if side.address:
            options["proxy"] = side.address
        self.process = subprocess.Popen([program, "run", *(f"{name}={text}" for name, text in options.items())],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # A proxy that hangs must not hold the others up.
        self.limit = threading.Timer(limit, self.process.kill)
        self.limit.start()

    def __enter__(self):
        self.process.stdout.readline()
        return self

    def __exit__(self, *_):
        self.limit.cancel()
        self.process.communicate()

    def go(self):
        """Returns what `test-load` prints, or None if it did not end in time."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            return types.SimpleNamespace(**json.loads(self.process.stdout.readline()))
        except (BrokenPipeError, json.JSONDecodeError):
            return None
