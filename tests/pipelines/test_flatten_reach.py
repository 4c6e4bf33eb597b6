"""What a layer reaches: fills without an end, and designs that are drawn whole before they are scaled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.errors import Rejected
from pipelines.flatten import FlattenConfig, flatten, lower, render_tree
from pipelines.flatten.scale import resized
from pipelines.formats.style import Pattern, Solid
from pipelines.formats.tree import Document, Leaf
from schemas.geometry import Box
from tests.pipelines.flat import ANY, leaf


def endless(paint, side, **fields) -> Leaf:
    pixels = np.full((side, side, 4), 255, np.uint8)
    return Leaf("fill", box=Box(0, 0, side, side), pixels=lambda: pixels, fill=paint, endless=True, **fields)


def test_a_fill_clipped_to_a_layer_colours_what_of_it_overflows() -> None:
    photo = leaf((200, 10, 10), (-10, 4, 34, 20), name="photo")
    document = Document(
        24, 24, (leaf((255, 255, 255), (0, 0, 24, 24)), photo, endless(Solid((0, 0, 1)), 24, clipped=True))
    )
    stack = lower(document, ANY)
    made = next(layer for layer in stack.layers if layer.name == "fill")
    assert made.box.width == 44
    assert (made.pixels == (0, 0, 255, 255)).all()
    assert stack.canvas.width == 44


def test_a_fill_by_itself_ends_with_the_document() -> None:
    stack = lower(Document(24, 24, (leaf((9, 9, 9), (2, 2, 9, 9)), endless(Solid((0, 0, 1)), 24))), ANY)
    assert stack.layers[-1].box == Box(0, 0, 24, 24)


def test_a_design_that_scaling_spoils_is_scaled_once_it_is_drawn() -> None:
    tile = np.random.default_rng(0).integers(0, 256, (7, 7, 4)).astype(np.uint8)
    tile[..., 3] = 255
    nodes = (leaf((255, 255, 255), (0, 0, 512, 512)), endless(Pattern(tile), 512))
    nodes = (nodes[0], replace(nodes[1], name="pattern"), leaf((0, 0, 0), (9, 9, 99, 99), name="box"))
    document = Document(512, 512, nodes)
    document = replace(document, preview=render_tree(document))
    config = FlattenConfig(max_side=300, min_layers=1)
    early = lower(document, config)
    assert early.recomposition.mae > 1
    stack = flatten(document, config)
    assert stack.recomposition.mae < 1
    assert stack.scale == early.scale and stack.visible == early.visible
    wanted = resized(document.preview, 300, 300).astype(int)
    assert np.abs(stack.composite[stack.visible.slices].astype(int) - wanted).mean() < 1
    with pytest.raises(Rejected, match="pattern"):
        flatten(replace(document, preview=255 - document.preview), config)
