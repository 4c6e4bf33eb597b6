"""One global order whatever the world size and the workers, and an exact resume: after a state, and after kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.storage import Store
from training.batch import MicroBatch
from training.errors import UsageError
from training.stream import DesignStream

SETTINGS: dict[str, Any] = {"resolution": 64, "token_budget": 200, "window": 20, "balance": 4, "seed": 3}


def stream(store: Store, **changes: Any) -> DesignStream:
    return DesignStream(store.url, **{**SETTINGS, **changes})


def keys(batches: list[MicroBatch]) -> list[tuple[str, ...]]:
    return [batch.keys for batch in batches]


@pytest.fixture(scope="module")
def whole(designs: Store, tmp_path_factory: pytest.TempPathFactory) -> list[MicroBatch]:
    """An epoch read by one rank in this process."""
    return list(stream(designs, plan_dir=tmp_path_factory.mktemp("plans")))


def test_every_sample_comes_once(designs: Store, whole: list[MicroBatch]) -> None:
    seen = Counter(key for batch in whole for key in batch.keys)
    assert len(seen) == 60 and set(seen.values()) == {1}
    assert [batch.position for batch in whole] == list(range(len(whole)))
    assert all(batch.tokens <= SETTINGS["token_budget"] or len(batch.keys) == 1 for batch in whole)
    assert len({batch.keys for batch in whole}) > 5


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_order_is_the_same_for_every_world_and_workers(
    designs: Store, whole: list[MicroBatch], world: int, workers: int
) -> None:
    ranks = [list(stream(designs, rank=rank, world_size=world, workers=workers)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    woven = [batch for batches in zip(*ranks, strict=True) for batch in batches]
    assert keys(woven[: len(whole)]) == keys(whole)
    assert all(batch.keys == () and batch.tokens == 0 for batch in woven[len(whole) :])
    for ours, theirs in zip(woven, whole, strict=False):
        assert (ours.prompts, ours.tasks, ours.position) == (theirs.prompts, theirs.tasks, theirs.position)
        assert ours.tensors.keys() == theirs.tensors.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs.tensors)


def read_elastic(store: Store, legs: list[tuple[int, int, int]]) -> list[tuple[str, ...]]:
    """Read in legs of (world size, workers, micro-batches of each rank), each from the state that the last left."""
    state: dict[str, Any] | None = None
    got: list[tuple[str, ...]] = []
    for world, workers, count in legs:
        states = []
        parts: list[list[tuple[str, ...]]] = []
        for rank in range(world):
            one = stream(store, rank=rank, world_size=world, workers=workers)
            if state is not None:
                one.load_state_dict(json.loads(json.dumps(state)))
            batches = [batch for _, batch in zip(range(count), one, strict=False)]
            parts.append(keys(batches))
            states.append(one.state_dict())
        assert all(other == states[0] for other in states)
        state = states[0]
        got += [one for row in zip(*parts, strict=True) for one in row]
    return got


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_nothing_is_repeated_or_skipped_when_the_world_changes(
    designs: Store, whole: list[MicroBatch], workers: int
) -> None:
    got = read_elastic(designs, [(1, workers, 2), (2, 0, 2), (3, workers, 1), (1, 2 - workers, 10**6)])
    assert got == keys(whole)


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    legs=st.lists(st.tuples(st.sampled_from([1, 2, 3, 5]), st.sampled_from([0, 1, 2]), st.integers(0, 3)), max_size=5)
)
def test_any_sequence_of_worlds_reads_each_sample_once(
    designs: Store, whole: list[MicroBatch], legs: list[tuple[int, int, int]]
) -> None:
    read = sum(world * count for world, _, count in legs)
    if read >= len(whole):
        return
    assert read_elastic(designs, [*legs, (1, 0, 10**6)]) == keys(whole)


def test_a_state_at_the_end_begins_the_next_epoch(designs: Store, whole: list[MicroBatch]) -> None:
    first = stream(designs, world_size=2)
    assert first.state_dict()["position"] == 0
    ended = len(list(first))
    assert first.state_dict() == {**first.state_dict(), "epoch": 0, "position": 2 * ended}
    second = list(first)
    assert {batch.epoch for batch in second} == {1}
    again = stream(designs, world_size=2)
    again.load_state_dict({**first.state_dict(), "epoch": 0, "position": 2 * ended})
    assert keys(list(again)) == keys(second)
    assert keys(second) != keys(whole[::2])


def test_each_epoch_and_seed_has_an_order_and_tasks_of_its_own(designs: Store, whole: list[MicroBatch]) -> None:
    other = list(stream(designs, seed=4))
    assert keys(other) != keys(whole)
    assert sorted(key for batch in other for key in batch.keys) == sorted(key for batch in whole for key in batch.keys)
    tasks = [
        {key: task for batch in part for key, task in zip(batch.keys, batch.tasks, strict=True)}
        for part in (other, whole)
    ]
    assert tasks[0] != tasks[1]


def test_a_state_of_other_data_or_another_plan_is_refused(designs: Store) -> None:
    one = stream(designs)
    next(iter(one))
    state = one.state_dict()
    with pytest.raises(UsageError, match=r"fingerprint 0+, .* has [0-9a-f]{64}"):
        stream(designs).load_state_dict({**state, "fingerprint": "0" * 64})
    with pytest.raises(UsageError, match="middle of an epoch of plan"):
        stream(designs, resolution=32).load_state_dict(state)
    stream(designs, resolution=32).load_state_dict({**state, "position": 0})
    for wrong in (
        {},
        {**state, "position": "1"},
        {**state, "epoch": True},
        {**state, "extra": 1},
        {**state, "epoch": -1},
    ):
        with pytest.raises(UsageError):
            stream(designs).load_state_dict(wrong)


def test_wrong_settings_are_named(designs: Store, tmp_path: Path) -> None:
    for wrong, message in (
        ({"rank": 2, "world_size": 2}, "rank 2"),
        ({"resolution": 0}, "resolution"),
        ({"tasks": "paint"}, "tasks"),
        ({"tasks": {"restyle": 0.0}}, "no weight"),
        ({"on_error": "ignore"}, "on_error"),
        ({"workers": -1}, "workers"),
        ({"seed": 1.5}, "seed is a whole number"),
        ({"colour": 1}, "colour"),
    ):
        with pytest.raises(UsageError, match=message):
            stream(designs, **wrong)
    with pytest.raises(UsageError, match="no sample of the split 'nothing'"):
        list(stream(designs, split="nothing"))
    with pytest.raises(UsageError, match=str(tmp_path)):
        DesignStream(str(tmp_path / "nowhere"))


TRAINER = """
import json, os, sys
from training.stream import DesignStream
from tests.training.test_stream_elastic import SETTINGS

