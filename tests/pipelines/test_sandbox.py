"""The child with limits: every way to misbehave costs that call alone, and the next one works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.errors import Rejected
from pipelines.sandbox import ChildError, Limits, Sandbox
from schemas.ledger import Code
from tests.pipelines import misbehave


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    box = Sandbox(Limits(cpu_seconds=1, wall_seconds=5, memory_mb=512))
    yield box
    box.close()


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (misbehave.sleep_for_ever, Code.TIMEOUT),
        (misbehave.spin_for_ever, Code.TIMEOUT),
        (misbehave.segfault, Code.CRASHED),
        (misbehave.devour, Code.OUT_OF_MEMORY),
    ],
)
def test_misbehaviour_has_a_code_and_the_next_call_works(
    sandbox: Sandbox, function: Callable[[], None], code: Code
) -> None:
    with pytest.raises(Rejected) as caught:
        sandbox.run(function)
    assert caught.value.code is code
    assert sandbox.run(misbehave.answer, 41) == 42


def test_a_want_of_memory_ends_the_child(sandbox: Sandbox) -> None:
    before = sandbox.run(os.getpid)
    with pytest.raises(Rejected):
        sandbox.run(misbehave.devour)
    assert sandbox.run(os.getpid) != before


def test_no_design_pays_for_what_an_earlier_one_left(sandbox: Sandbox) -> None:
    for _ in range(8):
        with pytest.raises(Rejected) as caught:
            sandbox.run(misbehave.litter)
        assert caught.value.code is Code.TOO_LARGE


def test_an_exception_of_the_function_comes_back_as_it_is(sandbox: Sandbox) -> None:
    with pytest.raises(ChildError, match="LookupError: of its own"):
        sandbox.run(misbehave.complain)


def test_errors_of_ours_come_back_as_they_are(sandbox: Sandbox) -> None:
    with pytest.raises(Rejected) as caught:
        sandbox.run(misbehave.reject, "too_large")
    assert (caught.value.code, caught.value.message) == (Code.TOO_LARGE, "said so")


def test_a_sandbox_whose_processes_are_gone_starts_again() -> None:
    script = (
        "import os, signal\n"
        "from multiprocessing import forkserver\n"
        "from pipelines.sandbox import Limits, Sandbox\n"
        "from tests.pipelines import misbehave\n"
        "sandbox = Sandbox(Limits())\n"
        "assert sandbox.run(misbehave.answer, 1) == 2\n"
        "os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)\n"
        "os.kill(sandbox.run(os.getpid), signal.SIGKILL)\n"
        "print('again', sandbox.run(misbehave.answer, 41))\n"
        "sandbox.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert "again 42" in done.stdout, done.stderr


def test_the_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "from pipelines.sandbox import Limits, Sandbox\n"
        "from tests.pipelines import misbehave\n"
        f"Sandbox(Limits()).run(misbehave.wait_with_pid, {str(tmp_path / 'pid')!r})\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline, "the child did not start"
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"
