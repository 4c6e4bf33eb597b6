"""A process that hangs is ended with a message that says which, what it was doing and where; one that works is not."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.training.processes import environment, start_ranks
from training.parallel import World
from training.watchdog import HUNG, Watchdog

ALONE = World(0, 1, 0, torch.device("cpu"))

CHILD = """
import ctypes, logging, sys, time
from types import SimpleNamespace
from training.watchdog import Watchdog
logging.basicConfig()
def stuck():
    {hang}
with Watchdog(1, SimpleNamespace(rank=3, size=1)) as watchdog:
    watchdog.beat("reading micro-batch 5")
    print("buffered", end="")
    stuck()
"""

RANK = """
import logging, os, signal, time, torch
from training.parallel import join, total
from training.watchdog import Watchdog
logging.basicConfig()
with join("cpu", 60) as world, Watchdog(1.5, world) as watchdog:
    total(torch.zeros(1), world)
    watchdog.beat("reading micro-batch 7")
    if world.rank == 1:
        time.sleep(0.8)
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.2)
    watchdog.beat("adding up gradients")
    total(torch.zeros(1), world)
"""


def child(hang: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD.format(hang=hang)],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_process_that_hangs_is_ended_with_its_name_and_its_stack() -> None:
    ended = child("time.sleep(60)")
    assert ended.returncode == HUNG
    assert re.search(r"no sign of life of rank 3 \(reading micro-batch 5\) for \d s", ended.stderr)
    assert "in stuck" in ended.stderr
    assert ended.stdout == "buffered"


def test_an_interpreter_that_stands_still_is_ended_too() -> None:
    ended = child("ctypes.PyDLL(None).sleep(60)")  # keeps the interpreter's lock
    assert ended.returncode == 1
    assert "in stuck" in ended.stderr


def test_the_rank_that_others_wait_for_is_named() -> None:
    waiting, frozen = start_ranks(2, ["-c", RANK])
    try:
        log = waiting.communicate(timeout=60)[1]
    finally:
        frozen.send_signal(signal.SIGKILL)
        frozen.communicate()
    assert waiting.returncode == HUNG, log
    assert "no sign of life of rank 0 (adding up gradients)" in log
    assert re.search(r"oldest beats: rank 1 \(reading micro-batch 7\) for \d s; rank 0", log)


def test_beats_keep_a_process_alive(caplog: pytest.LogCaptureFixture) -> None:
    with Watchdog(0.5, ALONE) as watchdog:
        for number in range(8):
            watchdog.beat(f"step {number}")
            time.sleep(0.1)
    assert caplog.records == []


def test_a_watchdog_that_is_not_fatal_tells_once_for_each_hang(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), Watchdog(0.2, ALONE, fatal=False) as watchdog:
        watchdog.beat("validation")
        time.sleep(0.7)
        watchdog.beat("a checkpoint")
        time.sleep(0.4)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "(validation)" in caplog.records[0].getMessage()
    assert "(a checkpoint)" in caplog.records[1].getMessage()
