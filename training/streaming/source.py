"""A dataset as a directory that is only read, on any fsspec URL.

The exceptions of every store end here: what is raised is a ReadError that names the full URL, or a UsageError where the
URL itself cannot be used. A read of a local file goes straight into the caller's memory; a remote one is a coroutine on
fsspec's own loop. A file system is made anew in every process, so that a source survives a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import io
import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import fsspec
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from training.errors import ReadError, TrainingError, UsageError
from training.masking import first_line, shown

OPEN_FILES = 64
ATTEMPTS = 5
"""Of what is read outside of a Fetcher: the index, the lists of what was withdrawn."""

FIRST_WAIT = 0.1
LONGEST_WAIT = 10.0
"""Seconds: a random part of FIRST_WAIT before the second attempt, of twice as much before each further one."""

_IOV_MAX = 1024
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"max_pool_connections": 64, "retries": {"total_max_attempts": 1}}}
}
"""Retries are ours alone: three libraries that each try again multiply."""
_FINAL = {
    errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP,
}  # fmt: skip
_PASSING_STATUS = {408, 425, 429}
T = TypeVar("T")


class MissingError(ReadError):
    """There is no such object."""


class TransientError(ReadError):
    """The store refused for a reason that may pass: worth another attempt."""


class Source:
    """A directory that is read. ``url``: a path or an fsspec URL; ``options``: what fsspec is given for it.

    Names are relative, with ``/`` between their parts. Threads may share a source; it pickles as URL and options.

    Raises:
        UsageError: unknown protocol, or its package is not installed.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._protocol = url.split("://", 1)[0] if "://" in url else "file"
        local = self._protocol in {"file", "local"}
        self.url = str(Path(url.split("://", 1)[-1]).expanduser().absolute()) if local else url.rstrip("/")
        self.options = dict(options or {})
        self.local = Path(self.url) if local else None
        self._pid = -1
        self._connect()

    def __reduce__(self) -> tuple[type[Source], tuple[str, dict[str, Any]]]:
        return Source, (self.url, self.options)

    def __repr__(self) -> str:
        return f"Source({self.shown!r})"

    @property
    def shown(self) -> str:
        """The URL as errors say it, without a password."""
        return shown(self.url)

    @property
    def asynchronous(self) -> bool:
        """Whether ``fetch`` runs on fsspec's loop; otherwise it blocks and belongs in a thread."""
        return bool(self._connect().async_impl)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """fsspec's loop, on which ``fetch`` must run where the source is asynchronous."""
        loop: asyncio.AbstractEventLoop = self._connect().loop
        return loop

    def url_of(self, name: str) -> str:
        """The full URL of a name, as errors say it."""
        return f"{self.shown}/{name}"

    def exists(self, name: str) -> bool:
        """Whether there is such an object; raises ReadError where the store does not say."""
        try:
            self.size(name)
        except MissingError:
            return False
        return True

    def size(self, name: str) -> int:
        """Bytes of ``name``. Raises MissingError, ReadError."""
        return self._patient(name, lambda fs, path: int(fs.info(path)["size"]))

    def names(self, prefix: str = "", *, depth: int | None = None, limit: int | None = None) -> list[str]:
        """All names under the directory ``prefix``, sorted, without hidden (unfinished) ones.

        With ``depth`` those of so many levels of folders alone. Raises ReadError, also where there are over ``limit``.
        """
        most = None if limit is None else limit + 1

        def listed(fs: Any, path: str) -> list[str]:
            return list(itertools.islice(fs.find(path) if depth is None else _within(fs, path, depth), most))

        try:
            found = self._patient(prefix, listed)
        except MissingError:
            return []
        if limit is not None and len(found) > limit:
            raise ReadError(f"{self.url_of(prefix)} has over {limit:,} files: that many are not listed")
        root = self._root
        names = (str(path)[len(root) :].lstrip("/") for path in map(self._connect()._strip_protocol, found))
        return sorted(name for name in names if not name.rpartition("/")[2].startswith("."))

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The whole of ``name``. Raises MissingError; ReadError, also where it has more than ``limit`` bytes."""
        if limit is not None and (size := self.size(name)) > limit:
            raise ReadError(f"{self.url_of(name)} has {size:,} bytes; at most {limit:,} are read")
        return self._patient(name, lambda fs, path: bytes(fs.cat_file(path)))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``, fewer where the object ends; one attempt. Raises ReadError."""
        with self._mapped(name, offset):
            return bytes(self._connect().cat_file(self._path(name), start=offset, end=offset + size)) if size else b""

    async def fetch(self, name: str, offset: int, size: int) -> bytes:
        """As ``read_range``, awaited: on fsspec's loop, or in a thread where the file system blocks."""
        fs = self._connect()
        if not fs.async_impl:
            return await asyncio.to_thread(self.read_range, name, offset, size)
        with self._mapped(name, offset):
            data: bytes = await fs._cat_file(self._path(name), start=offset, end=offset + size) if size else b""
            return data

    def pread_into(self, name: str, offset: int, *buffers: memoryview) -> int:
        """Fill ``buffers`` one after another from ``offset`` of a local file; the bytes read, fewer at its end."""
        with self._mapped(name, offset):
            path = self._path(name)
            try:
                file = self._files.get(path)  # held while it is read, or it may close
                return _preadv(file.handle, buffers, offset)
            except OSError:
                self._files.drop(path)  # a handle of a network mount can be stale
                raise

    def open(self, name: str) -> IO[bytes]:
        """A seekable file that reads nothing ahead, for who knows what it needs. Raises ReadError, also later."""
        if self.local is not None:
            with self._mapped(name):
                return Path(self._path(name)).open("rb")
        stream: Any = _Ranged(self, name)
        opened: IO[bytes] = stream
        return opened

    def _connect(self) -> Any:
        """The file system of this process."""
        if self._pid != os.getpid():
            fs, path = _filesystem(self.url, self._protocol, self.options)
            self._fs, self._root, self._files = fs, path.rstrip("/"), _Files()
            self._pid = os.getpid()  # last: another thread sees a whole source or makes one itself
        return self._fs

    def _path(self, name: str) -> str:
        self._connect()
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise ReadError(f"{name!r} is not a name inside {self.shown}")
        return f"{self._root}/{name}" if name else self._root

    def _patient(self, name: str, call: Callable[[Any, str], T]) -> T:
        """Call with the file system and the path, again where the reason may pass."""

        def attempt() -> T:
            with self._mapped(name):
                return call(self._connect(), self._path(name))

        return Retrying(**patience(ATTEMPTS))(attempt)

    @contextlib.contextmanager
    def _mapped(self, name: str, offset: int | None = None) -> Iterator[None]:
        try:
            yield
        except TrainingError:
            raise
        except FileNotFoundError as error:
            raise MissingError(f"{self.url_of(name)} is missing") from error
        except Exception as error:  # every store has exceptions of its own; this is the one place they are mapped
            where = "" if offset is None else f" at byte {offset}"
            kind = TransientError if passing(error) else ReadError
            raise kind(f"cannot read {self.url_of(name)}{where}: {first_line(error)}") from error


