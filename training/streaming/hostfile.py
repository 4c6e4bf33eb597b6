"""Files that the processes of a host share: made by one of them, written whole, kept in a directory of the user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from training.errors import UsageError

_TEMPORARY = ".tmp-"


@contextlib.contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other process or thread of this host is in a block of this name; the directory is made.

    The kernel ends the lock of an owner that dies.

    Raises:
        UsageError: the directory cannot be written, also from within the block.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot keep plans in {folder}: {reason}; choose another directory (plan_dir)") from error


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``; at the end of the block its file is flushed to disk and gets the name."""
    temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def keep_newest(folder: Path, pattern: str, count: int) -> None:
    """Remove all but the ``count`` files that were used last, and what killed writers left; the caller is alone."""
    for left in folder.glob(f"{_TEMPORARY}*-{pattern}"):
        left.unlink(missing_ok=True)
    for old in sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)[count:]:
        old.unlink(missing_ok=True)
