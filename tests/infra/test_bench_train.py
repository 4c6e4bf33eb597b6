"""The benchmark of training measures what it says: the same steps whoever feeds them, and ratios the right way up."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("diffusers")

import torch

from infra.bench import train as bench
from infra.bench.tables import Section
from infra.bench.train import MEMORY, Saved, Trainer, Turn, checkpoints, measure, ratios, throughput
from infra.bench.train_data import tiny
from pipelines.storage import Store
from tests.pipelines.dataset_builder import Entry, make_sample, publish
from training.config import TrainConfig
from training.parallel import join
from training.run import opened

SMALL = {
    "run.steps": 1000,
    "data.resolution": 16,
    "data.token_budget": 60,
    "examples.jitter.share": 0,
    "model.settings": {"num_layers": 1},
    "model.codec.designs": 30,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    entries = [Entry(make_sample(number, side=48, layers=3)) for number in range(40)]
    return publish(tmp_path_factory.mktemp("designs"), entries)


@pytest.fixture
def config(dataset: Store, tmp_path: Path) -> TrainConfig:
    return tiny(str(dataset.root), tmp_path / "run", SMALL)


def values(section: Section) -> dict[str, str]:
    return {str(row[0]): str(row[1]) for row in section[2]}


def test_the_same_steps_come_from_memory_and_from_the_stream(config: TrainConfig) -> None:
    with join("cpu") as world, opened(config, world) as run:
        trainer = Trainer(run, next(run.stages()))
        there = [some.batches for some in islice(trainer.preloaded(4)(), 4)]
        for workers in (0, 1):
            feed = trainer.streamed(workers)()
            came = [some.batches for some in islice(feed, 4)]
            feed.close()
            for ours, theirs in zip(there, came, strict=True):
                for one, other in zip(ours, theirs, strict=True):
                    assert one.keys == other.keys and torch.equal(one["pixels"], other["pixels"])


def test_a_turn_makes_its_steps_and_counts_their_tokens(config: TrainConfig) -> None:
    with join("cpu") as world, opened(config, world) as run:
        trainer = Trainer(run, next(run.stages()))
        feed = trainer.preloaded(5)
        turn = trainer.turn(feed, 3, warm=2)
        assert (run.step, turn.steps, turn.waited) == (5, 3, 0)
        assert turn.tokens == sum(batch.tokens for some in islice(feed(), 2, 5) for batch in some.batches)
        streamed = trainer.turn(trainer.streamed(0), 3, warm=2)
        assert streamed.tokens == turn.tokens
        assert 0 < streamed.waited < streamed.seconds


@pytest.mark.slow
def test_all_tables_come_of_a_run(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WARM", 1)
    bars, figures, saved = measure(config, 2, 1, 500)
    assert [row[0] for row in bars[2]] == ["streamed, 0 workers", "streamed, 1 worker"]
    assert (figures[2][0][0], figures[2][0][4]) == (MEMORY, "1.000")
    assert float(values(saved)["MiB"]) > 1


def test_twice_as_slow_is_half() -> None:
    turns = {MEMORY: [Turn(10, 1.0, 100, 0.0)] * 3, "streamed": [Turn(10, seconds, 100, 0.5) for seconds in (2, 2, 1)]}
    assert ratios(turns["streamed"], turns[MEMORY]) == [0.5, 0.5, 1.0]
    bars, figures = throughput(turns)
    assert bars[2] == [("streamed", "0.500", "0.95", "NO")]
    assert figures[2][1] == ("streamed", "5.00", "50", "25.00%", "0.500", "0.500 to 1.000")


def test_what_a_checkpoint_costs_is_of_the_steps_between_two() -> None:
    saved = [Saved(0.5, 1.5), Saved(0.1, 1.2), Saved(0.1, 1.2)]
    found = values(checkpoints(saved, quiet=1.0, steps=10, size=2**20, every=100))
    assert found["blocking, the first"] == "500 ms" and found["blocking, median of 2 more"] == "100 ms"
    assert found["share of the time at one in 100 steps"] == "1.000%"
    assert found["10 steps while it is written, of those without"] == "1.200"