def passing(error: Exception) -> bool:
    """Whether what a store raised may pass: time-outs, resets, 5xx; not what is refused or wrong."""
    places = ((error, "status"), (error, "code"), (getattr(error, "response", None), "status_code"))
    for status in (getattr(holder, name, None) for holder, name in places):
        if isinstance(status, int):
            return status >= 500 or status in _PASSING_STATUS
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError | PermissionError) and error.errno not in _FINAL
    return not isinstance(error, ValueError | TypeError | LookupError | AttributeError | ImportError | MemoryError)


def patience(attempts: int) -> dict[str, Any]:
    """Settings of tenacity: what raises TransientError is tried again, after waits that grow and vary; the last error
    is raised as it is."""
    return {
        "retry": retry_if_exception_type(TransientError),
        "wait": wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
        "stop": stop_after_attempt(attempts),
        "reraise": True,
    }


def _filesystem(url: str, protocol: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    try:
        # Reviewers and revocations write here while it is read, so no listing is remembered.
        settings = {"use_listings_cache": False, **_DEFAULTS.get(protocol, {}), **options}
        fs, path = fsspec.core.url_to_fs(url, **settings)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"pip install 'acetate[{extra}]'" if extra else str(error)
        raise UsageError(f"{protocol}:// needs a package that is not installed: {remedy}") from None
    except (ValueError, TypeError) as error:
        raise UsageError(f"cannot use {shown(url)!r}: {first_line(error)}") from None
    if isinstance(getattr(fs, "retries", None), int):
        fs.retries = 1
    return fs, str(path)


def _within(fs: Any, path: str, depth: int) -> Iterator[str]:
    """The files of a folder and those below, ``depth`` levels in all; of folders that nobody may read none."""
    for found in fs.ls(path, detail=True):
        name = str(found["name"]).rstrip("/")
        if found["type"] != "directory":
            yield name
        elif depth > 1 and name != path:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                yield from _within(fs, name, depth - 1)


class _File:
    """An open file descriptor, closed when nobody holds it: a thread may still read what the LRU let go."""

    def __init__(self, path: str) -> None:
        self.handle = -1
        self.handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)


class _Files:
    """The files that were read last, open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _File] = OrderedDict()

    def get(self, path: str) -> _File:
        with self._lock:
            found = self._open.get(path)
            if found is not None:
                self._open.move_to_end(path)
                return found
        made = _File(path)
        with self._lock:
            kept = self._open.setdefault(path, made)
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        return kept

    def drop(self, path: str) -> None:
        with self._lock:
            self._open.pop(path, None)


def _preadv(handle: int, buffers: Sequence[memoryview], offset: int) -> int:
    total, done = sum(map(len, buffers)), 0
    while done < total:
        got = os.preadv(handle, list(itertools.islice(_after(buffers, done), _IOV_MAX)), offset + done)
        if not got:
            break
        done += got
    return done


def _after(buffers: Sequence[memoryview], skip: int) -> Iterator[memoryview]:
    """What is left of the buffers after the first ``skip`` bytes."""
    for buffer in buffers:
        if skip < len(buffer):
            yield buffer[skip:] if skip else buffer
        skip = max(0, skip - len(buffer))


class _Ranged(io.RawIOBase):
    """A remote object as a seekable file, every read of which is one ranged request."""

    def __init__(self, source: Source, name: str) -> None:
        self._source, self._name, self._at = source, name, 0
        self._size = source.size(name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        size = max(0, min(len(view), self._size - self._at))
        read = functools.partial(self._source.read_range, self._name, self._at, size)
        data = Retrying(**patience(ATTEMPTS))(read)
        if len(data) != size:
            raise ReadError(f"{self._source.url_of(self._name)} ends at byte {self._at + len(data)} of {self._size}")
        view[:size] = data
        self._at += size
        return size
