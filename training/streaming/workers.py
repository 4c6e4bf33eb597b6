"""The worker processes of a stream, seen from its parent: jobs go out in turn, results come back in order.

The parent reads for all of them, so that ranges which several micro-batches need are read once. What it read goes to a
worker in a frame, and the arrays come back in another: nothing is copied through a pipe.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from training import errors
from training.errors import StreamError, WorkerError
from training.streaming.channel import Channel, pack_job
from training.streaming.config import Task
from training.streaming.fetch import Fetched
from training.streaming.frames import Frame, FramePool
from training.streaming.jobs import Decoded, Job
from training.streaming.verify import Damaged
from training.streaming.worker import arrays

AHEAD = 2
"""Jobs a worker has at most: one that it decodes, one that waits."""

GRACE = 5.0
"""Seconds that a worker has to end by itself."""


@dataclass(frozen=True)
class Answer:
    """What came of a job: it was decoded, or members of it are damaged, or it cannot be decoded."""

    decoded: Decoded | None = None
    damaged: Sequence[Damaged] = ()
    error: StreamError | None = None


class Turn(NamedTuple):
    """A job that was handed out: its number in order, and its items that are left out."""

    number: int
    job: Job
    without: Mapping[int, str]


class WorkerProcess:
    """One worker and what is under way in it. Its answers are always taken off the socket, by a thread: so it never
    waits to be heard, and nobody who hands it a job waits for long."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "training.streaming.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._channel = Channel(ours)
        self._submitting = threading.Lock()
        self._known: set[int] = set()
        self._gone: deque[int] = deque()
        self._free: deque[int] = deque()
        self._outputs: dict[int, Frame] = {}
        self._answers: queue.SimpleQueue[dict[str, Any] | StreamError | None] = queue.SimpleQueue()
        self._early: dict[int, dict[str, Any]] = {}
        self._reader = threading.Thread(target=self._receive, name="acetate-worker", daemon=True)
        self._reader.start()

    def greet(self, hello: dict[str, Any]) -> None:
        """Tell the worker what it works on. One that is gone is noticed at its first job."""
        with contextlib.suppress(OSError):
            self._channel.send(hello)

    def submit(self, job: Job, frame: Frame, without: Collection[int]) -> None:
        """Hand a job over, its bytes being in ``frame``, which nobody may write until the answer is there.

        Raises:
            WorkerError: the process is gone.
        """
        message = {"job": pack_job(job), "frame": [frame.number, frame.size], "without": sorted(without)}
        with self._submitting:
            free, gone = _drained(self._free), _drained(self._gone)
            fds = [] if frame.number in self._known or frame.fd is None else [frame.fd]
            self._known.add(frame.number)
            try:
                self._channel.send({**message, "free": free, "gone": gone}, fds)
            except OSError:
                raise self._died(job) from None

    def answer(self, job: Job) -> Answer:
        """The answer to a job that was submitted.

        Raises:
            WorkerError: the process is gone.
        """
        while (message := self._early.pop(job.position, None)) is None:
            received = self._answers.get()
            if not isinstance(received, dict):
                self._answers.put(received)
                raise received or self._died(job)
            self._early[received["position"]] = received
        if "damaged" in message:
            return Answer(damaged=[(item, member) for item, member in message["damaged"]])
        if "error" in message:
            kind = getattr(errors, message["error"])
            error = kind(message["message"], message["key"]) if message["key"] else kind(message["message"])
            return Answer(error=error)
        return Answer(self._decoded(message))

    def _receive(self) -> None:
        try:
            while True:
                message, fds = self._channel.receive()
                self._map(message, fds)
                self._answers.put(message)
        except EOFError:
            self._answers.put(None)
        except StreamError as error:
            self._answers.put(error)

    def forget(self, number: int) -> None:
        """Have the worker unmap an input frame that is not used again."""
        if number in self._known:
            self._gone.append(number)

    def _map(self, message: dict[str, Any], fds: list[int]) -> None:
        for number in message.get("dropped", ()):
            del self._outputs[number]
        if fds:
            number, size = message["frame"]
            self._outputs[number] = Frame.attach(number, fds[0], size)

    def _decoded(self, message: dict[str, Any]) -> Decoded:
        number, _ = message["frame"]
        memory = self._outputs[number].bytes
        # The arrays look at this view, so when it dies nobody looks any more and the worker may write there again.
        weakref.finalize(memory, self._free.append, number).atexit = False
        return Decoded(
            tuple(message["keys"]),
            tuple(Task(task) for task in message["tasks"]),
            tuple(message["prompts"]),
            arrays(memory, message["arrays"]),
            [(key, reason) for key, reason in message["holes"]],
        )

    def _died(self, job: Job) -> WorkerError:
        self.wait()
        code = self._process.returncode
        keys = ", ".join(item.key for item in job.items[:4]) + (" ..." if len(job.items) > 4 else "")
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        return WorkerError(f"a worker {how} while it had micro-batch {job.position} ({keys}); is memory short?")

    def shut(self) -> None:
        """Have the process end. What it delivered stays."""
        self._channel.shut()

    def wait(self) -> None:
        """Wait for the process, which was shut or has died."""
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.wait()
        self._reader.join()
        self._channel.close()


