"""What reaches over an edge of the visible box is complete, and what reaches back in from outside shows.

The truth is the same design drawn on a document so large that nothing leaves it; straight from the tree, and from a
PSD that was written and read back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.flatten import Stack, lower, overflow, render_tree
from pipelines.flatten.planes import alpha_bounds
from pipelines.flatten.stack import Shadows
from pipelines.formats import ReadLimits, read, write
from pipelines.formats.style import Shadow, Solid, Stroke
from pipelines.formats.tree import Document, Leaf, Node
from schemas.compositing import composite
from schemas.geometry import Box
from tests.pipelines.flat import ANY, difference, leaf

WIDTH, HEIGHT, MARGIN = 80, 60, 60
VISIBLE = Box(0, 0, WIDTH, HEIGHT)
AWAY = {"left": (-1, 0), "top": (0, -1), "right": (1, 0), "bottom": (0, 1)}
LIGHT_FROM = {"left": 0.0, "right": 180.0, "top": 270.0, "bottom": 90.0}
"""The angle at which the shadow falls towards that edge."""

Route = Callable[[Document], Document]


def stroked(size: float) -> tuple[Stroke, ...]:
    return (Stroke(paint=Solid((0.0, 0.6, 0.2)), size=size, position="outside"),)


def shaded(edge: str, distance: float) -> tuple[Shadow, ...]:
    return (Shadow(colour=(0.1, 0.1, 0.3), opacity=0.8, angle=LIGHT_FROM[edge], distance=distance, size=6.0),)


def disc(box: Box, dx: int = 0, dy: int = 0, **fields: Any) -> Leaf:
    """A disc with soft edges whose colour differs from place to place."""
    y, x = np.mgrid[: box.height, : box.width].astype(np.float64)
    far = np.hypot(x - box.width / 2 + 0.5, y - box.height / 2 + 0.5)
    alpha = np.clip(min(box.width, box.height) / 2 - far + 0.5, 0, 1)
    pixels = np.stack([150 + 4 * x, 40 + 3 * y, 90 + x + y, 255 * alpha], axis=2).clip(0, 255).astype(np.uint8)
    return Leaf(**{"name": "disc", **fields}, box=box.shift(dx, dy), pixels=lambda: pixels)


def beside(edge: str, inside: int, side: int = 24) -> Box:
    """A square of ``side`` px at the middle of an edge, so that its outer edge is ``inside`` px inside of it."""
    x, y = (WIDTH - side) // 2, (HEIGHT - side) // 2
    return {
        "left": Box(inside, y, inside + side, y + side),
        "top": Box(x, inside, x + side, inside + side),
        "right": Box(WIDTH - inside - side, y, WIDTH - inside, y + side),
        "bottom": Box(x, HEIGHT - inside - side, x + side, HEIGHT - inside),
    }[edge]


def design(*nodes: Node, margin: int = 0) -> Document:
    """The nodes on a background that covers the visible box; with a margin around it on a larger document."""
    back = leaf((240, 230, 200), VISIBLE.shift(margin, margin), name="back")
    return Document(WIDTH + 2 * margin, HEIGHT + 2 * margin, (back, *nodes))


def stored(tmp_path: Path) -> Route:
    def route(document: Document) -> Document:
        write(replace(document, preview=render_tree(document)), tmp_path / "design.psd")
        return read(tmp_path / "design.psd", "psd", ReadLimits())

    return route


@pytest.fixture(params=["tree", "psd"])
def route(request: pytest.FixtureRequest, tmp_path: Path) -> Route:
    return stored(tmp_path) if request.param == "psd" else lambda document: document


def foreground(stack: Stack, grown: int) -> np.ndarray:
    """All but the background on a canvas ``grown`` px larger than the visible box on each side."""
    x, y = grown - stack.visible.x0, grown - stack.visible.y0
    canvas = Box(0, 0, WIDTH + 2 * grown, HEIGHT + 2 * grown)
    return composite([(layer.pixels, layer.box.shift(x, y)) for layer in stack.layers[1:]], canvas)


def truth(make: Callable[[int], tuple[Node, ...]]) -> np.ndarray:
    """The nodes alone on the large document."""
    side = Document(WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN, make(MARGIN))
    return render_tree(side)


def amounts(picture: np.ndarray) -> dict[str, int]:
    """How far a picture on the large document reaches out of the visible box, in px a side."""
    drawn = alpha_bounds(picture[..., 3])
    return {
        "left": max(0, MARGIN - drawn.x0),
        "top": max(0, MARGIN - drawn.y0),
        "right": max(0, drawn.x1 - MARGIN - WIDTH),
        "bottom": max(0, drawn.y1 - MARGIN - HEIGHT),
    }


def reaching(stack: Stack) -> dict[str, int]:
    """The most that a foreground layer says it reaches over each edge."""
    found = [overflow(layer.pixels, layer.box, stack.visible) for layer in stack.layers[1:]]
    return {edge: max(getattr(one, edge) for one in found) for edge in AWAY}


def over_the_edge(kind: str, edge: str) -> Callable[[int], tuple[Node, ...]]:
    """A disc inside the visible box whose effect leaves it, or a base and its clipped child that both do."""

    def make(margin: int) -> tuple[Node, ...]:
        if kind == "stroke":
            return (disc(beside(edge, 1), margin, margin, style=stroked(5.0)),)
        if kind == "shadow":
            return (disc(beside(edge, 2), margin, margin, style=shaded(edge, 10.0)),)
        base = disc(beside(edge, -14), margin, margin, name="base")
        dx, dy = AWAY[edge]
        child = beside(edge, -22).shift(0 if dx else 4, 0 if dy else 4)
        return base, leaf((20, 60, 200, 190), child.shift(margin, margin), clipped=True, name="child")

    return make


@pytest.mark.parametrize("edge", AWAY)
@pytest.mark.parametrize("kind", ["stroke", "shadow", "clipped child"])
def test_what_reaches_over_an_edge_is_complete(kind: str, edge: str, route: Route) -> None:
    make = over_the_edge(kind, edge)
    wanted = truth(make)
    stack = lower(route(design(*make(0))), ANY)
    assert len(stack.layers) == (3 if kind == "clipped child" else 2)
    assert difference(foreground(stack, MARGIN), wanted) <= 1
    assert reaching(stack) == amounts(wanted)
    assert reaching(stack)[edge] == {"stroke": 4, "clipped child": 14}.get(kind, amounts(wanted)[edge]) > 3
    assert sum(reaching(stack).values()) == reaching(stack)[edge]
    assert not any(layer.cropped for layer in stack.layers)
    grown = reaching(stack)
    assert stack.canvas == Box(0, 0, WIDTH + grown["left"] + grown["right"], HEIGHT + grown["top"] + grown["bottom"])
    assert stack.visible == VISIBLE.shift(grown["left"], grown["top"])


@pytest.mark.parametrize("edge", AWAY)
def test_a_clipped_child_over_an_edge_keeps_its_own_pixels(edge: str, route: Route) -> None:
    """The child is a layer of its own: its colour, with the base's alpha, on both sides of the edge."""
    base, child = over_the_edge("clipped child", edge)(0)
    stack = lower(route(design(base, child)), ANY)
    made = stack.layers[2]
    assert made.name == "child"
    assert (made.pixels[made.pixels[..., 3] > 0][:, :3] == (20, 60, 200)).all()
    own = truth(lambda margin: (over_the_edge("clipped child", edge)(margin)[0],))[..., 3] / 255
    found = composite(
        [(made.pixels, made.box.shift(-stack.visible.x0 + MARGIN, -stack.visible.y0 + MARGIN))],
        Box(0, 0, WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN),
    )
    at = Box(*child.box).shift(MARGIN, MARGIN)  # type: ignore[attr-defined]
    wanted = np.zeros(own.shape)
    wanted[at.slices] = own[at.slices] * 190
    assert np.abs(found[..., 3] - wanted).max() <= 1


