"""One process at a time has the folder of a run; one that is dead has it no longer."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.training.processes import environment
from training import run_lock
from training.errors import UsageError
from training.outputs import Output
from training.run_lock import LOCK, STALE_S, Holder, RunLock

Where = tuple[str, dict[str, Any]]

HOLDS = """
import sys, time
from training.outputs import Output
from training.run_lock import RunLock
lock = RunLock(Output(sys.argv[1]))
lock.claim()
print("has it", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "SETTLE_S", 0.02)


@pytest.fixture
def output(store_url: Where) -> Output:
    return Output(*store_url)


@pytest.fixture
def lock(output: Output) -> Iterator[RunLock]:
    lock = RunLock(output)
    yield lock
    lock.release()


def left(output: Output, **changes: Any) -> Holder:
    """The lock of another process."""
    holder = Holder.here().model_copy(update=changes)
    output.write(LOCK, holder.model_dump_json().encode())
    return holder


def refused(output: Output) -> str:
    with pytest.raises(UsageError) as error:
        RunLock(output).claim()
    return str(error.value)


def test_a_second_is_refused_with_who_has_it_until_it_is_released(output: Output, lock: RunLock) -> None:
    lock.claim()
    holder = Holder.here()
    said = refused(output)
    assert f"is in use by process {holder.pid} on {holder.host}, since 20" in said and "\n" not in said
    assert " UTC, last heard of " in said and " s ago: stop that run, or set run.out" in said
    lock.hold()
    lock.release()
    lock.release()
    again = RunLock(output)
    again.claim()
    again.release()
    assert output.sizes("") == {}


def test_a_killed_process_of_this_machine_is_followed_at_once(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "has it\n"
        assert f"process {holder.pid} on " in refused(Output(str(tmp_path)))
        holder.kill()
        holder.wait()
        lock = RunLock(Output(str(tmp_path)))
        lock.claim()
        lock.release()


def test_a_number_that_another_process_has_by_now_is_no_sign_of_life(output: Output, lock: RunLock) -> None:
    left(output, token="another", started=1)
    lock.claim()


def test_another_machine_is_believed_until_its_last_sign_of_life_is_old(output: Output, lock: RunLock) -> None:
    left(output, token="another", machine="another", host="far", beat=time.time() - STALE_S + 20)
    assert "on far, since 20" in refused(output)
    left(output, token="another", machine="another", beat=time.time() - STALE_S - 1)
    lock.claim()


def test_what_is_no_lock_holds_nobody(output: Output, lock: RunLock) -> None:
    output.write(LOCK, b"{")
    lock.claim()
    assert "is in use by" in refused(output)


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "BEAT_S", 0.1)
    output = Output(str(tmp_path))
    lock = RunLock(output)
    lock.claim()
    first = Holder.model_validate_json(output.source.read(LOCK)).beat
    for _ in range(100):
        if Holder.model_validate_json(output.source.read(LOCK)).beat > first:
            break
        time.sleep(0.05)
    else:
        pytest.fail("no sign of life came")
    monkeypatch.setattr(run_lock, "BEAT_S", 10)  # what the end of the thread is waited for
    lock.release()
    assert output.sizes("") == {}


def test_who_lost_the_folder_learns_it_and_leaves_it_alone(output: Output, lock: RunLock) -> None:
    lock.claim()
    other = left(output, token="another", machine="another", host="far", beat=time.time())
    with pytest.raises(UsageError, match=r"in use by process \d+ on far"):
        lock.hold()
    lock.release()
    assert Holder.model_validate_json(output.source.read(LOCK)) == other


@pytest.mark.parametrize("dead", [False, True])
def test_of_several_at_once_one_has_it(output: Output, dead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "SETTLE_S", 0.5)
    if dead:
        left(output, token="dead", started=1)
    start = threading.Barrier(4)

    def claim() -> RunLock | None:
        lock = RunLock(output)
        start.wait()
        try:
            lock.claim()
        except UsageError:
            return None
        return lock

    with ThreadPoolExecutor(4) as pool:
        claims = [pool.submit(claim) for _ in range(4)]
    [winner] = [lock for each in claims if (lock := each.result()) is not None]
    winner.release()
