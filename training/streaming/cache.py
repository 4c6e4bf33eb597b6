"""A bounded directory that keeps members as they were read, named by their content, for all processes of a host.

``DIR/ab/<sha256>``: written under a temporary name and renamed, never flushed to disk, since whoever uses the bytes
checks their hash anyway. What was used longest ago goes first; one process at a time removes. A disk that is full or
cannot be written ends the caching with one warning, never the stream.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from training.streaming.jobs import Bytes

KEEP = 0.85
"""A sweep leaves this share of the limit."""

WRITERS = 10
"""Processes that may write at once: each writes at most this part of what is free before it looks again."""

LARGEST = 100
"""A member of more than this part of the limit is not kept."""

STALE_SECONDS = 3600.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = re.compile(r"\.tmp-[0-9a-f]{32}")
_log = logging.getLogger(__name__)


class Cache:
    """``directory`` holds at most ``limit`` bytes of members, however many processes (up to WRITERS) write there.

    Threads may share it. Nothing here raises: what cannot be read is a miss, what cannot be written is not kept.
    """

    def __init__(self, directory: str | Path, limit: int) -> None:
        self._root = Path(directory).expanduser().absolute()
        self._limit = limit
        self._lock = threading.Lock()
        self._allowance = 0.0  # so the first write sweeps: another limit or an earlier run may have left more
        self._off = limit <= 0

    def load(self, digest: str, target: memoryview) -> bool:
        """Fill ``target`` with the member of this sha256; False where it is not here whole. Nothing is checked."""
        path = self._path(digest)
        if path is None:
            return False
        try:
            with path.open("rb", buffering=0) as stream:
                whole = os.fstat(stream.fileno()).st_size == len(target) and _fill(stream.fileno(), target)
            if whole:
                with contextlib.suppress(OSError):
                    os.utime(path)
                return True
        except OSError:
            return False
        self.discard(digest)
        return False

    def store(self, digest: str, data: Bytes) -> None:
        """Keep a member."""
        path = None if self._off or len(data) * LARGEST > self._limit else self._path(digest)
        if path is None:
            return
        temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self._may_write(len(data)):
                return
            try:
                with temporary.open("xb", buffering=0) as stream:
                    _write(stream.fileno(), memoryview(data))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            self._give_up(error)

    def discard(self, digest: str) -> None:
        """Forget a member, because its bytes were not those of its hash."""
        path = self._path(digest)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()

    def _path(self, digest: str) -> Path | None:
        """Where a member lies. The hash comes from the index, which nobody has checked: it must be one."""
        return self._root / digest[:2] / digest if _DIGEST.fullmatch(digest) else None

    def _may_write(self, size: int) -> bool:
        """Count ``size`` bytes against what may be written before the next sweep, which is made where it is due.

        False while another process sweeps.
        """
        with self._lock:
            if self._allowance < size:
                with _alone(self._root / ".lock") as alone:
                    if not alone:
                        return False
                    self._allowance = (self._limit - self._sweep()) / WRITERS
            self._allowance -= size
            return True

    def _sweep(self) -> int:
        """Remove what was used longest ago, down to KEEP of the limit. Returns the bytes that are left."""
        found = sorted(_entries(self._root))
        total = sum(size for _, size, _ in found)
        for _, size, path in found:
            if total <= self._limit * KEEP:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total

    def _give_up(self, error: OSError) -> None:
        with self._lock:
            first, self._off = not self._off, True
        if first:
            _log.warning("nothing more is cached: %s cannot be written: %s", self._root, error.strerror or error)


def _entries(root: Path) -> Iterator[tuple[float, int, Path]]:
    """The members in the cache as (last use, bytes, path). What a killed process left unfinished is removed.

    The directory may be shared with others: what does not look as ``store`` makes it is nobody's business here.
    """
    for folder in root.glob("[0-9a-f][0-9a-f]"):
        try:
            names = list(os.scandir(folder))
        except OSError:
            continue
        for entry in names:
            with contextlib.suppress(OSError):  # another process may have removed it
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    continue
                if _DIGEST.fullmatch(entry.name) and entry.name.startswith(folder.name):
                    yield status.st_mtime, status.st_size, Path(entry.path)
                elif _UNFINISHED.fullmatch(entry.name) and time.time() - status.st_mtime > STALE_SECONDS:
                    Path(entry.path).unlink()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether this process is the only one in the block."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)


def _fill(handle: int, target: memoryview) -> bool:
    done = 0
    while done < len(target):
        got = os.preadv(handle, [target[done:]], done)
        if not got:
            return False
        done += got
    return True


def _write(handle: int, data: memoryview) -> None:
    done = 0
    while done < len(data):
        done += os.write(handle, data[done:])
