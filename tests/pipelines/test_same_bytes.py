"""Shards, index and ledger are the same bytes under any executor, with any number of workers, killed or not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pipelines.storage import Store
from pipelines.synth import synthesise
from pipelines.validation.verify import verify
from tests.pipelines.builds import call, command, outcome, run_inline

SETTINGS = ["--set", "extract.min_side=16", "--set", "run.unit_size=8"]


@pytest.fixture(scope="module")
def designs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("designs"), 120, 11, "tiny")


@pytest.fixture(scope="module")
def undisturbed(designs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "ds"
    run_inline(designs, str(out), run__unit_size=8, extract__min_side=16)
    return out


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_ray_makes_the_bytes_of_inline(designs: Path, undisturbed: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "ds"
    done = call("build", "--manifest", designs, "--out", out, "--workers", str(workers), *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert outcome(out) == outcome(undisturbed)


def test_a_build_killed_five_times_makes_the_bytes_of_an_undisturbed_one(
    designs: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ds"
    on_ray = command("build", "--manifest", designs, "--out", out, "--workers", "2", *SETTINGS)
    inline = [*on_ray, "--executor", "inline"]
    chance = random.Random(3)
    for words in (on_ray, inline, inline, on_ray, inline):
        _kill(words, out, _artefacts(out) + chance.randint(1, 6))
    done = subprocess.run(on_ray, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert outcome(out) == outcome(undisturbed)
    assert verify(Store(str(out))) == []


def _kill(words: list[str], out: Path, when: int) -> None:
    """Run a build and kill its process group with SIGKILL once ``when`` artefacts are there."""
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and _artefacts(out) < when:
        time.sleep(0.02)
    assert process.poll() is None, "the build ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _artefacts(out: Path) -> int:
    return sum(1 for _ in out.glob("_work/*/*.json"))
