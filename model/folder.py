"""The folder of a checkpoint, which anybody may have made: what is looked at before anything in it is opened.

A library opens a pipe and waits, follows the index of weights out of the folder, and raises what it likes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from model.errors import CheckpointError, ModelError

MAX_FILES = 4096
MAX_DEPTH = 4
"""Folders inside each other; a link to a folder above itself is deeper than any."""

MAX_JSON = 2**20
"""Bytes of a file of settings."""
MAX_TABLE = 2**26
"""Bytes of a vocabulary, of an index of weights or of the head of a file of weights."""
_SETTINGS = ("*config*.json", "special_tokens_map.json", "added_tokens.json", "chat_template*", "*.jinja")
_TABLES = ("tokenizer*.json", "vocab.json", "merges.txt", "*.safetensors.index.json")
"""What libraries read whole; others may be of any size."""


def check_files(folder: Path) -> None:
    """Refuse a folder of other things than regular files, without opening one; what is hidden in it is passed over.

    A link counts as what it leads to: the caches of hubs are made of links to files.

    Raises:
        CheckpointError: a pipe, a device or a broken link; an adapter; too many or too large files; an index that names
            files elsewhere.
    """
    count, left = 0, [(folder, 0)]
    while left:
        place, depth = left.pop()
        entries = _entries(place)
        count += len(entries)
        if count > MAX_FILES or depth > MAX_DEPTH:
            raise CheckpointError(f"{folder} holds more than {MAX_FILES} files or {MAX_DEPTH} folders in a row")
        for path in entries:
            if path.name.startswith("."):
                continue
            if stat.S_ISDIR(_mode(path)):
                left.append((path, depth + 1))
            else:
                _check_file(path)


def read(path: Path, what: Any, most: int = MAX_JSON) -> Any:
    """A file of JSON as ``what``, of at most so many bytes.

    Raises:
        CheckpointError: it is missing, no regular file, too large, or something else.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path} is missing or no regular file; the checkpoint is not whole, copy it again")
        with path.open("rb") as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise CheckpointError(f"{path} has more than {most} bytes; it is no file of settings")
        return TypeAdapter(what).validate_json(data)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); the checkpoint is not whole") from None
    except ValidationError as error:
        raise CheckpointError(f"{path}: {first_fault(error)}") from None


def tensors(path: Path) -> dict[str, dict[str, Any]]:
    """What the head of a file of safetensors says of each tensor: ``shape`` and more, none of it checked.

    Raises:
        CheckpointError: it has no such head, or a too large one.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            head = stream.read(length) if length <= MAX_TABLE else b""
        found = TypeAdapter(dict[str, dict[str, Any]]).validate_json(head)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); the checkpoint is not whole") from None
    except ValidationError:
        raise CheckpointError(f"{path} is no whole file of safetensors; copy it again") from None
    return {name: said for name, said in found.items() if name != "__metadata__"}


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(map(str, first["loc"]))[:100]
    return f"{name}{': ' if name else ''}{first['msg']}"


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """Whatever fails in here is a ``CheckpointError`` of one line that begins with ``what``, but a lack of memory."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except ModelError as error:
        raise CheckpointError(f"{what}: {error}") from error
    except Exception as error:  # libraries raise what their settings lead to: IndexError, AttributeError, ...
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"{what}: {reason}") from error


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling that becomes ``folder`` once all in it is on the disk; on an error it is removed.

    Raises:
        CheckpointError: the folder is there and not empty.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(f"{folder} is there already; give another name, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        for path in sorted(temporary.rglob("*"), reverse=True):
            sync(path)
        sync(temporary)
        temporary.replace(folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, or more than may be in one."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in islice(entries, MAX_FILES + 1)]
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be read ({error.strerror})") from None


def _mode(path: Path) -> int:
    """What a path leads to, 0 for nothing that can be seen."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); copy the checkpoint again") from None
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f"{path} is no regular file; a checkpoint holds neither pipes nor devices")
    if path.name.startswith("adapter_"):
        raise CheckpointError(f"{path} is that of an adapter; merge it into the weights")
    for names, most in ((_SETTINGS, MAX_JSON), (_TABLES, MAX_TABLE)):
        if found.st_size > most and any(fnmatchcase(path.name, name) for name in names):
            raise CheckpointError(f"{path} has more than {most} bytes; it is no file of settings")
    if path.name.endswith(".safetensors.index.json"):
        _check_index(path)


def _check_index(path: Path) -> None:
    names = read(path, dict[str, Any], MAX_TABLE).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{path} names no files of weights")
    for name in sorted(set(names.values())):
        if Path(name).name != name or not stat.S_ISREG(_mode(path.parent / name)):
            raise CheckpointError(f"{path}: {name[:100]!r} is no file beside it; the checkpoint is not whole")


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
