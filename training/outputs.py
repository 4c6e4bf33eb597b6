"""A folder that a run writes to, on any fsspec URL; what is in it is read through its ``source``.

A whole file appears at once or not at all. The exceptions of every store end here, in one line that names the URL.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import fsspec

from model.folder import sync
from training.errors import TrainingError
from training.masking import first_line
from training.streaming.source import Source


class Output:
    """A folder. Names are relative, with ``/`` between their parts.

    The file system that writes is another than the one of ``source``, whose requests are tried again by its callers
    alone: here the store's own library does so, part by part of a large file.

    Raises:
        UsageError: unknown protocol, or its package is not installed.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.source = Source(url, options)
        self._fs, root = fsspec.core.url_to_fs(self.source.url, use_listings_cache=False, **(options or {}))
        self._root = str(root).rstrip("/")

    def write(self, name: str, data: bytes) -> None:
        """Write ``name`` whole, replacing what was there; on a local disk it stays through a power cut."""
        with self._mapped("write", name):
            if self.source.local is None:
                self._fs.pipe_file(self._path(name), data)
                return
            final = self._made(name)
            temporary = final.parent / f".tmp-{uuid.uuid4().hex}-{final.name}"
            try:
                with _synced(temporary) as out:
                    out.write(data)
                temporary.replace(final)
            finally:
                temporary.unlink(missing_ok=True)
            sync(final.parent)

    def create(self, name: str, data: bytes) -> bool:
        """Write ``name`` to a local folder unless it is there; whether it was written. Of two at once one does it."""
        with self._mapped("write", name):
            try:
                with self._made(name).open("xb") as out:
                    out.write(data)
            except FileExistsError:
                return False
        return True

    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[IO[bytes]]:
        """A new file that is written in parts; it may be there in part when writing fails."""
        with self._mapped("write", name):
            if self.source.local is None:
                with self._fs.open(self._path(name), "wb") as out:
                    yield out
                return
            final = self._made(name)
            with _synced(final) as out:
                yield out
            sync(final.parent)

    def sizes(self, name: str) -> dict[str, int]:
        """Bytes of every file in the folder ``name``, by its name there; empty where there is no such folder."""
        with self._mapped("list", name):
            try:
                found = self._fs.ls(self._path(name), detail=True)
            except FileNotFoundError:
                return {}
        return {_last(each["name"]): int(each["size"] or 0) for each in found if each["type"] == "file"}

    def folders(self, name: str) -> list[str]:
        """The names of the folders in the folder ``name``, sorted; none where there is no such folder."""
        with self._mapped("list", name):
            try:
                found = self._fs.ls(self._path(name), detail=True)
            except FileNotFoundError:
                return []
        return sorted(_last(each["name"]) for each in found if each["type"] == "directory")

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that is in it; what is gone already is no error."""
        with self._mapped("remove", name), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._path(name), recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _made(self, name: str) -> Path:
        """A local path, in a folder that is there."""
        path = Path(self._path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def _mapped(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except TrainingError:
            raise
        except Exception as error:  # every store has exceptions of its own; this is the one place they are mapped
            raise TrainingError(f"cannot {verb} {self.source.url_of(name)}: {first_line(error)}") from error


@contextlib.contextmanager
def writing(path: object) -> Iterator[None]:
    """What a disk raises, above all that it is full, as a TrainingError of one line that names ``path``."""
    try:
        yield
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or first_line(error)}") from error


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[IO[bytes]]:
    with path.open("wb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())
