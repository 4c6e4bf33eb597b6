"""Memory that is used again: the first touch of a fresh page costs as much as copying into it."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

SPARE = 4
"""Memory is taken for at least this part of its size; a smaller job gets its own."""


class Buffers:
    """Writable buffers. At most ``limit`` bytes are kept for later; threads may share it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._free: list[npt.NDArray[np.uint8]] = []

    def allocate(self, size: int) -> memoryview:
        """Uninitialised memory of ``size`` bytes: the smallest that is free and fits, or new."""
        with self._lock:
            fitting = [i for i, array in enumerate(self._free) if size <= array.nbytes <= max(size, 1) * SPARE]
            if fitting:
                return self._free.pop(min(fitting, key=lambda i: self._free[i].nbytes)).data[:size]
        # A little over, in few sizes, so that it fits the next job too.
        step = 1 << max(12, size.bit_length() - 3)
        return np.empty(-(-size // step) * step, np.uint8).data[:size]

    def free(self, buffer: memoryview) -> None:
        """Take back what ``allocate`` gave; nobody may look at it any more."""
        array = buffer.obj
        assert isinstance(array, np.ndarray)
        with self._lock:
            self._free.append(array)
            while sum(kept.nbytes for kept in self._free) > self._limit:
                self._free.pop(0)
