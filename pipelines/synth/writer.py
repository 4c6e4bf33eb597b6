"""Writing a set of designs: every design under its own name, the manifest last.

Design ``i`` depends on (seed, i, profile) alone, so a set can grow and any number of processes writes the same bytes. A
design is written under a temporary name and renamed; one that is there is written again, to the same bytes.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

from pipelines import formats
from pipelines.errors import StoreError, UsageError
from pipelines.storage import sync
from pipelines.synth import designs, tiny
from schemas.licence import SYNTHETIC

Profile = Literal["design", "tiny"]
LICENSOR = "Acetate synthetic designs"
COLUMNS = ("uri", "licence", "licensor", "family")
MANIFEST = "manifest.csv"
_SUFFIX = {"psd": ".psd", "ora": ".ora", "folder": ""}
_ALONE = 24  # below this many designs, starting processes costs more than it saves


def name_of(seed: int, index: int, profile: Profile) -> str:
    """The file or folder name of a design, such as ``000012-poster.psd``."""
    kind = "tiny" if profile == "tiny" else designs.kind_of(seed, index)
    return f"{index:06d}-{kind}{_SUFFIX[designs.format_of(seed, index)]}"


def family_of(seed: int, index: int, profile: Profile) -> str:
    return f"tiny-{index:06d}" if profile == "tiny" else designs.member_of(seed, index).family


def write_design(out: Path, seed: int, profile: Profile, index: int) -> None:
    """Draw and write one design whole: temporary name, then rename."""
    name = name_of(seed, index, profile)
    suffix = _SUFFIX[designs.format_of(seed, index)]
    simple = suffix == ".ora"
    document = tiny.design(seed, index) if profile == "tiny" else designs.design(seed, index, simple=simple)
    target, draft = out / name, out / f".{index:06d}-draft{suffix}"
    _remove(draft)
    formats.write(document, draft)
    for file in [draft, *draft.iterdir()] if draft.is_dir() else [draft]:
        sync(file)
    if target.is_dir():
        shutil.rmtree(target)
    draft.replace(target)


def _remove(path: Path) -> None:
    """Remove what an interrupted run left behind."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def synthesise(
    out: Path,
    count: int,
    seed: int,
    profile: Profile = "design",
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write ``count`` designs and ``manifest.csv`` into ``out``; returns the manifest's path.

    ``progress`` is called with the number of designs done so far.

    Raises:
        UsageError: ``count`` is not positive, ``out`` is a file, or a font package is missing.
        StoreError: ``out`` cannot be written to.
    """
    if count < 1:
        raise UsageError(f"--count is at least 1, not {count}")
    if profile not in ("design", "tiny"):
        raise UsageError(f"--profile is design or tiny, not {profile!r}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for done, _ in enumerate(_written(out, count, seed, profile), start=1):
            if progress is not None:
                progress(done)
        return _manifest(out, count, seed, profile)
    except FileExistsError:
        raise UsageError(f"{out} is a file: name a folder to write the designs into") from None
    except OSError as error:
        raise StoreError(f"cannot write the designs into {out}: {error}") from error


def _written(out: Path, count: int, seed: int, profile: Profile) -> Iterator[None]:
    one = partial(write_design, out, seed, profile)
    workers = min(os.cpu_count() or 1, count // _ALONE + 1)
    if workers == 1:
        yield from map(one, range(count))
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(one, range(count), chunksize=4)


def _manifest(out: Path, count: int, seed: int, profile: Profile) -> Path:
    rows = io.StringIO(newline="")
    table = csv.writer(rows, lineterminator="\n")
    table.writerow(COLUMNS)
    for index in range(count):
        table.writerow((name_of(seed, index, profile), SYNTHETIC, LICENSOR, family_of(seed, index, profile)))
    draft, path = out / f".{MANIFEST}-draft", out / MANIFEST
    draft.write_text(rows.getvalue(), encoding="utf-8")
    sync(draft)
    draft.replace(path)
    return path
