"""From the document's space to sRGB: the stack's composite is the converted composite."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.flatten import lower, render_tree
from pipelines.flatten.colour import to_srgb
from pipelines.formats.tree import SRGB, Document, Leaf, Space
from pipelines.srgb import decode, encode
from schemas.geometry import Box
from tests.pipelines.flat import ANY, SIDE, document, leaf, off, painted, shown

LINEAR = Space("sRGB", 3, None, linear=True)
FULL = Box(0, 0, SIDE, SIDE)


def inks(codes: np.ndarray) -> np.ndarray:
    return (codes[..., :3].astype(np.uint16) * codes[..., 3:] // 255).astype(np.uint8)


CMYK = Space("CMYK", 4, inks)
DARK = Space("dark", 3, lambda codes: (codes.astype(np.uint16) ** 2 // 255).astype(np.uint8))


def ink(colour: tuple[int, ...], box: Box = FULL, **fields) -> Leaf:
    pixels = np.empty((box.height, box.width, 5), np.uint8)
    pixels[:] = (*colour, 255)[:5]
    return Leaf(**{"name": "ink", **fields}, box=box, pixels=lambda: pixels)


def noise(seed: int, opaque: bool = False) -> Leaf:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 4)).astype(np.uint8)
    if opaque:
        pixels[..., 3] = 255
    return Leaf(f"noise {seed}", box=FULL, pixels=lambda: pixels)


def test_light_and_back() -> None:
    codes = np.arange(256) / 255
    assert np.abs(encode(decode(codes)) - codes).max() < 1e-6
    assert decode(np.array([0.5]))[0] == pytest.approx(0.214041, abs=1e-6)
    assert (np.diff(decode(codes)) > 0).all()


def test_a_linear_document_mixes_decode() -> None:
    doc = document(leaf((0, 0, 0), name="black"), leaf((255, 255, 255), name="white", opacity=0.5), space=LINEAR)
    stack = lower(doc, ANY)
    assert shown(stack)[0, 0].tolist() == [188, 188, 188, 255]
    assert shown(lower(document(*doc.nodes), ANY))[0, 0, 0] == 128
    assert stack.layers[1].pixels[0, 0, :3].tolist() == [255, 255, 255]
    assert stack.layers[1].reusable


def test_opaque_layers_of_a_linear_document_keep_their_codes() -> None:
    doc = document(leaf((40, 90, 200)), leaf((200, 30, 10), (4, 4, 12, 12)), space=LINEAR)
    stack = lower(doc, ANY)
    assert [layer.pixels[0, 0].tolist() for layer in stack.layers] == [[40, 90, 200, 255], [200, 30, 10, 255]]


def test_one_layer_of_a_linear_document_keeps_its_codes_however_translucent() -> None:
    alone = document(leaf((40, 90, 200, 100)), space=LINEAR)
    assert (lower(alone, ANY).layers[0].pixels == (40, 90, 200, 100)).all()


def test_translucent_noise_in_linear_light_recomposes() -> None:
    doc = document(noise(1, opaque=True), noise(2), noise(3), space=LINEAR)
    stack = lower(doc, ANY)
    assert stack.recomposition.mae < 0.6
    assert off(stack, doc) <= 4


@pytest.mark.parametrize(
    "document_of",
    [
        document(ink((200, 100, 50, 255)), ink((30, 200, 220, 128), Box(4, 4, 20, 20)), space=CMYK),
        document(ink((200, 100, 50, 255)), ink((30, 200, 220, 128), Box(4, 4, 20, 20), opacity=0.5), space=CMYK),
        document(noise(4, opaque=True), noise(5), space=DARK),
    ],
    ids=["inks", "faint inks", "a dark profile"],
)
def test_the_composite_is_converted_not_the_layers(document_of: Document) -> None:
    stack = lower(document_of, ANY)
    assert stack.layers[0].pixels.shape[2] == 4
    assert stack.recomposition.mae < 0.6
    assert off(stack, document_of) <= 4


def test_opaque_inks_are_converted_as_they_are() -> None:
    doc = document(ink((200, 100, 50, 255)), ink((30, 200, 220, 128), Box(4, 4, 12, 12)), space=CMYK)
    made = lower(doc, ANY).layers
    assert made[0].pixels[0, 0].tolist() == [200, 100, 50, 255]
    assert made[1].pixels[0, 0].tolist() == [15, 100, 110, 255]
    assert all(layer.reusable for layer in made)
    assert (render_tree(doc)[6, 6] == (15, 100, 110, 255)).all()


def test_srgb_layers_are_left_alone() -> None:
    layers = [painted((10, 20, 30)), painted((200, 0, 0, 50))]
    assert all(a is b for a, b in zip(to_srgb(layers, SRGB, FULL), layers, strict=True))
    assert to_srgb([], LINEAR, FULL) == []
