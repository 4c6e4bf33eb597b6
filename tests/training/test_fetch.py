"""The fetcher: whole, in order, within its memory, patient with what passes, and gone when it is closed."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.asyn import get_loop
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import ReadError
from training.streaming import fetch as module
from training.streaming import source as source_module
from training.streaming.buffers import Buffers
from training.streaming.config import ReadConfig, Task
from training.streaming.fetch import Fetched, Fetcher
from training.streaming.jobs import Item, Job, MemberAt, spans
from training.streaming.ranges import cost, groups, plan
from training.streaming.source import MissingError, Source, TransientError
from training.streaming.transport import BlockingTransport

Url = tuple[str, dict[str, Any]]
SHARDS, SAMPLES, MEMBERS = 3, 20, 3


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "FIRST_WAIT", 0.001)


def shards(seed: int = 0) -> tuple[dict[str, bytes], list[Item]]:
    """Small shards of random members with headers between them, and their samples in a shuffled order."""
    rng = np.random.default_rng(seed)
    files, items = {}, []
    for number in range(SHARDS):
        blob = bytearray()
        for sample in range(SAMPLES):
            members = []
            for name in range(MEMBERS):
                data = rng.bytes(int(rng.integers(1, 5000)))
                blob += b"\xff" * 512
                members.append(MemberAt(f"m{name}", len(blob), len(data), hashlib.sha256(data).hexdigest()))
                blob += data + b"\xff" * (-len(data) % 512)
            items.append(Item(f"{number}.{sample}", Task.TEXT_TO_LAYERS, -1, 1, f"shards/{number}.tar", tuple(members)))
        files[f"shards/{number}.tar"] = bytes(blob)
    return files, [items[i] for i in rng.permutation(len(items))]


FILES, ITEMS = shards()
JOBS = [Job(0, p, tuple(ITEMS[p * 4 : p * 4 + 4])) for p in range(len(ITEMS) // 4)]
BYTES = sum(item.bytes for item in ITEMS)


def put(url: Url, files: dict[str, bytes] = FILES) -> None:
    fs, root = fsspec.core.url_to_fs(url[0], **url[1])
    fs.makedirs(f"{root}/shards", exist_ok=True)
    for name, data in files.items():
        fs.pipe_file(f"{root}/{name}", data)


@pytest.fixture
def root(tmp_path: Path) -> str:
    put((str(tmp_path), {}))
    return str(tmp_path)


Rule = Callable[[str, int, int], bytes | Exception | None]


class Store(Source):
    """A directory read as if it were an object store, on the loop or by threads.

    ``rule`` of (name, offset, attempt) gives an error to raise, other bytes to answer, or None. ``begun`` lists the
    requests in their order.
    """

    asynchronous = True
    loop = property(lambda _: get_loop())  # type: ignore[assignment]

    def __init__(self, url: str, rule: Rule = lambda *_: None, delay: float = 0.0) -> None:
        super().__init__(url)
        self.local = None
        self.rule, self.delay = rule, delay
        self.begun: list[tuple[str, int]] = []
        self.attempts: Counter[tuple[str, int]] = Counter()
        self.active = self.most = 0

    def answer(self, name: str, offset: int, size: int) -> bytes:
        self.attempts[name, offset] += 1
        found = self.rule(name, offset, self.attempts[name, offset])
        if isinstance(found, Exception):
            with self._mapped(name, offset):
                raise found
        return Source.read_range(self, name, offset, size) if found is None else found

    async def fetch(self, name: str, offset: int, size: int) -> bytes:
        self.begun.append((name, offset))
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            await asyncio.sleep(self.delay)
            return self.answer(name, offset, size)
        finally:
            self.active -= 1


class Threaded(Store):
    asynchronous = False

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        self.begun.append((name, offset))
        time.sleep(self.delay)
        return self.answer(name, offset, size)


STORES = pytest.mark.parametrize("kind", [Store, Threaded])


def config(**settings: Any) -> ReadConfig:
    return ReadConfig(**{"prefetch_bytes": 100_000, "gap_bytes": 2000, "connections": 4, **settings})


def sound(fetched: Fetched) -> list[bool]:
    """Whether each item's bytes are those of its hashes."""
    places, _ = spans(fetched.job)
    return [
        all(
            hashlib.sha256(fetched.buffer[place]).hexdigest() == member.sha256
            for place, member in zip(slices, item.members, strict=True)
        )
        for item, slices in zip(fetched.job.items, places, strict=True)
    ]


def ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("acetate")]


def consume(fetcher: Fetcher, jobs: list[Job] = JOBS) -> list[Fetched]:
    with fetcher:
        out = list(fetcher.fetch(iter(jobs)))
    assert ours() == []
    return out


# ---- what comes


@pytest.mark.parametrize("prefetch", [0, 1, 30_000, 10**7])
def test_jobs_come_whole_and_in_order_from_every_store(store_url: Url, prefetch: int) -> None:
    put(store_url)
    fetcher = Fetcher(Source(*store_url), config(prefetch_bytes=prefetch))
    out = consume(fetcher)
    assert [fetched.job for fetched in out] == JOBS
    assert all(all(sound(fetched)) and not fetched.errors for fetched in out)
    assert fetcher.stats.peak_bytes <= max(prefetch, *(spans(job)[1] for job in JOBS))


def test_fetchers_leave_no_file_or_socket_open(store_url: Url) -> None:
    put(store_url)
    counts = []
    for _ in range(5):
        consume(Fetcher(Source(*store_url), config()), JOBS[:2])
        gc.collect()  # files that were read stay open as long as their source
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert max(counts[1:]) <= counts[0] + 4  # connections that are kept, as many as may be under way
    assert counts[-1] <= max(counts[1:3])


def test_empty_jobs_and_members(root: str) -> None:
    nothing = MemberAt("m", 0, 0, hashlib.sha256(b"").hexdigest())
    jobs = [Job(0, 0), JOBS[0], Job(0, 1, (Item("a", Task.RESTYLE, -1, 1, "shards/0.tar", (nothing,)),)), Job(0, 2)]
    out = consume(Fetcher(Source(root), config()), jobs)
    assert [len(fetched.buffer) > 0 for fetched in out] == [False, True, False, False]
    assert all(all(sound(fetched)) for fetched in out)


@STORES
def test_members_larger_than_a_request_are_cut(root: str, kind: type[Store]) -> None:
    source = kind(root)
    out = consume(Fetcher(source, config(request_bytes=700)))
    assert all(all(sound(fetched)) for fetched in out)
    assert len(source.begun) > BYTES / 700


@STORES
def test_at_most_so_many_connections(root: str, kind: type[Store]) -> None:
    source = kind(root, delay=0.002)
    fetcher = Fetcher(source, config(connections=3, gap_bytes=0))
    consume(fetcher)
    assert source.most <= 3
    if kind is Store:
        assert source.most > 1


# ---- the plan of the requests


@settings(max_examples=60)
@given(seed=st.integers(0, 5), gap=st.integers(0, 9000), limit=st.integers(100, 40_000), jobs=st.integers(1, 15))
def test_requests_cover_each_member_once(seed: int, gap: int, limit: int, jobs: int) -> None:
    _, items = shards(seed)
    group = [Job(0, p, tuple(items[p * 4 : p * 4 + 4])) for p in range(jobs)]
    requests = plan(group, gap=gap, limit=limit)
    covered = [np.zeros(spans(job)[1], np.uint8) for job in group]
    for request in requests:
        assert 0 < request.size <= limit
        assert request.pieces[0].offset == request.offset
        end = request.offset
        for piece in request.pieces:
            assert 0 <= piece.offset - end <= gap
            end = piece.offset + piece.size
            covered[piece.number][piece.at : piece.at + piece.size] += 1
        assert end == request.offset + request.size
    for job, seen in zip(group, covered, strict=True):
        places = [place for slices in spans(job)[0] for place in slices]
        assert all((seen[place] == 1).all() for place in places)
        assert int(seen.sum()) == sum(item.bytes for item in job.items)
    first = [min(request.numbers) for request in requests]
    assert first == sorted(first)


