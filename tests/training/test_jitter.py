"""Jitter of a layout: boxes move, what they show does not."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.tasks import FOREGROUND, Task, lay_out
from tests.training.example_batches import BOXES, CANVAS, SHOWN, TOKEN_PX, picture
from training.jitter import JitterConfig, jittered, reboxed

REGIONS = lay_out(Task.IMAGE_TO_LAYERS, BOXES, CANVAS, SHOWN)
PICTURES = [picture(f"region {region.layer}", region.box) for region in REGIONS]
CANVAS_BOX = (0, 0, *CANVAS)


@given(st.integers(0, 2**32), st.integers(0, 3), st.integers(0, 3))
def test_boxes_stay_on_the_canvas_within_reach_and_pictures_fill_them(seed: int, grow: int, shrink: int) -> None:
    config = JitterConfig(share=1, grow=grow, shrink=shrink)
    regions, pictures = jittered(REGIONS, PICTURES, CANVAS, TOKEN_PX, config, np.random.default_rng(seed))
    for old, new, shown in zip(REGIONS, regions, pictures, strict=True):
        x0, y0, x1, y1 = new.box
        assert 0 <= x0 < x1 <= CANVAS[0]
        assert 0 <= y0 < y1 <= CANVAS[1]
        assert shown.shape == ((y1 - y0) * TOKEN_PX, (x1 - x0) * TOKEN_PX, 4)
        outward = [old.box[0] - x0, old.box[1] - y0, x1 - old.box[2], y1 - old.box[3]]
        assert all(-shrink <= side <= grow for side in outward)
        assert (new.layer, new.clean, new.condition) == (old.layer, old.clean, old.condition)
        if old.layer < FOREGROUND:
            assert new.box == old.box


@given(st.integers(0, 2**32))
def test_a_grown_box_shows_the_same_layer_with_nothing_around(seed: int) -> None:
    config = JitterConfig(share=1, grow=2)
    regions, pictures = jittered(REGIONS, PICTURES, CANVAS, TOKEN_PX, config, np.random.default_rng(seed))
    for old, new, before, after in zip(REGIONS, regions, PICTURES, pictures, strict=True):
        on_canvas = [reboxed(shown, box, CANVAS_BOX, TOKEN_PX) for shown, box in ((before, old.box), (after, new.box))]
        assert torch.equal(*on_canvas)


def test_a_shrunk_box_cuts_its_layer_off() -> None:
    config = JitterConfig(share=1, grow=0, shrink=1)
    regions, pictures = jittered(REGIONS, PICTURES, CANVAS, TOKEN_PX, config, np.random.default_rng(1))
    assert any(new.tokens < old.tokens for old, new in zip(REGIONS, regions, strict=True))
    for old, new, before, after in zip(REGIONS, regions, PICTURES, pictures, strict=True):
        assert torch.equal(after, reboxed(before, old.box, new.box, TOKEN_PX))


def test_every_side_moves_by_every_step_now_and_then() -> None:
    config = JitterConfig(share=1, grow=1, shrink=1)
    seen: list[set[int]] = [set(), set(), set(), set()]
    for seed in range(60):
        regions, _ = jittered(REGIONS, PICTURES, CANVAS, TOKEN_PX, config, np.random.default_rng(seed))
        for side, (was, now) in enumerate(zip(BOXES[2], regions[3].box, strict=True)):
            seen[side].add(now - was)
    assert seen == [{-1, 0, 1}] * 4


def test_the_share_of_jittered_designs() -> None:
    drawn = [
        jittered(REGIONS, PICTURES, CANVAS, TOKEN_PX, JitterConfig(share=0.3), np.random.default_rng(seed))[0]
        for seed in range(300)
    ]
    assert 0.22 < np.mean([regions != REGIONS for regions in drawn]) < 0.38
