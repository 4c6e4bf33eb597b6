"""SIGTERM and SIGINT as a wish that the loop asks about between steps, so that a run ends saved."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

import torch

from training.parallel import World, total

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Context manager: the first signal is kept until a step has ended, a second one ends the process as ever.

    Where the loop is in a thread, as Ray has it, signals are another's business.
    """

    def __init__(self) -> None:
        self._come = False
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
        return bool(total(torch.tensor(float(self._come)), world) > 0)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._come = True
        signal.signal(number, self._before[number])
