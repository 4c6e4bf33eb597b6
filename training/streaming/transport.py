"""How requests are carried out: on fsspec's loop, or by threads where the file system blocks; each is tried again."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

from tenacity import AsyncRetrying, Retrying, stop_any, stop_when_event_set
from tenacity.nap import sleep_using_event

from training.errors import ReadError
from training.streaming.config import ReadConfig
from training.streaming.ranges import Request
from training.streaming.source import Source, TransientError, patience

TASK_BYTES = 4 * 2**20
"""Local ranges that one task of a thread reads, about."""

_SCRATCH = memoryview(bytearray(64 * 2**10))
"""Where gaps between local pieces go; what is in it means nothing."""


@dataclass
class Stats:
    """``requests`` and their ``bytes`` (with the gaps between members), and the ``retries`` beside them; members and
    bytes that the cache gave; ``peak_bytes``: held ahead of the consumer at most."""

    requests: int = 0
    bytes: int = 0
    retries: int = 0
    cache_hits: int = 0
    cache_bytes: int = 0
    peak_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, **counts: int) -> None:
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


class Load(NamedTuple):
    """A request, where its pieces go, and who is told how many bytes came, with the error where they are fewer."""

    request: Request
    targets: Sequence[memoryview]
    done: Callable[[int, ReadError | None], None]


class Transport(Protocol):
    def submit(self, loads: Sequence[Load]) -> None:
        """Carry out some requests, in about their order."""

    def close(self, *, wait: bool) -> None:
        """Forget what has not begun and cancel what can be; ``wait`` until nothing is under way."""


class ShortError(TransientError):
    """Fewer bytes came than were asked for. ``data`` are those."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


class LoopTransport:
    """On fsspec's loop, at most ``connections`` at once and, but for one, no more than ``room`` bytes.

    ``fail`` is told what should not happen.
    """

    def __init__(
        self, source: Source, config: ReadConfig, stats: Stats, room: int, fail: Callable[[BaseException], None]
    ) -> None:
        self._source, self._config, self._stats, self._room, self._fail = source, config, stats, room, fail
        self._loop = source.loop
        self._waiting: deque[Load] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flying = 0
        self._closed = False

    def submit(self, loads: Sequence[Load]) -> None:
        self._loop.call_soon_threadsafe(self._add, loads)

    def close(self, *, wait: bool) -> None:
        stopped = asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
        if wait:
            stopped.result()

    async def _stop(self) -> None:
        self._closed = True
        self._waiting.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _add(self, loads: Sequence[Load]) -> None:
        if not self._closed:
            self._waiting.extend(loads)
            self._begin()

    def _begin(self) -> None:
        while self._waiting and len(self._tasks) < self._config.connections:
            request = self._waiting[0].request
            if self._tasks and self._flying + request.size > self._room:
                return
            task = self._loop.create_task(self._carry_out(self._waiting.popleft()))
            self._tasks.add(task)
            self._flying += request.size
            task.add_done_callback(partial(self._landed, request))

    def _landed(self, request: Request, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._flying -= request.size
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self._fail(error)
        elif not self._closed:  # by the store itself, or by whoever else uses the loop
            self._fail(ReadError(f"cannot read {_where(request, self._source)}: the request was cancelled"))
        self._begin()

    async def _carry_out(self, load: Load) -> None:
        try:
            data: bytes = await AsyncRetrying(**_policy(self._config, self._stats))(self._ask, load.request)
        except ReadError as error:
            load.done(_came(error, load), error)
        else:
            load.done(_scatter(data, load), None)

    async def _ask(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self._config.timeout):
                data = await self._source.fetch(request.shard, request.offset, request.size)
        except TimeoutError:
            where = _where(request, self._source)
            raise TransientError(f"cannot read {where}: no answer in {self._config.timeout:g} s") from None
        return _whole(data, request, self._source)


class BlockingTransport:
    """By the threads of ``pool``: local files straight to where the bytes belong, others as they come.

    ``fail`` is told what should not happen.
    """

    def __init__(
        self,
        source: Source,
        config: ReadConfig,
        stats: Stats,
        pool: ThreadPoolExecutor,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._source, self._pool, self._fail = source, pool, fail
        self._closed = threading.Event()
        self._policy = _policy(config, stats)
        self._policy["stop"] = stop_any(self._policy["stop"], stop_when_event_set(self._closed))
        self._policy["sleep"] = sleep_using_event(self._closed)

    def submit(self, loads: Sequence[Load]) -> None:
        for some in _shares(loads, TASK_BYTES if self._source.local is not None else 0):
            self._pool.submit(self._work, some)

    def close(self, *, wait: bool) -> None:
        self._closed.set()
        self._pool.shutdown(wait, cancel_futures=True)

    def _work(self, loads: Sequence[Load]) -> None:
        try:
            for load in loads:
                if self._closed.is_set():
                    return
                load.done(*self._carry_out(load))
        except BaseException as error:  # noqa: BLE001 - raised again where the jobs are consumed
            self._fail(error)

    def _carry_out(self, load: Load) -> tuple[int, ReadError | None]:
        read = self._read if self._source.local is None else self._read_local
        try:
            return Retrying(**self._policy)(read, load), None
        except ReadError as error:
            return _came(error, load), error

    def _read(self, load: Load) -> int:
        request = load.request
        data = self._source.read_range(request.shard, request.offset, request.size)
        return _scatter(_whole(data, request, self._source), load)

    def _read_local(self, load: Load) -> int:
        """The end of a file is no error that passes: what is there counts."""
        request, buffers = load.request, []
        at = request.offset
        for piece, target in zip(request.pieces, load.targets, strict=True):
            buffers += [_SCRATCH[: piece.offset - at], target] if piece.offset > at else [target]
            at = piece.offset + piece.size
        return self._source.pread_into(request.shard, request.offset, *buffers)


def _policy(config: ReadConfig, stats: Stats) -> dict[str, Any]:
    return {**patience(config.attempts), "before_sleep": lambda _: stats.add(retries=1)}


def _where(request: Request, source: Source) -> str:
    return f"{source.url_of(request.shard)} at byte {request.offset}"


def _whole(data: bytes, request: Request, source: Source) -> bytes:
    """What came, where it is as much as was asked for; an answer that is too long is of some other range."""
    if len(data) == request.size:
        return data
    url, end = source.url_of(request.shard), request.offset + request.size
    message = f"{url}: {len(data)} bytes came for {request.offset} to {end}"
    raise ShortError(message, data) if len(data) < request.size else TransientError(message)


def _came(error: ReadError, load: Load) -> int:
    """How many bytes came in spite of an error."""
    return _scatter(error.data, load) if isinstance(error, ShortError) else 0


def _scatter(data: bytes, load: Load) -> int:
    """Copy what came, or its beginning, to where it belongs."""
    view = memoryview(data)
    for piece, target in zip(load.request.pieces, load.targets, strict=True):
        at = piece.offset - load.request.offset
        if at + piece.size <= len(data):
            target[:] = view[at : at + piece.size]
    return len(data)


def _shares(loads: Sequence[Load], size: int) -> Iterator[list[Load]]:
    """The loads in runs of about ``size`` bytes."""
    share: list[Load] = []
    held = 0
    for load in loads:
        share.append(load)
        held += load.request.size
        if held >= size:
            yield share
            share, held = [], 0
    if share:
        yield share
