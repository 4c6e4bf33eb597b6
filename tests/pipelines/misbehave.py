"""What hostile designs do to the process that reads them: module-level functions, since they travel to the child."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pipelines.errors import Rejected
from schemas.ledger import Code


def answer(value: int) -> int:
    return value + 1


def sleep_for_ever() -> None:
    time.sleep(600)


def spin_for_ever() -> None:
    while True:
        pass


def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def devour() -> int:
    return len(bytearray(8 * 2**30))


def reject(code: str) -> None:
    raise Rejected(Code(code), "said so")


def complain() -> None:
    raise LookupError("of its own")


def wait_with_pid(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def litter() -> None:
    """Refuse, and leave behind what only a search for cycles finds, under frames that the exception remembers."""
    cycle: list[object] = [bytearray(150 * 2**20)]
    cycle.append(cycle)
    raise Rejected(Code.TOO_LARGE, "said so")
