"""Pictures before a codec: checked against their definitions in float64, and against what must never be seen."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from model.codecs.base import MAX_PICTURE, MAX_PIXELS
from model.errors import CodecError
from model.pictures import Fit, clip, flatten, given_picture, refit, with_alpha

RED = torch.tensor([255, 0, 0, 255], dtype=torch.uint8)
SIDES = st.integers(1, 40)


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (height, width, 4), generator=rng, dtype=torch.uint8)


def solid(height: int, width: int, colour: Tensor = RED) -> Tensor:
    return colour.expand(height, width, 4).clone()


def exactly(picture: Tensor, colour: tuple[int, int, int]) -> Tensor:
    """The picture on a colour, float64, not rounded."""
    alpha = picture[..., 3:].double() / 255
    return picture[..., :3].double() * alpha + torch.tensor(colour).double() * (1 - alpha)


def test_flatten_is_the_nearest_to_the_exact_mix() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    value, alpha = torch.meshgrid(values, values, indexing="ij")
    picture = torch.stack([value, value, value, alpha], dim=-1)
    colour = (0, 100, 255)
    flat = flatten(picture, colour)
    assert (flat[..., 3] == 255).all()
    assert (flat[..., :3].double() - exactly(picture, colour)).abs().max() <= 0.5
    assert torch.equal(flatten(flat, (9, 9, 9)), flat)
    assert torch.equal(flat[:, 0, :3], torch.tensor(colour, dtype=torch.uint8).expand(256, 3))


@given(
    st.tuples(SIDES, SIDES),
    st.tuples(*[st.floats(-5, 45)] * 2),
    st.tuples(*[st.floats(0.25, 45)] * 2),
    st.integers(0, 9),
)
def test_a_clipped_pixel_is_as_opaque_as_its_share_and_no_more(
    size: tuple[int, int], low: tuple[float, float], extent: tuple[float, float], seed: int
) -> None:
    picture = noise(*size, seed)
    box = (*low, low[0] + extent[0], low[1] + extent[1])
    if not (box[0] < size[1] and box[1] < size[0] and box[2] > 0 and box[3] > 0):
        with pytest.raises(CodecError, match="shows nothing"):
            clip(picture, box)
        return
    clipped = clip(picture, box)
    for y in range(size[0]):
        tall = max(0.0, min(y + 1, box[3]) - max(y, box[1]))
        for x in range(size[1]):
            share = tall * max(0.0, min(x + 1, box[2]) - max(x, box[0]))
            alpha = int(clipped[y, x, 3])
            assert abs(alpha - min(float(picture[y, x, 3]), 255 * share)) <= 0.5 + 1e-9
            assert clipped[y, x, :3].tolist() == (picture[y, x, :3].tolist() if alpha else [0, 0, 0])
    assert torch.equal(clip(clipped, box), clipped)


def by_definition(picture: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    """The clipped picture, the share of each pixel written out in float64."""
    shares = []
    for low, high, length in ((box[1], box[3], len(picture)), (box[0], box[2], picture.shape[1])):
        start = torch.arange(length, dtype=torch.float64)
        shares.append(((start + 1).clamp(max=high) - start.clamp(min=low)).clamp(min=0))
    most = torch.outer(*shares).mul(255).round().to(torch.uint8)
    alpha = torch.minimum(picture[..., 3], most)[..., None]
    return torch.cat([picture[..., :3], alpha], dim=-1) * (alpha > 0)


EDGES = st.one_of(st.floats(-3, 43), st.integers(-3, 43).map(float), st.floats(-1e300, 1e300))


@given(st.tuples(SIDES, SIDES), st.tuples(EDGES, EDGES), st.tuples(EDGES, EDGES), st.integers(0, 9))
@example((5, 7), (2.25, 2.75), (3.5, 3.75), 0)
@example((5, 7), (1e-20, 7 - 1e-12), (1 - 1e-12, 2 + 1e-12), 0)
def test_only_edges_are_computed_but_every_pixel_is_as_defined(
    size: tuple[int, int], across: tuple[float, float], down: tuple[float, float], seed: int
) -> None:
    picture = noise(*size, seed)
    box = (min(across), min(down), max(across), max(down))
    if max(0, box[0]) < min(size[1], box[2]) and max(0, box[1]) < min(size[0], box[3]):
        clipped = clip(picture, box)
        assert torch.equal(clipped, by_definition(picture, box))
        y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
        outside = (x + 1 <= box[0]) | (x >= box[2]) | (y + 1 <= box[1]) | (y >= box[3])
        assert not clipped[outside].any()


class Allocations(TorchDispatchMode):
    """Bytes of every storage that an operation makes, none of them given back."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, Tensor] = {}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        out = function(*arguments, **(options or {}))
        if isinstance(out, Tensor):
            self.made[out.untyped_storage().data_ptr()] = out
        return out

    @property
    def bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in self.made.values())


def test_clipping_takes_little_more_than_the_picture_that_it_makes() -> None:
    picture = solid(400, 300)
    with Allocations() as allocations:
        clipped = clip(picture, (1.5, 2.5, 290.25, 399.75))
    assert clipped.nbytes < allocations.bytes - picture.nbytes < 1.5 * clipped.nbytes  # its views count the picture


