"""A change of colours pushed down onto layers: clean where it can be, else fitted so that the composite is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.flatten import lower
from pipelines.flatten.backdrop import Backdrop
from pipelines.flatten.push import pushed
from pipelines.flatten.recolour import Change as Whole
from pipelines.flatten.recolour import Plain as Change
from pipelines.flatten.recolour import changed
from pipelines.flatten.stack import StackLayer
from pipelines.formats.tree import Adjustment, PerChannel
from schemas.geometry import Box
from tests.pipelines.flat import ANY, SIDE, document, leaf, off, painted

VISIBLE = Box(0, 0, SIDE, SIDE)
FITTED = "colour fitted to what lies below where translucent"


def square(colours: np.ndarray, _: Box) -> np.ndarray:
    return colours * colours


def invert(colours: np.ndarray, _: Box) -> np.ndarray:
    return 1 - colours


def uneven(colours: np.ndarray, _: Box) -> np.ndarray:
    return np.concatenate([colours[..., :1] ** 3, colours[..., 1:]], axis=-1)


def push(layers: list[StackLayer], change: Change) -> list[StackLayer]:
    return pushed(layers, change, VISIBLE, 3, "squared")


def composed(layers: list[StackLayer]) -> tuple[np.ndarray, np.ndarray]:
    whole = Backdrop()
    whole.add(layers)
    return whole.over(VISIBLE)


def worst(before: list[StackLayer], after: list[StackLayer], change: Change) -> float:
    """How far the composite is from the changed one, in levels."""
    (old, alpha), (new, same) = composed(before), composed(after)
    return float(max(np.abs((change(old, VISIBLE) - new) * alpha[..., None]).max(), np.abs(alpha - same).max()) * 255)


def noise(seed: int, alpha: int | None = None) -> StackLayer:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 4)).astype(np.uint8)
    if alpha is not None:
        pixels[..., 3] = alpha
    return StackLayer(pixels, VISIBLE, f"noise {seed}", painted((0, 0, 0)).kind)


def thinned(layer: StackLayer) -> StackLayer:
    """At most 200/255 anywhere, so that even several never cover."""
    pixels = layer.pixels.copy()
    pixels[..., 3] = pixels[..., 3].astype(int) * 200 // 255
    return replace(layer, pixels=pixels)


def test_opaque_layers_take_the_change_alone() -> None:
    layers = [painted((100, 200, 50)), painted((10, 20, 30), (4, 4, 12, 12))]
    made = push(layers, square)
    assert [layer.pixels[0, 0].tolist() for layer in made] == [[39, 157, 10, 255], [0, 2, 4, 255]]
    assert all(layer.reusable and layer.notes == ("squared",) for layer in made)
    assert worst(layers, made, square) <= 1


def test_a_linear_change_is_clean_however_translucent_the_layers_are() -> None:
    layers = [noise(1, 255), noise(2), noise(3)]
    made = push(layers, invert)
    for before, after in zip(layers, made, strict=True):
        assert (after.pixels[..., :3] == 255 - before.pixels[..., :3]).all()
        assert (after.pixels[..., 3] == before.pixels[..., 3]).all()
        assert after.reusable
    assert worst(layers, made, invert) <= 1


@pytest.mark.parametrize("gray", [0, 60, 130])
def test_where_alpha_is_enough_the_colour_stays(gray: int) -> None:
    """The alpha at which the changed gray over white is the change of what was seen."""
    layers = [painted((255, 255, 255)), painted((gray, gray, gray, 128))]
    made = push(layers, square)
    below = 1 - (1 - (1 - gray / 255) * 128 / 255) ** 2
    alpha = 255 * below / (1 - (gray / 255) ** 2)
    assert made[0].pixels[0, 0].tolist() == [255, 255, 255, 255]
    assert made[1].pixels[0, 0].tolist() == [*[round(gray * gray / 255)] * 3, pytest.approx(alpha, abs=1)]
    assert made[1].reusable
    assert FITTED not in made[1].notes
    assert worst(layers, made, square) <= 1


def test_where_alpha_is_not_enough_the_colour_is_fitted_and_told() -> None:
    layers = [painted((255, 255, 255)), painted((0, 0, 0, 128))]
    made = push(layers, uneven)
    assert made[1].pixels[0, 0, 0] < made[1].pixels[0, 0, 1] == made[1].pixels[0, 0, 2] > 0
    assert not made[1].reusable
    assert FITTED in made[1].notes
    assert worst(layers, made, uneven) <= 1
    assert made[0].reusable


def error(before: list[StackLayer], after: list[StackLayer], change: Change) -> float:
    """The mean of what ``worst`` takes the most of, of colours alone."""
    (old, alpha), (new, _) = composed(before), composed(after)
    return float(np.abs((change(old, VISIBLE) - new) * alpha[..., None]).mean() * 255)


@pytest.mark.parametrize("change", [square, uneven])
def test_over_an_opaque_ground_telescoping_is_exact_to_rounding(change: Change) -> None:
    layers = [noise(1, 255), noise(2), noise(3), noise(4)]
    made = push(layers, change)
    assert error(layers, made, change) < 0.5
    assert worst(layers, made, change) <= 4
    assert composed(made)[1].min() == 1


@pytest.mark.parametrize("change", [square, uneven])
def test_over_a_translucent_ground_alphas_stay_and_colours_come_near(change: Change) -> None:
    layers = [thinned(noise(seed)) for seed in range(4)]
    made = push(layers, change)
    assert all((a.pixels[..., 3] == b.pixels[..., 3]).all() for a, b in zip(layers, made, strict=True))
    alone = [changed(layer, change) for layer in layers]
    assert error(layers, made, change) < 0.4 * error(layers, alone, change)


def test_layers_are_fitted_only_where_they_overlap() -> None:
    layers = [painted((255, 255, 255), (0, 0, 12, SIDE)), painted((0, 0, 0, 128))]
    made = push(layers, square)
    assert (made[1].pixels[:, 12:] == (0, 0, 0, 128)).all()
    assert (made[1].pixels[:, :12, 3] > 180).all()


def test_a_change_that_changes_nothing_leaves_the_layer_itself() -> None:
    layer = noise(5)
    assert changed(layer, lambda colours, _: colours) is layer
    assert changed(layer, invert) is not layer


def test_an_adjustment_in_a_document_is_pushed_down_or_fitted() -> None:
    def squared(colours: np.ndarray) -> np.ndarray:
        return colours * colours

    curve = Adjustment("curve", kind="curves", apply=squared)
    solid = document(leaf((200, 100, 50), name="back"), leaf((90, 180, 30), (2, 2, 9, 9), name="spot"), curve)
    stack = lower(solid, ANY)
    assert [layer.lowering.value for layer in stack.layers] == ["pushed_down", "pushed_down"]
    assert all(layer.reusable for layer in stack.layers)
    assert off(stack, solid) <= 1
    faint = document(leaf((200, 100, 50)), leaf((90, 180, 30, 128), (2, 2, 19, 19)), curve)
    assert off(lower(faint, ANY), faint) <= 2


def test_colours_found_once_are_those_found_pixel_by_pixel() -> None:
    """Above a size equal colours are worked out once; in many small layers each pixel is."""
    side = 160
    box = Box(0, 0, side, side)
    pixels = np.random.default_rng(6).integers(0, 40, (side, side, 4)).astype(np.uint8) * 6
    layer = StackLayer(pixels, box, "few colours", painted((0, 0, 0)).kind)
    expected = np.rint((pixels[..., 2::-1] / np.float32(255)) ** 2 * 255)
    assert (changed(layer, lambda colours, _: colours[..., ::-1] ** 2).pixels[..., :3] == expected).all()


@pytest.mark.parametrize("side", [16, 160])
@pytest.mark.parametrize("separable", [False, True])
def test_a_share_changes_what_it_covers_alone(side: int, separable: bool) -> None:
    box = Box(3, 5, side + 3, side + 5)
    pixels = np.random.default_rng(7).integers(0, 256, (side, side, 4)).astype(np.uint8)
    shown = np.random.default_rng(8).integers(0, 3, (side, side)).astype(np.float32) / 2

    def share(part: Box) -> np.ndarray:
        return shown[part.within(box).slices]

    made = changed(
        StackLayer(pixels, box, "noise", painted((0, 0, 0)).kind), Whole(lambda c: c * c, share, separable)
    ).pixels
    colours = pixels[..., :3] / np.float32(255)
    expected = np.rint((colours + shown[..., None] * (colours * colours - colours)) * np.float32(255))
    seen = pixels[..., 3] > 0
    assert (made[seen][:, :3] == expected[seen]).all()
    assert (made[..., 3] == pixels[..., 3]).all()


def test_an_adjustment_of_channels_alone_is_a_table() -> None:
    noisy = noise(9, 255)
    half = Adjustment("half", apply=PerChannel(lambda colours: colours * np.float32(0.5)), opacity=0.5)
    stack = lower(document(leaf((200, 100, 50)), half), ANY)
    assert stack.layers[0].pixels[0, 0].tolist() == [150, 75, 38, 255]
    assert (changed(noisy, Whole(lambda c: 1 - c, None, True)).pixels[..., :3] == 255 - noisy.pixels[..., :3]).all()
