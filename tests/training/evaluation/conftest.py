"""One dataset and one checkpoint for all tests of the benchmark; nobody changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.evaluation import bench


@pytest.fixture(scope="session")
def benchmark_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """3 designs inside of their visible box and 4 that overflow it, split ``test``."""
    return bench.dataset(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model."""
    folder = tmp_path_factory.mktemp("models") / "untrained"
    bench.bundle().save(folder)
    return folder
