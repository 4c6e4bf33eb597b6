"""Memory that two processes share by a file descriptor: no name, no pickle, gone with its last user.

A frame is written once, handed over whole and given back to its maker, who uses it again: fresh pages are the costly
part of a large hand-over (about as dear as decoding a tenth of what is in them), copying into old ones is not.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from collections.abc import Iterator
from itertools import count

import numpy as np
import numpy.typing as npt

_GRAIN = 2**20


class Frame:
    """A mapped, writable piece of shared memory of ``size`` bytes, known to both sides by its ``number``."""

    def __init__(self, number: int, fd: int, size: int) -> None:
        self.number, self.size = number, size
        self.fd: int | None = fd
        self.map = mmap.mmap(fd, size)

    @classmethod
    def create(cls, number: int, size: int) -> Frame:
        fd = _anonymous()
        os.ftruncate(fd, size)
        return cls(number, fd, size)

    @classmethod
    def attach(cls, number: int, fd: int, size: int) -> Frame:
        """Map what another process made. The descriptor is closed: there may be as many frames as batches are kept."""
        frame = cls(number, fd, size)
        frame.close()
        return frame

    @property
    def bytes(self) -> npt.NDArray[np.uint8]:
        """``uint8 [size]``; it and its views keep the memory alive when the frame is closed."""
        return np.frombuffer(self.map, np.uint8)

    def close(self) -> None:
        """Close the descriptor; the memory stays for as long as an array looks at it."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class FramePool:
    """The frames that one side makes; free ones of ``spare`` bytes in all are kept. Threads may share it."""

    def __init__(self, spare: int = 256 * 2**20) -> None:
        self._spare = spare
        self._numbers: Iterator[int] = count()
        self._free: list[Frame] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Frame:
        """The smallest free frame of at least ``size`` bytes, or a new one with a little room to grow."""
        with self._lock:
            fitting = [frame for frame in self._free if frame.size >= size]
            if fitting:
                frame = min(fitting, key=lambda one: one.size)
                self._free.remove(frame)
                return frame
        grown = size + size // 8
        return Frame.create(next(self._numbers), max(1, -(-grown // _GRAIN)) * _GRAIN)

    def give(self, frame: Frame) -> list[Frame]:
        """Take ``frame`` back. Returns the frames that are let go because the free ones are too large."""
        gone = []
        with self._lock:
            self._free.append(frame)
            while sum(one.size for one in self._free) > self._spare:
                gone.append(self._free.pop(0))
                gone[-1].close()
        return gone

    def close(self) -> None:
        with self._lock:
            for frame in self._free:
                frame.close()
            self._free.clear()


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("acetate", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # other systems: a file without a name
        return os.dup(file.fileno())
