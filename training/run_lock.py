"""Who has the folder of a run: one at a time, on a local folder and on an object store alike.

``run.lock`` names the process and has its last sign of life. A holder that was killed leaves it behind. Where it ran on
this machine it is known at once that its process is gone; elsewhere it is given up ``STALE_S`` after its last sign.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from schemas.settings import Section
from training.errors import TrainingError, UsageError
from training.outputs import Output
from training.streaming.source import MissingError

LOCK = "run.lock"

BEAT_S, STALE_S = 20.0, 120.0
"""Seconds between two signs of life, and after which one of another machine is too old."""

SETTLE_S = 1.0
"""Seconds in which others who found the same lock free have written theirs: the last of them has it."""

LIMIT = 2**16

_log = logging.getLogger(__name__)


class Holder(Section):
    """A process. ``machine``: within which ``pid`` is unique, with ``started`` also over time. Times: s since 1970."""

    token: str
    host: str
    machine: str
    pid: int
    started: int | None
    since: float
    beat: float

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        pid, now = os.getpid(), time.time()
        return cls(
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            machine=_machine(),
            pid=pid,
            started=_started(pid),
            since=now,
            beat=now,
        )

    def lives(self) -> bool:
        """Whether it is there as far as can be told from here."""
        if self.machine and self.machine == _machine():
            return self.started is not None and _started(self.pid) == self.started
        return time.time() - self.beat < STALE_S

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC)
        age = max(0.0, time.time() - self.beat)
        return f"process {self.pid} on {self.host}, since {since:%Y-%m-%d %H:%M:%S} UTC, last heard of {age:.0f} s ago"


class RunLock:
    """The lock of a folder, for the first rank alone. Once it is claimed a thread of its own gives signs of life."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._mine: Holder | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="run lock", daemon=True)

    def claim(self) -> None:
        """Have the folder from now on.

        Raises:
            UsageError: another has it.
            TrainingError: the store refuses.
        """
        mine, local = Holder.here(), self._output.source.local is not None
        if not (local and self._output.create(LOCK, _json(mine))):
            found = self._found()
            if found is not None and found.lives():
                raise self._taken(found)
            self._output.write(LOCK, _json(mine))
            time.sleep(SETTLE_S)
            self._check(mine)
        self._mine = mine
        self._thread.start()

    def hold(self) -> None:
        """Give a sign of life. Where nothing was claimed there is nothing to hold.

        Raises:
            UsageError: another has the folder, who took this process for dead.
            TrainingError: the store refuses.
        """
        mine = self._mine
        if mine is not None:
            self._check(mine)
            self._output.write(LOCK, _json(mine.model_copy(update={"beat": time.time()})))

    def release(self) -> None:
        """Leave the folder to others; it may be called twice."""
        mine, self._mine = self._mine, None
        if mine is None:
            return
        self._over.set()
        self._thread.join(BEAT_S)
        try:
            self._check(mine)
            self._output.remove(LOCK)
        except TrainingError as error:
            _log.warning("%s is left: %s", LOCK, error)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                self.hold()
            except TrainingError as error:  # the next checkpoint tells whether it matters
                _log.warning("no sign of life was written: %s", error)

    def _check(self, mine: Holder) -> None:
        found = self._found()
        if found is not None and found.token != mine.token:
            raise self._taken(found)

    def _found(self) -> Holder | None:
        """Who the lock names; nobody where it is damaged."""
        for pause in (SETTLE_S, 0.0):
            try:
                return Holder.model_validate_json(self._output.source.read(LOCK, LIMIT))
            except MissingError:
                return None
            except ValueError:  # it may be being written
                time.sleep(pause)
        return None

    def _taken(self, holder: Holder) -> UsageError:
        return UsageError(
            f"{self._output.source.shown} is in use by {holder}: stop that run, or set run.out to another folder; one "
            f"that died on another machine is given up after {STALE_S:.0f} s"
        )


def _machine() -> str:
    """What processes have in common that see each other's ids; empty where that cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When a process began, in ticks since the machine did; None where there is none, or only its remains."""
    try:
        state, *values = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if state in (b"Z", b"X") else int(values[18])


def _json(holder: Holder) -> bytes:
    return holder.model_dump_json(indent=1).encode() + b"\n"
