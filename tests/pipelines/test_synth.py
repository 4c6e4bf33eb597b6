"""Synthetic designs: a pure function of (seed, index, profile), varied, readable, and true to their previews."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import UsageError
from pipelines.flatten import FlattenConfig, flatten, render_tree
from pipelines.formats import ReadLimits, detect, read
from pipelines.formats.tree import Document, Group, Leaf
from pipelines.synth import designs, synthesise, tiny
from schemas.compositing import on_solid
from schemas.licence import SYNTHETIC

COUNT = 60


@pytest.fixture(scope="module")
def made() -> list[Document]:
    return [designs.design(11, i, simple=designs.format_of(11, i) == "ora") for i in range(COUNT)]


def leaves(document: Document) -> list[Leaf]:
    return [node for _, node in document.walk() if isinstance(node, Leaf)]


def reaches_out(document: Document) -> bool:
    """Whether some visible layer has alpha outside the visible box."""
    for leaf in leaves(document):
        inside = leaf.box.intersect(document.visible)
        alpha = leaf.pixels()[..., 3].astype(np.int64)
        if leaf.visible and alpha.sum() > alpha[inside.within(leaf.box).slices].sum():
            return True
    return False


def digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_set_has_the_variety_it_promises(made: list[Document]) -> None:
    counts = [document.leaves for document in made]
    assert min(counts) >= 2
    assert max(counts) <= 62
    assert max(counts) >= 35
    assert 0.45 <= sum(map(reaches_out, made)) / COUNT <= 0.75
    kinds = Counter(designs.kind_of(11, i) for i in range(COUNT))
    assert set(kinds) == set(designs.KINDS)
    formats = Counter(designs.format_of(11, i) for i in range(400))
    assert abs(formats["psd"] / 400 - 0.5) < 0.08
    assert abs(formats["ora"] / 400 - 0.25) < 0.08


def test_every_feature_of_layered_files_is_there(made: list[Document]) -> None:
    nodes = [node for document in made for _, node in document.walk()]
    assert any(node.mask is not None for node in nodes)
    assert any(node.clipped for node in nodes)
    assert any(not node.visible for node in nodes)
    assert {"normal", "multiply", "screen"} <= {node.blend_mode for node in nodes}
    assert any(0 < node.opacity < 1 for node in nodes if isinstance(node, Leaf))
    assert any(node.opacity < 1 for node in nodes if isinstance(node, Group))
    assert any(depth > 1 for document in made for depth, _ in document.walk())
    assert len({(document.width, document.height) for document in made}) > 12


def test_text_is_multilingual_and_carries_its_typography(made: list[Document]) -> None:
    texts = [leaf.text for document in made for leaf in leaves(document) if leaf.text is not None]
    assert len({text.language for text in texts}) >= 6
    assert any(len(text.runs) > 1 for text in texts)
    for text in texts:
        assert text.content.strip()
        assert text.direction == ("rtl" if text.language in ("ar", "he") else "ltr")
        for run in text.runs:
            assert run.font
            assert run.size
            assert run.size >= 5
            assert run.colour
            assert run.weight


def test_designs_recompose(made: list[Document]) -> None:
    for document in made[::4]:
        assert flatten(document, FlattenConfig()).recomposition.mae < 0.5


def test_the_preview_is_the_true_render(made: list[Document]) -> None:
    small = sorted(made, key=lambda document: document.width * document.height * document.leaves)[:5]
    for document in small:
        assert document.preview is not None
        truth = render_tree(document)
        for ground in (0, 255):
            assert np.abs(on_solid(document.preview, ground) - on_solid(truth, ground)).max() < 1.6


def test_a_design_depends_on_its_key_alone() -> None:
    once, again, other = designs.design(5, 3), designs.design(5, 3), designs.design(6, 3)
    assert once.preview is not None
    assert np.array_equal(once.preview, again.preview)
    assert other.preview is not None
    assert once.preview.shape != other.preview.shape or not np.array_equal(once.preview, other.preview)


def test_a_family_is_fixed_by_its_block() -> None:
    families = [designs.member_of(2, i) for i in range(400)]
    sizes = Counter(member.family for member in families)
    assert max(sizes.values()) > 1
    assert sum(size == 1 for size in sizes.values()) > 100
    for i, member in enumerate(families):
        assert member.leader + member.place == i
        assert designs.kind_of(2, i) == designs.kind_of(2, member.leader)


def test_files_are_the_same_whoever_writes_them_and_the_set_can_grow(tmp_path: Path) -> None:
    done: list[int] = []
    synthesise(tmp_path / "small", 4, 7, "tiny")
    synthesise(tmp_path / "large", 30, 7, "tiny", done.append)  # enough for several processes
    small, large = digest(tmp_path / "small"), digest(tmp_path / "large")
    assert done == list(range(1, 31))
    assert {name: value for name, value in small.items() if name != "manifest.csv"}.items() <= large.items()
    manifest = (tmp_path / "small" / "manifest.csv").read_text()
    assert (tmp_path / "large" / "manifest.csv").read_text().startswith(manifest)
    synthesise(tmp_path / "small", 4, 7, "tiny")
    assert digest(tmp_path / "small") == small


def test_files_read_back_as_they_were_drawn(tmp_path: Path) -> None:
    manifest = synthesise(tmp_path, 8, 4)
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    assert list(rows[0]) == ["uri", "licence", "licensor", "family"]
    assert {row["licence"] for row in rows} == {SYNTHETIC}
    assert sorted(row["uri"] for row in rows) == sorted(p.name for p in tmp_path.iterdir() if p.name != "manifest.csv")
    for index, row in enumerate(rows):
        kind = designs.format_of(4, index)
        assert detect(row["uri"]) == kind
        found = read(tmp_path / row["uri"], kind, ReadLimits())
        drawn = designs.design(4, index, simple=kind == "ora")
        assert (found.width, found.height) == (drawn.width, drawn.height)
        if kind != "ora":  # OpenRaster says masks and clipping by layers of its own
            assert [node.name for _, node in found.walk()] == [node.name for _, node in drawn.walk()]
        if kind == "folder":
            assert [leaf.text for leaf in leaves(found)] == [leaf.text for leaf in leaves(drawn)]


def test_tiny_designs_are_small_and_overlap() -> None:
    documents = [tiny.design(1, i) for i in range(120)]
    soft = covered = total = 0
    for document in documents:
        assert (document.width, document.height) == (64, 64)
        assert 3 <= document.leaves <= 8
        stack = leaves(document)
        assert any(leaf.text is not None for leaf in stack)
        for i, leaf in enumerate(stack):
            total += 1
            covered += any(not leaf.box.intersect(above.box).empty for above in stack[i + 1 :])
            alpha = leaf.pixels()[..., 3]
            soft += bool(((alpha > 8) & (alpha < 247)).mean() > 0.02)
    assert covered / total >= 0.5
    assert soft / total >= 0.5
    assert 0.45 <= sum(map(reaches_out, documents)) / len(documents) <= 0.8


def test_a_wrong_argument_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        synthesise(tmp_path, 0, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="folder"):
        synthesise(tmp_path / "file", 1, 1)
