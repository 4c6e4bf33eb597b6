"""A synthetic PSD, read and lowered again, shows its own preview to within one level at every pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.flatten import FlattenConfig, lower, render_tree
from pipelines.formats import ReadLimits, read, write
from pipelines.formats.style import Bevel, Glow, Gradient, Overlay, Pattern, Satin, Shadow, Solid, Stroke
from pipelines.formats.tree import Document, Leaf
from pipelines.synth import designs
from pipelines.synth.dice import Dice
from pipelines.synth.looks import Looks
from pipelines.synth.palettes import draw_palette
from pipelines.synth.scene import Scene
from schemas.compositing import on_solid

SEED = 11
WHOLE = FlattenConfig(max_layers=1000)
SMALL = (11, 18, 35, 37, 42, 52)
"""Indices of small PSD designs."""


def worst(document: Document, path: Path) -> float:
    """The largest difference of any channel of the lowered file to the preview it was written with, in levels; that of
    a colour counts as much as the pixel is opaque."""
    write(document, path)
    stack = lower(read(path, "psd", ReadLimits()), WHOLE)
    shown, wanted = stack.composite[stack.visible.slices], document.preview
    assert wanted is not None
    difference = np.abs(shown.astype(float) - wanted)
    difference[..., :3] *= wanted[..., 3:] / 255
    return float(difference.max())


@pytest.mark.parametrize("index", SMALL)
def test_a_synthetic_psd_recomposes_exactly(index: int, tmp_path: Path) -> None:
    assert designs.format_of(SEED, index) == "psd"
    assert worst(designs.design(SEED, index), tmp_path / "a.psd") <= 1


@pytest.mark.slow
def test_every_layout_recomposes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One PSD of every layout at least."""
    drawn: list[str] = []

    def recorded(name: str, layout: Callable[[Scene], None]) -> Callable[[Scene], None]:
        def draw(scene: Scene) -> None:
            drawn.append(name)
            layout(scene)

        return draw

    for kind, what in designs.KINDS.items():
        layouts = {name: recorded(f"{kind} {name}", layout) for name, layout in what.layouts.items()}
        monkeypatch.setitem(designs.KINDS, kind, replace(what, layouts=layouts))
    wanted = {f"{kind} {name}" for kind, what in designs.KINDS.items() for name in what.layouts}
    seen: set[str] = set()
    for index in range(400):
        if designs.format_of(SEED, index) == "psd":
            document = designs.design(SEED, index)
            if drawn[-1] not in seen:
                assert worst(document, tmp_path / f"{index}.psd") <= 1, drawn[-1]
                seen.add(drawn[-1])
        if seen == wanted:
            return
    pytest.fail(f"not drawn: {sorted(wanted - seen)}")


def test_only_psd_designs_have_effects() -> None:
    styled = {"psd": 0, "ora": 0, "folder": 0}
    for index in range(12):
        kind = designs.format_of(SEED, index)
        for _, node in designs.design(SEED, index, simple=kind == "ora").walk():
            styled[kind] += bool(node.style) or (isinstance(node, Leaf) and node.fill is not None)
    assert styled["psd"] > 12
    assert not styled["ora"] + styled["folder"]


def test_the_looks_of_designs_hold_every_effect() -> None:
    found: set[object] = set()
    for key in range(400):
        looks = Looks(Dice(key), draw_palette(Dice(key)), 8.0, on=True)
        colour = looks.palette.accent
        head, fill = looks.headline(colour, 60)
        drawn = [*looks.card(colour), *looks.button(colour, 40), *looks.icon(colour, 40), *looks.photo(), *head]
        drawn += [*looks.ornament(60), *looks.lift(5, 5, 0.3, colour)]
        found |= {(type(effect), getattr(effect, "inner", False)) for effect in drawn}
        found |= {(type(effect), type(getattr(effect, "paint", None))) for effect in drawn}
        found |= {fill}
        assert not looks.off().photo()
    wanted = {(Shadow, False), (Shadow, True), (Glow, False), (Glow, True), (Satin, False), (Bevel, False), 0.0}
    paints = {(Stroke, Solid), (Stroke, Gradient), (Glow, Gradient), (Overlay, Solid), (Overlay, Gradient)}
    assert found >= wanted | paints | {(Overlay, Pattern)}


def test_the_quick_preview_of_effects_is_the_definition() -> None:
    for index in (37, 42):
        document = designs.design(SEED, index)
        assert any(node.style for _, node in document.walk())
        truth = render_tree(document)
        assert document.preview is not None
        for ground in (0, 255):
            assert np.abs(on_solid(document.preview, ground) - on_solid(truth, ground)).max() <= 1
