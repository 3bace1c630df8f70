#!/usr/bin/env python3
"""Measures tokens, the directory and the audit log: benches/tokens.py SECRETS FILL

SECRETS is the program and FILL the helper of benches/fill.rs. Prints differences and ratios of whole processes that ran in turn,
with a cheap key derivation. All files are in a temporary directory, which needs 1 GB."""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from homes import Home


def in_turn(runs, *measures):
    """Returns the figures of each measure. They run in turn, so that they meet the same machine."""
    found = [[] for _ in measures]
    for _ in range(runs):
        for figures, measure in zip(found, measures):
            figures.append(measure())
    return found


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    with tempfile.TemporaryDirectory() as work:
        home = Home(sys.argv[1], pathlib.Path(work) / "home")
        fill = os.path.abspath(sys.argv[2])
        for count in (1, 10_000):
            subprocess.run([fill, "projects", home.home / f"{count}.db", str(count)], check=True)

        get = ["get", "secret-0000000"]
        one, many = in_turn(50, lambda: home.cpu(["--vault", "1.db", *get]), lambda: home.cpu(["--vault", "10000.db", *get]))
        print(f"get, 10,000 projects against one     {min(many) - min(one):+8.2f} ms of CPU")

        home.create_vault()
        home.run(["token", "create", "ci", "--level", "use", "--output", "ci"])
        home.run(["token", "create", "set", "--level", "use", "--output", "set", "--only",
                  ",".join(f"key-{number}" for number in range(20))])
        home.run(["unlock", "-q", "--ttl", "1h", "--idle", "1h"])
        render = ["render", "twenty.tmpl"]
        try:
            agent, token, limited = in_turn(
                100, lambda: home.cpu(render, SECRETS_PASSPHRASE=None),
                lambda: home.cpu(["--token-file", "ci", *render], SECRETS_PASSPHRASE=None),
                lambda: home.cpu(["--token-file", "set", *render], SECRETS_PASSPHRASE=None))
            print(f"render of 20, token against agent    {min(token) / min(agent):8.2f} x")
            print(f"  a token for these 20 secrets       {min(limited) / min(agent):8.2f} x")

            # In the other state directory, a file is in the place of the log.
            other = home.home / "other"
            (other / "secrets").mkdir(mode=0o700, parents=True)
            (other / "secrets" / "audit").write_text("no directory")
            recorded, silent = in_turn(
                300, lambda: home.wall(render, SECRETS_PASSPHRASE=None),
                lambda: home.wall(render, SECRETS_PASSPHRASE=None, XDG_STATE_HOME=str(other)))
            entry = statistics.median(recorded) - statistics.median(silent)
            print(f"an entry of the log of uses          {entry:+8.2f} ms, medians of 300")
        finally:
            home.run(["lock", "--all", "-q"], SECRETS_PASSPHRASE=None)

        subprocess.run([fill, "vault", home.home / "large.db", "100000"], check=True)
        large = ["--vault", "large.db", "token"]

        def revoke():
            home.run([*large, "create", "ci", "--level", "use", "--output", "large"])
            (home.home / "large").unlink()
            return home.wall([*large, "revoke", "ci", "-y"])

        revoked, rekeyed = in_turn(3, revoke, lambda: home.wall(["--vault", "large.db", "rekey", "-p", "default", "-y"]))
        print(f"revoke with new keys, 100,000        {min(revoked) / 1000:8.2f} s")
        print(f"  against rekey --project            {min(revoked) / min(rekeyed):8.2f} x")


main()
