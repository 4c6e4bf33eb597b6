"""Contestants of the benchmark of streaming against each other: in turn, each run in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median

from infra.bench.stream_gate import memory
from infra.bench.stream_peers import Spec
from infra.bench.stream_run import Result
from infra.s3.faults import Proxy

RUN_SECONDS = 900.0
POLL_SECONDS = 0.1
ATTEMPTS = 5
_MIB = 2**20
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass
class Measured:
    """A contestant's timed runs, and from the run before them: ``resident`` and ``proportional``, the peak memory of
    its processes in bytes (what they share counted in each, and once); ``requests`` of the store, and its ``sent``
    bytes. ``failed``: runs that ended with an error and were done again.
    """

    spec: Spec
    runs: list[Result] = field(default_factory=list)
    resident: int = 0
    proportional: int = 0
    requests: int = 0
    sent: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        """Samples a second, the median."""
        return median(run.samples / run.seconds for run in self.runs)

    @property
    def cpu(self) -> float:
        """CPU milliseconds a sample, the median."""
        return median(1e3 * run.cpu / run.samples for run in self.runs)

    def against(self, other: Measured) -> float:
        """How many times as fast as another one: the median over the rounds."""
        return median(theirs.seconds / mine.seconds for mine, theirs in zip(self.runs, other.runs, strict=True))


def race(
    specs: Sequence[Spec], repeats: int, say: Callable[[str], None], *, alike: bool = True, proxy: Proxy | None = None
) -> list[Measured]:
    """Run all contestants once for memory, requests and a hash over every byte, then in turn for time.

    Raises:
        AssertionError: a contestant did not deliver all samples, or (``alike``) not the same bytes as the others.
    """
    out = [Measured(spec) for spec in specs]
    checked = []
    for measured in out:
        if proxy:
            proxy.forget()
        checked.append(_patiently(measured, replace(measured.spec, verify=True), say, watched=measured))
        if proxy:
            tally = proxy.total()
            measured.requests, measured.sent = tally.count, tally.sent
        say(f"{measured.spec.contestant}: {checked[-1]}")
    agree(specs, checked, alike)
    for number in range(repeats):
        for measured in out:
            measured.runs.append(_patiently(measured, measured.spec, say))
            say(f"round {number + 1}, {measured.spec.contestant}: {measured.runs[-1]}")
        agree(specs, [measured.runs[-1] for measured in out], alike)
    return out


def agree(specs: Sequence[Spec], results: Sequence[Result], alike: bool) -> None:
    """Raises AssertionError where results are not of the same samples, or ``alike`` and not of the same bytes."""
    first = results[0]
    for spec, result in zip(specs, results, strict=True):
        if (result.samples, result.keys) != (spec.samples, first.keys):
            raise AssertionError(f"{spec.contestant} delivered {result.samples} of {spec.samples} samples, or others")
        if alike and result.digest != first.digest:
            raise AssertionError(f"{spec.contestant} delivered other bytes than {specs[0].contestant}")


def _patiently(of: Measured, spec: Spec, say: Callable[[str], None], watched: Measured | None = None) -> Result:
    """One run, done again where it fails, ATTEMPTS times at most."""
    while True:
        try:
            return run(spec, watched)
        except RuntimeError as error:
            of.failed += 1
            say(str(error))
            if of.failed >= ATTEMPTS:
                raise


def run(spec: Spec, watched: Measured | None = None) -> Result:
    """One run in a new process; ``watched`` gets its peak memory.

    Raises:
        RuntimeError: it failed, or took too long; the message has the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="bench-stream-") as folder:
        said, asked, answer = (Path(folder) / name for name in ("log", "spec.json", "result.json"))
        (cache := Path(folder) / "cache").mkdir()
        asked.write_text(json.dumps(asdict(replace(spec, cache=str(cache)))))
        command = [sys.executable, "-m", "infra.bench.stream_run", str(asked), str(answer)]
        environment = {**os.environ, **_ONE_THREAD, "TMPDIR": folder}
        with said.open("wb") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait(child, watched)
        finally:
            child.kill()
            child.wait()
        if not answer.exists():
            raise RuntimeError(
                f"{spec.contestant}: exit {child.returncode}: {said.read_text(errors='replace')[-2000:]}"
            )
        return Result(**json.loads(answer.read_text()))


def _wait(child: subprocess.Popen[bytes], watched: Measured | None) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        if watched is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(RUN_SECONDS)
        else:
            resident, proportional = memory(child.pid)
            watched.resident = max(watched.resident, resident)
            watched.proportional = max(watched.proportional, proportional)
            time.sleep(POLL_SECONDS)


HEAD = ("contestant", "samples/s", "from–to", "CPU ms a sample", "peak RSS MiB", "peak PSS MiB")
HEAD_STORE = (*HEAD, "requests a sample", "KiB a sample")


def rows(measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    """A row for each contestant, the first being what the others are compared with: in brackets the first one's value
    divided by the row's; of speed it is how many times as fast the first one is.
    """
    first = measured[0]
    stored = any(one.requests for one in measured)
    out = []
    for one in measured:
        rates = sorted(run.samples / run.seconds for run in one.runs)
        row = [
            one.spec.contestant + (f" ({one.failed} runs failed)" if one.failed else ""),
            f"{one.rate:.2f} ({first.against(one):.2f})",
            f"{rates[0]:.2f}–{rates[-1]:.2f}",
            _beside(one.cpu, first.cpu),
            _beside(one.resident / _MIB, first.resident / _MIB),
            _beside(one.proportional / _MIB, first.proportional / _MIB),
        ]
        if stored:
            count = one.spec.samples
            row.append(_beside(one.requests / count, first.requests / count, 3))
            row.append(_beside(one.sent / count / 1024, first.sent / count / 1024))
        out.append(tuple(row))
    return out


def _beside(value: float, first: float, digits: int = 0) -> str:
    return f"{value:.{digits}f} ({first / value:.2f})" if value else "–"
