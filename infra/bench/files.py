"""The layered files that a benchmark is run on."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from pipelines.formats import detect, discover

CORPUS = Path("../shared/corpus")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=CORPUS, help="layered files, in any depth of folders")
    parser.add_argument("--out", type=Path, help="write the report to this Markdown file too")


def named(folder: Path, formats: Collection[str]) -> tuple[Path, list[str]] | None:
    """The folder, and its files of some formats by their paths in it; None, and a word on that, if there is none."""
    whole = folder.resolve()
    if not whole.is_dir():
        print(f"there is no folder {folder}: name one with layered files")
        return None
    found = (Path(path).resolve().relative_to(whole).as_posix() for path in discover(str(whole), {}))
    return whole, [name for name in found if detect(name) in formats]
