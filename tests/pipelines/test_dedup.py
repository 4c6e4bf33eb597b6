"""Dedup: exact and near duplicates, the guards, earlier winners, and the index against comparing all pairs."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.dedup import DedupConfig, Signature, decide, signature
from pipelines.hamming import BandIndex, distances
from schemas.design import LayerKind, Text, TextRun
from schemas.ledger import Code
from schemas.sample import Sample
from tests.builders import LayerSpec, disc, layer, make_sample, solid, texture

CONFIG = DedupConfig()


def _layers(scale: float = 1.0, seed: int = 1, text: str = "Sale", tint: int = 0) -> list[LayerSpec]:
    def scaled(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))

    def at(x: int, y: int) -> tuple[int, int]:
        return round(x * scale), round(y * scale)

    background = texture(240, 200, seed)
    background[..., :3] //= 2
    background[..., 2] += tint
    written = Text(runs=(TextRun(text=text),))
    return [
        layer(scaled(background)),
        layer(scaled(disc(90, "gold")), at=at(20, 30)),
        layer(scaled(disc(60, "navy")), at=at(150, 100)),
        layer(scaled(solid(80, 20, "white")), at=at(80, 160), kind=LayerKind.TEXT, text=written),
    ]


def _unseen(side: int, y: int) -> list[LayerSpec]:
    """Layers that are cut out of the background, so that they change the stack but not the composite."""
    background = _layers()[0].pixels
    return [layer(background[y : y + side, x : x + side], at=(x, y)) for x in (10, 80, 150)]


def _signed(samples: list[Sample]) -> list[Signature]:
    return [signature(sample, sample.composite(), row, row // 2) for row, sample in enumerate(samples)]


def _decide(
    *samples: Sample, winners: set[int] | None = None, config: DedupConfig = CONFIG
) -> dict[int, tuple[Code, str]]:
    return decide(_signed(list(samples)), winners or set(), config)


def test_the_same_bytes_are_always_a_duplicate_and_the_lowest_row_stays() -> None:
    one, other = make_sample(_layers()), make_sample(_layers(seed=2))
    for config in (CONFIG, DedupConfig(enabled=False)):
        dropped = decide(list(reversed(_signed([other, one, one, one]))), set(), config)
        assert {row: code for row, (code, _) in dropped.items()} == {2: Code.DUPLICATE, 3: Code.DUPLICATE}
        assert dropped[3][1] == f"the same bytes as {one.design.design_id} (row 1)"


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.5])
def test_another_size_of_the_same_design_is_a_near_duplicate(scale: float) -> None:
    one, two = make_sample(_layers()), make_sample(_layers(scale))
    dropped = _decide(one, two)
    assert dropped[1][0] is Code.NEAR_DUPLICATE
    assert f"of 256 bits from {one.design.design_id} (row 0)" in dropped[1][1]
    assert _decide(one, two, config=DedupConfig(enabled=False)) == {}


def test_unlike_designs_stay() -> None:
    assert _decide(*(make_sample(_layers(seed=seed)) for seed in range(12))) == {}


@pytest.mark.parametrize(
    ("changed", "off"),
    [
        (_layers(text="Other words"), {"same_text": False}),
        (_layers(tint=80), {"max_colour": 255.0}),
        (_layers()[:1], {"max_layer_ratio": 50.0}),
        ([_layers()[0], *_unseen(20, 160)], {"min_layers_alike": 0.0}),
    ],
    ids=["text", "colour", "count", "places"],
)
def test_each_guard_keeps_designs_apart_and_can_be_turned_off(changed: list[LayerSpec], off: dict[str, Any]) -> None:
    base = _layers() if "max_colour" in off or "same_text" in off else [_layers()[0], *_unseen(40, 20)]
    one, two = make_sample(base), make_sample(changed)
    assert _decide(one, two) == {}
    assert set(_decide(one, two, config=DedupConfig(**off))) == {1}


def test_a_stretched_design_is_not_the_same() -> None:
    one = make_sample(_layers())
    wide = np.asarray(Image.fromarray(one.composite()).resize((300, 200)))
    flat, stretched = make_sample([layer(one.composite())]), make_sample([layer(wide)])
    assert _decide(flat, stretched) == {}
    assert set(_decide(flat, stretched, config=DedupConfig(max_aspect=2.0))) == {1}


def test_flat_pictures_are_compared_by_pixels_only() -> None:
    samples = [
        make_sample([layer(solid(100, 100, colour)), layer(solid(10, 10, "white", alpha=alpha), at=(5, 5))])
        for colour, alpha in (("white", 255), ("#fefefe", 9), ("white", 254), ("white", 8))
    ]
    signed = _signed(samples)
    assert all(each.flat for each in signed)
    dropped = decide(signed, set(), CONFIG)
    assert set(dropped) == {2, 3}
    assert dropped[2][1] == f"the same pixels as {samples[0].design.design_id} (row 0)"
    assert not _signed([make_sample(_layers())])[0].flat


def test_what_was_published_before_stays_whatever_its_row() -> None:
    small, middle, large = (make_sample(_layers(scale)) for scale in (0.5, 1.0, 1.5))
    assert set(_decide(small, middle, large)) == {1, 2}
    dropped = _decide(small, middle, large, winners={2})
    assert set(dropped) == {0, 1}
    assert all(f"{large.design.design_id} (row 2)" in message for _, message in dropped.values())
    assert _decide(small, middle, large, winners={0, 1, 2}) == {}


def test_designs_are_compared_with_winners_only() -> None:
    """b is near a, c is near b but not near a: b is dropped, c stays."""
    base = _signed([make_sample(_layers())])[0]
    hashes = [0, 0b1111111111, 0b11111111111111111111]
    chain = [
        base.model_copy(update={"design_id": f"{row:032x}", "row": row, "phash": f"{bits:064x}"})
        for row, bits in enumerate(hashes)
    ]
    assert set(decide(chain, set(), CONFIG)) == {1}
    again = [*chain, chain[1].model_copy(update={"row": 3})]
    assert decide(again, set(), CONFIG)[3] == (
        Code.DUPLICATE,
        f"the same bytes as {1:032x} (row 1); that row is itself 10 of 256 bits from {0:032x} (row 0)",
    )


def test_the_order_of_the_signatures_does_not_matter() -> None:
    samples = [make_sample(_layers(scale, seed)) for seed in range(4) for scale in (1.0, 0.5, 1.5)]
    signed = _signed([*samples, samples[4]])
    expected = decide(signed, {samples[2].design.design_id}, CONFIG)
    assert len(expected) == 9
    for seed in range(5):
        shuffled = random.Random(seed).sample(signed, len(signed))
        assert decide(iter(shuffled), {samples[2].design.design_id}, CONFIG) == expected


def test_nothing_gives_nothing() -> None:
    assert decide([], set(), CONFIG) == {}


@pytest.mark.parametrize("distance", [0, 3, 16, 40])
def test_the_index_finds_what_comparing_all_pairs_finds(distance: int) -> None:
    """Clusters of hashes whose bits were flipped at random, from far fewer than ``distance`` to more."""
    rng = np.random.default_rng(distance)
    centres = rng.integers(0, 256, (40, 32), np.uint8)
    hashes = np.repeat(centres, 10, axis=0)
    for row in hashes:
        flips = rng.choice(256, rng.integers(0, distance + 3), replace=False)
        np.bitwise_xor.at(row, flips // 8, (1 << (flips % 8)).astype(np.uint8))
    hashes = np.concatenate([rng.permutation(hashes), rng.integers(0, 256, (100, 32), np.uint8)])
    added = rng.random(len(hashes)) < 0.9
    index = BandIndex(hashes, distance)
    pairs = 0
    for i in range(len(hashes)):
        apart = distances(hashes[:i], hashes[i])
        near = np.flatnonzero((apart <= distance) & added[:i])
        assert index.near(i) == sorted((int(apart[j]), int(j)) for j in near)
        pairs += len(near)
        if added[i]:
            index.add(i)
    assert pairs > 100


def test_a_signature_says_what_is_visible_only() -> None:
    """Overflow out of the visible box changes neither hash nor statistics."""
    inside = [layer(texture(200, 200, 3)), layer(solid(50, 40, "red"), at=(150, 20))]
    beyond = [layer(texture(200, 200, 3)), layer(solid(90, 40, "red"), at=(150, 20))]
    one = signature(*_with_composite(make_sample(inside)), 0, 0)
    two = signature(*_with_composite(make_sample(beyond, visible=(0, 0, 200, 200))), 0, 0)
    assert two.model_copy(update={"design_id": one.design_id}) == one


def _with_composite(sample: Sample) -> tuple[Sample, np.ndarray[Any, np.dtype[np.uint8]]]:
    return sample, sample.composite()


def test_a_layer_beyond_the_visible_box_has_a_signature() -> None:
    sample = make_sample([layer(texture(50, 50, 1)), layer(solid(30, 30, "red"), at=(90, 80))], visible=(0, 0, 50, 50))
    assert signature(*_with_composite(sample), 0, 0).layers == "ffffffffff"
