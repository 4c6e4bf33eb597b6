"""How fast a run is, and the line that says so: rich on a terminal, plain lines at a low rate elsewhere."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

WINDOW_S = 30.0
"""Seconds in which what was measured loses all but 1/e of its weight."""

LOSS_STEPS = 50
"""The same of a loss, in steps."""

EVERY_S = 30.0
"""Seconds between two plain lines."""


@dataclass(frozen=True)
class Pace:
    """``steps`` and ``tokens`` a second; ``wait``: share of the time that was spent waiting for data."""

    steps: float = 0.0
    tokens: float = 0.0
    wait: float = 0.0


class Meter:
    """The recent pace of a run, and its recent loss. ``clock``: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._last = clock, clock()
        self._seconds = self._steps = self._tokens = self._waited = 0.0
        self._loss = self._weight = 0.0

    def add(self, *, loss: float, tokens: int, waited: float) -> None:
        """One more step, of all ranks: its loss, the tokens it had, and the seconds that it waited for them."""
        now = self._clock()
        seconds, self._last = now - self._last, now
        kept = math.exp(-seconds / WINDOW_S)
        self._seconds = self._seconds * kept + seconds
        self._steps = self._steps * kept + 1
        self._tokens = self._tokens * kept + tokens
        self._waited = self._waited * kept + waited
        kept = math.exp(-1 / LOSS_STEPS)
        self._loss, self._weight = self._loss * kept + loss, self._weight * kept + 1

    def pause(self) -> None:
        """What was done since the last step (a checkpoint, a validation) is no time of a step."""
        self._last = self._clock()

    @property
    def loss(self) -> float:
        """Smoothed over some ``LOSS_STEPS``; NaN before the first step."""
        return self._loss / self._weight if self._weight else math.nan

    @property
    def pace(self) -> Pace:
        if not self._seconds:
            return Pace()
        rates = self._steps / self._seconds, self._tokens / self._seconds
        return Pace(*rates, min(1.0, self._waited / self._seconds))


class RunProgress:
    """Shows where a run is, on the console of ``logged``. A context manager, for the first rank alone.

    ``name``: of what runs, such as a stage. ``done``: steps that were made before.
    """

    def __init__(self, console: Console, name: str, total: int, *, done: int = 0, meter: Meter | None = None) -> None:
        self._console, self._name, self._total, self._done = console, name, total, done
        self.meter = meter or Meter()
        self._live = console.is_terminal
        self._said = -math.inf
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
            disable=not self._live,
        )
        self._task = self._progress.add_task(name, total=total, completed=done, text="")

    def step(self, step: int, *, loss: float, tokens: int, waited: float, lr: float) -> None:
        """``step`` steps are done, the last with this loss, tokens of all ranks, seconds of waiting, and rate."""
        self.meter.add(loss=loss, tokens=tokens, waited=waited)
        self._done = step
        text = self._text(lr)
        if self._live:
            self._progress.update(self._task, completed=step, text=text)
        elif step >= self._total or time.monotonic() - self._said >= EVERY_S:
            self._said = time.monotonic()
            self._console.print(
                f"{self._name} {step:,}/{self._total:,}  {text}", highlight=False, markup=False, soft_wrap=True
            )

    def _text(self, lr: float) -> str:
        pace = self.meter.pace
        left = (self._total - self._done) / pace.steps if pace.steps else math.inf
        parts = [
            rate(pace.steps),
            f"ETA {duration(left)}",
            f"{pace.tokens:,.0f} tokens/s",
            f"loss {self.meter.loss:.4f}",
            f"data {pace.wait:.0%}",
            f"lr {lr:.2e}",
        ]
        return "  ".join(parts)

    def __enter__(self) -> Self:
        self._progress.__enter__()
        self.meter.pause()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)


def rate(steps: float) -> str:
    """Steps a second, or seconds a step where these are more."""
    return f"{1 / steps:.1f} s/step" if 0 < steps < 1 else f"{steps:.1f} steps/s"


def duration(seconds: float) -> str:
    """Such as 2 d 3 h, 1 h 05 min, 3 min 07 s or 12 s; nothing finite is ``?``."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours >= 24:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"


@contextmanager
def logged(console: Console, rank: int = 0) -> Iterator[None]:
    """What is logged appears on the console; of other ranks than the first, warnings and errors with their rank."""
    handler = _Above(console, rank)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


class _Above(logging.Handler):
    """Log records above the line, which a stream of their own would tear."""

    def __init__(self, console: Console, rank: int) -> None:
        super().__init__(logging.WARNING if rank else logging.INFO)
        self._out, self._of = console, f"rank {rank}: " if rank else ""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
            text = self._of + level + self.format(record)
            self._out.print(text, highlight=False, markup=False, soft_wrap=True)
        except Exception:  # noqa: BLE001 - as every handler does: a line that cannot be shown ends no run
            self.handleError(record)
