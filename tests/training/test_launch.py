"""A run becomes two processes, by torchrun's agent and by Ray Train, and its end is the launcher's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.processes import environment
from training.launch import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file that says where the entry writes."""
    path = tmp_path / "config"
    (tmp_path / "out").mkdir()
    path.write_text(str(tmp_path / "out"), encoding="utf-8")
    return path


def start(config: Path, *words: str) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "training.launch", str(config), "--workers", "2"]
    return subprocess.Popen(
        [*launcher, "--entry", "tests.training.entry", *words],
        env=environment(RAY_USAGE_STATS_ENABLED="0"), stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def written(config: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in (config.parent / "out").iterdir()}


def test_torchrun_runs_the_ranks(config: Path) -> None:
    launcher = start(config)
    log = launcher.communicate(timeout=120)[1]
    assert launcher.returncode == 0, log
    assert written(config) == {"0 of 2": "3", "1 of 2": "3"}


@pytest.mark.slow
def test_a_refused_setting_is_the_launchers_end_too(config: Path) -> None:
    launcher = start(config, "--set", "fails=1")
    log = launcher.communicate(timeout=120)[1]
    assert launcher.returncode == 2, log
    assert "nothing is called 1" in log


def waiting(config: Path, *words: str) -> subprocess.Popen[str]:
    """A launcher whose ranks wait for a signal."""
    launcher = start(config, "--set", "waits=1", *words)
    for _ in range(2000):
        if all(written(config).get(f"{rank} waits") for rank in (0, 1)):
            return launcher
        time.sleep(0.1)
    launcher.kill()
    pytest.fail(launcher.communicate()[1])


@pytest.mark.slow
@pytest.mark.parametrize(("number", "to_group"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_told_to_end_it_waits_until_all_have_saved(config: Path, number: signal.Signals, to_group: bool) -> None:
    launcher = waiting(config, "--restarts", "1")
    if to_group:
        os.killpg(launcher.pid, number)
    else:
        launcher.send_signal(number)
    log = launcher.communicate(timeout=60)[1]
    assert launcher.returncode == 0, log
    assert {"0 saved", "1 saved"} <= set(written(config)), log


@pytest.mark.slow
def test_told_to_end_it_says_what_the_first_that_failed_ended_with(config: Path) -> None:
    launcher = waiting(config, "--restarts", "1", "--set", "unsaved=1")
    launcher.terminate()
    log = launcher.communicate(timeout=60)[1]
    assert launcher.returncode == 7, log
    assert "1 saved" not in written(config)


@pytest.mark.slow
def test_a_rank_that_was_killed_is_named(config: Path) -> None:
    launcher = waiting(config)
    os.kill(int((config.parent / "out" / "1 waits").read_text(encoding="utf-8")), signal.SIGKILL)
    log = launcher.communicate(timeout=60)[1]
    assert launcher.returncode == 1 and "acetate: rank 1 was killed by signal 9" in log, log


def test_ray_runs_the_ranks(config: Path) -> None:
    launcher = start(config, "--ray", "--set", "code=5")
    log = launcher.communicate(timeout=200)[1]
    assert launcher.returncode == 5, log
    assert written(config) == {"0 of 2": "3", "1 of 2": "3"}


@pytest.mark.slow
def test_a_refused_setting_ends_ray_with_one_line(config: Path) -> None:
    launcher = start(config, "--ray", "--set", "fails=1")
    log = launcher.communicate(timeout=200)[1]
    assert launcher.returncode == 2, log
    assert "acetate: nothing is called 1" in log


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nothing.yaml"], "no configuration nothing.yaml"),
        (["{config}", "--set", "steps"], "--set wants key=value"),
    ],
)
def test_a_mistake_is_one_line(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str], problem: str
) -> None:
    assert main([word.format(config=config) for word in words]) == 2
    told = capsys.readouterr().err
    assert problem in told and told.count("\n") == 1
