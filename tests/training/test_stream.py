"""The stream as a trainer meets it: in loaders, with holes, with workers that die, and without an index."""

from __future__ import annotations

import datetime
import gc
import logging
import os
import pickle
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from pipelines.storage import Store
from schemas.withdrawal import REVOKED_PARQUET, REVOKED_SCHEMA
from tests.pipelines.dataset_builder import Entry, make_sample, publish, with_design
from tests.training.test_stream_elastic import children_of, keys, stream, wait_gone
from training.batch import MicroBatch
from training.errors import StreamError, UsageError, WorkerError
from training.streaming.config import Task
from training.streaming.jobs import Decoded


@pytest.fixture(scope="module")
def whole(designs: Store, tmp_path_factory: pytest.TempPathFactory) -> list[MicroBatch]:
    return list(stream(designs, plan_dir=tmp_path_factory.mktemp("plans")))


@pytest.mark.parametrize("loader_workers", [0, 1, 2])
def test_a_stock_data_loader_drives_it(designs: Store, whole: list[MicroBatch], loader_workers: int) -> None:
    loader = DataLoader(stream(designs), batch_size=None, num_workers=loader_workers)
    got = list(loader)
    assert keys(got) == keys(whole)
    assert all(torch.equal(one["pixels"], two["pixels"]) for one, two in zip(got, whole, strict=True))


def test_a_loader_that_reads_ahead_takes_the_state_of_a_batch(designs: Store, whole: list[MicroBatch]) -> None:
    """The state of the main process's stream does not move; that after a batch is known from its position."""
    first = stream(designs, rank=1, world_size=2)
    for number, batch in enumerate(DataLoader(first, batch_size=None, num_workers=1), 1):
        state = first.state_at(batch.position, batch.epoch)
        if number == 2:
            break
    assert state["position"] == 4
    rest = stream(designs)
    rest.load_state_dict(state)
    assert keys(list(rest)) == keys(whole[4:])
    with pytest.raises(UsageError, match="is before 4"):
        rest.state_at(3)
    assert rest.state_at(0, epoch=1)["position"] == 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize(("loader_workers", "count"), [(0, 1), (0, 3), (2, 1), (2, -2), (2, -1), (3, -1)])
def test_a_stateful_data_loader_resumes_it(
    designs: Store, whole: list[MicroBatch], loader_workers: int, count: int
) -> None:
    """Near the end of an epoch some workers of the loader have had their last batch and others not."""
    resumed(designs, whole, loader_workers, count % len(whole))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("loader_workers", [1, 2, 3])
def test_a_stateful_data_loader_resumes_it_anywhere(
    designs: Store, whole: list[MicroBatch], loader_workers: int
) -> None:
    for count in range(1, len(whole)):
        resumed(designs, whole, loader_workers, count)


def resumed(designs: Store, whole: list[MicroBatch], loader_workers: int, count: int) -> None:
    def loader() -> StatefulDataLoader[MicroBatch]:
        return StatefulDataLoader(stream(designs), batch_size=None, num_workers=loader_workers)

    first = loader()
    before = [batch for _, batch in zip(range(count), first, strict=False)]
    second = loader()
    second.load_state_dict(first.state_dict())
    rest = list(second)
    assert keys(before) + keys(rest) == keys(whole)
    assert {batch.epoch for batch in rest} == {0}


def test_a_loader_may_fork_while_the_stream_is_read(designs: Store, whole: list[MicroBatch]) -> None:
    one = stream(designs)
    iterator = iter(one)
    next(iterator)
    got = list(DataLoader(one, batch_size=None, num_workers=1))
    assert keys(got) == keys(whole[1:])
    assert next(iterator).keys == whole[1].keys


def test_one_iterator_lives_at_a_time(designs: Store, whole: list[MicroBatch]) -> None:
    one = stream(designs)
    first, second = iter(one), None
    next(first)
    second = iter(one)
    assert next(second).keys == whole[1].keys
    with pytest.raises(UsageError, match="iterated anew"):
        next(first)
    assert next(second).keys == whole[2].keys
    assert one.state_dict()["position"] == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_epochs_leave_no_files_open(designs: Store, workers: int) -> None:
    one = stream(designs, workers=workers)
    list(one)  # all shards are open now
    counts = []
    for _ in range(8):
        next(iter(one))
        gc.collect()
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert counts[-1] - counts[1] < 4