def test_a_box_on_whole_pixels_cuts_and_a_hair_more_shows_nothing() -> None:
    picture = solid(6, 8)
    cut = torch.zeros_like(picture)
    cut[1:4, 2:7] = RED
    assert torch.equal(clip(picture, (2, 1, 7, 4)), cut)
    assert torch.equal(clip(picture, (2 - 1e-4, 1, 7, 4 + 1e-4)), cut)
    assert torch.equal(clip(picture, (-3, -3, 30, 30)), picture)


def test_an_input_tells_nothing_of_what_lies_outside() -> None:
    """The picture begins at (32, 16) of the canvas; of its 16 x 16 px a viewer sees 12 x 10.5."""
    visible, corner = (32.0, 16.0, 44.0, 26.5), (32, 16)
    one, other = noise(16, 16, 1), noise(16, 16, 2)
    other[:11, :12] = one[:11, :12]
    shown = given_picture(one, corner, visible, (10, 20, 30))
    assert torch.equal(shown, given_picture(other, corner, visible, (10, 20, 30)))
    assert (shown[..., 3] == 255).all()
    ground = torch.tensor([10, 20, 30], dtype=torch.uint8)
    assert (shown[11:, :, :3] == ground).all()
    assert (shown[:, 12:, :3] == ground).all()
    assert torch.equal(shown[:10, :12], flatten(one, (10, 20, 30))[:10, :12])
    edge = one[10:11, :12].clone()
    edge[..., 3] = edge[..., 3].clamp(max=128)
    assert torch.equal(shown[10:11, :12], flatten(edge, (10, 20, 30)))


@pytest.mark.parametrize("fit", list(Fit))
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES))
def test_one_colour_stays_one_colour(fit: Fit, size: tuple[int, int], box: tuple[int, int]) -> None:
    colour = torch.tensor([200, 3, 77, 255], dtype=torch.uint8)
    out = refit(solid(*size, colour), box, fit)
    assert out.shape == (*box, 4)
    assert out.is_contiguous()
    seen = out[..., 3] > 0
    assert (out[seen] == colour).all()
    assert (out[~seen] == 0).all()
    if fit is not Fit.CONTAIN:
        assert seen.all()
        return
    scale = min(box[0] / size[0], box[1] / size[1])
    tall, wide = (int(seen.any(dim=axis).sum()) for axis in (1, 0))
    assert abs(tall - size[0] * scale) <= max(0.5, 1 - size[0] * scale) + 1e-9
    assert abs(wide - size[1] * scale) <= max(0.5, 1 - size[1] * scale) + 1e-9
    assert seen.sum() == tall * wide
    rows, columns = seen.any(dim=1).nonzero()[:, 0], seen.any(dim=0).nonzero()[:, 0]
    assert 0 <= box[0] - 1 - int(rows[-1]) - int(rows[0]) <= 1
    assert 0 <= box[1] - 1 - int(columns[-1]) - int(columns[0]) <= 1


@pytest.mark.parametrize("fit", list(Fit))
def test_a_picture_of_the_size_of_its_box_stays(fit: Fit) -> None:
    picture = noise(9, 7)
    assert torch.equal(refit(picture, (9, 7), fit), picture * (picture[..., 3:] > 0))


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize("size", [(8, 8), (5, 9), (31, 20), (1, 1)])
def test_hidden_colours_are_never_seen(fit: Fit, size: tuple[int, int]) -> None:
    """Green where it is transparent, red where it is not: no pixel that is seen has any green, and none is dark."""
    picture = torch.tensor([0, 255, 0, 0], dtype=torch.uint8).expand(16, 12, 4).clone()
    picture[3:9, 4:12] = RED
    out = refit(picture, size, fit)
    assert (out[out[..., 3] > 0][:, :3] == RED[:3]).all()
    assert (out[out[..., 3] == 0] == 0).all()
    again = with_alpha(picture, noise(16, 12)[..., 3].clamp(min=1))
    assert (again[..., :3] == RED[:3]).all()


