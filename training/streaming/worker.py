"""A worker process: ``python -m training.streaming.worker FD`` checks and decodes what its parent reads.

It knows no dataset and opens no file. Its parent's death closes the socket, and with it the process.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from training.errors import StreamError, TrainingError
from training.streaming.channel import Channel, unpack_job
from training.streaming.config import PlanConfig
from training.streaming.decode import make_decoder
from training.streaming.frames import Frame, FramePool
from training.streaming.jobs import ALIGNMENT, Arrays, Decoded, Decoder, Job
from training.streaming.verify import verified


class Worker:
    """The loop of one worker: a message in, a message out."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._inputs: dict[int, Frame] = {}
        self._outputs = FramePool()
        self._lent: dict[int, Frame] = {}
        self._told: set[int] = set()
        self._dropped: list[int] = []

    def run(self) -> None:
        """Work until the parent closes the channel."""
        hello, _ = self._channel.receive()
        decoder = make_decoder(
            hello["decoder"],
            PlanConfig.model_validate(hello["config"]),
            hello["seed"],
            frozenset(hello["withdrawn"]),
            threads=hello["threads"],
        )
        while True:
            try:
                message, fds = self._channel.receive()
            except EOFError:
                return
            for number in message["gone"]:
                self._inputs.pop(number).close()
            for number in message["free"]:
                self._take_back(number)
            number, size = message["frame"]
            if fds:
                self._inputs[number] = Frame.attach(number, fds[0], size)
            self._answer(message, self._inputs[number], decoder)

    def _answer(self, message: dict[str, Any], frame: Frame, decoder: Decoder) -> None:
        job = unpack_job(message["job"])
        lease: Frame | None = None

        def allocate(wanted: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> Arrays:
            nonlocal lease
            places, total = place(wanted)
            lease = self._outputs.take(total)
            return arrays(lease.bytes, places)

        try:
            loaded, damaged = verified(job, memoryview(frame.map), message["without"])
            if damaged:
                self._channel.send({"position": job.position, "damaged": damaged})
                return
            decoded = decoder.decode(job, loaded, allocate)
        except TrainingError as error:
            self._refuse(job, lease, type(error).__name__, str(error), getattr(error, "key", None))
            return
        except Exception as error:  # noqa: BLE001 - a decoder may be the user's: what it raises is told to the parent
            traceback.print_exc()
            self._refuse(job, lease, StreamError.__name__, f"{type(error).__name__} in the decoder: {error}", None)
            return
        if lease is None:
            allocate({})
            assert lease is not None
        self._deliver(job, decoded, lease)

    def _refuse(self, job: Job, lease: Frame | None, kind: str, message: str, key: str | None) -> None:
        dropped = self._outputs.give(lease) if lease is not None else []
        self._dropped += [frame.number for frame in dropped if frame.number in self._told]
        self._channel.send({"position": job.position, "error": kind, "message": message, "key": key})

    def _deliver(self, job: Job, decoded: Decoded, lease: Frame) -> None:
        self._lent[lease.number] = lease
        fds = [] if lease.number in self._told or lease.fd is None else [lease.fd]
        self._told.add(lease.number)
        message = {
            "position": job.position,
            "frame": [lease.number, lease.size],
            "dropped": self._dropped,
            "arrays": {name: located(array, lease) for name, array in decoded.arrays.items()},
            "keys": decoded.keys,
            "tasks": decoded.tasks,
            "prompts": decoded.prompts,
            "holes": list(decoded.holes),
        }
        self._dropped = []
        self._channel.send(message, fds)

    def _take_back(self, number: int) -> None:
        for gone in self._outputs.give(self._lent.pop(number)):
            self._told.discard(gone.number)
            self._dropped.append(gone.number)


def place(wanted: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> tuple[dict[str, Any], int]:
    """Where arrays of the wanted shapes lie in one piece of memory: (dtype, shape, offset) by name; and its size."""
    places, at = {}, 0
    for name, (shape, dtype) in wanted.items():
        kind = np.dtype(dtype)
        places[name] = (kind, tuple(shape), at)
        at += -(-int(np.prod(shape, dtype=np.int64)) * kind.itemsize // ALIGNMENT) * ALIGNMENT
    return places, at


def located(array: npt.NDArray[Any], frame: Frame) -> tuple[str, tuple[int, ...], int]:
    """(dtype, shape, offset) of an array that lies in ``frame``."""
    offset = array.ctypes.data - frame.bytes.ctypes.data if array.size else 0
    if not (array.flags.c_contiguous and 0 <= offset <= frame.size - array.nbytes):
        raise AssertionError("a decoder puts its arrays into the memory that it is given")
    return array.dtype.str, array.shape, offset


def arrays(memory: npt.NDArray[np.uint8], places: Mapping[str, Any]) -> Arrays:
    """Views of ``memory`` as the arrays that ``places`` (name -> (dtype, shape, offset)) describes."""
    out: Arrays = {}
    for name, (dtype, shape, offset) in places.items():
        kind = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        out[name] = memory[offset : offset + size].view(kind).reshape(shape)
    return out


def main() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):  # are for the parent, which may finish: its end ends this process
        signal.signal(signum, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as link:
        channel = Channel(link)
        try:
            Worker(channel).run()
        except (EOFError, BrokenPipeError):
            os._exit(0)


if __name__ == "__main__":
    main()
