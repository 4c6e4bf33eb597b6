"""Real files: what they show is what their stacks show, nothing but a Rejected ever comes out, and it says why."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines import formats
from pipelines.errors import Rejected
from pipelines.flatten import FlattenConfig, Stack, lower
from pipelines.flatten.check import check, check_size
from pipelines.formats.tree import Adjustment, Document, Leaf
from schemas.compositing import composite
from schemas.design import LayerKind
from schemas.ledger import Code

CONFIG = FlattenConfig(min_layers=1, min_side=1, max_side=16_383)
FEATURES = {
    "effects": r"\bfx_layers=",
    "effects of old files": r"legacy_fx_layers",
    "clipping": r"\bclip=",
    "masks": r"\bmasks=",
    "paths": r"\bvmasks=",
    "blend modes": r"\bblend=",
    "groups": r"\bgroups=",
    "artboards": r"artboards=",
    "overflow": r"overflow alpha_out_max",
    "CMYK": r"CMYK 8bit",
    "LAB": r"LAB 8bit",
    "gray": r"GRAYSCALE 8bit",
    "16 bit": r"\b16bit",
    "PSB": r"8bit psb",
}
"""What the notes of the manifest say of a file that has the feature."""
OF_MODERATE_SIZE = 2_000_000


@dataclass(frozen=True)
class Entry:
    """A row of the manifest."""

    path: Path
    bytes: int
    layers: int
    notes: str


@pytest.fixture(scope="module")
def entries(corpus: Path) -> list[Entry]:
    with (corpus / "manifest.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    return [Entry(corpus / r["path"], int(r["bytes"]), int(r["layers"] or 0), r["notes"]) for r in rows]


def opened(path: Path) -> Document:
    return formats.read(path, formats.detect(str(path)) or "", formats.ReadLimits())


def eligible(document: Document) -> bool:
    """It has a layer, and a preview that is not one flat colour."""
    preview, layers = document.preview, any(isinstance(node, Leaf | Adjustment) for _, node in document.walk())
    return preview is not None and layers and not bool((preview == preview[0, 0]).all())


def is_true(stack: Stack) -> bool:
    found = stack.recomposition
    return found.mae < 1 and found.p99 < 25


def hold_together(stack: Stack) -> None:
    """What every stack promises."""
    assert stack.canvas.contains(stack.visible)
    assert all(stack.canvas.contains(layer.box) for layer in stack.layers)
    assert (stack.composite == composite([layer.placed for layer in stack.layers], stack.canvas)).all()


@pytest.mark.slow
def test_the_corpus_recomposes_or_says_why_not(entries: list[Entry]) -> None:
    codes: Counter[Code] = Counter()
    judged: list[bool] = []
    foreground: list[bool] = []
    for entry in entries:
        try:
            document = opened(entry.path)
            check_size(document, CONFIG)
            stack = lower(document, CONFIG)
            judged += [is_true(stack)] if eligible(document) else []
            foreground += [layer.reusable for layer in stack.layers if layer.kind is not LayerKind.BACKGROUND]
            hold_together(stack)
            check(document, stack, CONFIG)
            codes[Code.OK] += 1
        except Rejected as rejected:
            codes[rejected.code] += 1
            assert rejected.message, entry.path
    assert sum(codes.values()) == len(entries)
    assert set(codes) <= {Code.OK, Code.RECOMPOSE_MISMATCH, Code.TOO_FEW_LAYERS, Code.UNREADABLE, Code.UNSUPPORTED}
    assert sum(judged) >= 0.93 * len(judged) > 0
    assert sum(foreground) >= 0.75 * len(foreground) > 0


def with_adjustments(entries: list[Entry]) -> Iterator[Path]:
    """Files whose tree has a visible adjustment, of which the manifest says nothing: the smallest first."""
    for entry in sorted(entries, key=lambda entry: entry.bytes):
        if entry.layers > 1 and "HARD" not in entry.notes:
            document = opened(entry.path)
            if eligible(document) and any(isinstance(node, Adjustment) and node.visible for _, node in document.walk()):
                yield entry.path


@pytest.fixture(scope="module")
def chosen(entries: list[Entry]) -> dict[str, Path]:
    """For each feature the eligible file with the most layers that has it and was not chosen for another; of moderate
    size, so that it is quick.
    """
    fit = [entry for entry in entries if entry.bytes < OF_MODERATE_SIZE]
    fit = [entry for entry in fit if "no merged preview" not in entry.notes and "HARD" not in entry.notes]
    ranked = sorted(fit, key=lambda entry: (-entry.layers, entry.bytes))
    found: dict[str, Path] = {}
    for feature, notes in FEATURES.items():
        others = (entry.path for entry in ranked if re.search(notes, entry.notes) and entry.path not in found.values())
        path = next((path for path in others if eligible(opened(path))), None)
        found |= {feature: path} if path else {}
    return found


@pytest.mark.parametrize("feature", FEATURES)
def test_a_real_file_with_a_feature_recomposes(feature: str, chosen: dict[str, Path]) -> None:
    if feature not in chosen:
        pytest.skip(f"the corpus has no other file of moderate size with {feature}")
    path = chosen[feature]
    document = opened(path)
    stack = lower(document, CONFIG)
    assert stack.recomposition.reference == "preview"
    assert is_true(stack), path
    check(document, stack, CONFIG)
    hold_together(stack)


def test_real_files_with_adjustments_recompose(entries: list[Entry]) -> None:
    for path, _ in zip(with_adjustments(entries), range(2), strict=False):
        assert is_true(lower(opened(path), CONFIG)), path
