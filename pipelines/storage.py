"""A directory on any fsspec URL, in which every name appears whole or not at all.

On a file system a write goes to a name with a UUID, is flushed to disk and renamed; an object store's put is whole by
itself. ``create`` is conditional: it never replaces a name. Foreign exceptions end here: everything raised is a
StoreError, but for FileNotFoundError where a name that is read is not there.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import fsspec

from pipelines.errors import PipelineError, StoreError, TruncatedError, UsageError

TEMPORARY = ".tmp-"
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"}


@dataclass(frozen=True)
class Store:
    """A directory. Names are relative, with ``/`` between their parts. Pickles as its URL and options."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _at(self) -> tuple[Any, str]:
        return filesystem(self.url, self.options)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.root if self.local else self.url, "options": dict(self.options)}

    @property
    def fs(self) -> Any:
        return self._at[0]

    @property
    def root(self) -> str:
        return self._at[1].rstrip("/")

    @property
    def local(self) -> Path | None:
        """The directory's path where the store is a local file system."""
        return Path(self.root) if isinstance(self.fs, fsspec.get_filesystem_class("file")) else None

    @property
    def shared(self) -> bool:
        """Whether other processes see this store (``memory://`` is private to its process)."""
        return not isinstance(self.fs, fsspec.get_filesystem_class("memory"))

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        with _mapped("look for", name):
            return bool(self.fs.exists(self.path(name)))

    def size(self, name: str) -> int:
        """Bytes of ``name``."""
        with _mapped("look for", name):
            return int(self.fs.size(self.path(name)))

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is no such name, StoreError for everything else."""
        with _mapped("read", name):
            return bytes(self.fs.cat_file(self.path(name)))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``; raises TruncatedError where the object is shorter."""
        with _mapped("read", name):
            data = bytes(self.fs.cat_file(self.path(name), start=offset, end=offset + size)) if size else b""
        if len(data) != size:
            raise TruncatedError(f"{name} ends before byte {offset + size}")
        return data

    def open(self, name: str) -> IO[bytes]:
        """Open for reading; sequential reads are buffered."""
        with _mapped("read", name):
            stream: IO[bytes] = self.fs.open(self.path(name), "rb")
            return stream

    def write(self, name: str, data: bytes) -> None:
        """Write ``name`` whole, replacing what was there."""
        with _mapped("write", name):
            if self.local is None:
                self.fs.pipe_file(self.path(name), data)
                return
            with self._temporary(name) as temporary:
                _write_synced(temporary, data)
                temporary.replace(self.path(name))
                sync(Path(self.path(name)).parent)

    def put(self, name: str, source: Path) -> None:
        """Write ``name`` whole from a local file, which is moved where that is possible."""
        with _mapped("write", name):
            if self.local is None:
                self.fs.put_file(str(source), self.path(name))
                return
            with self._temporary(name) as temporary:
                if source.stat().st_dev == temporary.parent.stat().st_dev:
                    source.replace(temporary)
                else:
                    fsspec.filesystem("file").cp_file(str(source), str(temporary))
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
                temporary.replace(self.path(name))
                sync(Path(self.path(name)).parent)

    def create(self, name: str, data: bytes) -> bool:
        """Write ``name`` whole unless it is there already. Returns whether it was written."""
        with _mapped("write", name):
            if self.local is not None:
                with self._temporary(name) as temporary:
                    _write_synced(temporary, data)
                    try:
                        os.link(temporary, self.path(name))
                    except FileExistsError:
                        return False
                    sync(Path(self.path(name)).parent)
                    return True
            try:
                self.fs.pipe_file(self.path(name), data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if self.fs.exists(self.path(name)):  # Swift answers a refused precondition with a plain OSError
                    return False
                raise error
            return True

    def names(self, prefix: str = "") -> list[str]:
        """All names under the directory ``prefix``, sorted, without unfinished ones."""
        return [name for name in self.all_names(prefix) if TEMPORARY not in name]

    def sizes(self, prefix: str) -> dict[str, int]:
        """The size in bytes of every name under the directory ``prefix``, by one listing."""
        with _mapped("list", prefix):
            try:
                found: Mapping[str, Any] = self.fs.find(self.path(prefix), detail=True)
            except FileNotFoundError:
                return {}
        return {self._name(path): int(info.get("size") or 0) for path, info in found.items()}

    def _name(self, path: str) -> str:
        return str(self.fs._strip_protocol(path))[len(self.root) + 1 :]

    def all_names(self, prefix: str = "") -> list[str]:
        """All names under ``prefix``, unfinished ones too."""
        with _mapped("list", prefix or self.url):
            try:
                found: Iterable[str] = self.fs.find(self.path(prefix) if prefix else self.root)
            except FileNotFoundError:
                return []
        return sorted(self._name(path) for path in found)

    def delete(self, names: Iterable[str]) -> None:
        """Remove names; one that is gone already is no error."""
        for name in names:
            with _mapped("delete", name), contextlib.suppress(FileNotFoundError):
                self.fs.rm_file(self.path(name))

    @contextlib.contextmanager
    def _temporary(self, name: str) -> Iterator[Path]:
        final = Path(self.path(name))
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.parent / f"{TEMPORARY}{uuid.uuid4().hex}-{final.name}"
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def filesystem(url: str, options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path on it.

    Raises:
        UsageError: unknown protocol, or its package is not installed.
    """
    protocol = url.split("://", 1)[0] if "://" in url else "file"
    try:
        # Other processes write here too, so no listing is remembered.
        fs, path = fsspec.core.url_to_fs(url, **{"use_listings_cache": False, **(options or {})})
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"pip install 'acetate[{extra}]'" if extra else str(error)
        raise UsageError(f"{protocol}:// needs a package that is not installed: {remedy}") from None
    except ValueError as error:
        raise UsageError(f"cannot use {url!r}: {error}") from None
    return fs, str(path)


@contextlib.contextmanager
def _mapped(verb: str, name: str) -> Iterator[None]:
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:  # every store has exceptions of its own; this is the one place they are mapped
        if isinstance(error, FileNotFoundError) and verb != "write":
            raise
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StoreError(f"cannot {verb} {name}: {detail}") from error


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def sync(path: Path) -> None:
    """Flush a file or a directory to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