def test_answers_of_any_length(designs: Store) -> None:
    one = stream(designs, workers=2, decoder="tests.training.odd_decoders:Plain")
    batches = list(one)
    assert len({key for batch in batches for key in batch.keys}) == 60
    assert all(len(prompt) == 210_000 for batch in batches for prompt in batch.prompts)
    iterator = iter(one)
    next(iterator)
    time.sleep(1)  # the workers have answers that nobody takes
    del iterator
    gc.collect()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_in_a_decoder_is_told(designs: Store, workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    one = stream(designs, workers=workers, decoder="tests.training.odd_decoders:Failing")
    with pytest.raises((StreamError, ZeroDivisionError), match="a mistake of the user"):
        list(one)
    assert "ZeroDivisionError" in capfd.readouterr().err or not workers


def test_workers_outlive_a_polite_end_of_the_group(designs: Store, whole: list[MicroBatch]) -> None:
    """A scheduler's SIGTERM goes to all processes; the trainer finishes its step and saves."""
    before = children_of(os.getpid())
    iterator = iter(stream(designs, workers=1))
    first = next(iterator)
    for worker in children_of(os.getpid()) - before:
        os.kill(worker, signal.SIGTERM)
    assert keys([first, *iterator]) == keys(whole)


def test_len_is_what_is_left(designs: Store, whole: list[MicroBatch]) -> None:
    one = stream(designs, world_size=2, rank=1)
    assert len(one) == -(-len(whole) // 2)
    next(iter(one))
    assert len(one) == -(-len(whole) // 2) - 1


def test_a_copy_in_another_process_needs_no_plan_of_ours(designs: Store, whole: list[MicroBatch], plans: Path) -> None:
    one = stream(designs)
    next(iter(one))
    copy = pickle.dumps(one)
    shutil.rmtree(plans)
    assert keys(list(pickle.loads(copy))) == keys(whole[1:])


def test_plans_need_a_place(designs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as a user that has no home."""
    for name in ("ACETATE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(UsageError, match="plan_dir"):
        stream(designs)


def test_batches_that_are_kept_stay_as_they_are(designs: Store, whole: list[MicroBatch]) -> None:
    """Workers write into memory that nobody looks at any more, and only there."""
    kept = list(stream(designs, workers=2))
    for ours, theirs in zip(kept, whole, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs.tensors)
    kept[0]["pixels"].fill_(7)
    alone = kept[0]["pixels"][3:9]
    del kept
    gc.collect()
    assert bool((alone == 7).all())


def test_an_abandoned_stream_leaves_nothing_behind(designs: Store) -> None:
    before, others = set(threading.enumerate()), children_of(os.getpid())
    iterator = iter(stream(designs, workers=2))
    batch = next(iterator)
    workers = children_of(os.getpid()) - others
    assert len(workers) == 2
    del iterator
    gc.collect()
    for worker in workers:
        wait_gone(worker)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive() or (thread.daemon and "fsspec" in thread.name)
    assert batch["pixels"].sum() > 0


def test_a_worker_that_dies_is_named_with_what_it_had(designs: Store) -> None:
    before = children_of(os.getpid())
    one = stream(designs, workers=1, token_budget=60)
    iterator = iter(one)
    next(iterator)
    for worker in children_of(os.getpid()) - before:
        os.kill(worker, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"killed by signal 9 while it had micro-batch \d+ \([0-9a-f]{32}"):
        for _ in iterator:
            pass
    assert one.state_dict()["position"] >= 1


def revoke(store: Store, *ids: str) -> None:
    rows = [{"design_id": one, "reason": "asked", "revoked": "2026-01-01"} for one in ids]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=REVOKED_SCHEMA), sink)
    store.write(REVOKED_PARQUET, sink.getvalue().to_pybytes())


@pytest.mark.parametrize("workers", [0, 1])
def test_holes_shift_nothing(tmp_path: Path, workers: int) -> None:
    samples = [make_sample(number) for number in range(12)]
    licence = samples[3].design.licence.model_copy(update={"expires": "2026-06-01"})
    samples[3] = with_design(samples[3], licence=licence)
    store = publish(tmp_path / "ds", [Entry(sample, unit=n // 4) for n, sample in enumerate(samples)])
    day = {"today": datetime.date(2026, 5, 31), "workers": workers}
    before = list(stream(store, **day))
    revoked, expired = samples[5].design.design_id, samples[3].design.design_id
    revoke(store, revoked)
    one = stream(store, **{**day, "today": datetime.date(2026, 6, 1)})
    after = list(one)
    assert one.holes == {"revoked": 1, "expired": 1}
    assert [tuple(key for key in batch.keys if key not in (revoked, expired)) for batch in before] == keys(after)
    assert one.state_dict() == {**stream(store).state_dict(), "position": len(before)}


def test_the_donor_of_a_style_takes_its_pairs_along(tmp_path: Path) -> None:
    samples = [make_sample(number) for number in range(4)]
    donor = samples[3].design.design_id
    pair = samples[0].design.restyles[0].model_copy(update={"donor": donor})
    samples[0] = with_design(samples[0], restyles=(pair,))
    store = publish(tmp_path / "ds", [Entry(sample) for sample in samples])
    settings: dict[str, Any] = {"tasks": Task.RESTYLE}
    assert len([key for batch in stream(store, **settings) for key in batch.keys]) == 4
    revoke(store, donor)
    one = stream(store, **settings)
    left = {key for batch in one for key in batch.keys}
    assert left == {sample.design.design_id for sample in samples[1:3]}
    assert one.holes == {"revoked": 1, "restyle donor withdrawn": 1}


def test_tasks_may_be_one_or_weights(designs: Store) -> None:
    for tasks, wanted in (
        ("image-to-layers", {Task.IMAGE_TO_LAYERS}),
        (Task.ADD_LAYER, {Task.ADD_LAYER}),
        ({"restyle": 1, "text-to-layers": 1.0}, {Task.RESTYLE, Task.TEXT_TO_LAYERS}),
    ):
        assert {task for batch in stream(designs, tasks=tasks) for task in batch.tasks} == wanted


def test_tars_without_an_index_are_read_with_a_warning(
    designs: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in Path(designs.url, "shards").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    one = stream(Store(str(tmp_path)))
    with caplog.at_level(logging.WARNING):
        batches = list(one)
    assert "no exact resume" in caplog.text
    assert len({key for batch in batches for key in batch.keys}) == 60
    assert all(batch.tokens <= 200 or len(batch.keys) == 1 for batch in batches)
    with pytest.raises(UsageError, match="no index"):
        one.state_dict()
    assert {batch.epoch for batch in one} == {1}


def test_damage_in_tars_without_an_index(designs: Store, tmp_path: Path) -> None:
    path = sorted(Path(designs.url, "shards").iterdir())[0]
    data = path.read_bytes()
    (tmp_path / "train-cut.tar").write_bytes(data[: len(data) // 2])
    one = stream(Store(str(tmp_path)), on_error="skip")
    batches = list(one)
    assert 0 < sum(len(batch.keys) for batch in batches) < 6
    assert len(one.skipped) >= 1
    assert "train-cut.tar" in one.skipped[0][1]


def test_a_batch_moves_as_one(whole: list[MicroBatch]) -> None:
    batch = whole[0].to("cpu")
    assert batch.keys == whole[0].keys and batch.tensors.keys() == whole[0].tensors.keys()
    assert batch.tokens == int(batch["starts"][-1])


def test_bfloat16_comes_as_such() -> None:
    bits = torch.tensor([1.5, -2.0], dtype=torch.bfloat16).view(torch.uint16).numpy()
    batch = MicroBatch.of(Decoded(arrays={"latents_bf16": bits}), 0, 0)
    assert batch.tensors.keys() == {"latents"}
    assert batch["latents"].tolist() == [1.5, -2.0]
