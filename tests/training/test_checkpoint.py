"""Checkpoints of one process: saved in the background, whole or not at all, kept by rule, and never a pickle."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, load

from training.checkpoint import CheckpointConfig, Checkpoints, Saved
from training.checkpoint_files import BLOCK
from training.errors import TrainingError, UsageError
from training.outputs import Output

Folders = Callable[[], list[Path]]


def values() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {
        "weight": torch.randn(5, 7),
        "half": torch.randn(3).bfloat16(),
        "flags": torch.tensor([True, False, True]),
        "count": torch.tensor(9),
        "none": torch.empty(0, 4),
        "turned": torch.randn(4, 6).t(),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
    }


def zeros() -> dict[str, Tensor]:
    return {name: torch.zeros_like(value) for name, value in values().items()}


def same(tensors: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensors[name], value) for name, value in values().items())


def opened(url: Path | str, options: dict[str, Any] | None = None, **config: int) -> Checkpoints:
    return Checkpoints(str(url), CheckpointConfig(**config), rank=0, world_size=1, storage_options=options)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def folders(run: Path) -> Folders:
    return lambda: sorted((run / "checkpoints").iterdir())


@pytest.fixture
def folder(run: Path, folders: Folders) -> Path:
    """A checkpoint that is whole."""
    checkpoints = opened(run)
    checkpoints.save(1, values(), {"epoch": 2})
    checkpoints.close()
    return folders()[0]


def refused(run: Path, tensors: dict[str, Tensor] | None = None) -> str:
    """What is said of the latest checkpoint, in one line."""
    checkpoints = opened(run)
    saved = checkpoints.latest()
    assert saved is not None
    with pytest.raises(UsageError) as raised:
        checkpoints.load(saved, zeros() if tensors is None else tensors)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_saved_is_loaded_from_every_store(store_url: tuple[str, dict[str, Any]]) -> None:
    checkpoints = opened(*store_url, keep=1)
    assert checkpoints.latest() is None
    for step in (3, 20):
        checkpoints.save(step, values(), {"position": step, "state": [1, None, {"a": "é"}]})
    saved = checkpoints.latest()
    assert saved is not None
    assert saved.step == 20
    tensors = zeros()
    assert checkpoints.load(saved, tensors) == {"position": 20, "state": [1, None, {"a": "é"}]}
    assert same(tensors)
    assert Output(*store_url).folders("checkpoints") == [saved.name]
    checkpoints.close()


def test_tensors_of_several_blocks_and_their_neighbours(run: Path) -> None:
    saved = {"a": torch.rand(3), "large": torch.rand(BLOCK // 2 + 5), "z": torch.rand(7)}
    checkpoints = opened(run)
    checkpoints.save(1, saved, {})
    tensors = {name: torch.zeros_like(value) for name, value in saved.items()}
    checkpoints.load(checkpoints.latest() or Saved(0, ""), tensors)
    assert all(torch.equal(tensors[name], value) for name, value in saved.items())
    state = json.loads(next(run.glob("*/*/state.json")).read_text())
    assert len(state["files"][0]["sha256"]) == 3


def test_the_files_are_those_that_torch_reads_as_safetensors(folder: Path) -> None:
    tensors = zeros()
    load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    assert same(tensors)
    assert sorted(path.name for path in folder.iterdir()) == ["rank-00000.safetensors", "state.json"]


def test_tensors_and_facts_are_those_at_the_call(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They change while the file is held back, which ``save`` does not wait for."""
    changed, stream = threading.Event(), Output.stream

    @contextlib.contextmanager
    def held(output: Output, name: str) -> Iterator[IO[bytes]]:
        assert changed.wait(60)
        with stream(output, name) as out:
            yield out

    monkeypatch.setattr(Output, "stream", held)
    checkpoints, tensors, facts = opened(run), values(), {"epoch": 2}
    checkpoints.save(1, tensors, facts)
    with torch.no_grad():
        for value in tensors.values():
            value.zero_()
    facts["epoch"] = 3
    changed.set()
    found = zeros()
    assert checkpoints.load(checkpoints.latest() or Saved(0, ""), found) == {"epoch": 2}
    assert same(found)


