"""Finding the inputs under a URL, and bounded, hashed copies of them on local disk."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from pipelines.errors import Rejected, StoreError, UsageError
from pipelines.formats.limits import ReadLimits, first_line
from pipelines.formats.registry import CRELLO_SUFFIX, detect, split_row
from pipelines.storage import filesystem
from schemas.ledger import Code

CHUNK = 1024 * 1024
DESIGN = "design.json"
MAX_FILES = 10_000
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Fetched:
    """A source on local disk: its path, format, the hash and size of its source bytes. ``design_id`` is
    ``sha256[:32]``.
    """

    path: Path
    format: str
    sha256: str
    bytes: int


def discover(url: str, options: Mapping[str, Any]) -> Iterator[str]:
    """The inputs under ``url``, sorted: files of known formats, folders with a design.json, rows of parquet files.

    Raises:
        UsageError: the URL cannot be used or there is nothing at it.
    """
    fs, root = filesystem(url, options)
    if split_row(url)[1] is not None:
        yield url
        return
    try:
        found = [root] if fs.isfile(root) else sorted(str(path) for path in fs.find(root))
    except OSError as error:
        raise UsageError(f"cannot list {url}: {first_line(error)}") from None
    if not found:
        raise UsageError(f"there is nothing at {url}")
    designs = sorted(str(PurePosixPath(path).parent) for path in found if PurePosixPath(path).name == DESIGN)
    inside = tuple(f"{folder}/" for folder in designs)
    files = [path for path in found if not path.startswith(inside)] if inside else found
    for path in sorted([*designs, *files]):
        named = _named(fs, url, path)
        if path in designs or detect(path) not in (None, "folder"):
            yield named
        elif path.lower().endswith(CRELLO_SUFFIX):
            from pipelines.formats import crello_parquet

            rows = 0 if _is_special(fs, path) else crello_parquet.count(fs, path)
            yield from (f"{named}#{index}" for index in range(rows))


def _named(fs: Any, url: str, path: str) -> str:
    """A path of a file system as the user would write it: with a protocol where ``url`` has one.

    A name whose bytes are no UTF-8 is written with backslashes: the manifest can hold that, and ``fetch`` then says
    that there is nothing of this name.
    """
    readable = os.fsencode(path).decode("utf-8", "backslashreplace")
    return str(fs.unstrip_protocol(readable)) if "://" in url else readable


def fetch(uri: str, into: Path, limits: ReadLimits, options: Mapping[str, Any]) -> Fetched:
    """Copy a source into the directory ``into`` and hash its bytes; nothing is parsed but a Crello row's parquet.

    Raises:
        Rejected: NOT_FOUND, TOO_LARGE, UNREADABLE (the store does not give it) or UNSUPPORTED (no reader for it).
        StoreError: the local disk has no room for the copy, which is no fault of the design.
    """
    format = detect(uri)
    base, row = split_row(uri)
    try:
        fs, path = filesystem(base, options)
        if _is_special(fs, path):
            raise Rejected(Code.UNSUPPORTED, "it is no regular file")
        if format == "crello" and row is not None:
            from pipelines.formats import crello_parquet

            local, sha256, size = crello_parquet.fetch(fs, path, row, into, limits)
            return Fetched(local, format, sha256, size)
        if format not in (None, "folder"):
            assert format is not None
            local = into / f"source{PurePosixPath(path).suffix.lower()}"
            digest = hashlib.sha256()
            size = _copy(fs, path, local, digest, limits, 0)
            return Fetched(local, format, digest.hexdigest(), size)
        return _folder(fs, path.rstrip("/"), into / "source", limits)
    except UsageError as error:
        raise Rejected(Code.UNSUPPORTED, str(error)) from None
    except FileNotFoundError:
        raise Rejected(Code.NOT_FOUND, f"there is nothing at {uri}") from None
    except (Rejected, MemoryError):
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreError(f"no room for a working copy of {uri}: {error.strerror}") from error
        raise Rejected(Code.UNREADABLE, f"cannot fetch {uri}: {first_line(error)}") from error
    except Exception as error:  # every store has exceptions of its own
        raise Rejected(Code.UNREADABLE, f"cannot fetch {uri}: {first_line(error)}") from error


def _copy(fs: Any, path: str, local: Path, digest: Any, limits: ReadLimits, before: int) -> int:
    """Copy one file, counting ``before`` bytes as spent already. Returns its size."""
    size = 0
    local.parent.mkdir(parents=True, exist_ok=True)
    with fs.open(path, "rb") as source, local.open("wb") as out:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            limits.check_bytes(before + size)
            digest.update(chunk)
            out.write(chunk)
    return size


def _folder(fs: Any, path: str, local: Path, limits: ReadLimits) -> Fetched:
    """Copy a layer folder. Its hash is over every file's name, size and bytes, in the order of the names."""
    if not fs.exists(path):
        raise FileNotFoundError(path)
    if fs.isfile(path) or not fs.exists(f"{path}/{DESIGN}"):
        raise Rejected(Code.UNSUPPORTED, "no reader for it: neither a PSD, PSB, ORA or Crello row nor a layer folder")
    names = _names(fs, path)
    digest = hashlib.sha256()
    total = 0
    for name in names:
        part = hashlib.sha256()
        if not (local / name).resolve().is_relative_to(local.resolve()):
            raise Rejected(Code.UNREADABLE, f"{name[:80]!r} is no name of a file in the layer folder")
        size = _copy(fs, f"{path}/{name}", local / name, part, limits, total)
        digest.update(f"{len(name.encode())}:{name}{size}:".encode())
        digest.update(part.digest())
        total += size
    return Fetched(local, "folder", digest.hexdigest(), total)


