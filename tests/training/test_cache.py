"""The disk cache: bounded, shared, the least used first out, and never an error of the stream."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.streaming.cache import KEEP, LARGEST, Cache

LIMIT = 100_000
WRITER = """
import hashlib, sys
from training.streaming.cache import Cache
cache = Cache(sys.argv[1], int(sys.argv[2]))
for i in range(400):
    data = f"{sys.argv[3]} {i}".encode() * 60
    cache.store(hashlib.sha256(data).hexdigest(), data)
"""


def member(number: int, size: int = 900) -> tuple[str, bytes]:
    data = number.to_bytes(4, "big") * (size // 4)
    return hashlib.sha256(data).hexdigest(), data


def load(cache: Cache, digest: str, size: int) -> bytes | None:
    target = bytearray(size)
    return bytes(target) if cache.load(digest, memoryview(target)) else None


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("??/*"))


def test_what_was_stored_is_loaded_by_another_process(tmp_path: Path) -> None:
    digest, data = member(1)
    Cache(tmp_path / "new" / "cache", LIMIT).store(digest, data)
    assert (tmp_path / "new" / "cache" / digest[:2] / digest).read_bytes() == data
    assert load(Cache(tmp_path / "new" / "cache", LIMIT), digest, len(data)) == data
    assert load(Cache(tmp_path, LIMIT), member(2)[0], 900) is None


def test_another_size_is_a_miss_and_is_forgotten(tmp_path: Path) -> None:
    cache = Cache(tmp_path, LIMIT)
    digest, data = member(1)
    for size in (len(data) - 1, len(data) + 1):
        cache.store(digest, data)
        assert load(cache, digest, size) is None
        assert load(cache, digest, len(data)) is None


def test_what_is_discarded_is_gone(tmp_path: Path) -> None:
    cache = Cache(tmp_path, LIMIT)
    digest, data = member(1)
    cache.store(digest, data)
    cache.discard(digest)
    cache.discard(digest)
    assert load(cache, digest, len(data)) is None


@pytest.mark.parametrize("digest", ["../../secret", "", "A" * 64, "a" * 63, "a" * 64 + "\n", "/" + "a" * 63])
def test_only_hashes_are_names(tmp_path: Path, digest: str) -> None:
    cache = Cache(tmp_path / "cache", LIMIT)
    cache.store(digest, b"data")
    cache.discard(digest)
    assert load(cache, digest, 4) is None
    assert not list(tmp_path.rglob("*"))


def test_the_limit_holds_and_the_least_used_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, LIMIT)
    loved, data = member(0)
    cache.store(loved, data)
    for number in range(1, 200):
        digest, other = member(number)
        cache.store(digest, other)
        os.utime(tmp_path / digest[:2] / digest, (number, number))
        assert load(cache, loved, len(data)) == data  # a hit makes it the last to go
        assert total(tmp_path) <= LIMIT
    kept = {number for number in range(1, 200) if load(cache, member(number)[0], 900) is not None}
    assert kept == set(range(min(kept), 200))
    assert len(kept) * 900 > LIMIT * (KEEP - 0.05)


def test_a_smaller_limit_takes_effect_with_the_first_write(tmp_path: Path) -> None:
    large = Cache(tmp_path, 10 * LIMIT)
    for number in range(500):
        large.store(*member(number))
    assert total(tmp_path) == 500 * 900
    Cache(tmp_path, LIMIT).store(*member(1000))
    assert total(tmp_path) <= LIMIT


def test_two_processes_that_write_keep_the_limit_together(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(LIMIT)]
    writers = [subprocess.Popen([*command, name]) for name in ("a", "b")]
    most = 0
    while any(writer.poll() is None for writer in writers):
        sizes = []
        for path in tmp_path.glob("??/*"):
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                continue
        most = max(most, sum(sizes))
    assert [writer.wait() for writer in writers] == [0, 0]
    assert LIMIT / 2 < total(tmp_path) <= LIMIT
    assert most <= LIMIT
    assert not list(tmp_path.glob("??/.tmp-*"))


def test_nothing_is_written_while_another_sweeps(tmp_path: Path) -> None:
    cache = Cache(tmp_path, LIMIT)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cache.store(*member(1))
        assert total(tmp_path) == 0
    cache.store(*member(1))
    assert total(tmp_path) == 900


def test_what_was_left_unfinished_is_removed_when_it_is_old(tmp_path: Path) -> None:
    folder = tmp_path / "ab"
    folder.mkdir()
    old, new = (f".tmp-{letter * 32}" for letter in "ab")
    for name, age in ((old, 0), (new, None)):
        (folder / name).write_bytes(b"half")
        if age is not None:
            os.utime(folder / name, (age, age))
    Cache(tmp_path, LIMIT).store(*member(1))
    assert [path.name for path in folder.glob(".tmp-*")] == [new]


def test_what_is_not_of_the_cache_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    others = ["cc/aa/precious.txt", "cc/precious.txt", f"cc/{'ab' * 32}", f"cc/{'c' * 63}", "cc/.tmp-mine", "cc/cc"]
    for name in others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(2 * LIMIT))
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / "cc" / ("c" * 64)).symlink_to(tmp_path / "cc" / "precious.txt")
    for number in range(200):
        Cache(tmp_path, LIMIT).store(*member(number))
    assert [(tmp_path / name).stat().st_size for name in others] == [2 * LIMIT] * len(others)
    assert (tmp_path / "cc" / ("c" * 64)).is_symlink()
    ours = [path for path in tmp_path.glob("??/*") if path.stat().st_size == 900]
    assert LIMIT / 2 < 900 * len(ours) <= LIMIT
    assert not caplog.records


def test_a_member_that_is_too_large_and_no_limit_at_all(tmp_path: Path) -> None:
    Cache(tmp_path, LIMIT).store(*member(1, LIMIT // LARGEST + 4))
    Cache(tmp_path, 0).store(*member(1))
    assert not list(tmp_path.rglob("*"))


def test_a_disk_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_bytes(b"a file, where a directory should be")
    cache = Cache(tmp_path / "cache", LIMIT)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            cache.store(*member(number))
            assert load(cache, member(number)[0], 900) is None
            cache.discard(member(number)[0])
    [record] = caplog.records
    assert str(tmp_path / "cache") in record.getMessage()


def test_a_full_disk_ends_the_caching_and_leaves_no_half(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path, LIMIT)
    cache.store(*member(0))
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:10]) if len(data) > 800 else _full())
    cache.store(*member(1))
    cache.store(*member(2))
    monkeypatch.undo()
    assert "No space left" in caplog.text
    assert len(caplog.records) == 1
    assert total(tmp_path) == 900
    assert load(cache, member(0)[0], 900) == member(0)[1]  # what is there still serves


def _full() -> int:
    raise OSError(28, "No space left on device")
