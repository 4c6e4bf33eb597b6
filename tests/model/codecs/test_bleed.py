"""Colour goes under transparent pixels and nowhere else: from the own patch, from near patches, never from others."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.codecs.bleed import NOTHING, bleed

Size = tuple[int, int]
sizes_of = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4)


def noise(sizes: list[Size], pixels: int, seed: int, visible: float = 0.5) -> Tensor:
    """Patches of pictures of random bytes, a share of whose patches, and of the pixels in those, are visible."""
    rng = torch.Generator().manual_seed(seed)
    patches = sum(height * width for height, width in sizes)
    out = torch.randint(0, 256, (patches, pixels, 4), generator=rng, dtype=torch.uint8)
    seen = (torch.rand(patches, 1, generator=rng) < visible) & (torch.rand(patches, pixels, generator=rng) < 0.5)
    out[..., 3] = torch.where(seen, out[..., 3].clamp(min=1), 0)
    return out


def one(picture: Tensor) -> Tensor:
    """A picture [H, W, 4] bled pixel by pixel."""
    height, width = picture.shape[:2]
    return bleed(picture.reshape(-1, 1, 4), [(height, width)]).view(height, width, 4)


@settings(max_examples=30, deadline=None)
@given(sizes_of, st.sampled_from([1, 4, 9]), st.integers(0, 1000))
def test_visible_pixels_and_every_alpha_stay(sizes: list[Size], pixels: int, seed: int) -> None:
    patches = noise(sizes, pixels, seed)
    before = patches.clone()
    out = bleed(patches, sizes)
    assert torch.equal(patches, before)
    assert out.dtype == torch.uint8
    assert torch.equal(out[..., 3], patches[..., 3])
    assert torch.equal(out[patches[..., 3] > 0], patches[patches[..., 3] > 0])


@settings(max_examples=30, deadline=None)
@given(sizes_of, st.sampled_from([1, 4]), st.integers(0, 1000), st.floats(0, 1))
def test_pictures_do_not_see_each_other(sizes: list[Size], pixels: int, seed: int, visible: float) -> None:
    patches = noise(sizes, pixels, seed, visible)
    alone = [bleed(piece, [size]) for piece, size in zip(patches.split([h * w for h, w in sizes]), sizes, strict=True)]
    assert torch.equal(bleed(patches, sizes), torch.cat(alone))


@settings(max_examples=30, deadline=None)
@given(sizes_of, st.integers(0, 1000))
def test_colour_under_transparency_counts_for_nothing(sizes: list[Size], seed: int) -> None:
    patches = noise(sizes, 4, seed)
    black = patches * (patches[..., 3:] > 0)
    assert torch.equal(bleed(patches, sizes), bleed(black, sizes))
    assert torch.equal(bleed(bleed(patches, sizes), sizes), bleed(patches, sizes))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_one_colour_goes_everywhere(height: int, width: int, seed: int) -> None:
    """Of any size and from any number of pixels, so every pixel is reached."""
    rng = torch.Generator().manual_seed(seed)
    colour = torch.randint(0, 256, (3,), generator=rng, dtype=torch.uint8)
    alpha = torch.randint(1, 256, (height, width), generator=rng, dtype=torch.uint8)
    alpha *= torch.rand(height, width, generator=rng) < 0.1
    alpha[int(torch.randint(height, (1,), generator=rng)), 0] = 1
    picture = torch.cat([colour.expand(height, width, 3), alpha[..., None]], dim=-1) * (alpha > 0)[..., None]
    assert torch.equal(one(picture)[..., :3], colour.expand(height, width, 3))


def test_a_hole_takes_the_mean_of_its_patch_by_alpha() -> None:
    pixels = torch.tensor([[[255, 0, 0, 30], [0, 0, 255, 90], [9, 9, 9, 0]]], dtype=torch.uint8)
    assert bleed(pixels, [(1, 1)])[0, 2].tolist() == [round(255 / 4), 0, round(255 * 3 / 4), 0]


def test_an_empty_patch_takes_the_nearest_square_that_has_colour() -> None:
    """Of eight patches in a row the first is red, the sixth blue: halves, then quarters go to the one in them."""
    row = torch.zeros(8, 1, 4, dtype=torch.uint8)
    row[0, 0] = torch.tensor([200, 0, 0, 255])
    row[5, 0] = torch.tensor([0, 0, 200, 255])
    out = bleed(row, [(1, 8)])[:, 0, :3]
    assert out[:4].tolist() == [[200, 0, 0]] * 4
    assert out[4:].tolist() == [[0, 0, 200]] * 4


def test_nothing_visible_is_a_constant() -> None:
    out = one(torch.zeros(5, 7, 4, dtype=torch.uint8))
    assert (out[..., :3] == int(NOTHING)).all() and (out[..., 3] == 0).all()
    assert bleed(torch.zeros(0, 4, 4, dtype=torch.uint8), []).shape == (0, 4, 4)


@pytest.mark.gpu
def test_an_accelerator_bleeds_the_same() -> None:
    sizes = [(5, 9), (1, 1), (32, 3)]
    patches = noise(sizes, 64, 0)
    difference = bleed(patches.cuda(), sizes).cpu().int() - bleed(patches, sizes).int()
    assert difference.abs().max() <= 1
