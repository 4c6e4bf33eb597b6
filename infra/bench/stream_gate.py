"""A gate in front of the work, so that imports and the start of processes are nobody's time.

A run names a directory in the environment. Every process that is to work makes a file there and waits; the gate opens,
and the clock starts, when as many are there as there should be.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

GATE = "ACETATE_BENCH_GATE"
PARENT = "ACETATE_BENCH_PARENT"
"""The process that trains."""

SECONDS = 120.0
_OPEN = "open"


def wait_at_gate() -> None:
    """Say that this process could begin, and wait until all could. Nothing without a gate, or when it is open."""
    if GATE not in os.environ:
        return
    gate, deadline = Path(os.environ[GATE]), time.monotonic() + SECONDS
    if (gate / _OPEN).exists():
        return
    (gate / str(os.getpid())).touch()
    while not (gate / _OPEN).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the gate did not open in {SECONDS:.0f} s")
        time.sleep(0.001)


class Gate:
    """Opens when ``expected`` processes wait at it. ``opened`` is the time (``perf_counter``) when it did, ``cpu`` the
    CPU seconds of this process and its children until then.
    """

    def __init__(self, folder: Path, expected: int) -> None:
        self.opened = self.cpu = 0.0
        self._folder, self._expected = folder, expected
        os.environ[GATE], os.environ[PARENT] = str(folder), str(os.getpid())
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while len(list(self._folder.iterdir())) < self._expected:
            time.sleep(0.001)
        self.cpu = cpu_seconds(os.getpid())
        self.opened = time.perf_counter()
        (self._folder / _OPEN).touch()


def cpu_seconds(root: int) -> float:
    """CPU time of a process and what descends from it, those that ended and were waited for too."""
    ticks = 0
    for pid in tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """The process ids of ``root`` and what descends from it."""
    out, new = [], [root]
    while new:
        out += new
        found = []
        for pid in new:
            for listed in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    found += [int(child) for child in listed.read_text().split()]
                except OSError:
                    continue
        new = found
    return out


def memory(root: int) -> tuple[int, int]:
    """(resident, proportional) bytes of a process and what descends from it. What processes share counts in each of
    them in the first, and once in the second.
    """
    sums = {"Rss:": 0, "Pss:": 0}
    for pid in tree(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, *rest = line.split()
            if name in sums:
                sums[name] += int(rest[0]) * 1024
    return sums["Rss:"], sums["Pss:"]
