"""Rotary positions against diffusers' tables, and a slice of a grid against the grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_qwenimage import (
    QwenEmbedLayer3DRope,
    QwenEmbedRope,
    apply_rotary_emb_qwen,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.regions import Regions
from model.rope import MAX_POSITION, rotate, rotations
from model.tasks import Region
from tests.model.tiny_models import draw

AXES = [(8, 12, 12), (16, 56, 56), (0, 16, 16)]


def grid(height: int, width: int, layer: int = 0) -> Tensor:
    """[T, 3]: the centred positions of a picture."""
    box = (0, 0, width, height)
    return Regions.lay_out([[Region(layer, box)]], [(width, height)], [box]).positions_T3


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("size", [(1, 1), (5, 8), (64, 33), (2, 700)])
def test_the_tables_of_diffusers(axes: tuple[int, int, int], size: tuple[int, int]) -> None:
    table = QwenEmbedRope(10000, list(axes), scale_rope=True)
    image, text = table([[(1, *size)]], torch.device("cpu"), 20)
    start = max(size) // 2
    ours = rotations(grid(*size), axes, 10000.0)
    torch.testing.assert_close(ours, image, atol=1e-6, rtol=0)
    text_S3 = torch.arange(start, start + 20)[:, None].expand(-1, 3)
    torch.testing.assert_close(rotations(text_S3, axes, 10000.0), text, atol=1e-6, rtol=0)


@pytest.mark.parametrize("axes", AXES)
def test_the_angles_are_the_same_floats_over_the_whole_table(axes: tuple[int, int, int]) -> None:
    """Not close alone: the far end of a table has angles whose rounding is seen in the result."""
    table = QwenEmbedRope(10000, list(axes), scale_rope=True)
    positions = torch.arange(MAX_POSITION)
    for index, theirs in ((positions, table.pos_freqs), (-1 - positions.flip(0), table.neg_freqs)):
        ours = rotations(index[:, None].expand(-1, 3), axes, 10000.0)
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("size", [(3, 4), (8, 2)])
def test_the_condition_is_the_layer_before_the_first(size: tuple[int, int]) -> None:
    table: Any = QwenEmbedLayer3DRope(10000, list(AXES[0]), scale_rope=True)
    image, text = table([[(1, *size)] * 9], max_txt_seq_len=3, device=torch.device("cpu"))
    positions = torch.cat([grid(*size, layer=layer) for layer in (*range(8), -1)])
    torch.testing.assert_close(rotations(positions, AXES[0], 10000.0), image, atol=1e-6, rtol=0)
    text_S3 = torch.arange(8, 11)[:, None].expand(-1, 3)  # past 8 layers, as these are more than half a side
    torch.testing.assert_close(rotations(text_S3, AXES[0], 10000.0), text, atol=1e-6, rtol=0)


sides = st.integers(1, 40)


@settings(max_examples=60)
@given(st.data(), sides, sides, st.integers(0, 50))
def test_a_slice_has_the_rotations_of_the_grid_bit_by_bit(data: st.DataObject, w: int, h: int, layer: int) -> None:
    """Wherever the box, and wherever the visible box that the grid is centred on."""
    boxes = st.tuples(st.integers(0, w - 1), st.integers(0, h - 1)).flatmap(
        lambda low: st.tuples(st.just(low[0]), st.just(low[1]), st.integers(low[0] + 1, w), st.integers(low[1] + 1, h))
    )
    box, visible = data.draw(boxes), data.draw(boxes)
    x0, y0, x1, y1 = box
    both = [Region(layer, (0, 0, w, h)), Region(layer, box)]
    regions = Regions.lay_out([both], [(w, h)], [visible])
    whole, part = rotations(regions.positions_T3, AXES[0], 100.0).split(regions.counts)
    assert torch.equal(whole.view(h, w, -1)[y0:y1, x0:x1].flatten(0, 1), part)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_turned_as_diffusers_turns(dtype: torch.dtype) -> None:
    x = draw(1, 35, 4, 32).to(dtype)
    positions = rotations(grid(5, 7, layer=3), AXES[0], 10000.0)
    theirs = apply_rotary_emb_qwen(x, positions, use_real=False)
    torch.testing.assert_close(rotate(x[0], positions), theirs[0], atol=1e-6, rtol=1e-6)
    assert rotate(x[0], positions).dtype is dtype


def test_what_is_turned_sees_distances_alone() -> None:
    """Moving all positions of an axis together leaves every product of a query and a key as it is."""
    query, key = draw(20, 1, 32, seed=1).double(), draw(20, 1, 32, seed=2).double()

    def scores(shift: list[int]) -> Tensor:
        turn = rotations(grid(4, 5, layer=1) + torch.tensor(shift), AXES[0], 10000.0)
        return rotate(query, turn)[:, 0] @ rotate(key, turn)[:, 0].T

    here = scores([0, 0, 0])
    for shift in ([7, 0, 0], [0, -30, 0], [0, 0, 25]):
        torch.testing.assert_close(scores(shift), here, atol=1e-4, rtol=0)
