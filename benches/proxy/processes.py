"""The CPU time and the memory of other processes, from the kernel."""

import os
import re
import threading
import time


def tree(pid):
    """Returns a process and its descendants."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            pass  # It has ended.
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu(pids):
    """Returns the seconds of CPU time that processes have used, in nanoseconds exactly. /proc/PID/stat has hundredths."""
    # The number of a process's clock, as clock_getcpuclockid(3) makes it.
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def memory(pids, field):
    """Returns the MiB of memory of processes: `VmRSS` now, or `VmHWM` at most so far."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as file:
            total += int(re.search(rf"{field}:\s+(\d+)", file.read())[1])
    return total / 1024


class Sampler:
    """Reads the present memory of processes all the time."""

    def __init__(self, pids):
        self.pids, self.samples, self.ended = pids, [], threading.Event()
        self.thread = threading.Thread(target=self.sample)

    def sample(self):
        while not self.ended.wait(0.05):
            self.samples.append(memory(self.pids, "VmRSS"))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