def test_overlapping_members_of_an_index_that_lies_are_read_each(root: str) -> None:
    members = tuple(MemberAt("m", at, 3000, "") for at in (0, 1000, 1000))
    [fetched] = consume(
        Fetcher(Source(root), config()), [Job(0, 0, (Item("a", Task.RESTYLE, -1, 1, "shards/0.tar", members),))]
    )
    places = spans(fetched.job)[0][0]
    assert [bytes(fetched.buffer[place]) for place in places] == [
        FILES["shards/0.tar"][member.offset : member.offset + 3000] for member in members
    ]


def test_neighbours_are_one_request(root: str) -> None:
    inorder = sorted(ITEMS, key=lambda item: (item.shard, item.members[0].offset))
    source = Store(root)
    consume(Fetcher(source, config(prefetch_bytes=10**8)), [Job(0, 0, tuple(inorder))])
    assert len(source.begun) == SHARDS


# ---- how far ahead


def test_jobs_are_taken_when_somebody_asks_and_read_together(root: str) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[Job]:
        for job in JOBS:
            taken.append(job.position)
            yield job

    source = Store(root, delay=0.001)
    sizes = []
    original = module.plan
    with pytest.MonkeyPatch.context() as patch, Fetcher(source, config(prefetch_bytes=10**7)) as fetcher:
        patch.setattr(module, "plan", lambda group, **rest: (sizes.append(len(group)), original(group, **rest))[1])
        stream = fetcher.fetch(jobs())
        assert taken == []  # lazy until somebody asks
        assert len(list(stream)) == len(JOBS)
    assert sum(sizes) == len(JOBS)
    assert max(sizes) > 4


@pytest.mark.parametrize("local", [True, False])
def test_no_more_is_held_ahead_than_allowed(root: str, local: bool) -> None:
    limit, largest = 80_000, max(spans(job)[1] for job in JOBS)
    held = [0]
    most = [0]

    def allocate(size: int) -> memoryview:
        held[0] += size
        most[0] = max(most[0], held[0])
        return memoryview(bytearray(size))

    source = Source(root) if local else Store(root)
    taken = [0]

    def jobs() -> Iterator[Job]:
        for job in JOBS:
            taken[0] += 1
            yield job

    with Fetcher(source, config(prefetch_bytes=limit), allocate) as fetcher:
        for number, fetched in enumerate(fetcher.fetch(jobs())):
            time.sleep(0.005)  # the fetcher gets as far ahead as it may
            held[0] -= len(fetched.buffer)
            ahead = sum(spans(job)[1] for job in JOBS[number + 1 : taken[0]])
            assert ahead <= 1.5 * limit + 2 * largest  # what is held, and a group that waits without memory
    assert most[0] <= limit + largest  # and the one that the consumer has
    assert fetcher.stats.peak_bytes <= limit


def test_a_job_over_the_limit_is_read_alone(root: str) -> None:
    fetcher = Fetcher(Store(root), config(prefetch_bytes=1000))
    assert len(consume(fetcher)) == len(JOBS)
    assert fetcher.stats.peak_bytes <= max(spans(job)[1] for job in JOBS)


def test_what_the_jobs_raise_comes_in_its_place(root: str) -> None:
    def jobs() -> Iterator[Job]:
        yield from JOBS[:7]
        raise LookupError("the index is gone")

    for source in (Source(root), Store(root, delay=0.01)):
        with Fetcher(source, config(prefetch_bytes=10**7)) as fetcher:
            stream = fetcher.fetch(jobs())
            assert [next(stream).job for _ in range(7)] == JOBS[:7]
            with pytest.raises(LookupError, match="the index is gone"):
                next(stream)


