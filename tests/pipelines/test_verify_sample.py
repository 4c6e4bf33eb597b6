"""One sample: every way in which images and record can part is found and named."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.validation.verify_sample import MAX_SAMPLE_PIXELS, check_sample
from schemas import images
from schemas.design import Grouping, Overflow, Recomposition, Size
from schemas.geometry import Box
from schemas.sample import Sample
from tests.pipelines.dataset_builder import make_sample, with_design, with_member

GOOD = make_sample(7)


def with_layer(sample: Sample, index: int, **fields: object) -> Sample:
    layers = list(sample.design.layers)
    layers[index] = layers[index].model_copy(update=fields)
    return with_design(sample, layers=tuple(layers))


def repainted(sample: Sample, name: str, rows: slice, columns: slice, value: int, channel: int = 0) -> Sample:
    pixels = images.decode(sample.members[name])
    pixels[rows, columns, channel] = value
    return with_member(sample, name, images.encode(pixels))


def box_of(sample: Sample, index: int) -> Box:
    return sample.design.layers[index].box


CASES = {
    "missing member": (with_member(GOOD, "preview.webp", None), "members are missing: 'preview'"),
    "missing restyle": (with_member(GOOD, "restyle_01.webp", None), "members are missing: 'restyle_01'"),
    "foreign member": (
        with_member(GOOD, "layer_09.webp", b"x"),
        "members that the record does not name: 'layer_09.webp'",
    ),
    "two codecs": (with_member(GOOD, "preview.png", b"x"), "members in two codecs: 'preview'"),
    "damaged image": (with_member(GOOD, "layer_01.webp", b"RIFF" + b"\0" * 40), "layer 1: damaged image"),
    "changed layer": (
        repainted(GOOD, "layer_00.webp", slice(0, 3), slice(0, 3), 255),
        "layer 0: its pixels do not have the recorded sha256",
    ),
    "wrong box": (with_layer(GOOD, 1, box=Box(0, 0, 9, 9)), "its record says 9 x 9"),
    "moved box": (
        with_layer(GOOD, 2, box=box_of(GOOD, 2).shift(1, 0)),
        "composite differs from its layers in ",
    ),
    "coverage": (with_layer(GOOD, 1, coverage=0.25), "the record says 0.250000"),
    "overflow": (with_layer(GOOD, 1, overflow=Overflow()), "layer 1: its overflow is 0, 0, 16, 0 px"),
    "overflow share": (
        with_layer(GOOD, 1, overflow=GOOD.design.layers[1].overflow.model_copy(update={"share": 0.5})),
        "(share 0.500000)",
    ),
    "changed composite": (
        repainted(GOOD, "composite.webp", slice(4, 6), slice(70, 75), 90, channel=3),
        "composite differs from its layers in 10 px, by up to ",
    ),
    "changed preview": (
        repainted(GOOD, "preview.webp", slice(0, 32), slice(0, 64), 255),
        "the composite is off its preview by ",
    ),
    "recorded error": (
        with_design(GOOD, recomposition=Recomposition(reference="preview", mae=0.5, p99=0.0)),
        "the record says 0.500",
    ),
    "preview size": (
        with_member(GOOD, "preview.webp", images.encode(np.zeros((8, 8, 4), np.uint8))),
        "preview: image is 8 x 8 px",
    ),
    "restyle alpha": (
        repainted(GOOD, "restyle_01.webp", slice(0, 4), slice(0, 4), 7, channel=3),
        "restyle of layer 1: its alpha is not the layer's",
    ),
    "restyle size": (
        with_member(GOOD, "restyle_01.webp", images.encode(np.zeros((8, 8, 4), np.uint8))),
        "restyle of layer 1: image is 8 x 8 px",
    ),
    "grouping": (
        with_design(GOOD, groupings=(Grouping(seed=5, parts=((1, 2), (0,))),)),
        "grouping with seed 5 is off by up to ",
    ),
    "source hash": (
        with_design(GOOD, provenance=GOOD.design.provenance.model_copy(update={"sha256": "0" * 64})),
        "the design id is not the start of the source's sha256",
    ),
}


def test_a_good_sample_has_no_problem():
    assert list(check_sample(GOOD)) == []
    assert list(check_sample(replace(GOOD, members={**GOOD.members, "latents.safetensors": b"x"}))) == []


def test_a_preview_smaller_than_the_design_is_compared_at_its_size():
    large = make_sample(3, side=1100)
    assert large.design.visible.width == 1100
    small = np.array(images.decode(large.members["preview.webp"]))
    assert any("image is 1100 x 1100 px" in message for message in check_sample(large))
    from pipelines.flatten.scale import fitted

    good = with_member(large, "preview.webp", images.encode(fitted(small, 1024)))
    assert list(check_sample(good)) == []
    wrong = with_member(large, "preview.webp", images.encode(fitted(small[::-1].copy(), 1024)))
    assert [m for m in check_sample(wrong) if m.startswith("the composite is off its preview")]


@pytest.mark.parametrize("case", CASES)
def test_one_fault_is_named(case):
    sample, message = CASES[case]
    found = list(check_sample(sample))
    assert any(message in each for each in found), found


def test_a_fault_of_one_layer_does_not_hide_that_of_another():
    sample = with_layer(with_member(GOOD, "layer_00.webp", b"nothing"), 2, coverage=0.125)
    found = list(check_sample(sample))
    assert any(each.startswith("layer 0: damaged image") for each in found)
    assert any(each.startswith("layer 2: alpha covers") for each in found)


def test_a_bomb_is_refused_before_it_is_decoded():
    side = 40_000
    sample = with_design(GOOD, canvas=Size(width=side, height=side))
    assert list(check_sample(sample)) == [
        f"{side * side + _layers(sample)} px of canvas and layers are over the limit of {MAX_SAMPLE_PIXELS}"
    ]


def _layers(sample: Sample) -> int:
    return sum(layer.box.area for layer in sample.design.layers)
