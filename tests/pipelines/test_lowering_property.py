"""The lowered stack shows what the tree means, whatever the tree says: held to ``render_tree`` on random documents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from pipelines.flatten import FlattenConfig, lower, render_tree
from pipelines.formats.tree import Document
from schemas.compositing import on_solid
from tests.pipelines.trees import ALL_MODES, CMYK, EFFECTS, Features, documents

ANY = FlattenConfig(min_layers=1, min_side=1)
SHADED = ("normal", "multiply", "screen", "overlay")
LEVELS = 3.0
"""What rounding alone can do: a stack has every alpha and colour in 8 bits, and so have the two pictures compared."""

EXACT = {
    "plain": Features(),
    "modes": Features(modes=ALL_MODES),
    "fills": Features(fills=True),
    "fill opacity": Features(fill_opacity=True, modes=ALL_MODES),
    "artboards": Features(artboards=True),
    "strokes": Features(strokes=True, fills=True),
    **{effect: Features(effects=(effect,)) for effect in EFFECTS},
    "effects": Features(effects=EFFECTS),
    "effects that blend": Features(effects=EFFECTS, modes=SHADED),
    "effects and fill opacity": Features(effects=EFFECTS, modes=SHADED, fill_opacity=True),
    "clipped alone": Features(clipped_alone=True, fill_opacity=True),
    "interior": Features(interior=True, effects=EFFECTS, fill_opacity=True, modes=SHADED),
    "mask hides effects": Features(mask_hides=True, effects=EFFECTS),
    "knockout": Features(knockout=True, fill_opacity=True),
    "channels": Features(channels=True),
    "blend-if": Features(ranges=True),
}
BOUNDED = {
    "adjustments": Features(adjustments=True),
    "adjustments that blend": Features(adjustments=True, modes=SHADED),
    "four channels": Features(space=CMYK, effects=EFFECTS, fills=True),
    "everything": Features(
        modes=ALL_MODES,
        effects=EFFECTS,
        fills=True,
        fill_opacity=True,
        knockout=True,
        channels=True,
        ranges=True,
        adjustments=True,
        artboards=True,
        strokes=True,
        clipped_alone=True,
        interior=True,
        mask_hides=True,
    ),
}
"""What a change of colour that is not linear does to translucent layers is fitted, within what nobody sees."""


def worst(document: Document) -> float:
    """The largest difference of any channel between stack and definition, in 1/255, on black and on white."""
    stack = lower(document, ANY)
    shown, truth = stack.composite[stack.visible.slices], render_tree(document)
    return max(float(np.abs(on_solid(shown, ground) - on_solid(truth, ground)).max()) for ground in (0, 255))


def check(features: Features, holds: Callable[[Document], bool], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # a failing tree prints as it is: shrinking pixels takes minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(documents(features))
    def run(document: Document) -> None:
        assert holds(document)

    run()


def is_exact(document: Document) -> bool:
    return worst(document) <= LEVELS


def is_close(document: Document) -> bool:
    return lower(document, ANY).recomposition.mae < 1


@pytest.mark.parametrize("name", EXACT)
def test_a_stack_shows_what_the_tree_means(name: str) -> None:
    check(EXACT[name], is_exact, 8)


def share(name: str, examples: int) -> float:
    """The share of trees that hold: a mode or a blend-if range with a step in it makes much of a rounded level."""
    found: list[bool] = []

    def noted(document: Document) -> bool:
        found.append(is_exact(document) if name in EXACT else is_close(document))
        return True

    check(EXACT.get(name) or BOUNDED[name], noted, examples)
    assert len(found) >= examples * 3 // 4
    return sum(found) / len(found)


@pytest.mark.parametrize("name", BOUNDED)
def test_what_is_fitted_stays_within_what_is_seen(name: str) -> None:
    assert share(name, 12) >= 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EXACT, *BOUNDED])
def test_many_more_trees(name: str) -> None:
    assert share(name, 200) >= (0.8 if name == "everything" else 0.9)
