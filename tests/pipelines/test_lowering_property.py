"""The lowered stack shows what the tree means, whatever the tree says: held to ``render_tree`` on random documents."""

from __future__ import annotations


import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.flatten import FlattenConfig, lower, render_tree
from pipelines.formats.tree import Document
from schemas.compositing import on_solid
from tests.pipelines.trees import ALL_MODES, CMYK, EFFECTS, Features, documents

ANY = FlattenConfig(min_layers=1, min_side=1)
SHADED = ("normal", "multiply", "screen", "overlay")
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
    "adjustments": Features(adjustments=True),
    "four channels": Features(space=CMYK, effects=EFFECTS, fills=True),
}


def worst(document: Document) -> float:
    """The largest difference of any channel between stack and definition, in 1/255, on black and on white."""
    stack = lower(document, ANY)
    shown, truth = stack.composite[stack.visible.slices], render_tree(document)
    return max(float(np.abs(on_solid(shown, ground) - on_solid(truth, ground)).max()) for ground in (0, 255))


@pytest.mark.parametrize("name", EXACT)
def test_a_stack_shows_what_the_tree_means(name: str) -> None:
    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        document = data.draw(documents(EXACT[name]))
        assert worst(document) <= 1.6

    holds()
