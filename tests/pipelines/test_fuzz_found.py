"""What fuzzing has found, each as the smallest design that showed it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.extract import extract_file
from pipelines.formats import Document, Group, Leaf, Node, ReadLimits, fetch, write
from pipelines.formats.style import AnyEffect, Overlay, Shadow, Solid, Stroke
from schemas.geometry import Box
from tests.pipelines.fuzz import seeds, target

RED = (1.0, 0.0, 0.0)
SHADOW, STROKE = Shadow(colour=RED, distance=4, size=2), Stroke(paint=Solid(RED), size=2)


def filled(name: str, box: Box, level: int, **options: object) -> Leaf:
    pixels = np.full((box.height, box.width, 4), 255, np.uint8)
    pixels[..., :3] = level
    return Leaf(name, box=box, pixels=lambda: pixels, **options)  # type: ignore[arg-type]


def extracted(nodes: tuple[Node, ...], folder: Path) -> list[int]:
    """The leaves that each layer of the extracted sample stands for."""
    path, into = folder / "design.psd", folder / "working"
    into.mkdir()
    write(seeds.shown(Document(40, 30, nodes)), path)
    sample, _ = extract_file(fetch(str(path), into, ReadLimits(), {}), target.CONFIG)
    return [layer.leaves for layer in sample.design.layers]


@pytest.mark.parametrize("style", [(SHADOW,), (STROKE,), (SHADOW, STROKE), (Overlay(paint=Solid(RED)),)])
@pytest.mark.parametrize("solid", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_effects_that_are_a_layer_of_their_own_have_a_record(
    tmp_path: Path, style: tuple[AnyEffect, ...], solid: bool, grouped: bool
) -> None:
    """A group's shadow became a layer of no leaves, which no record may say."""
    ground = filled("ground", Box(0, 0, 40, 30), 200)
    leaf = filled("leaf", Box(10, 8, 30, 20), 20, fill_opacity=float(solid), style=() if grouped else style)
    children = (leaf, filled("other", Box(4, 4, 12, 12), 60))
    node = Group("group", children=children, isolated=True, style=style) if grouped else leaf
    leaves = extracted((ground, node), tmp_path)
    assert len(leaves) >= 1 and all(count >= 1 for count in leaves)


def test_a_layer_that_only_clips_leaves_a_record_that_is_complete(tmp_path: Path) -> None:
    ground = filled("ground", Box(0, 0, 40, 30), 200)
    base = filled("base", Box(10, 8, 30, 20), 20, fill_opacity=0.0, style=(SHADOW,))
    top = filled("top", Box(0, 0, 40, 30), 90, clipped=True)
    assert all(count >= 1 for count in extracted((ground, base, top), tmp_path))
