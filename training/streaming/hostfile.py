"""Files that the processes of a host share: made by one of them, written whole, kept in a directory of the user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from training.errors import UsageError

_TEMPORARY = ".tmp-"


def host_folder(folder: Path) -> Path:
    """This host's own part of a directory, which hosts may share: none removes what another has mapped."""
    return folder / ("host-" + re.sub(r"[^\w.-]", "_", platform.node(), flags=re.ASCII))


@contextlib.contextmanager
def alone(folder: Path, name: str, what: str) -> Iterator[None]:
    """Wait until no other process or thread of this host is in a block of this name; the directory is made.

    The kernel ends the lock of an owner that dies. ``what`` is kept there, for the message.

    Raises:
        UsageError: the directory cannot be written.
    """
    with _writable(folder, what):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _writable(folder, what):
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)  # closing does not: a process forked meanwhile has the handle too
    finally:
        os.close(handle)


@contextlib.contextmanager
def written_whole(path: Path, what: str) -> Iterator[Path]:
    """A temporary name beside ``path``; at the end of the block its file is flushed to disk and gets the name.

    The block does nothing but write it.

    Raises:
        UsageError: it cannot be written; the message says ``what`` is kept there.
    """
    temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}-{path.name}")
    try:
        with _writable(path.parent, what):
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


def used(path: Path) -> None:
    """Note that a file is used now, for ``keep_newest``."""
    with contextlib.suppress(OSError):
        os.utime(path)


def keep_newest(folder: Path, pattern: str, count: int) -> None:
    """Remove all but the ``count`` files that were used last, and what killed writers left; the caller is alone.

    What cannot be removed stays.
    """
    old = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)[count:]
    for path in [*folder.glob(f"{_TEMPORARY}*-{pattern}"), *old]:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def _writable(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot keep {what} in {folder}: {reason}; choose another directory (plan_dir)") from error
