"""The files of a checkpoint's folder: nothing but regular files, found out without opening one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from model import folder
from model.errors import CheckpointError, CodecError
from model.folder import check_files, loading, read, tensors


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """What waits for a pipe is woken with an error."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def index(path: Path, name: object) -> None:
    (path / "w.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"a": name}}))


def large(path: Path, over: int) -> None:
    with path.open("wb") as stream:
        stream.truncate(over + 1)


def many(path: Path) -> None:
    for number in range(folder.MAX_FILES + 1):
        (path / str(number)).touch()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: os.mkfifo(path / "config.json"), "config.json is no regular file"),
        (lambda path: os.mkfifo(path / "weights.safetensors"), "weights.safetensors is no regular file"),
        (lambda path: (path / "inner" / "merges.txt").symlink_to("/dev/zero"), "merges.txt is no regular file"),
        (lambda path: (path / "config.json").symlink_to(path / "gone"), "config.json cannot be read"),
        (lambda path: (path / "inner" / "again").symlink_to(path), "4 folders in a row"),
        (many, "more than 4096 files"),
        (lambda path: (path / "config.json").write_text(" " * (folder.MAX_JSON + 1)), "more than 1048576 bytes"),
        (lambda path: (path / "adapter_config.json").write_text("{}"), "is that of an adapter; merge it"),
        (lambda path: index(path, "../there"), "'../there' is no file beside it"),
        (lambda path: index(path, "gone"), "'gone' is no file beside it"),
        (lambda path: index(path, ["there"]), "names no files of weights"),
        (lambda path: index(path, "x" * 5000), "'x{100}' is no file beside it"),
        (lambda path: index(path, "\0"), "is no file beside it"),
        (lambda path: (path / "w.safetensors.index.json").write_text("[]"), "w.safetensors.index.json: Input should"),
        (lambda path: large(path / "tokenizer_config.json", folder.MAX_JSON), "more than 1048576 bytes"),
        (lambda path: large(path / "tokenizer.json", folder.MAX_TABLE), "more than 67108864 bytes"),
    ],
    ids=range(16),
)
def test_a_folder_of_other_things_is_refused(tmp_path: Path, spoil: Callable[[Path], Any], message: str) -> None:
    (tmp_path / "there").touch()
    path = tmp_path / "checkpoint"
    (path / "inner").mkdir(parents=True)
    check_files(path)
    spoil(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        check_files(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_the_links_of_a_hub_s_cache_are_files(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "1f").write_text("{}")
    snapshot = tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/1f")
    index(snapshot, "config.json")
    (snapshot / "tokenizer").symlink_to(snapshot.parent.parent / "blobs")
    (snapshot / ".git").mkdir()
    os.mkfifo(snapshot / ".git" / "pipe")
    check_files(snapshot)
    assert read(snapshot / "config.json", dict[str, Any]) == {}


def test_what_nothing_opens_may_be_anything(tmp_path: Path) -> None:
    """Leftovers of trainers, converters and editors."""
    bins = {"metadata": {}, "weight_map": {"a": "pytorch_model-1-of-2.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(bins))
    large(tmp_path / "trainer_state.json", folder.MAX_TABLE)
    large(tmp_path / "log.txt", folder.MAX_TABLE)
    (tmp_path / ".#config.json").symlink_to("somebody@somewhere.1234")
    check_files(tmp_path)


def test_a_file_that_cannot_be_looked_at_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may be listed, not entered; for root there is none, so the system's refusal is made."""
    (tmp_path / "config.json").touch()

    def shut(path: Path, **_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", shut)
    with pytest.raises(CheckpointError, match=r"config.json cannot be read \(Permission denied\)"):
        check_files(tmp_path)


def test_the_head_of_a_file_of_weights_is_read_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(())}, path, {"format": "pt"})
    assert {name: said["shape"] for name, said in tensors(path).items()} == {"a": [2, 3], "b": []}
    for data in (b"", b"x", (2**60).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"[]", path.read_bytes()[:40]):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="no whole file of safetensors"):
            tensors(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        tensors(tmp_path / "gone")


@pytest.mark.parametrize("what", ["a pipe", "a folder", "nothing", "nested", "no object", "no text"])
def test_settings_that_cannot_be_read_are_told_in_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / "config.json"
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    elif what != "nothing":
        path.write_bytes({"nested": b"[" * 100_000, "no object": b"[1]", "no text": b"\xff\xfe"}[what])
    with pytest.raises(CheckpointError) as caught:
        read(path, dict[str, Any])
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (IndexError("list index\n out of range"), "no VAE: list index out of range"),
        (AttributeError("x" * 1000), "no VAE: " + "x" * 300),
        (UnboundLocalError(), "no VAE: UnboundLocalError"),
        (CodecError("5 channels"), "no VAE: 5 channels"),
    ],
    ids=range(4),
)
def test_whatever_a_library_raises_is_one_line(error: Exception, message: str) -> None:
    with pytest.raises(CheckpointError) as caught, loading("no VAE"):
        raise error
    assert str(caught.value) == message


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError, KeyboardInterrupt])
def test_a_lack_of_memory_is_no_fault_of_a_checkpoint(error: type[BaseException]) -> None:
    with pytest.raises(error), loading("no VAE"):
        raise error
