"""Ends a process that shows no sign of life, and says which rank hangs and what it was doing.

A rank that hangs makes all others wait in a collective, so that all of them look the same. The times of the last beats
tell them apart: each rank leaves its own in the store of the process group, and the oldest is that of the one that
hangs, as the others came at least a beat further.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch.distributed as dist

if TYPE_CHECKING:
    from training.parallel import World

log = logging.getLogger(__name__)

HUNG = 70
"""Exit code of a process that its watchdog ended: a launcher may start it again."""

STDERR = 2
LAGGARDS = 5


class Beat(NamedTuple):
    """What a rank began to do, and when (s since 1970)."""

    when: float
    what: str


class Watchdog:
    """A context in which ``beat`` is called at least every ``seconds``, by the thread that entered it.

    Where none comes, the log gets the rank, what it was doing and its stack; in a world of several also the ranks whose
    last beats are the oldest. Then the process ends with the exit code ``HUNG``, or, where not ``fatal``, the next beat
    is waited for. A process whose interpreter itself stands still (native code that holds its lock) is ended from
    outside of it up to a minute later, with all stacks on stderr and exit code 1.
    """

    def __init__(self, seconds: float, world: World, *, fatal: bool = True) -> None:
        self._seconds, self._world, self._fatal = seconds, world, fatal
        self._interval = min(5.0, seconds / 5)
        self._last, self._since = Beat(time.time(), "starting"), time.monotonic()
        self._watched = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._store: Any = None

    def __enter__(self) -> Self:
        if self._world.size > 1:
            # A connection of its own: the main thread's may be what hangs.
            self._store = dist.distributed_c10d._get_default_store().clone()  # type: ignore[attr-defined]
        self._watched = threading.get_ident()
        self.beat(self._last.what)
        self._arm()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(self._seconds)
        faulthandler.cancel_dump_traceback_later()

    def beat(self, what: str) -> None:
        """Still alive, and about to do ``what``: a few words for a log. Costs nothing that could be measured."""
        self._last, self._since = Beat(time.time(), what), time.monotonic()

    def _arm(self) -> None:
        if self._fatal:
            faulthandler.dump_traceback_later(self._seconds + min(self._seconds, 60), exit=True, file=STDERR)

    def _watch(self) -> None:
        told = 0.0
        while not self._over.wait(self._interval):
            self._arm()
            beats = self._exchange()
            since = self._since
            if time.monotonic() - since > self._seconds and since != told:
                told = since
                self._tell(beats)
                if self._fatal and self._still(beats, since):
                    _end()

    def _exchange(self) -> dict[int, Beat]:
        """The last beats of all ranks, as far as they can be had; this rank's own is left for the others."""
        beats = {self._world.rank: self._last}
        if self._store is None:
            return beats
        try:
            self._store.set(_key(self._world.rank), f"{self._last.when} {self._last.what}")
            if time.monotonic() - self._since < self._seconds:
                return beats
            for rank in range(self._world.size):
                if rank not in beats and self._store.check([_key(rank)]):
                    when, _, what = self._store.get(_key(rank)).decode().partition(" ")
                    beats[rank] = Beat(float(when), what)
        except RuntimeError as error:  # who keeps the store is gone
            log.warning("the beats of other ranks cannot be had: %s", str(error).splitlines()[0])
            self._store = None
        return beats

    def _tell(self, beats: dict[int, Beat]) -> None:
        now = time.time()
        frame = sys._current_frames().get(self._watched)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "(its thread has ended)\n"
        lines = [f"no sign of life of {_said(self._world.rank, self._last, now)}, at:\n{stack.rstrip()}"]
        if self._world.size > 1:
            oldest = sorted(beats.items(), key=lambda item: item[1].when)[:LAGGARDS]
            lines.append("oldest beats: " + "; ".join(_said(rank, beat, now) for rank, beat in oldest))
            if silent := [str(rank) for rank in range(self._world.size) if rank not in beats]:
                lines.append(f"nothing was heard of ranks {', '.join(silent[:LAGGARDS])}")
        log.error("\n".join(lines))

    def _still(self, beats: dict[int, Beat], since: float) -> bool:
        """Whether it hangs yet. A launcher ends all ranks when one ends: the one that hangs shows its stack first."""
        if min(beats.values()) == self._last:
            return True
        return not self._over.wait(2 * self._interval) and self._since == since


def _end() -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(HUNG)


def _key(rank: int) -> str:
    return f"acetate/beat/{rank}"


def _said(rank: int, beat: Beat, now: float) -> str:
    return f"rank {rank} ({beat.what}) for {now - beat.when:.0f} s"
