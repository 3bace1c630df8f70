"""Programs with a home directory of their own, whose whole processes the scripts beside this file measure."""

import os
import resource
import subprocess
import time

INIT = ["init", "-q", "--kdf-memory", "19", "--kdf-iterations", "1", "--kdf-parallelism", "1"]


class Home:
    """A program with a home directory. It knows the passphrase until `environment` loses it."""

    def __init__(self, binary, home):
        self.binary, self.home = os.path.abspath(binary), home
        (home / "run").mkdir(mode=0o700, parents=True)
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(home), "XDG_STATE_HOME": str(home / "state"),
            "XDG_RUNTIME_DIR": str(home / "run"), "SECRETS_PASSPHRASE": "correct horse battery staple",
        }

    def create_vault(self):
        """Creates the vault, with 20 secrets, and `twenty.tmpl`, a template that names each of them."""
        self.run(INIT)
        for number in range(20):
            self.run(["create", "-q", "--tag", f"key-{number}"], f"value-number-{number}-abcdefgh".encode())
        lines = (f"K{number}={{{{ secrets.key-{number} }}}}\n" for number in range(20))
        (self.home / "twenty.tmpl").write_text("".join(lines))

    def run(self, arguments, given=b"", stdin=None, **changes):
        """Runs the program with `given` or an open file as its input. A change to None removes a variable."""
        environment = {name: text for name, text in {**self.environment, **changes}.items() if text is not None}
        source = {"stdin": stdin} if stdin else {"input": given}
        subprocess.run([self.binary, *arguments], env=environment, cwd=self.home, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **source)

    def cpu(self, arguments, stdin=None, **changes):
        """Returns the milliseconds of CPU time of one run. `stdin` is the path of a file."""
        def used():
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            return 1000 * (usage.ru_utime + usage.ru_stime)

        before = used()
        if stdin:
            with open(stdin, "rb") as file:
                self.run(arguments, stdin=file, **changes)
        else:
            self.run(arguments, **changes)
        return used() - before

    def wall(self, arguments, **changes):
        """Returns the milliseconds that one run takes."""
        before = time.perf_counter()
        self.run(arguments, **changes)
        return 1000 * (time.perf_counter() - before)