def test_the_newest_are_kept_and_some_for_good(run: Path) -> None:
    (run / "checkpoints" / "mine").mkdir(parents=True)  # a folder of the user's
    checkpoints = opened(run, keep=2, keep_every=3)
    for step in range(1, 9):
        checkpoints.save(step, {"x": torch.ones(1)}, {})
    checkpoints.close()
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert [name.rpartition("-")[0] for name in kept] == ["", *(f"step-{step:08}" for step in (3, 6, 7, 8))]


def test_a_step_that_is_saved_again_replaces_the_first(run: Path, folder: Path, folders: Folders) -> None:
    checkpoints = opened(run, keep=5, keep_every=1)
    checkpoints.save(1, values(), {"again": True})
    assert checkpoints.load(checkpoints.latest() or Saved(0, ""), zeros()) == {"again": True}
    assert len(folders()) == 1
    assert folders() != [folder]


def test_what_was_just_saved_stays_beside_higher_steps(run: Path, folders: Folders) -> None:
    checkpoints = opened(run, keep=1)
    for step in (9, 4):
        checkpoints.save(step, values(), {})
    checkpoints.wait()
    assert [path.name[:13] for path in folders()] == ["step-00000004", "step-00000009"]


KILLED = """
import contextlib, sys, time
from tests.training.test_checkpoint import opened, values
from training.outputs import Output

def wait(*_):
    print("held", flush=True)
    time.sleep(600)

checkpoints, stream = opened(sys.argv[1]), Output.stream
checkpoints.save(1, values(), {})
checkpoints.wait()

@contextlib.contextmanager
def half(output, name):
    with stream(output, name) as out:
        yield out
        out.flush()
        wait()

if sys.argv[2] == "data":
    Output.stream = half
else:
    Output.write = wait
checkpoints.save(2, values(), {})
checkpoints.wait()
"""


@pytest.mark.parametrize("where", ["data", "state"])
def test_a_killed_save_leaves_the_one_before_and_goes_at_the_next(
    where: str, run: Path, folders: Folders, repository: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(run), where]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        os.kill(process.pid, signal.SIGKILL)
    whole, orphan = folders()
    assert [path.name for path in orphan.iterdir()] == ["rank-00000.safetensors"]
    checkpoints = opened(run)
    assert checkpoints.latest() == Saved(1, whole.name)
    checkpoints.save(2, values(), {})
    checkpoints.wait()
    assert folders()[0] == whole
    assert orphan not in folders()
    assert len(folders()) == 2


