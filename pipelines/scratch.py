"""Local working directories that a killed process does not leave behind for ever.

Each process works under ``{temporary directory}/acetate-{user}/{pid}``; whoever starts removes those of dead processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@contextlib.contextmanager
def working_directory() -> Iterator[Path]:
    """An empty local directory that is removed at the end, or by a later process if this one is killed."""
    with tempfile.TemporaryDirectory(dir=own_directory(os.getpid())) as name:
        yield Path(name)


@cache
def own_directory(pid: int) -> Path:
    """The directory of this process, made once; those of dead processes are swept."""
    base = Path(tempfile.gettempdir()) / f"acetate-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    for other in base.iterdir():
        if other.name.isdigit() and not Path("/proc", other.name).exists():
            shutil.rmtree(other, ignore_errors=True)
    own = base / str(pid)
    own.mkdir(exist_ok=True)
    return own