def test_memory_that_cannot_be_had_is_said(root: str) -> None:
    def allocate(size: int) -> memoryview:
        raise MemoryError("no memory")

    with Fetcher(Source(root), config(), allocate) as fetcher, pytest.raises(MemoryError, match="no memory"):
        next(fetcher.fetch(JOBS))


# ---- memory is used again


def test_released_memory_is_filled_again_and_never_before(root: str) -> None:
    with Fetcher(Source(root), config(prefetch_bytes=40_000)) as fetcher:
        seen = set()
        for fetched in fetcher.fetch(JOBS * 8):
            seen.add(id(fetched.buffer.obj))
            assert all(sound(fetched))
            fetched.release()
            fetched.release()  # twice is once
        assert len(seen) < len(JOBS) * 4
    kept = consume(Fetcher(Source(root), config(prefetch_bytes=40_000)))
    assert all(all(sound(fetched)) for fetched in kept)


def test_the_pool_gives_what_fits_and_keeps_its_limit() -> None:
    buffers = Buffers(100_000)
    small, large = buffers.allocate(5000), buffers.allocate(50_000)
    assert (len(small), len(large)) == (5000, 50_000)
    first, second = small.obj, large.obj
    buffers.free(large)
    buffers.free(small)
    assert buffers.allocate(4000).obj is first
    assert buffers.allocate(4000).obj is not second  # far too large for it
    assert buffers.allocate(45_000).obj is second
    for _ in range(5):
        buffers.free(buffers.allocate(200_000))
    assert sum(array.nbytes for array in buffers._free) <= 100_000


def test_memory_of_the_caller_comes_back_to_it(root: str) -> None:
    out: list[int] = []
    back: list[int] = []

    def allocate(size: int) -> memoryview:
        memory = bytearray(size)
        out.append(size)
        return memoryview(memory)

    with Fetcher(Store(root), config(), allocate, lambda buffer: back.append(len(buffer))) as fetcher:
        stream = fetcher.fetch(JOBS)
        next(stream).release()
        time.sleep(0.05)
    assert sorted(back) == sorted(out)


# ---- what goes wrong


@STORES
def test_what_may_pass_is_tried_again(root: str, kind: type[Store]) -> None:
    def rule(name: str, offset: int, attempt: int) -> bytes | Exception | None:
        faults = [ConnectionResetError("reset"), OSError(16, "Slow Down"), TimeoutError("late"), b"short"]
        return faults[(attempt + offset) % 4] if attempt < 3 else None

    source = kind(root, rule)
    fetcher = Fetcher(source, config())
    out = consume(fetcher)
    assert all(all(sound(fetched)) and not fetched.errors for fetched in out)
    assert fetcher.stats.retries == 2 * fetcher.stats.requests
    assert set(source.attempts.values()) == {3}


@STORES
def test_what_does_not_pass_is_given_up_by_item(root: str, kind: type[Store]) -> None:
    fetcher = Fetcher(
        kind(root, lambda name, *_: OSError(16, "Slow Down") if "1.tar" in name else None), config(attempts=3)
    )
    out = consume(fetcher)
    for fetched in out:
        lost = {i for i, item in enumerate(fetched.job.items) if "1.tar" in item.shard}
        assert set(fetched.errors) == lost
        assert all(ok for i, ok in enumerate(sound(fetched)) if i not in lost)
    error = next(error for fetched in out for error in fetched.errors.values())
    assert isinstance(error, TransientError)
    assert str(error).startswith(f"cannot read {root}/shards/1.tar at byte ")
    assert str(error).endswith("Slow Down")


