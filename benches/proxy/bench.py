"""The origin and the vault that all sections share, blocks in turn, tables, and goals."""

import contextlib
import os
import random
import shutil
import statistics
import string
import time

import sides
from homes import INIT, Home
from load import Load, Origin

REPEATS = 2
SECRETS = 100


class Bench:
    """The origin, and a vault with 100 secrets that may be sent to it."""

    def __init__(self, work, is_quick):
        self.work, self.is_quick = work, is_quick
        self.load = os.environ["TEST_LOAD"]
        self.goals, self.reasons = [], set()
        random.seed(5)
        values = ["".join(random.choices(string.ascii_letters + string.digits, k=40)) for _ in range(SECRETS)]
        self.tag = "TOKEN_0"
        self.origin = Origin(self.load, str(work / "origin.pem"), values[0])
        self.home = Home(os.environ["SECRETS"], work / "home")
        self.home.run(INIT)
        (self.home.home / "raw.env").write_text("".join(f"TOKEN_{n}={value}\n" for n, value in enumerate(values)))
        self.home.run(["import", "-q", "raw.env"])
        # All of them have the same origin. So the proxy looks at all rules, and searches for all values.
        for number in range(SECRETS):
            for target in (self.origin.both, self.origin.http1):
                self.home.run(["allow", f"TOKEN_{number}", "--to", f"https://{target}", "-q"])
        self.home.run(["token", "create", "bench", "--level", "use", "--output", "token"])
        # A token derives no key, so a start shows its own time.
        self.home.environment["SECRETS_TOKEN_FILE"] = str(self.home.home / "token")
        del self.home.environment["SECRETS_PASSPHRASE"]

    def count(self, complete, quick):
        return quick if self.is_quick else complete

    def peer(self, variable):
        """Returns the program of another proxy."""
        program = os.environ.get(variable, "")
        if not shutil.which(program.split(" ")[0]):
            raise sides.Unavailable(f"{variable.lower()} is not installed")
        return program

    @contextlib.contextmanager
    def running(self, *starters):
        """Starts sides, and leaves out those that do not work here."""
        with contextlib.ExitStack() as stack:
            found = []
            for starter in starters:
                try:
                    found.append(stack.enter_context(starter(self)))
                except sides.Unavailable as reason:
                    if str(reason) not in self.reasons:
                        print(f"left out: {reason}", flush=True)
                    self.reasons.add(str(reason))
            yield found

    def requests(self, side, **options):
        """Sends requests and returns what they have shown, with the proxy's CPU time and memory and the seconds that the
        connections took before. Returns None if there was no response."""
        begun = time.perf_counter()
        with Load(self.load, side, **options) as load:
            opening, before = time.perf_counter() - begun, side.cpu()
            found = load.go()
            if not found:
                print(f"{side.name} hung, or the load ended with an error", flush=True)
                return None
            found.cpu, found.opening = side.cpu() - before, opening
            found.rss, found.peak = side.memory("VmRSS"), side.memory("VmHWM")
        if found.failures or set(found.statuses) != {"200"}:
            print(f"{side.name}: statuses {found.statuses}, {found.failures} failures: {found.first_failure}", flush=True)
        return found if found.micros else None

    def goal(self, what, figure, unit="", most=None, least=None):
        """Notes a figure with its goal: at most, or at least. A figure is None if something was left out."""
        self.goals.append((what, figure, unit, most, least))

    def print_goals(self):
        print("\n== goals")
        for what, figure, unit, most, least in self.goals:
            limit = f"<= {most:g}{unit}" if most is not None else f">= {least:g}{unit}"
            if figure is None:
                print(f"{what:<70} {'not measured':>12}   {limit}")
                continue
            is_hit = figure <= most if most is not None else figure >= least
            print(f"{what:<70} {shown(figure) + unit:>12}   {limit:<12} {'hit' if is_hit else 'MISSED'}")


def in_turn(running, blocks, measure):
    """Returns what `measure` returns for each side: a list of blocks for each repeat."""
    found = {side.name: [[] for _ in range(REPEATS)] for side in running}
    for repeat in range(REPEATS):
        for block in range(blocks):
            for side in running if block % 2 == 0 else running[::-1]:
                found[side.name][repeat].append(measure(side))
    return found


def quantile(figures, share):
    figures = sorted(figures)
    return figures[min(int(len(figures) * share), len(figures) - 1)]


def each(repeats, figure):
    """Returns a figure of the blocks of each repeat, without blocks that have failed."""
    whole = [[block for block in blocks if block] for blocks in repeats]
    return [figure(blocks) for blocks in whole if blocks]


def added(found, side, figure):
    """Returns how far a figure of a side's blocks is above that of the direct blocks in the same turn, for each repeat."""
    if side == "direct":
        return ""
    differences = []
    for ours, direct in zip(found[side], found["direct"]):
        pairs = [figure(one) - figure(other) for one, other in zip(ours, direct) if one and other]
        differences += [statistics.median(pairs)] if pairs else []
    return differences


def ratio(found, side, other, figure):
    """Returns the median of the ratios of two sides' blocks next to each other, or None."""
    if side not in found or other not in found:
        return None
    pairs = [figure(one) / figure(two) for ours, theirs in zip(found[side], found[other])
             for one, two in zip(ours, theirs) if one and two]
    return statistics.median(pairs) if pairs else None


def better(figures):
    return min(figures) if figures else None


def shown(figure):
    if isinstance(figure, int) or abs(figure) >= 100:
        return f"{figure:.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.3f}"


def table(title, columns, rows):
    """Prints figures of sides. A cell is a text, or a list with the figure of each repeat."""
    load = os.getloadavg()[0]
    print(f"\n== {title}  (load average {load:.1f})")
    print(f"{'':<32}" + "".join(f"{column:>19}" for column in columns))
    for name, *cells in rows:
        texts = [cell if isinstance(cell, str) else "  ".join(map(shown, cell)) or "-" for cell in cells]
        print(f"{name:<32}" + "".join(f"{text:>19}" for text in texts), flush=True)
