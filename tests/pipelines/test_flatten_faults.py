"""Which features a mismatch names: those of what shows where the error is worst, the hardest to draw first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.errors import Rejected
from pipelines.flatten import flatten, render_tree
from pipelines.flatten.faults import drawn_near, undrawn
from pipelines.formats.style import Blending, PathStroke, Range, Shadow, Solid
from pipelines.formats.tree import Adjustment, Document, Group, Leaf, Mask
from schemas.geometry import Box
from schemas.ledger import Code
from tests.pipelines.flat import ANY, document, leaf

LEFT, RIGHT = (10, 10, 50, 50), (140, 10, 180, 50)
SHADOW = Shadow(colour=(0.0, 0.0, 0.0), distance=20.0, size=6.0)


def wide(*nodes) -> Document:
    return document(leaf((250, 250, 250), (0, 0, 200, 60), name="back"), *nodes, width=200, height=60)


def spoilt(doc: Document, box: tuple[int, ...]) -> Document:
    """The document with a preview that shows something else in a box."""
    preview = render_tree(doc)
    preview[Box(*box).slices][..., :3] = 255 - preview[Box(*box).slices][..., :3]
    return replace(doc, preview=preview)


def refused(doc: Document) -> str:
    with pytest.raises(Rejected) as caught:
        flatten(doc, ANY)
    assert caught.value.code is Code.RECOMPOSE_MISMATCH
    return caught.value.message.partition("; ")[2]


def test_a_mismatch_names_the_feature_near_the_worst_square() -> None:
    shadowed = leaf((200, 0, 0), LEFT, style=(SHADOW,), effects=("drop-shadow",))
    lit = leaf((0, 0, 200), RIGHT, blend_mode="overlay")
    doc = wide(shadowed, lit)
    assert refused(spoilt(doc, LEFT)) == "at fault may be drop-shadow"
    assert refused(spoilt(doc, RIGHT)) == "at fault may be blend mode overlay"


def test_an_effect_is_blamed_as_far_as_it_may_reach() -> None:
    doc = wide(leaf((200, 0, 0), LEFT, style=(SHADOW,), effects=("drop-shadow",)))
    assert drawn_near(doc, Box(70, 20, 75, 30)) == "drop-shadow"
    assert "drop-shadow" not in drawn_near(doc, Box(100, 20, 110, 30))


def test_where_no_feature_is_near_the_layers_are_named_from_the_top() -> None:
    doc = wide(leaf((200, 0, 0), LEFT, name="photo"), leaf((0, 0, 200), RIGHT, name="logo"))
    assert refused(spoilt(doc, LEFT)) == "at fault may be layer 'photo', layer 'back'"


def test_where_nothing_lies_the_preview_is_of_another() -> None:
    doc = document(leaf((1, 2, 3), (0, 0, 20, 20)), width=200, height=60)
    preview = render_tree(doc)
    preview[:, 150:] = 255
    assert refused(replace(doc, preview=preview)) == "the preview is of another"


def test_what_was_not_drawn_comes_before_what_was() -> None:
    doc = wide(leaf((200, 0, 0), LEFT, undrawn=("warp",)), leaf((0, 0, 200), RIGHT, blend_mode="overlay"))
    assert refused(spoilt(doc, RIGHT)) == "not drawn: warp"
    assert undrawn(wide(*[leaf((0, 0, 0), LEFT, undrawn=("warp",))] * 3, leaf((0, 0, 0), undrawn=("3d",)))) == (
        "warp (3x), 3d"
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"blending": Blending(knockout="deep")}, "knockout"),
        ({"blending": Blending(below=(Range(None, (0.5, 0.5)),))}, "blend-if"),
        ({"blending": Blending(channels=(True, False, True))}, "advanced blending"),
        ({"fill_opacity": 0.5}, "fill opacity"),
        ({"blend_mode": "linear-light"}, "blend mode linear-light"),
        ({"fill": Solid((0.0, 0.0, 0.0))}, "solid fill"),
        (
            {"stroke": lambda: PathStroke(coverage=np.zeros((40, 40), np.uint8), paint=Solid((0.0,) * 3))},
            "shape stroke",
        ),
        ({"mask": Mask(Box(*LEFT), np.full((40, 40), 255, np.uint8))}, "mask"),
        ({"clipped": True}, "clipping"),
    ],
)
def test_each_feature_has_a_name(fields: dict, named: str) -> None:
    assert drawn_near(wide(leaf((9, 9, 9), LEFT, **fields)), Box(*LEFT)) == named
    assert named not in drawn_near(wide(leaf((9, 9, 9), LEFT, **fields)), Box(*RIGHT))


def test_the_hardest_comes_first_and_the_list_is_short() -> None:
    curve = Adjustment("curve", kind="curves")
    everything = leaf(
        (9, 9, 9),
        LEFT,
        blend_mode="overlay",
        fill_opacity=0.5,
        clipped=True,
        effects=("drop-shadow", "satin"),
        mask=Mask(Box(*LEFT), np.full((40, 40), 255, np.uint8)),
    )
    found = drawn_near(wide(Group("g", opacity=0.5, children=(leaf((1, 1, 1), LEFT), everything)), curve), Box(*LEFT))
    assert found == "curves, drop-shadow, satin, fill opacity, blend mode overlay, clipping and 2 more"


def test_what_is_hidden_is_not_blamed() -> None:
    hidden = leaf((9, 9, 9), LEFT, visible=False, blend_mode="overlay")
    off = Group("off", visible=False, children=(leaf((9, 9, 9), LEFT, effects=("satin",)),))
    clear = Group("clear", opacity=0.0, children=(leaf((9, 9, 9), LEFT, fill_opacity=0.5),))
    doc = wide(hidden, off, clear)
    assert drawn_near(doc, Box(*LEFT)) == "layer 'back'"
    assert undrawn(wide(Leaf("x", visible=False, undrawn=("warp",)))) == ""
