"""The source: the same reads on every store, one kind of error, and it survives forks and pickling."""

from __future__ import annotations

import errno
import multiprocessing
import pickle
import threading
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.asyn import get_loop, sync
from hypothesis import given
from hypothesis import strategies as st

from training.errors import ReadError, UsageError
from training.streaming import source as module
from training.streaming.source import MissingError, Source, TransientError, passing

DATA = bytes(range(256)) * 40
Url = tuple[str, dict[str, Any]]


@pytest.fixture
def filled(store_url: Url) -> Source:
    fs, root = fsspec.core.url_to_fs(store_url[0], **store_url[1])
    fs.makedirs(f"{root}/shards", exist_ok=True)
    for name in ("dataset.json", "shards/a.tar", "shards/.tmp-b.tar"):
        fs.pipe_file(f"{root}/{name}", DATA)
    return Source(*store_url)


def test_the_same_reads_on_every_store(filled: Source) -> None:
    assert filled.read("dataset.json") == DATA
    assert filled.size("shards/a.tar") == len(DATA)
    assert filled.read_range("shards/a.tar", 100, 50) == DATA[100:150]
    assert filled.read_range("shards/a.tar", len(DATA) - 5, 50) == DATA[-5:]
    assert filled.read_range("shards/a.tar", 5, 0) == b""
    assert filled.names() == ["dataset.json", "shards/a.tar"]
    assert filled.names("shards") == ["shards/a.tar"]
    assert filled.names("nothing") == []
    assert filled.exists("dataset.json")
    assert not filled.exists("nothing")


def test_names_of_few_levels_and_of_many_files(filled: Source) -> None:
    fs, root = fsspec.core.url_to_fs(filled.url, **filled.options)
    fs.makedirs(f"{root}/a/b/c", exist_ok=True)
    for name in ("a/x", "a/b/y", "a/b/c/z"):
        fs.pipe_file(f"{root}/{name}", b"x")
    levels = [["dataset.json"], ["a/x", "dataset.json", "shards/a.tar"]]
    levels += [sorted([*levels[1], "a/b/y"]), filled.names()]
    assert [filled.names(depth=depth) for depth in (1, 2, 3, 4)] == levels
    assert filled.names("a/b", depth=1) == ["a/b/y"]
    assert filled.names("nothing", depth=2) == []
    for depth in (None, 4):
        assert len(filled.names(depth=depth, limit=6)) == 5  # and a hidden one
        with pytest.raises(ReadError, match=f"{filled.url}/ has over 5 files"):
            filled.names(depth=depth, limit=5)


def test_a_folder_that_nobody_may_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lost+found/x", "shards/a"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    source = Source(str(tmp_path))
    fs = source._connect()
    ls = fs.ls
    refused: OSError = PermissionError("not yours")

    def refusing(path: str, **settings: Any) -> Any:
        if path.endswith("lost+found"):
            raise refused
        return ls(path, **settings)

    monkeypatch.setattr(fs, "ls", refusing)
    assert source.names(depth=2) == ["shards/a"]
    refused = OSError(errno.EINVAL, "anything else is an error")
    with pytest.raises(ReadError, match="anything else"):
        source.names(depth=2)


def test_an_awaited_fetch_is_the_same_range(filled: Source) -> None:
    loop = filled.loop if filled.asynchronous else get_loop()
    assert sync(loop, filled.fetch, "shards/a.tar", 100, 50) == DATA[100:150]


def test_what_is_missing_is_said_with_its_url(filled: Source) -> None:
    for call in (filled.read, filled.size, lambda name: filled.read_range(name, 0, 5)):
        with pytest.raises(MissingError) as raised:
            call("shards/b.tar")
        assert str(raised.value) == f"{filled.url_of('shards/b.tar')} is missing"


def test_an_open_file_serves_parquet(store_url: Url) -> None:
    fs, root = fsspec.core.url_to_fs(store_url[0], **store_url[1])
    fs.makedirs(root, exist_ok=True)
    table = pa.table({"x": list(range(1000)), "y": ["a"] * 1000})
    with fs.open(f"{root}/t.parquet", "wb") as out:
        pq.write_table(table, out, row_group_size=100)
    with Source(*store_url).open("t.parquet") as file:
        parquet = pq.ParquetFile(file)
        assert parquet.read_row_group(7, columns=["x"]).column(0).to_pylist() == list(range(700, 800))
        assert parquet.read() == table


