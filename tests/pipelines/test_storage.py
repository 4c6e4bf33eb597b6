"""The store on a file system, in memory and on a real S3 server: whole names or none, and errors a user can read."""

from __future__ import annotations

import pickle
import resource
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import StoreError, UsageError
from pipelines.storage import Store


@pytest.fixture
def store(store_url: tuple[str, dict[str, Any]]) -> Store:
    return Store(*store_url)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_what_is_written_is_read_back_whole_and_in_ranges(store: Store) -> None:
    data = bytes(range(256)) * 40
    store.write("a/b/data.bin", data)
    assert store.exists("a/b/data.bin")
    assert store.size("a/b/data.bin") == len(data)
    assert store.read("a/b/data.bin") == data
    assert store.read_range("a/b/data.bin", 1000, 300) == data[1000:1300]
    assert store.read_range("a/b/data.bin", 5, 0) == b""
    with store.open("a/b/data.bin") as stream:
        assert stream.read() == data


def test_a_write_replaces_what_was_there(store: Store) -> None:
    store.write("name", b"first, the longer one")
    assert store.read("name") == b"first, the longer one"
    store.write("name", b"second")
    assert store.read("name") == b"second"
    assert store.size("name") == 6


def test_an_empty_name_is_a_name(store: Store) -> None:
    store.write("empty", b"")
    assert store.exists("empty")
    assert store.read("empty") == b""
    assert store.names() == ["empty"]


def test_create_writes_once_and_never_replaces(store: Store) -> None:
    assert store.create("d/once", b"mine") is True
    assert store.create("d/once", b"theirs") is False
    assert store.read("d/once") == b"mine"
    store.write("plain", b"there")
    assert store.create("plain", b"late") is False
    assert store.read("plain") == b"there"
    store.delete(["d/once"])
    assert store.create("d/once", b"again") is True
    assert store.read("d/once") == b"again"
    assert store.names() == ["d/once", "plain"]


def test_put_stores_a_local_file(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "made-elsewhere.tar"
    source.write_bytes(b"x" * 70_000)
    store.put("shards/train.tar", source)
    assert store.read("shards/train.tar") == b"x" * 70_000
    assert store.names() == ["shards/train.tar"]


def test_names_are_sorted_and_below_the_prefix(store: Store) -> None:
    assert store.names() == []
    assert store.names("nothing/here") == []
    for name in ("b/2", "b/1", "a", "bb/3"):
        store.write(name, b".")
    assert store.names() == ["a", "b/1", "b/2", "bb/3"]
    assert store.names("b") == ["b/1", "b/2"]


def test_names_follow_what_another_process_does(store: Store) -> None:
    other = Store(store.url, {**store.options, "skip_instance_cache": True})
    assert store.names() == []
    assert not store.exists("late")
    other.write("late", b"1")
    assert store.names() == ["late"]
    assert store.exists("late")
    other.write("late", b"longer")
    assert store.size("late") == 6
    other.delete(["late"])
    assert not store.exists("late")
    assert store.names() == []


def test_delete_removes_and_forgives_what_is_gone(store: Store) -> None:
    store.write("a", b"1")
    store.write("b", b"2")
    store.delete(["a", "never-there"])
    assert not store.exists("a")
    assert store.names() == ["b"]
    with pytest.raises(FileNotFoundError):
        store.read("a")


def test_a_missing_name_is_file_not_found_everywhere(store: Store) -> None:
    for read in (store.read, store.size, store.open, lambda name: store.read_range(name, 0, 1)):
        with pytest.raises(FileNotFoundError):
            read("no/such")
    assert not store.exists("no/such")


@pytest.mark.parametrize(("offset", "size"), [(0, 11), (9, 2), (10, 1), (500, 4)])
def test_a_range_beyond_the_end_is_an_error(store: Store, offset: int, size: int) -> None:
    store.write("short", b"0123456789")
    with pytest.raises(StoreError, match=r"short ends before byte|cannot read short"):
        store.read_range("short", offset, size)


def test_a_store_travels_as_its_url_and_options(store: Store) -> None:
    store.write("a", b"1")
    travelled = pickle.loads(pickle.dumps(store))
    assert travelled == store
    assert travelled.read("a") == b"1"


def test_unfinished_names_are_hidden_but_can_be_swept(local: Store) -> None:
    local.write("a/done", b"1")
    Path(local.path("a/.tmp-0123-done")).write_bytes(b"half")
    assert local.names() == ["a/done"]
    assert local.all_names() == ["a/.tmp-0123-done", "a/done"]
    local.delete(["a/.tmp-0123-done"])
    assert local.all_names() == ["a/done"]


def test_a_killed_writer_leaves_no_visible_name(local: Store) -> None:
    code = (
        "import os, sys, signal; from pipelines import storage; "
        "storage.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL); "
        f"storage.Store({local.url!r}).write('big', b'x' * 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    assert local.names() == []
    assert len(local.all_names()) == 1


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow past 64 kB, as if the disk were full there."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_a_store_error_and_leaves_what_was_there(local: Store) -> None:
    local.write("name", b"old")
    with pytest.raises(StoreError, match=r"cannot write name: .*File too large"):
        local.write("name", b"x" * 100_000)
    with pytest.raises(StoreError, match="cannot write other"):
        local.create("other", b"x" * 100_000)
    assert local.all_names() == ["name"]
    assert local.read("name") == b"old"


def test_a_file_where_a_directory_is_needed_is_a_store_error(local: Store) -> None:
    local.write("a", b"1")
    with pytest.raises(StoreError, match="cannot write a/b"):
        local.write("a/b", b"2")


def test_a_refused_put_is_a_store_error_of_one_line(s3: Any) -> None:
    refused = Store(s3.bucket(), {**s3.options, "secret": "wrong"})
    for attempt in (
        lambda: refused.write("name", b"1"),
        lambda: refused.create("name", b"1"),
        lambda: refused.read("name"),
        refused.names,
    ):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert "wrong" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_an_error(s3: Any) -> None:
    absent = Store("s3://no-such-bucket-anywhere/dir", s3.options)
    with pytest.raises((StoreError, FileNotFoundError)):
        absent.write("name", b"1")
    assert absent.names() == []


def test_of_many_creators_at_the_same_time_one_wins(local: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        for turn in range(20):
            won = list(pool.map(lambda i, name=f"one-{turn}": local.create(name, f"writer {i}".encode()), range(8)))
            assert won.count(True) == 1
            assert local.read(f"one-{turn}") == f"writer {won.index(True)}".encode()


@pytest.mark.parametrize(("url", "remedy"), [("gs://bucket/x", "acetate\\[gcs\\]"), ("nonsense://x", "nonsense")])
def test_a_store_that_cannot_be_used_names_the_remedy(url: str, remedy: str) -> None:
    with pytest.raises(UsageError, match=remedy):
        Store(url).names()


def test_local_and_shared_tell_the_kinds_apart(tmp_path: Path) -> None:
    assert Store(str(tmp_path)).local == tmp_path
    assert Store(tmp_path.as_uri()).local == tmp_path
    assert Store("memory://x").local is None
    assert Store(str(tmp_path)).shared
    assert not Store("memory://x").shared


def test_a_bucket_that_is_not_there_refuses_the_write(s3: Any) -> None:
    store = Store(f"s3://{uuid.uuid4().hex}/ds", s3.options)
    assert not store.exists("dataset.json")
    with pytest.raises(StoreError, match="cannot write a"):
        store.write("a", b"x")
