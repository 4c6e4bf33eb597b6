"""The worker processes of a stream, seen from its parent: jobs go out in turn, results come back in order.

The parent reads for all of them, so that ranges which several micro-batches need are read once. What it read goes to a
worker in a frame, and the arrays come back in another: nothing is copied through a pipe.
"""

from __future__ import annotations

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
    """One worker and what is under way in it."""

    def __init__(self, hello: dict[str, Any], give: Callable[[Frame], None]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "training.streaming.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._channel = Channel(ours)
        self._give = give
        self._known: set[int] = set()
        self._gone: deque[int] = deque()
        self._free: deque[int] = deque()
        self._outputs: dict[int, Frame] = {}
        self._under_way: dict[int, tuple[Job, Frame]] = {}
        self._early: dict[int, dict[str, Any]] = {}
        self._channel.send(hello)

    def submit(self, job: Job, frame: Frame, without: Collection[int]) -> None:
        """Hand a job over, its bytes being in ``frame``, which the worker has until its answer is taken."""
        self._under_way[job.position] = (job, frame)
        free, gone = _drained(self._free), _drained(self._gone)
        message = {"job": pack_job(job), "frame": [frame.number, frame.size], "without": sorted(without)}
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
            try:
                received, fds = self._channel.receive()
            except EOFError:
                raise self._died(job) from None
            self._map(received, fds)
            self._early[received["position"]] = received
        _, frame = self._under_way.pop(job.position)
        self._give(frame)
        if "damaged" in message:
            return Answer(damaged=[(item, member) for item, member in message["damaged"]])
        if "error" in message:
            kind = getattr(errors, message["error"])
            error = kind(message["message"], message["key"]) if message["key"] else kind(message["message"])
            return Answer(error=error)
        return Answer(self._decoded(message))

    def forget(self, number: int) -> None:
        """Have the worker unmap an input frame that is not used again."""
        if number in self._known:
            self._gone.append(number)

    def _map(self, message: dict[str, Any], fds: list[int]) -> None:
        for number in message.get("dropped", ()):
            self._outputs.pop(number).close()
        if fds:
            number, size = message["frame"]
            self._outputs[number] = Frame(number, fds[0], size)

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
        code = self._process.wait()
        keys = ", ".join(item.key for item in job.items[:4]) + (" ..." if len(job.items) > 4 else "")
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        return WorkerError(f"a worker {how} while it had micro-batch {job.position} ({keys}); is memory short?")

    def close(self) -> None:
        """End the process; what it delivered stays."""
        self._channel.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for frame in self._outputs.values():
            frame.close()
        for _, frame in self._under_way.values():
            frame.close()


class WorkerPool:
    """``count`` workers. ``hello`` is what they are told first (``worker.Worker.run``), ``spare`` the bytes of input
    frames that are kept for later."""

    def __init__(self, count: int, hello: dict[str, Any], spare: int) -> None:
        self.inputs = FramePool(spare)
        self._lent: dict[int, Frame] = {}
        self._workers = [WorkerProcess(hello, self._give) for _ in range(count)]
        self._room = [threading.Semaphore(AHEAD) for _ in range(count)]
        self._feeder: threading.Thread | None = None
        self._closed = False

    def allocate(self, size: int) -> memoryview:
        """Memory for the bytes of a job, that workers see: what a Fetcher is given."""
        frame = self.inputs.take(size)
        self._lent[id(frame.map)] = frame
        return memoryview(frame.map)[:size]

    def free(self, buffer: memoryview) -> None:
        """Take back what ``allocate`` gave and no worker got."""
        self._give(self._lent.pop(id(buffer.obj)))

    def submit(self, turn: int, fetched: Fetched, without: Collection[int]) -> None:
        """Hand what was fetched to worker ``turn`` modulo the number of workers."""
        frame = self._lent.pop(id(fetched.buffer.obj))
        fetched.free = None
        self._workers[turn % len(self._workers)].submit(fetched.job, frame, without)

    def _give(self, frame: Frame) -> None:
        gone = self.inputs.give(frame)
        if gone is not None:
            for worker in self._workers:
                worker.forget(gone.number)

    def answer(self, turn: int, job: Job) -> Answer:
        """Wait for the answer to the job that was submitted with ``turn``."""
        return self._workers[turn % len(self._workers)].answer(job)

    def decode(self, turn: int, fetched: Fetched, without: Mapping[int, str]) -> Answer:
        """Hand a job to its worker once more and wait for the answer."""
        self.submit(turn, fetched, without)
        return self.answer(turn, fetched.job)

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
        for room in self._room:
            room.release(AHEAD)
        if self._feeder is not None:
            self._feeder.join()
        for worker in self._workers:
            worker.close()
        self.inputs.close()


def _drained(numbers: deque[int]) -> list[int]:
    return [numbers.popleft() for _ in range(len(numbers))]
