"""What the tests of the launcher start: it joins, adds up, and does as it is told."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from schemas.settings import parse_assignments
from training.errors import TrainingError, UsageError
from training.interruption import SIGNALS
from training.parallel import agree, join, total


def run(config: Path, overrides: dict[str, Any]) -> int:
    out = Path(config.read_text(encoding="utf-8"))
    with join("cpu", 60) as world:
        summed = int(total(torch.tensor(world.rank + 1), world))
        (out / f"{world.rank} of {world.size}").write_text(str(summed), encoding="utf-8")
        refused = overrides.get("fails") == world.rank
        agree(UsageError(f"nothing is called {overrides['fails']}") if refused else None, world)
        if overrides.get("waits"):
            _wait(out, world.rank, unsaved=overrides.get("unsaved") == world.rank)
    return int(overrides.get("code", 0))


def _wait(out: Path, rank: int, *, unsaved: bool) -> None:
    """Until it is told to end; one that is ``unsaved`` fails then."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: sys.exit(7 if unsaved else 0))
    (out / f"{rank} waits").write_text(str(os.getpid()), encoding="utf-8")
    try:
        time.sleep(60)
    finally:
        if not unsaved:
            time.sleep(0.5)  # the checkpoint
            (out / f"{rank} saved").touch()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    try:
        return run(given.config, parse_assignments(given.set, "code=1"))
    except TrainingError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UsageError) else 1


if __name__ == "__main__":
    sys.exit(main())
