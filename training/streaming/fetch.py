"""The bytes of micro-batches, read ahead of their consumer in few large requests.

A thread takes jobs from their iterator, plans the ranges of a group of them together and sends the requests off; the
consumer gets every job in its order once its bytes are there. A group has up to half of what may be read ahead, so that
the next is under way while one is consumed, and ends with its shards, so that these are read from end to end. Of a
local file system every job is its own group, since neighbours cost nothing there.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

from training.errors import ReadError
from training.streaming.buffers import Buffers
from training.streaming.cache import Cache
from training.streaming.config import ReadConfig
from training.streaming.jobs import Item, Job, MemberAt, spans
from training.streaming.ranges import Piece, Request, ahead, cost, groups, plan
from training.streaming.source import MissingError, Source, TransientError
from training.streaming.transport import BlockingTransport, Load, LoopTransport, ShortError, Stats, Transport

MAX_JOB_BYTES = 2**36
"""More than that is no micro-batch but an index that lies."""

THREADS = 4
"""That read local files."""

POOL_NAME = "acetate-read"
Free = Callable[[memoryview], None]


@dataclass
class Fetched:
    """The bytes of a job: ``spans(job)`` says where each member lies in ``buffer``. Nothing is checked but sizes.

    ``errors`` by item: what could not be read; the bytes of such an item are undefined.
    """

    job: Job
    buffer: memoryview
    errors: dict[int, ReadError] = field(default_factory=dict)
    free: Free | None = field(default=None, repr=False)

    def release(self) -> None:
        """Give the buffer back to be filled again; no view of it may be used any more."""
        free, self.free = self.free, None
        if free is not None:
            buffer, self.buffer = self.buffer, memoryview(b"")
            free(buffer)


class Fetcher:
    """Reads jobs from ``source`` as ``config`` says.

    ``allocate`` gives writable memory for a job's bytes (from a thread of the fetcher), and ``free`` takes it back when
    it was released or never delivered; by default memory is kept and used again. ``stats`` counts.
    """

    def __init__(
        self,
        source: Source,
        config: ReadConfig,
        allocate: Callable[[int], memoryview] | None = None,
        free: Free | None = None,
    ) -> None:
        buffers = Buffers(config.prefetch_bytes)
        self.source = source
        self.config = config
        self.stats = Stats()
        self.allocate = allocate or buffers.allocate
        self.free = free if allocate else buffers.free
        self.cache = Cache(config.cache_dir, config.cache_bytes) if config.cache_dir and config.cache_bytes else None
        self._runs: set[_Run] = set()

    def fetch(self, jobs: Iterable[Job]) -> Generator[Fetched, None, None]:
        """The bytes of ``jobs``, in their order; what their iterator raises is raised in its place."""
        yield from self._run(jobs, self.cache)

    def again(self, job: Job, damaged: Sequence[tuple[int, int]] = ()) -> Fetched:
        """Read a job anew, past the cache, which forgets the ``damaged`` (item, member)s."""
        for item, member in damaged:
            if self.cache is not None:
                self.cache.discard(job.items[item].members[member].sha256)
        with closing(self._run([job], None)) as one:
            return next(one)

    def close(self) -> None:
        """End every ``fetch``: no thread or request is left."""
        for run in list(self._runs):
            run.close()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _run(self, jobs: Iterable[Job], cache: Cache | None) -> Generator[Fetched, None, None]:
        run = _Run(self, jobs, cache)
        self._runs.add(run)
        try:
            run.start()
            while (fetched := run.take()) is not None:
                yield fetched
        finally:
            self._runs.discard(run)
            run.close()


@dataclass
class _Pending:
    """A job that is being read. ``waiting``: for how many requests, and one for whatever else is still to be done."""

    fetched: Fetched
    cost: int
    misses: list[tuple[int, int, MemberAt]] = field(default_factory=list)
    waiting: int = 1


class _Run:
    """One pass over some jobs: the thread that plans, what is planned, and the transport that reads it."""

    def __init__(self, fetcher: Fetcher, jobs: Iterable[Job], cache: Cache | None) -> None:
        config, source = fetcher.config, fetcher.source
        self._fetcher, self._jobs, self._cache = fetcher, jobs, cache
        self._stats = fetcher.stats
        self._local = source.local is not None
        in_flight, self._limit, self._group_limit, self._gap = ahead(config, local=self._local)
        self._changed = threading.Condition()
        self._pending: deque[_Pending] = deque()
        self._held = 0
        self._ended = self._closed = self._broken = False
        self._failure: BaseException | None = None
        self._pool = ThreadPoolExecutor(THREADS if source.local else config.connections, POOL_NAME)
        self._transport: Transport = (
            LoopTransport(source, config, self._stats, in_flight, self._break)
            if source.asynchronous
            else BlockingTransport(source, config, self._stats, self._pool, self._break)
        )
        self._thread = threading.Thread(target=self._produce, name="acetate-fetch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self) -> Fetched | None:
        """Wait for the next job; None after the last. Raises what ended the jobs, after all those before it."""
        with self._changed:
            self._changed.wait_for(self._settled)
            if self._closed or (self._failure is None and not self._pending):
                return None
            if self._failure is not None and (self._broken or not self._pending):
                raise self._failure
            pending = self._pending.popleft()
            self._held -= pending.cost
            self._changed.notify_all()
            return pending.fetched

    def _settled(self) -> bool:
        if self._closed or self._broken:
            return True
        return not self._pending[0].waiting if self._pending else self._ended

    def close(self) -> None:
        """End the thread and every request, and wait for them unless it is one of them that closes."""
        if sys.is_finalizing():
            return  # the threads have stopped wherever they were, maybe with a lock held
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        mine = threading.current_thread()
        wait = mine is not self._thread and not mine.name.startswith((POOL_NAME, "fsspec"))
        self._transport.close(wait=wait)
        if wait and self._thread.ident is not None:
            self._thread.join()
        self._pool.shutdown(wait, cancel_futures=True)
        while wait and (left := self._last()) is not None:
            left.fetched.release()

    def _last(self) -> _Pending | None:
        with self._changed:  # another thread may take or close at once
            return self._pending.pop() if self._pending else None

    def _break(self, error: BaseException) -> None:
        with self._changed:
            self._failure, self._broken = error, True
            self._changed.notify_all()

    def _produce(self) -> None:
        failure: BaseException | None = None
        try:
            for group in groups(self._jobs, self._group_limit):
                if not self._room(sum(map(cost, group))):
                    return
                self._send(group)
        except BaseException as error:  # noqa: BLE001 - raised again where the jobs are consumed, in its place
            failure = error
        with self._changed:
            self._failure = self._failure or failure
            self._ended = True
            self._changed.notify_all()

    def _room(self, wanted: int) -> bool:
        """Wait until that many bytes more may be held; False where there is no use."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._held or self._held + wanted <= self._limit)
            self._held += wanted
            self._stats.peak_bytes = max(self._stats.peak_bytes, self._held)
            return not self._closed

    def _send(self, group: Sequence[Job]) -> None:
        """Plan the requests of some jobs and have them carried out."""
        pending = [self._prepare(job) for job in group]
        limit = self._fetcher.config.request_bytes
        requests = plan(group, gap=self._gap, limit=limit, wanted=partial(self._wanted, pending))
        loads = []
        for request in requests:
            targets = [pending[p.number].fetched.buffer[p.at : p.at + p.size] for p in request.pieces]
            loads.append(Load(request, targets, partial(self._done, pending, request)))
            for number in request.numbers:
                pending[number].waiting += 1
        self._stats.add(requests=len(loads), bytes=sum(request.size for request in requests))
        with self._changed:
            self._pending.extend(pending)
        try:
            self._transport.submit(loads)
        except RuntimeError as error:  # closed meanwhile: what is pending is released there
            self._break(error)
        self._less(pending)

    def _prepare(self, job: Job) -> _Pending:
        size = spans(job)[1]
        if size <= MAX_JOB_BYTES:
            return _Pending(Fetched(job, self._fetcher.allocate(size), free=self._fetcher.free), cost(job))
        lie = ReadError(f"the index says that micro-batch {job.position} has {size:,} bytes, which is no micro-batch")
        errors = dict.fromkeys(range(len(job.items)), lie)
        return _Pending(Fetched(job, self._fetcher.allocate(0), errors, self._fetcher.free), cost(job))

    def _wanted(self, group: Sequence[_Pending], number: int, item: int, at: int, member: MemberAt) -> bool:
        """Whether a member has to be read; not where the cache has it, which is then copied from there."""
        pending = group[number]
        if item in pending.fetched.errors:
            return False
        if self._cache is None:
            return True
        if self._cache.load(member.sha256, pending.fetched.buffer[at : at + member.size]):
            self._stats.add(cache_hits=1, cache_bytes=member.size)
            return False
        pending.misses.append((item, at, member))
        return True

    def _done(self, group: Sequence[_Pending], request: Request, got: int, error: ReadError | None) -> None:
        """Note what came of a request: ``got`` bytes from its beginning."""
        end = request.offset + got
        for piece in request.pieces:
            if piece.offset + piece.size > end:
                fetched = group[piece.number].fetched
                failure = self._failure_of(request, piece, fetched.job.items[piece.item], end, error)
                fetched.errors.setdefault(piece.item, failure)
        self._less([group[number] for number in request.numbers])

    def _failure_of(self, request: Request, piece: Piece, item: Item, end: int, error: ReadError | None) -> ReadError:
        """Why a piece could not be read, and what the index promises there."""
        short = error is None or isinstance(error, ShortError)
        if isinstance(error, MissingError | TransientError) and not short:
            return error
        ends = f"ends {'at' if end > request.offset else 'before'} byte {end}"
        why = f"{self._fetcher.source.url_of(request.shard)} {ends}" if short else str(error)
        member = next(m for m in item.members if m.offset <= piece.offset < m.offset + m.size)
        return ReadError(
            f"{why}; bytes {member.offset} to {member.offset + member.size} should be {item.key}.{member.name} "
            f"(expected sha256 {member.sha256})"
        )

    def _less(self, jobs: Iterable[_Pending]) -> None:
        """One thing less to wait for. A job whose bytes are all there is kept in the cache before it is ready."""
        keep = []
        with self._changed:
            for pending in jobs:
                pending.waiting -= 1
                if not pending.waiting and pending.misses and not self._closed:
                    pending.waiting = 1
                    keep.append(pending)
            self._changed.notify_all()
        for pending in keep:
            self._pool.submit(self._keep, pending)

    def _keep(self, pending: _Pending) -> None:
        try:
            misses, pending.misses = pending.misses, []
            for item, at, member in misses:
                if self._cache is not None and item not in pending.fetched.errors:
                    self._cache.store(member.sha256, pending.fetched.buffer[at : at + member.size])
            self._less([pending])
        except BaseException as error:  # noqa: BLE001 - raised again where the jobs are consumed
            self._break(error)
