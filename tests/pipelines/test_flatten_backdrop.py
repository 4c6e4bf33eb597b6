"""What a scope has painted, and what a knockout in it reveals."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.flatten import lower
from pipelines.flatten.backdrop import Backdrop
from pipelines.formats.style import Blending
from pipelines.formats.tree import Group
from schemas.design import LayerKind
from schemas.geometry import Box
from tests.pipelines.flat import ANY, SIDE, document, leaf, off, painted, shown

SPOT = Box(0, 0, 4, 4)
PAPER, RED, BLUE = (250, 240, 230), (200, 0, 0), (0, 0, 200)
background = painted(PAPER, kind=LayerKind.BACKGROUND)


def colour(backdrop: Backdrop) -> list[int]:
    """The colour at the origin, with alpha."""
    straight, alpha = backdrop.state(SPOT)
    return np.rint(np.append(straight[0, 0], alpha[0, 0]) * 255).astype(int).tolist()


def scope(*layers, **fields) -> Backdrop:
    return Backdrop(layers=list(layers), **fields)


def test_it_keeps_the_composite_of_what_was_added() -> None:
    ground = scope(painted(RED))
    assert colour(ground) == [*RED, 255]
    ground.add([painted((*BLUE, 51))])
    assert colour(ground) == [160, 0, 40, 255]
    ground.replace([painted(BLUE)])
    assert colour(ground) == [*BLUE, 255]


def test_a_document_has_its_background_for_a_floor_and_else_nothing() -> None:
    for deep in (False, True):
        assert colour(scope(background, painted(RED)).floor(deep)) == [*PAPER, 255]
        assert colour(scope(painted(RED), painted(BLUE)).floor(deep)) == [0, 0, 0, 0]
        assert colour(scope().floor(deep)) == [0, 0, 0, 0]


def test_a_shallow_knockout_sees_what_its_group_began_with_and_a_deep_one_the_background() -> None:
    outer = scope(background, painted(RED))
    middle = scope(painted((0, 90, 0)), start=outer)
    inner = scope(painted(BLUE), start=middle)
    assert colour(inner.floor(False)) == [0, 90, 0, 255]
    assert colour(middle.floor(False)) == [*RED, 255]
    assert colour(inner.floor(True)) == [*PAPER, 255]


def test_only_a_document_has_a_background() -> None:
    group = scope(background, painted(BLUE), start=scope(painted(RED)))
    assert colour(group.floor(False)) == [*RED, 255]


def test_a_sealed_scope_ends_what_is_deep() -> None:
    outer = scope(background, painted(RED))
    sealed = scope(painted(BLUE), start=outer, sealed=True)
    assert colour(scope(painted((9, 9, 9)), start=sealed).floor(True)) == [*RED, 255]
    assert colour(scope(painted(BLUE), sealed=True).floor(True)) == [0, 0, 0, 0]


def test_among_clipped_layers_the_floor_is_their_base() -> None:
    run = scope(painted(RED), painted(BLUE), solid=True, base=1)
    for deep in (False, True):
        assert colour(run.floor(deep)) == [*RED, 255]
    assert colour(run) == [*BLUE, 255]


def test_a_solid_scope_counts_as_opaque_wherever_its_base_is() -> None:
    run = scope(painted((*RED, 100), (0, 0, 2, 4)), painted(BLUE), solid=True, base=1)
    straight, alpha = run.state(SPOT)
    assert alpha[0].tolist() == [1, 1, 0, 0]
    assert np.rint(straight[0, 0] * 255).tolist() == list(BLUE)


def test_the_floor_is_not_changed_by_what_comes_later() -> None:
    ground = scope(background)
    floor = ground.floor(False)
    ground.add([painted(RED)])
    assert colour(floor) == [*PAPER, 255]


@pytest.mark.parametrize(("knockout", "seen"), [("shallow", RED), ("deep", PAPER)])
def test_a_knockout_in_a_group_shows_its_floor(knockout: str, seen: tuple[int, ...]) -> None:
    hole = leaf((1, 1, 1), (4, 4, 12, 12), fill_opacity=0.0, blending=Blending(knockout=knockout), name="hole")
    group = Group("g", children=(leaf(BLUE, (2, 2, 20, 20)), hole))
    paper = leaf(PAPER, kind=LayerKind.BACKGROUND, name="paper")
    doc = document(paper, leaf(RED, (0, 0, SIDE, 22), name="red"), group)
    stack = lower(doc, ANY)
    assert shown(stack)[8, 8].tolist() == [*seen, 255]
    assert shown(stack)[3, 3].tolist() == [*BLUE, 255]
    assert off(stack, doc) <= 1
