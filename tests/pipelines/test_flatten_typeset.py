"""Texts say the colours that are seen."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.flatten import lower
from pipelines.formats.style import Gradient, Overlay, Solid
from pipelines.formats.tree import Adjustment, Mask
from schemas.design import LayerKind, Text, TextRun
from schemas.geometry import Box
from tests.pipelines.flat import ANY, document, leaf

TEXT = Text(runs=(TextRun(text="a", colour="#204060"), TextRun(text="b")))
RAMP = np.array([[0, 0, 0, 1], [1, 1, 1, 1]], np.float32)


def colours(*nodes, **style):
    title = leaf((32, 64, 96), (4, 4, 12, 12), kind=LayerKind.TEXT, text=TEXT, name="title", **style)
    stack = lower(document(leaf((240, 240, 240)), title, *nodes), ANY)
    (found,) = (layer.text for layer in stack.layers if layer.name == "title")
    return [run.colour for run in found.runs]


@pytest.mark.parametrize(
    ("overlays", "seen"),
    [
        ((), "#204060"),
        ((Overlay(paint=Solid((1.0, 0.0, 0.0))),), "#ff0000"),
        ((Overlay(paint=Solid((1.0, 0.0, 0.0)), opacity=0.0),), "#204060"),
        ((Overlay(paint=Solid((1.0, 1.0, 1.0)), opacity=0.5),), "#8f9faf"),
        ((Overlay(paint=Solid((1.0, 1.0, 0.0)), blend_mode="multiply"),), "#204000"),
        ((Overlay(paint=Gradient(RAMP)),), "#808080"),
        ((Overlay(paint=Solid((0.0, 0.0, 1.0))), Overlay(paint=Gradient(RAMP))), "#0000ff"),
    ],
)
def test_an_overlay_colours_the_text(overlays, seen) -> None:
    assert colours(style=overlays) == [seen, None]


def test_an_adjustment_colours_the_text_unless_it_is_masked() -> None:
    invert = Adjustment("invert", kind="invert", apply=lambda colour: 1 - colour)
    assert colours(invert) == ["#dfbf9f", None]
    masked = Adjustment(
        "invert", kind="invert", apply=lambda colour: 1 - colour, mask=Mask(Box(0, 0, 6, 6), np.zeros((6, 6), np.uint8))
    )
    assert colours(masked) == ["#204060", None]