def _names(fs: Any, path: str) -> list[str]:
    """Relative names of a folder's files, sorted, without hidden ones.

    Raises Rejected for names that lead out of it, for what is no file, and for too many.
    """
    root = str(fs._strip_protocol(path)).rstrip("/")
    found = sorted(str(name) for name in fs.find(path) if str(name).rstrip("/") != root)
    names = [name.removeprefix(f"{root}/") for name in found]
    for name in names:
        _check_name(name)
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    if len(names) > MAX_FILES:
        raise Rejected(Code.TOO_LARGE, f"the layer folder holds more than {MAX_FILES} files")
    if _is_local(fs):
        for name in names:
            _check_local(Path(root), name)
    return names


def _check_name(name: str) -> None:
    """Object stores allow any name; raises Rejected(UNREADABLE) for one that is no plain relative path in UTF-8."""
    plain = name.encode("utf-8", "ignore").decode() == name and "\\" not in name and "\0" not in name
    if not plain or any(part in ("", ".", "..") for part in name.split("/")):
        raise Rejected(Code.UNREADABLE, f"{name[:80]!r} is no name of a file in the layer folder")


def _check_local(root: Path, name: str) -> None:
    target = (root / name).resolve()
    if not target.is_relative_to(root.resolve()):
        raise Rejected(Code.UNREADABLE, f"{name[:80]!r} is a link out of the layer folder")
    if target.is_dir():
        raise Rejected(Code.UNREADABLE, f"{name[:80]!r} is a link to a folder: links in a layer folder lead to files")
    if target.exists() and not target.is_file():
        raise Rejected(Code.UNREADABLE, f"{name[:80]!r} is no regular file")


def _is_local(fs: Any) -> bool:
    return isinstance(fs, fsspec.get_filesystem_class("file"))


def _is_special(fs: Any, path: str) -> bool:
    """Whether a path is a pipe, device or socket, which may never end or never begin."""
    local = Path(path)
    return _is_local(fs) and local.exists() and not local.is_file() and not local.is_dir()