def test_a_read_over_the_limit_is_refused(filled: Source) -> None:
    assert filled.read("dataset.json", limit=len(DATA)) == DATA
    with pytest.raises(ReadError, match="at most"):
        filled.read("dataset.json", limit=len(DATA) - 1)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a\0b"])
def test_names_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReadError, match="not a name inside"):
        Source(str(tmp_path)).read(name)


@pytest.mark.parametrize(
    ("url", "message"), [("nosuch://x", "cannot use 'nosuch://x'"), ("gs://bucket/x", r"acetate\[gcs\]")]
)
def test_an_url_that_cannot_be_used(url: str, message: str) -> None:
    if url.startswith("gs:") and _has("gcsfs"):
        pytest.skip("gcsfs is installed")
    with pytest.raises(UsageError, match=message):
        Source(url)


def _has(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def test_a_local_path_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "x").write_bytes(DATA)
    monkeypatch.chdir(tmp_path)
    for url in ("a b", str(tmp_path / "a b"), f"file://{tmp_path}/a b", f"{tmp_path}/a b/"):
        source = Source(url)
        assert source.local == tmp_path / "a b"
        assert source.read("x") == DATA
        assert source.url_of("x") == f"{tmp_path}/a b/x"


@given(sizes=st.lists(st.integers(0, 300), max_size=8), offset=st.integers(0, 12_000), most=st.integers(1, 3))
def test_scattered_reads_fill_the_buffers_in_turn(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], offset: int, most: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "scatter"
    root.mkdir(exist_ok=True)
    (root / "x").write_bytes(DATA)
    memory = bytearray(sum(sizes))
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    views = [memoryview(memory)[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_IOV_MAX", most)
        got = Source(str(root)).pread_into("x", offset, *views)
    expected = DATA[offset : offset + sum(sizes)]
    assert got == len(expected)
    assert memory[:got] == expected


def test_few_files_stay_open_and_none_closes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_FILES", 2)
    for i in range(8):
        (tmp_path / str(i)).write_bytes(bytes([i]) * 5000)
    source = Source(str(tmp_path))
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    wrong = []

    def read(seed: int) -> None:
        memory = memoryview(bytearray(5000))
        for i in range(400):
            number = (i * 7 + seed) % 8
            if source.pread_into(str(number), 0, memory) != 5000 or set(memory) != {number}:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) - before <= 2


def test_it_pickles_as_url_and_options(filled: Source) -> None:
    copy = pickle.loads(pickle.dumps(filled))
    assert (copy.url, copy.options) == (filled.url, filled.options)
    assert copy.read("dataset.json") == DATA


def _child(source: Source, out: Any) -> None:
    out.send(source.read_range("shards/a.tar", 10, 20))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_it_works_in_a_forked_process(filled: Source) -> None:
    assert filled.read_range("shards/a.tar", 0, 5) == DATA[:5]  # connections are open by now
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(filled, theirs))
    child.start()
    assert ours.poll(30)
    assert ours.recv() == DATA[10:30]
    child.join(30)
    assert child.exitcode == 0
    ours.close()
    theirs.close()


class StatusError(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (OSError(errno.EBUSY, "Slow Down"), True),
        (OSError(errno.EIO, "internal"), True),
        (OSError(errno.EINVAL, "invalid range"), False),
        (PermissionError("403"), False),
        (StatusError(503), True),
        (StatusError(429), True),
        (StatusError(403), False),
        (StatusError(416), False),
        (TypeError("a mistake"), False),
    ],
)
def test_what_may_pass(error: Exception, expected: bool) -> None:
    assert passing(error) is expected


def test_what_may_pass_is_tried_again_and_then_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(DATA)
    source = Source(str(tmp_path))
    fs = source._connect()
    calls = []

    def flaky(path: str) -> bytes:
        calls.append(path)
        if len(calls) < 3:
            raise ConnectionResetError("reset by peer\nwith a second line")
        return DATA

    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(fs, "cat_file", flaky)
    assert source.read("x") == DATA
    assert len(calls) == 3
    calls[:] = []
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    with pytest.raises(TransientError) as raised:
        source.read("x")
    assert str(raised.value) == f"cannot read {tmp_path}/x: reset by peer"
