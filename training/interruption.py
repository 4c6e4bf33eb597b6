"""SIGTERM and SIGINT as a wish that the loop asks about between steps, so that a run ends saved."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, Self

import torch

from training.parallel import World, total

SIGNALS = (signal.SIGTERM, signal.SIGINT)

ECHO_S = 1.0
"""Seconds in which another signal is the same wish: a launcher hands on what its whole process group was sent."""


class Interruption:
    """Context manager: the first signal is kept until a step has ended, a later one ends the process as ever.

    Where the loop is in a thread, as Ray has it, signals are another's business.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wanted(self, world: World) -> bool:
        """Whether any rank was told to end; asked by all ranks together."""
        return bool(total(torch.tensor(float(self._since is not None)), world) > 0)

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
        elif now - self._since > ECHO_S:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
