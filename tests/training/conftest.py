"""Small published datasets that the tests of the stream read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipelines.storage import Store
from tests.pipelines.dataset_builder import Entry, make_sample, publish

DESIGNS = 60
PER_SHARD = 6


@pytest.fixture(scope="session")
def designs(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """60 designs of 2 to 5 layers in 10 shards; nobody changes them."""
    entries = [
        Entry(make_sample(number, side=48 + 8 * (number % 4), layers=2 + number % 4), unit=number // PER_SHARD)
        for number in range(DESIGNS)
    ]
    return publish(tmp_path_factory.mktemp("designs"), entries)


@pytest.fixture(autouse=True)
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Plans of a test lie in its own directory."""
    monkeypatch.setenv("ACETATE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models of a few thousand weights are slower on more, most of all beside other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
