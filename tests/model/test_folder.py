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

from model import folder
from model.errors import CheckpointError, CodecError
from model.folder import check_files, loading, read


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
        (lambda path: index(path, "x" * 5000), "is no file beside it"),
        (lambda path: (path / "w.safetensors.index.json").write_text("[]"), "w.safetensors.index.json: Input should"),
    ],
    ids=range(13),
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
    (snapshot / ".#config.json").symlink_to("gone")
    (snapshot / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "gone.bin"}}))
    (snapshot / "trainer_state.json").write_text(" " * (folder.MAX_JSON + 1))
    check_files(snapshot)
    assert read(snapshot / "config.json", dict[str, Any]) == {}


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
