"""The formats and how a name says which one it is."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.errors import Rejected, UsageError
from pipelines.formats.bounds import bounded
from pipelines.formats.limits import ReadLimits, unreadable
from pipelines.formats.tree import Document
from schemas.ledger import Code

CRELLO_SUFFIX = ".parquet"


@dataclass(frozen=True)
class Format:
    """A file format: its suffixes, and the modules with ``read(path, limits)`` and ``write(document, path)``.

    The modules are imported when they are first used: a build of layer folders never imports a PSD parser.
    """

    name: str
    suffixes: tuple[str, ...]
    reader: str
    writer: str | None


FORMATS: Mapping[str, Format] = {
    "psd": Format("psd", (".psd", ".psb"), "pipelines.formats.psd", "pipelines.formats.psd_write"),
    "ora": Format("ora", (".ora",), "pipelines.formats.ora", "pipelines.formats.ora_write"),
    "folder": Format("folder", (), "pipelines.formats.folder", "pipelines.formats.folder"),
    "crello": Format("crello", (CRELLO_SUFFIX,), "pipelines.formats.crello", None),
}


def split_row(uri: str) -> tuple[str, int | None]:
    """``file.parquet#12`` as (``file.parquet``, 12); any other uri with None."""
    base, mark, row = uri.rpartition("#")
    if mark and base.lower().endswith(CRELLO_SUFFIX) and row.isdecimal():
        return base, int(row)
    return uri, None


def detect(uri: str) -> str | None:
    """The format that a uri's suffix names; ``folder`` where it has none; None for a suffix nobody reads."""
    base, row = split_row(uri)
    suffix = PurePosixPath(base.rstrip("/")).suffix.lower()
    if row is None and suffix == CRELLO_SUFFIX:
        return None
    for name, entry in FORMATS.items():
        if suffix in entry.suffixes:
            return name
    return "folder" if not suffix or base.endswith("/") else None


def read(path: Path, format: str, limits: ReadLimits) -> Document:
    """Read a local file (folder: a directory) as a tree. Call it in a process with time and memory limits.

    Raises:
        Rejected: UNREADABLE, UNSUPPORTED or TOO_LARGE, with what is wrong in one line.
    """
    entry = FORMATS.get(format)
    if entry is None:
        raise Rejected(Code.UNSUPPORTED, f"there is no format {format!r}; known are {', '.join(FORMATS)}")
    module = importlib.import_module(entry.reader)
    with unreadable(f"not a readable {format} document"):
        document = module.read(path, limits)
        assert isinstance(document, Document)
        return bounded(document)


def write(document: Document, path: Path) -> None:
    """Write a tree as the format of the suffix (.psd, .psb, .ora; a layer folder without one). Same tree, same bytes.

    Raises:
        UsageError: no writer for the suffix, or the format cannot say something of the document.
    """
    name = detect(str(path)) if path.suffix else "folder"
    writer = FORMATS[name].writer if name else None
    if writer is None:
        raise UsageError(f"cannot write {path.name}: use .psd, .psb, .ora or a folder name without a suffix")
    importlib.import_module(writer).write(document, path)