class WorkerPool:
    """``count`` workers. ``hello`` is what they are told first (``worker.Worker.run``), ``spare`` the bytes of input
    frames that are kept for later."""

    def __init__(self, count: int, hello: dict[str, Any], spare: int) -> None:
        self._inputs = FramePool(spare)
        self._lent: dict[int, Frame] = {}
        self._held: dict[int, Frame] = {}
        self._workers = [WorkerProcess() for _ in range(count)]
        self._room = [threading.Semaphore(AHEAD) for _ in range(count)]
        self._feeder: threading.Thread | None = None
        self._closed = False
        for worker in self._workers:
            worker.greet(hello)

    def allocate(self, size: int) -> memoryview:
        """Memory for the bytes of a job, that workers see: what a Fetcher is given."""
        frame = self._inputs.take(size)
        self._lent[id(frame.map)] = frame
        return memoryview(frame.map)[:size]

    def free(self, buffer: memoryview) -> None:
        """Take back what ``allocate`` gave and no worker got."""
        self._give(self._lent.pop(id(buffer.obj)))

    def submit(self, turn: int, fetched: Fetched, without: Collection[int]) -> None:
        """Hand what was fetched to the worker whose turn it is; its bytes are held until ``settle``."""
        frame = self._held[fetched.job.position] = self._lent.pop(id(fetched.buffer.obj))
        fetched.free = None
        self._of(turn).submit(fetched.job, frame, without)

    def answer(self, turn: int, job: Job) -> Answer:
        """Wait for the answer to the job that was submitted with ``turn``."""
        return self._of(turn).answer(job)

    def again(self, turn: int, job: Job, fetched: Fetched | None, without: Collection[int]) -> Answer:
        """Have a job decoded once more, from other bytes where there are some, and wait for the answer."""
        if fetched is None:
            self._of(turn).submit(job, self._held[job.position], without)
        else:
            self.settle(job)
            self.submit(turn, fetched, without)
        return self.answer(turn, job)

    def settle(self, job: Job) -> None:
        """A job's bytes are not needed any more."""
        self._give(self._held.pop(job.position))

    def _of(self, turn: int) -> WorkerProcess:
        return self._workers[turn % len(self._workers)]

    def _give(self, frame: Frame) -> None:
        for gone in self._inputs.give(frame):
            for worker in self._workers:
                worker.forget(gone.number)

    def feed(
        self, fetched: Iterator[Fetched], without: Callable[[Fetched], Mapping[int, str]]
    ) -> Generator[Turn, None, None]:
        """Hand everything out in turn from a thread of its own, AHEAD jobs a worker; yields what was handed out.

        The consumer takes the ``answer`` of each turn before it asks for the next. What ``fetched`` or ``without``
        (the items of a job that are to be left out) raises is raised in its place in the order.
        """
        out: queue.SimpleQueue[Turn | BaseException | None] = queue.SimpleQueue()

        def work() -> None:
            try:
                for turn, one in enumerate(fetched):
                    self._room[turn % len(self._workers)].acquire()
                    if self._closed:
                        return
                    left = without(one)
                    self.submit(turn, one, left)
                    out.put(Turn(turn, one.job, left))
                out.put(None)
            except BaseException as error:  # noqa: BLE001 - raised again in the consumer's thread
                out.put(error)

        self._feeder = threading.Thread(target=work, name="acetate-feed", daemon=True)
        self._feeder.start()
        while (one := out.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one
            self._room[one.number % len(self._workers)].release()

    def close(self) -> None:
        """End the workers. The iterator that feeds them must have been closed before."""
        self._closed = True
        for worker in self._workers:
            worker.shut()
        for room in self._room:
            room.release(AHEAD)
        if self._feeder is not None:
            self._feeder.join()
        for worker in self._workers:
            worker.close()
        for frame in (*self._lent.values(), *self._held.values()):
            frame.close()
        self._inputs.close()


def _drained(numbers: deque[int]) -> list[int]:
    return [numbers.popleft() for _ in range(len(numbers))]