@pytest.mark.parametrize("edge", AWAY)
@pytest.mark.parametrize("kind", ["stroke", "shadow"])
def test_a_layer_outside_whose_effect_reaches_back_in_shows(kind: str, edge: str, route: Route) -> None:
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[edge]
    style = stroked(6.0) if kind == "stroke" else shaded(opposite, 12.0)

    def make(margin: int) -> tuple[Node, ...]:
        return (disc(beside(edge, -26), margin, margin, style=style),)  # 2 px beyond the edge

    wanted = truth(make)
    stack = lower(route(design(*make(0))), ANY)
    assert [layer.name for layer in stack.layers] == ["back", "disc"]
    assert difference(foreground(stack, MARGIN), wanted) <= 1
    assert reaching(stack) == amounts(wanted)
    assert reaching(stack)[edge] >= 26
    back, whole = stack.layers[0], stack.composite[stack.visible.slices]
    assert np.any(whole != composite([(back.pixels, VISIBLE)], VISIBLE))


@pytest.mark.parametrize("edge", AWAY)
def test_a_layer_outside_whose_effect_stays_outside_goes(edge: str, route: Route) -> None:
    far = disc(beside(edge, -26), style=stroked(2.0))
    away = disc(beside(edge, -26), style=shaded(edge, 12.0))
    assert [layer.name for layer in lower(route(design(far, away)), ANY).layers] == ["back"]


@pytest.mark.parametrize("edge", AWAY)
def test_a_shadow_of_its_own_over_an_edge_is_complete(edge: str) -> None:
    make = over_the_edge("shadow", edge)
    stack = lower(design(*make(0)), ANY.model_copy(update={"shadows": Shadows.APART}))
    assert [layer.name for layer in stack.layers] == ["back", "disc shadow", "disc"]
    assert difference(foreground(stack, MARGIN), truth(make)) <= 1
    shadow = stack.layers[1]
    assert getattr(overflow(shadow.pixels, shadow.box, stack.visible), edge) == amounts(truth(make))[edge]
