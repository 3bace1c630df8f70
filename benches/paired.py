#!/usr/bin/env python3
"""Compares the CPU time of whole processes of two binaries: benches/paired.py OLD NEW

Prints user and system time together, the minimum of many runs, and the ratio. Both binaries run the same commands in turn, each
on its own vaults, with a cheap key derivation. All files are in a temporary directory, which needs 1 GB."""

import pathlib
import random
import sys
import tempfile

from homes import INIT, Home

WORDS = "GET POST /api/v1/users 200 404 INFO WARN connected request id=7f3a duration=12ms user=anna retry".split()


def compare(sides, name, arguments, runs, stdin=None):
    least = [float("inf")] * 2
    for turn in range(runs):
        for which in ((0, 1), (1, 0))[turn % 2]:
            least[which] = min(least[which], sides[which].cpu(arguments, stdin))
    print(f"{name:28} {least[0]:8.2f} ms {least[1]:8.2f} ms  {least[1] / least[0]:.2f}x", flush=True)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        random.seed(1)
        log = "".join(f"2026-11-21T09:30:{n % 60:02}.{n % 1000:03}Z {' '.join(random.choices(WORDS, k=12))}\n"
                      for n in range(5000)).encode()
        with open(work / "log", "wb") as file:
            for _ in range(2**28 // len(log)):
                file.write(log)
        sides = [Home(binary, work / name) for binary, name in zip(sys.argv[1:], ("old", "new"))]
        for side in sides:
            side.create_vault()
        compare(sides, "--version", ["--version"], 100)
        for name, line in (("get", "get key-3"), ("list", "list"), ("render of 20", "render twenty.tmpl")):
            compare(sides, f"{name}, key derivation", line.split(), 50)
        with open(work / "many.env", "w") as file:
            file.writelines(f"NAME_{number:05}={random.getrandbits(160):040x}\n" for number in range(100_000))
        for side in sides:
            side.run(["--vault", "large.db", *INIT])
        compare(sides, "import of 100,000", ["--vault", "large.db", "import", "-q", str(work / "many.env")], 1)
        (work / "some.tmpl").write_text("".join(f"{{{{ secrets.NAME_{number:05} }}}}\n" for number in
                                                random.sample(range(100_000), 4000)))
        compare(sides, "render of 4,000", ["--vault", "large.db", "render", str(work / "some.tmpl")], 9)
        for name, line in (("list of 100,000", "list --all --json"), ("verify of 100,000", "verify"),
                           ("backup of 100,000", "backup --replace copy.db"), ("rekey of 100,000", "rekey --yes")):
            compare(sides, name, ["--vault", "large.db", *line.split()], 5)
        doomed = [f"NAME_{number:05}" for number in random.sample(range(100_000), 4000)]
        compare(sides, "delete of 4,000", ["--vault", "large.db", "delete", "--yes", *doomed], 1)
        for side in sides:
            side.run(["unlock", "-q", "--ttl", "1h", "--idle", "1h"])
            del side.environment["SECRETS_PASSPHRASE"]
        try:
            for name, line in (("get", "get key-3"), ("render of 20", "render twenty.tmpl"), ("run", "run -- true")):
                compare(sides, f"{name}, agent", line.split(), 100)
            compare(sides, "redact of 256 MiB of log", ["redact"], 5, work / "log")
        finally:
            for side in sides:
                side.run(["lock", "--all", "-q"])


main()