def hats(length: int, size: int) -> Tensor:
    """f64 [size, length]: triangles around the centres of the output's pixels, normalised; wider where it shrinks."""
    ratio = length / size
    centres = (torch.arange(size).double() + 0.5) * ratio
    distance = (torch.arange(length).double() + 0.5 - centres[:, None]).abs() / max(1.0, ratio)
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(0, 99))
@example((17, 1), (40, 1), 0)
@example((1, 17), (1, 40), 0)
@example((23, 5), (3, 1), 0)
@example((5, 23), (1, 3), 0)
def test_stretch_is_linear_in_premultiplied_colour(size: tuple[int, int], box: tuple[int, int], seed: int) -> None:
    picture = noise(*size, seed)
    alpha = picture[..., 3:].double()
    plane = torch.cat([picture[..., :3].double() * alpha, alpha], dim=-1)
    exact = torch.einsum("hy,wx,yxc->hwc", hats(size[0], box[0]), hats(size[1], box[1]), plane)
    out = refit(picture, box, Fit.STRETCH).double()
    assert (out[..., 3] - exact[..., 3]).abs().max() <= 0.5 + 1e-3
    seen = out[..., 3] > 0
    assert (((out[..., :3] - exact[..., :3] / exact[..., 3:])[seen]).abs() <= 0.5 + 1e-2).all()


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES))
def test_cover_keeps_the_shape_and_the_middle(size: tuple[int, int], box: tuple[int, int]) -> None:
    """A ramp along each side of the picture, read back in the box: as steep as the scale says, from the same middle."""
    scale = max(box[0] / size[0], box[1] / size[1])
    for axis in (0, 1):
        length, out = size[axis], box[axis]
        step = 250 / length
        ramp = (torch.arange(length).double() + 0.5) * step
        picture = solid(*size)
        picture[..., 0] = ramp.round().to(torch.uint8).unsqueeze(1 - axis)
        seen = refit(picture, box, Fit.COVER)[..., 0].double().mean(dim=1 - axis)
        middle = length / 2 + (torch.arange(out).double() + 0.5 - out / 2) / scale
        inside = (middle > 1) & (middle < length - 1) & (middle > 1 / scale) & (middle < length - 1 / scale)
        # Cut at whole px of the box and scaled to whole px: off by less than one of them, and by the ramp's rounding.
        error = (seen - middle * step)[inside].abs()
        assert (error <= step / scale + 1).all()


@pytest.mark.parametrize("fit", list(Fit))
@pytest.mark.parametrize(
    ("size", "box"),
    [((1, MAX_PICTURE), (MAX_PICTURE, 4)), ((MAX_PICTURE, 1), (16, 512)), ((3, 2), (4, 4096)), ((1, 1), (300, 2))],
)
def test_threads_are_brought_to_any_box(fit: Fit, size: tuple[int, int], box: tuple[int, int]) -> None:
    out = refit(solid(*size), box, fit)
    assert out.shape == (*box, 4)
    seen = out[..., 3] > 0
    assert seen.any()
    assert (out[seen] == RED).all()


def test_a_reference_takes_the_alpha_of_its_layer() -> None:
    picture, alpha = noise(6, 5), noise(6, 5, 1)[..., 3]
    alpha[0] = 0
    picture[..., 3] = 255
    out = with_alpha(picture, alpha)
    assert torch.equal(out[..., 3], alpha)
    assert torch.equal(out[1:, :, :3][alpha[1:] > 0], picture[1:, :, :3][alpha[1:] > 0])
    assert (out[0] == 0).all()


def test_what_a_reference_lacks_is_filled_with_its_mean_colour() -> None:
    picture = noise(6, 5)
    picture[:, 3:] = 0
    weights = picture[..., 3:].double()
    mean = (picture[..., :3].double() * weights).sum(dim=(0, 1)) / weights.sum()
    out = with_alpha(picture, torch.full((6, 5), 255, dtype=torch.uint8))
    assert (out[:, 3:, :3].double() - mean).abs().max() <= 0.5
    mixed = exactly(picture, tuple(round(part) for part in mean.tolist()))
    assert (out[..., :3].double() - mixed).abs().max() <= 0.5


def test_what_is_no_picture_is_refused() -> None:
    one = solid(2, 2)
    for wrong in (one.float(), one[..., :3], one[0], one[:0]):
        with pytest.raises(CodecError):
            flatten(wrong, (0, 0, 0))
    for colour in ((0, 0), (0, 0, 256), (0.5, 0, 0), (-1, 0, 0)):
        with pytest.raises(CodecError, match="whole numbers of 0 to 255"):
            flatten(one, colour)  # type: ignore[arg-type]
    for box in ((0, 0, math.nan, 1), (0, 0, math.inf, 1), (1, 0, 1, 2), (2, 0, 3, 2), (0, -2, 2, 0)):
        with pytest.raises(CodecError, match="shows nothing of a picture of 2 x 2 px"):
            clip(one, box)
    with pytest.raises(CodecError, match="bring the picture to the size of the layer"):
        with_alpha(one, torch.zeros(2, 3, dtype=torch.uint8))
    with pytest.raises(CodecError, match="transparent throughout"):
        with_alpha(one * 0, torch.zeros(2, 2, dtype=torch.uint8))


def test_sizes_are_checked_before_anything_is_made() -> None:
    one, row = solid(1, 1), MAX_PIXELS // MAX_PICTURE + 1
    for size in ((0, 1), (1, -1), (MAX_PICTURE + 1, 1), (MAX_PICTURE, row)):
        with pytest.raises(CodecError, match="scale it down"):
            refit(one, size, Fit.COVER)
    enormous = one.expand(MAX_PICTURE, row, 4)
    for use in (
        lambda: flatten(enormous, (0, 0, 0)),
        lambda: clip(enormous, (0, 0, 1, 1)),
        lambda: refit(enormous, (1, 1), Fit.CONTAIN),
        lambda: with_alpha(enormous, enormous[..., 3]),
    ):
        with pytest.raises(CodecError, match="scale it down"):
            use()