@STORES
@pytest.mark.parametrize("fault", [PermissionError("403"), FileNotFoundError("404"), OSError(22, "invalid range")])
def test_what_is_refused_is_asked_once(root: str, kind: type[Store], fault: Exception) -> None:
    source = kind(root, lambda *_: fault)
    fetcher = Fetcher(source, config())
    out = consume(fetcher, JOBS[:2])
    assert all(len(fetched.errors) == 4 for fetched in out)
    assert set(source.attempts.values()) == {1}
    assert fetcher.stats.retries == 0


def test_a_missing_and_a_truncated_shard_spare_everybody_else(store_url: Url) -> None:
    half = len(FILES["shards/1.tar"]) // 2
    put(store_url, {"shards/0.tar": FILES["shards/0.tar"], "shards/1.tar": FILES["shards/1.tar"][:half]})
    source = Source(*store_url)
    for fetched in consume(Fetcher(source, config(attempts=2))):
        for number, (item, ok) in enumerate(zip(fetched.job.items, sound(fetched), strict=True)):
            end = item.members[-1].offset + item.members[-1].size
            whole = item.shard == "shards/0.tar" or (item.shard == "shards/1.tar" and end <= half)
            assert ok or not whole  # what is not there may be anything
            assert (number in fetched.errors) is not whole
            if not whole:
                assert source.url_of(item.shard) in str(fetched.errors[number])
                assert isinstance(fetched.errors[number], MissingError) is (item.shard == "shards/2.tar")


@STORES
def test_an_answer_that_is_too_long_is_not_taken(root: str, kind: type[Store]) -> None:
    out = consume(Fetcher(kind(root, lambda name, *_: FILES[name]), config(attempts=2)), JOBS[:1])
    assert len(out[0].errors) == 4


def test_an_answer_that_does_not_come_is_given_up(root: str) -> None:
    fetcher = Fetcher(Store(root, delay=30), config(timeout=0.01, attempts=2))
    [fetched] = consume(fetcher, JOBS[:1])
    assert "no answer in 0.01 s" in str(fetched.errors[0])
    assert fetcher.stats.retries == fetcher.stats.requests


@pytest.mark.parametrize("url", ["file", "memory://ends"])
def test_an_end_is_said_where_it_is_known(root: str, url: str) -> None:
    """The index of a small tar lies: the first member is not there at all, the second in part."""
    url = root if url == "file" else url
    put((url, {}))
    size = len(FILES["shards/0.tar"])
    members = [MemberAt("m", 10**12, 5, "ab"), MemberAt("m", size - 10, 99, "cd")]
    jobs = [Job(0, i, (Item("a", Task.RESTYLE, -1, 1, "shards/0.tar", (at,)),)) for i, at in enumerate(members)]
    errors = [str(fetched.errors[0]) for fetched in consume(Fetcher(Source(url), config(attempts=1)), jobs)]
    assert errors[0].startswith(f"{Source(url).url}/shards/0.tar ends before byte {10**12}; bytes {10**12} to ")
    assert errors[1].startswith(f"{Source(url).url}/shards/0.tar ends at byte {size}; bytes {size - 10} to ")


@STORES
def test_of_an_answer_that_is_too_long_no_end_is_said(root: str, kind: type[Store]) -> None:
    [fetched] = consume(Fetcher(kind(root, lambda name, *_: FILES[name]), config(attempts=1)), JOBS[:1])
    for error in fetched.errors.values():
        assert "bytes came for" in str(error)
        assert "ends" not in str(error)


def test_an_index_that_lies_about_sizes_costs_no_memory(root: str) -> None:
    lie = MemberAt("m", 0, 2**60, "")
    jobs = [Job(0, 0, (Item("a", Task.RESTYLE, -1, 1, "shards/0.tar", (lie,)),)), JOBS[0]]
    out = consume(Fetcher(Source(root), config()), jobs)
    assert isinstance(out[0].errors[0], ReadError)
    assert all(sound(out[1]))


