"""Designs with effects through a whole build: where their shadows go, and what the ledger says of a mismatch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds

from pipelines.config import parse_assignments
from pipelines.flatten import render_tree
from pipelines.formats import write
from pipelines.formats.style import Glow, Shadow, Solid
from pipelines.formats.tree import Document, Leaf
from pipelines.storage import Store
from pipelines.validation.verify import verify
from schemas.geometry import Box
from schemas.ledger import Code
from tests.pipelines.builds import rows, run_inline
from tests.pipelines.flat import leaf

SHADOW = Shadow(colour=(0.0, 0.0, 0.2), opacity=0.7, distance=6.0, size=4.0)
GLOW = Glow(paint=Solid((1.0, 1.0, 0.0)), size=6.0)
SMALL = {"extract.min_side": 16, "run.max_failed": 1.0, "source.licence": "CC0-1.0", "source.licensor": "Studio"}


def design(accent: Leaf, seed: int) -> Document:
    """Noise below, so that no two designs are near duplicates; a button with a shadow; the accent."""
    photo = np.random.default_rng(seed).integers(0, 256, (6, 8, 4)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    photo[..., 3] = 255
    back = Leaf("photo", box=Box(0, 0, 80, 60), pixels=lambda: photo)
    button = leaf((200, 30, 10), (10, 10, 30, 30), name="button", style=(SHADOW,), effects=("drop-shadow",))
    made = Document(80, 60, (back, button, accent))
    return replace(made, preview=render_tree(made))


def put(folder: Path) -> None:
    """Two sound designs, and one whose preview shows something else where its accent is."""
    plain = leaf((20, 90, 200), (50, 30, 70, 50), name="accent")
    write(design(plain, 1), folder / "shadow.psd")
    write(design(replace(plain, style=(GLOW,)), 2), folder / "glow.psd")
    wrong = design(replace(plain, blend_mode="overlay"), 3)
    assert wrong.preview is not None
    wrong.preview[30:50, 50:70, :3] ^= 0x80
    write(wrong, folder / "wrong.psd")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("effects")
    put(made)
    return made


def records(out: Path) -> dict[str, dict[str, Any]]:
    """The record of each design by its file's name."""
    urls = [str(out / row["path"]) for row in rows(out, "shards")]
    made = [sample["json"] for sample in wds.WebDataset(urls, shardshuffle=False, empty_check=False).decode()]
    return {record["provenance"]["uri"].rpartition("/")[2]: record for record in made}


def names(record: dict[str, Any]) -> list[str]:
    return [layer["name"] for layer in record["layers"]]


def build_of(folder: Path, out: Path, *assignments: str) -> None:
    """A build of the folder, with ``--set`` of each assignment."""
    given = {**SMALL, "manifest.path": None, "source.uri": str(folder), **parse_assignments(assignments)}
    run_inline("", str(out), **{key.replace(".", "__"): value for key, value in given.items()})


def test_shadows_are_joined_or_apart_by_one_setting(folder: Path, tmp_path: Path) -> None:
    build_of(folder, tmp_path / "joined")
    build_of(folder, tmp_path / "apart", "extract.shadows=apart")
    joined, apart = records(tmp_path / "joined"), records(tmp_path / "apart")
    assert names(joined["shadow.psd"]) == ["photo", "button", "accent"]
    assert names(apart["shadow.psd"]) == ["photo", "button shadow", "button", "accent"]
    assert names(apart["glow.psd"]) == ["photo", "button shadow", "button", "accent glow", "accent"]
    assert apart["shadow.psd"]["layers"][2]["box"] == [10, 10, 30, 30]
    assert all(layer["lowering"] == "exact" and layer["reusable"] for layer in apart["glow.psd"]["layers"])
    for record in (*joined.values(), *apart.values()):
        assert record["recomposition"]["mae"] < 0.5
    assert verify(Store(str(tmp_path / "apart"))) == []


def test_a_mismatch_in_the_ledger_names_the_feature(folder: Path, tmp_path: Path) -> None:
    build_of(folder, tmp_path / "ds")
    (row,) = (row for row in rows(tmp_path / "ds", "ledger") if row["code"] != Code.OK)
    assert row["uri"].endswith("wrong.psd")
    assert row["code"] == Code.RECOMPOSE_MISMATCH
    assert row["message"].endswith("at fault may be blend mode overlay")
    assert "mean error" in row["message"]
