"""Dissolve: the preview says which pixels are painted; where it says nothing a layer stays as likely as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.flatten import lower, render_tree
from pipelines.formats.tree import Document
from tests.pipelines.flat import ANY, SIDE, document, leaf, shown

LIKELY = "dissolve drawn as normal"
SETTLED = "dissolve as the preview shows it"


def dice(seed: int, share: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).random((SIDE, SIDE)) < share


def dissolving(**fields) -> Document:
    spray = leaf((200, 30, 10), name="spray", **{"blend_mode": "dissolve", "opacity": 0.5, **fields})
    return document(leaf((240, 240, 255), name="back"), spray)


def sprayed(painted: np.ndarray, colour: tuple[int, ...] = (200, 30, 10)) -> np.ndarray:
    picture = np.full((SIDE, SIDE, 4), (240, 240, 255, 255), np.uint8)
    picture[painted] = (*colour, 255)
    return picture


def test_the_layer_has_the_pixels_that_the_preview_shows() -> None:
    painted = dice(1)
    stack = lower(replace(dissolving(), preview=sprayed(painted)), ANY)
    assert (shown(stack) == sprayed(painted)).all()
    spray = stack.layers[1]
    assert ((spray.pixels[..., 3] == 255) == painted).all()
    assert set(np.unique(spray.pixels[..., 3])) == {0, 255}
    assert spray.notes == (SETTLED,)
    assert spray.reusable


@pytest.mark.parametrize("preview", [None, np.zeros((9, 9, 4), np.uint8)])
def test_without_a_preview_it_stays_as_translucent_as_its_pixels_are_likely(preview: np.ndarray | None) -> None:
    stack = lower(replace(dissolving(), preview=preview), ANY)
    assert (stack.layers[1].pixels[..., 3] == 128).all()
    assert stack.layers[1].notes == (LIKELY,)


def test_beyond_the_visible_box_it_stays_translucent() -> None:
    wide = leaf((200, 30, 10), (-6, 0, SIDE, SIDE), name="spray", blend_mode="dissolve", opacity=0.5)
    doc = replace(document(leaf((240, 240, 255)), wide), preview=sprayed(dice(2)))
    spray = lower(doc, ANY).layers[1]
    assert (spray.pixels[:, :6, 3] == 128).all()
    assert set(np.unique(spray.pixels[:, 6:, 3])) == {0, 255}


def test_the_edge_of_the_shape_keeps_its_own_alpha() -> None:
    """The layer's opacity is the likelihood; what its pixels leave is their own."""
    faint = leaf((200, 30, 10, 100), name="spray", blend_mode="dissolve", opacity=0.5)
    painted = dice(3)
    picture = sprayed(np.zeros_like(painted)).astype(float)
    picture[painted, :3] += (np.array((200, 30, 10)) - picture[painted, :3]) * 100 / 255
    doc = replace(document(leaf((240, 240, 255)), faint), preview=np.rint(picture).astype(np.uint8))
    spray = lower(doc, ANY).layers[1]
    assert np.abs(spray.pixels[painted, 3].astype(int) - 100).max() <= 1
    assert (spray.pixels[~painted, 3] == 0).all()


def test_what_lies_above_does_not_confuse_it() -> None:
    painted = dice(4)
    under = dissolving()
    glass = leaf((0, 0, 90, 128), name="glass")
    base = sprayed(painted)
    preview = render_tree(document(replace_pixels(base), glass))
    stack = lower(replace(under, nodes=(*under.nodes, glass), preview=preview), ANY)
    assert ((stack.layers[1].pixels[..., 3] == 255) == painted).all()
    assert stack.recomposition.mae < 0.5


def test_two_that_dissolve_are_settled_both() -> None:
    lower_spray = leaf((200, 30, 10), name="a", blend_mode="dissolve", opacity=0.5)
    upper_spray = leaf((10, 160, 30), name="b", blend_mode="dissolve", opacity=77 / 255)
    first, second = dice(5), dice(6, 0.3)
    picture = sprayed(first)
    picture[second] = (10, 160, 30, 255)
    doc = replace(document(leaf((240, 240, 255)), lower_spray, upper_spray), preview=picture)
    stack = lower(doc, ANY)
    assert (shown(stack) == picture).all()
    assert ((stack.layers[2].pixels[..., 3] == 255) == second).all()


def replace_pixels(pixels: np.ndarray):
    return replace(leaf((0, 0, 0)), pixels=lambda: pixels)