@STORES
def test_a_mistake_of_ours_is_raised_and_nothing_hangs(
    root: str, kind: type[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.streaming.transport._scatter", lambda *_: 1 // 0)
    with Fetcher(kind(root), config()) as fetcher, pytest.raises(ZeroDivisionError):
        list(fetcher.fetch(JOBS))
    assert ours() == []


@pytest.mark.parametrize("kind", [Source, Store, Threaded])
@pytest.mark.parametrize("step", ["fetch._Run._done", "cache.Cache.store"])
def test_a_mistake_after_the_bytes_came_is_raised_too(
    root: str, tmp_path: Path, kind: type[Source], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"training.streaming.{step}", lambda *_: 1 // 0)
    cached = config(cache_dir=str(tmp_path / "members"), cache_bytes=10**8)
    with Fetcher(kind(root), cached) as fetcher, pytest.raises(ZeroDivisionError):
        list(fetcher.fetch(JOBS))
    assert ours() == []


def test_a_request_that_the_store_cancels_is_an_error(root: str) -> None:
    class Cancelling(Store):
        async def fetch(self, name: str, offset: int, size: int) -> bytes:
            raise asyncio.CancelledError

    with Fetcher(Cancelling(root), config()) as fetcher, pytest.raises(ReadError, match=r"\.tar at byte .* cancelled"):
        list(fetcher.fetch(JOBS))
    assert ours() == []


# ---- the cache, and reading again


@pytest.mark.parametrize("local", [True, False])
def test_what_the_cache_has_is_not_read(root: str, tmp_path_factory: pytest.TempPathFactory, local: bool) -> None:
    cached = config(cache_dir=str(tmp_path_factory.mktemp("cache")), cache_bytes=10**8)
    consume(Fetcher(Source(root) if local else Store(root), cached))
    again = Fetcher(Source(root) if local else Store(root), cached)
    assert all(all(sound(fetched)) for fetched in consume(again))
    assert (again.stats.requests, again.stats.bytes) == (0, 0)
    assert (again.stats.cache_hits, again.stats.cache_bytes) == (len(ITEMS) * MEMBERS, BYTES)


def test_damage_in_the_cache_is_read_again_and_forgotten(root: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cached = config(cache_dir=str(folder), cache_bytes=10**8)
    consume(Fetcher(Source(root), cached))
    digest = JOBS[0].items[1].members[2].sha256
    place = folder / digest[:2] / digest
    place.write_bytes(bytes(len(place.read_bytes())))
    with Fetcher(Source(root), cached) as fetcher:
        fetched = next(fetcher.fetch(JOBS))
        assert sound(fetched) == [True, False, True, True]
        assert all(sound(fetcher.again(JOBS[0], [(1, 2)])))
    assert not place.exists()


def test_what_could_not_be_read_is_not_kept(root: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cached = config(cache_dir=str(folder), cache_bytes=10**8, attempts=1)
    consume(Fetcher(Store(root, lambda *_: PermissionError("403")), cached))
    assert not list(folder.glob("*/*"))


def test_again_while_reading(root: str) -> None:
    with Fetcher(Store(root, delay=0.001), config()) as fetcher:
        for fetched in fetcher.fetch(JOBS):
            assert all(sound(fetcher.again(fetched.job, [(0, 0)])))


# ---- the end


@STORES
@pytest.mark.parametrize("way", ["fetcher", "generator", "garbage"])
def test_closing_midway_leaves_nothing(root: str, kind: type[Store], way: str) -> None:
    source = kind(root, delay=0.05)
    fetcher = Fetcher(source, config(connections=2, prefetch_bytes=10**7))
    stream = fetcher.fetch(JOBS)
    next(stream)
    if way == "fetcher":
        fetcher.close()
    elif way == "generator":
        stream.close()
    else:
        del stream
        gc.collect()
    assert ours() == []
    assert source.active == 0
    asked = len(source.begun)
    time.sleep(0.12)
    assert len(source.begun) == asked
    if way == "fetcher":
        assert list(stream) == []


@STORES
def test_two_threads_may_close_at_once(root: str, kind: type[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(deque[Any]):
        def __bool__(self) -> bool:
            found = len(self) > 0
            time.sleep(0.01)
            return found

    monkeypatch.setattr(module, "deque", Slow)
    taken, freed, failed = [0], [0], list[BaseException]()

    def allocate(size: int) -> memoryview:
        taken[0] += 1
        return memoryview(bytearray(size))

    def free(buffer: memoryview) -> None:
        freed[0] += 1

    fetcher = Fetcher(kind(root), config(prefetch_bytes=10**7), allocate, free)
    stream = fetcher.fetch(JOBS)
    next(stream).release()
    [run] = fetcher._runs

    def close() -> None:
        try:
            run.close()
        except BaseException as error:  # noqa: BLE001 - seen by the test
            failed.append(error)

    threads = [threading.Thread(target=close) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert freed == taken
    assert list(stream) == []


def test_memory_of_requests_that_come_too_late_is_given_back(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    submit, waiting = BlockingTransport.submit, threading.Event()

    def late(transport: BlockingTransport, loads: Any) -> None:
        waiting.set()
        while not transport._pool._shutdown:
            time.sleep(0.001)
        submit(transport, loads)

    monkeypatch.setattr(BlockingTransport, "submit", late)
    taken: list[int] = []
    freed: list[int] = []

    def allocate(size: int) -> memoryview:
        taken.append(size)
        return memoryview(bytearray(size))

    fetcher = Fetcher(Source(root), config(), allocate, lambda buffer: freed.append(len(buffer)))
    out: list[Any] = []
    reading = threading.Thread(target=lambda: out.append(list(fetcher.fetch(JOBS))))
    reading.start()
    waiting.wait(10)
    fetcher.close()
    reading.join(10)
    assert out == [[]]
    assert freed == taken != []


def test_a_waiting_consumer_is_let_go(root: str) -> None:
    fetcher = Fetcher(Store(root, delay=30), config())
    out: list[Any] = []
    waiting = threading.Thread(target=lambda: out.append(list(fetcher.fetch(JOBS))))
    waiting.start()
    time.sleep(0.05)
    fetcher.close()
    waiting.join(10)
    assert out == [[]]
    assert ours() == []


@pytest.mark.parametrize("url", ["file", "memory"])
def test_a_process_that_just_ends_does_end(root: str, url: str) -> None:
    script = (
        "import sys; from pathlib import Path; import fsspec\n"
        "from tests.training.test_fetch import JOBS, put, config, Fetcher, Source\n"
        f"url = {'sys.argv[1]' if url == 'file' else repr('memory://x')}; put((url, {{}}))\n"
        "stream = Fetcher(Source(url), config()).fetch(JOBS); print(next(stream).job.position)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, root], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "0", "")


def test_the_jobs_of_a_window_are_read_as_whole_shards() -> None:
    """Shards of 64 samples, each shuffled into micro-batches of four, as a window is."""
    rng = np.random.default_rng(0)
    jobs, size = [], 1000
    for shard in range(6):
        order = rng.permutation(64)
        for number in range(0, 64, 4):
            items = tuple(
                Item(f"{shard}-{at}", Task.TEXT_TO_LAYERS, -1, 1, f"s{shard}", (MemberAt("x", at * size, size, ""),))
                for at in order[number : number + 4].tolist()
            )
            jobs.append(Job(0, len(jobs), items))
    limit = 100_000
    found = list(groups(jobs, limit))
    assert [job for group in found for job in group] == jobs
    assert [{item.shard for job in group for item in job.items} for group in found] == [{f"s{n}"} for n in range(6)]
    assert [len(plan(group, gap=0, limit=10**6)) for group in found] == [1] * 6
    assert all(len(group) == 1 or sum(map(cost, group)) <= limit for group in groups(jobs, 40_000))