url, log, saved, rank, world, workers = sys.argv[1:4] + [int(word) for word in sys.argv[4:]]
stream = DesignStream(url, rank=rank, world_size=world, workers=workers, **SETTINGS)
if os.path.exists(saved):
    with open(saved) as file:
        stream.load_state_dict(json.load(file))
with open(log, "a") as out:
    for batch in stream:
        out.write(json.dumps([batch.position, *batch.keys]) + "\\n")
        out.flush()
        with open(saved + ".tmp", "w") as file:
            json.dump(stream.state_dict(), file)
        os.replace(saved + ".tmp", saved)
        print(batch.position, flush=True)
        sys.stdin.readline()
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_trainer_goes_on_where_it_was(
    designs: Store, whole: list[MicroBatch], tmp_path: Path, repository: Path, workers: int
) -> None:
    """kill -9 between a batch and the next, twice; the batches before the states and those after make one epoch."""
    log, saved = tmp_path / "log", tmp_path / "state.json"
    command = [sys.executable, "-c", TRAINER, designs.url, str(log), str(saved), "0", "1", str(workers)]
    children: set[int] = set()
    for batches in (2, 3, None):
        with subprocess.Popen(
            command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(repository)},
        ) as process:  # fmt: skip
            assert process.stdin is not None and process.stdout is not None
            for number, _ in enumerate(iter(process.stdout.readline, ""), 1):
                if number == batches:
                    children |= children_of(process.pid)
                    process.send_signal(signal.SIGKILL)
                    break
                process.stdin.write("\n")
                process.stdin.flush()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(position, tuple(found)) for position, *found in lines] == [(batch.position, batch.keys) for batch in whole]
    assert len(children) == 2 * workers
    for child in children:
        wait_gone(child)


def children_of(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def wait_gone(pid: int) -> None:
    """A worker ends by itself when its parent is gone."""
    import time

    for _ in range(200):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"worker {pid} outlived its parent")
