"""A folder that is written to, on every kind of store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError, UsageError
from training.outputs import Output


def test_what_is_written_is_listed_read_and_removed(store_url: tuple[str, dict[str, Any]]) -> None:
    output = Output(*store_url)
    assert (output.sizes("a"), output.folders("a")) == ({}, [])
    output.write("a/one.json", b"1")
    output.write("a/one.json", b"12")
    with output.stream("a/b/two") as out:
        out.write(b"3")
        out.write(memoryview(b"45"))
    assert output.sizes("a") == {"one.json": 2}
    assert output.folders("a") == ["b"]
    assert output.source.read("a/one.json") == b"12"
    assert output.source.read("a/b/two") == b"345"
    for name in ("a/one.json", "a/b", "a/b", "a/nothing"):
        output.remove(name)
    assert (output.sizes("a"), output.folders("a")) == ({}, [])


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(str(tmp_path))
    output.write("state", b"old")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(
            TrainingError, match=rf"^cannot write {tmp_path}/state: \[Errno 28\] No space left on device$"
        ):
            output.write("state", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("state", b"old")]


def test_a_store_that_cannot_be_used_is_named() -> None:
    with pytest.raises(UsageError, match="cannot use 'nowhere://run'"):
        Output("nowhere://run")