def test_half_of_a_removed_checkpoint_is_none(
    run: Path, folder: Path, folders: Folders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The store refuses to remove anything but ``state.json``: what was saved is whole, and the next save ends it."""
    remove = Output.remove

    def refusing(output: Output, name: str) -> None:
        if not name.endswith("state.json"):
            raise TrainingError("cannot remove it")
        remove(output, name)

    checkpoints = opened(run, keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(Output, "remove", refusing)
        checkpoints.save(2, values(), {})
        checkpoints.wait()
    assert "old checkpoints are left: cannot remove it" in caplog.text
    assert [path.name for path in folder.iterdir()] == ["rank-00000.safetensors"]
    checkpoints.save(3, values(), {})
    checkpoints.wait()
    assert [path.name[:13] for path in folders()] == ["step-00000003"]


def test_an_error_in_the_background_is_raised_by_the_next_call_once(run: Path, folders: Folders) -> None:
    run.mkdir()
    (run / "checkpoints").touch()
    checkpoints = opened(run)
    for call in (checkpoints.wait, checkpoints.latest, checkpoints.close, lambda: checkpoints.save(2, values(), {})):
        checkpoints.save(1, values(), {})
        with pytest.raises(TrainingError, match=r"^cannot write \S+/run/checkpoints/step-00000001-\w+/rank-\S+: .*$"):
            call()
    (run / "checkpoints").unlink()
    checkpoints.save(3, values(), {})
    checkpoints.wait()
    assert len(folders()) == 1


def test_a_checkpoint_holds_tensors_alone(run: Path) -> None:
    checkpoints = opened(run)
    checkpoints.save(1, {"x": torch.ones(1), "note": "text"}, {})  # type: ignore[dict-item]
    with pytest.raises(TrainingError, match="a checkpoint holds tensors, not BytesIO"):
        checkpoints.wait()
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoints.save(1, values(), {"loss": float("nan")})


def test_no_pickle_is_read_from_storage(run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(run / "owned"),)

    for name in (".metadata", "__0.metadata", "__0_0.distcp", "rank-00001.safetensors", "more.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Hostile()))

    def unpickled(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was read")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, unpickled)
    checkpoints, tensors = opened(run), zeros()
    checkpoints.load(checkpoints.latest() or Saved(0, ""), tensors)
    assert same(tensors)
    for path in folder.iterdir():
        path.write_bytes(pickle.dumps(Hostile()))
    assert "is damaged" in refused(run)
    assert not (run / "owned").exists()


def test_damage_is_named_with_the_remedy(run: Path, folder: Path) -> None:
    data, state = folder / "rank-00000.safetensors", folder / "state.json"
    whole = data.read_bytes(), state.read_bytes()
    remedy = "; remove the folder of this checkpoint to go on from the one before"

    data.write_bytes(whole[0][:-1])
    assert refused(run) == (
        f"{folder} is damaged (rank-00000.safetensors has {len(whole[0]) - 1} bytes of {len(whole[0])}){remedy}"
    )
    data.unlink()
    assert f"rank-00000.safetensors has 0 bytes of {len(whole[0])}){remedy}" in refused(run)
    for at in (20, len(whole[0]) - 1):  # in the header, in a tensor
        data.write_bytes(whole[0][:at] + bytes([whole[0][at] ^ 1]) + whole[0][at + 1 :])
        assert f"bytes 0 to {len(whole[0])} are not what was saved){remedy}" in refused(run)
    data.write_bytes(whole[0])
    for damage in (b"", whole[1][:-9], b"[" * 100_000, whole[1].replace(b"rank-00000", b"../rank-00")):
        state.write_bytes(damage)
        assert f"(state.json or a header is not as it was written){remedy}" in refused(run)
    with state.open("wb") as out:
        out.truncate(65 * 2**20)
    assert "state.json is too large" in refused(run)


def test_a_checkpoint_that_goes_while_it_is_loaded_is_named(run: Path, folder: Path) -> None:
    checkpoints = opened(run)
    saved = checkpoints.latest()
    assert saved is not None
    shutil.rmtree(folder)
    with pytest.raises(UsageError, match="a file is missing"):
        checkpoints.load(saved, zeros())


def test_a_checkpoint_of_another_model_changes_nothing(run: Path, folder: Path) -> None:
    for changes, difference in (
        ({"bias": torch.zeros(1)}, "it has no bias;"),
        ({"weight": torch.zeros(5, 8)}, "its weight is float32 [5, 7], here it is float32 [5, 8];"),
        ({"half": torch.zeros(3)}, "its half is bfloat16 [3], here it is float32 [3];"),
        ({"a": torch.zeros(1), "b": torch.zeros(1)}, "it has no a (and 1 more);"),
    ):
        tensors = {**zeros(), **changes}
        remedy = "go on with the configuration it was made with, or give run.out another folder"
        assert refused(run, tensors) == f"{folder} is of another model: {difference} {remedy}"
        assert not any(value.any() for value in tensors.values())
    tensors = zeros()
    del tensors["flags"]
    assert "its flags has no place here" in refused(run, tensors)


def test_a_protocol_that_is_none() -> None:
    with pytest.raises(UsageError, match="cannot use 'nowhere://run'"):
        opened("nowhere://run")
