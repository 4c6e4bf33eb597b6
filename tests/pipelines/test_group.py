"""Groupings: what may be merged, in which order, and the proof."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.group import GroupConfig, Proof, _order, group_design, prove
from schemas.compositing import composite
from schemas.design import Grouping, LayerKind
from schemas.grouping import merge_parts
from schemas.sample import Sample
from tests.builders import LayerSpec, disc, layer, make_sample, solid, texture

EAGER = GroupConfig(min_merge=1.0, max_merge=1.0, max_gap=0.0)


def _stack(count: int, seed: int, alpha: int = 140, side: int = 160) -> Sample:
    """A textured background and translucent textures at random places, some over the edge."""
    rng = random.Random(seed)
    layers = [layer(texture(side, side, seed))]
    for index in range(count):
        size = rng.randrange(20, 80)
        at = (rng.randrange(0, side - 10), rng.randrange(0, side - 10))
        layers.append(layer(texture(size, size, seed + index + 1, alpha=alpha), at=at))
    return make_sample(layers, visible=(0, 0, side, side))


def _proof(sample: Sample, parts: Sequence[Sequence[int]]) -> Proof:
    grouping = Grouping(seed=0, parts=tuple(tuple(part) for part in parts))
    return prove(sample.placed(), grouping, sample.composite())


@pytest.mark.parametrize("seed", range(4))
def test_groupings_are_distinct_partitions_that_recompose(seed: int) -> None:
    sample = _stack(12, seed)
    groupings = group_design(sample, GroupConfig())
    assert len(groupings) == 4
    assert len({grouping.parts for grouping in groupings}) == 4
    for grouping in groupings:
        assert grouping.parts[0] == (0,)
        assert len(grouping.parts) < 13
        merged = merge_parts(sample.placed(), grouping)
        difference = np.abs(composite(merged, sample.canvas).astype(int) - sample.composite())
        assert difference[sample.composite()[..., 3] == 255].max() <= 2
        assert difference[sample.composite()[..., 3] == 255].mean() < 0.5
    type(sample.design).model_validate(sample.design.model_dump() | {"groupings": groupings})


def test_same_design_same_groupings_and_another_id_other_ones() -> None:
    sample = _stack(12, 3)
    assert group_design(sample, GroupConfig()) == group_design(_stack(12, 3), GroupConfig())
    other = Sample(sample.design.model_copy(update={"design_id": "0" * 32}), sample.members)
    assert group_design(other, GroupConfig()) != group_design(sample, GroupConfig())


def test_a_layer_between_two_others_forbids_to_merge_them() -> None:
    """2 overlaps 1 and 3 (which touch each other): 1 and 3 can only be merged together with 2."""
    layers = [
        layer(solid(160, 160, "white")),
        layer(solid(80, 80, "red"), at=(0, 0)),
        layer(solid(40, 120, "blue"), at=(20, 0)),
        layer(solid(80, 80, "lime"), at=(0, 78)),
    ]
    sample = make_sample(layers)
    for attempt in range(40):
        varied = Sample(sample.design.model_copy(update={"design_id": f"{attempt:032x}"}), sample.members)
        for grouping in group_design(varied, GroupConfig(min_merge=0.5, max_merge=0.5)):
            assert (1, 3) not in grouping.parts
    assert _proof(sample, [(0,), (1, 3), (2,)]).worst > 100
    assert _proof(sample, [(0,), (2,), (1, 3)]).worst > 100
    assert _proof(sample, [(0,), (1, 2), (3,)]).worst == 0


def test_a_part_may_pass_a_layer_that_it_does_not_overlap() -> None:
    """1 and 3 touch, 2 lies apart: merging 1 and 3 moves one of them past 2, which is allowed."""
    layers = [
        layer(solid(160, 160, "white")),
        layer(disc(60, "red"), at=(0, 0)),
        layer(disc(40, "blue"), at=(110, 110)),
        layer(disc(60, "lime"), at=(30, 30)),
    ]
    (grouping,) = group_design(make_sample(layers), EAGER)
    assert grouping.parts == ((0,), (1, 3), (2,))


def test_two_parts_that_would_each_have_to_lie_below_the_other_have_no_order() -> None:
    below = [(), (0,), (0, 1), (0,), (0, 3)]
    assert _order([0, 1, 2, 3, 4], below) == [0, 1, 2, 3, 4]
    assert _order([0, 1, 2, 2, 1], below) is None
    assert _order([0, 1, 2, 1, 2], below) == [0, 1, 2]


def test_text_stays_apart_unless_asked_for() -> None:
    layers = [
        layer(solid(100, 100, "white")),
        layer(disc(50, "red"), at=(10, 10)),
        layer(solid(30, 10, "black"), at=(20, 20), kind=LayerKind.TEXT),
        layer(disc(30, "lime"), at=(20, 40)),
    ]
    sample = make_sample(layers)
    assert [grouping.parts for grouping in group_design(sample, EAGER)] == [((0,), (1, 3), (2,))]
    merged = group_design(sample, EAGER.model_copy(update={"merge_text": True}))
    assert any(2 in part and len(part) > 1 for grouping in merged for part in grouping.parts)


@pytest.mark.parametrize("apart", [[], [layer(disc(20, "red"))]])
def test_a_stack_with_nothing_to_merge_has_no_grouping(apart: list[LayerSpec]) -> None:
    sample = make_sample([layer(solid(100, 100, "white")), *apart, layer(disc(20, "blue"), at=(70, 70))])
    assert group_design(sample, EAGER) == ()


def test_a_partition_that_fails_the_proof_is_dropped() -> None:
    """Many faint layers: each rounding of a merged layer is seen, so a strict proof refuses what the default takes."""
    sample = _stack(14, 5, alpha=37)
    assert group_design(sample, EAGER) != ()
    assert group_design(sample, EAGER.model_copy(update={"max_error": 0.01})) == ()


def test_the_proof_sees_one_wrong_tile_of_many() -> None:
    layers = [
        layer(solid(700, 1100, "white")),
        layer(disc(60, "red"), at=(630, 1030)),
        layer(disc(60, "blue"), at=(600, 1000)),
    ]
    sample = make_sample(layers)
    assert _proof(sample, [(0,), (1, 2)]).worst <= 1
    swapped = sample.placed()
    swapped[1], swapped[2] = swapped[2], swapped[1]
    grouping = Grouping(seed=0, parts=((0,), (1, 2)))
    assert prove(swapped, grouping, sample.composite()).worst > 200


def test_a_merged_layer_covers_the_union_of_its_members() -> None:
    sample = make_sample(
        [layer(solid(90, 90, "white")), layer(solid(9, 9, "red"), at=(3, 4)), layer(solid(9, 9, "blue"), at=(60, 70))]
    )
    background, (pixels, box) = merge_parts(sample.placed(), Grouping(seed=0, parts=((0,), (1, 2))))
    assert background[1].area == 8100
    assert list(box) == [3, 4, 69, 79]
    assert pixels[0, 0].tolist() == [255, 0, 0, 255]
    assert pixels[-1, -1].tolist() == [0, 0, 255, 255]
    assert pixels[30, 30].tolist() == [0, 0, 0, 0]


def test_strips_do_not_change_a_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = _stack(6, 9)
    grouping = Grouping(seed=0, parts=((0,), (1, 2, 3, 4, 5, 6)))
    whole = merge_parts(sample.placed(), grouping)[1][0]
    monkeypatch.setattr("schemas.grouping.STRIP_PIXELS", 700)
    assert np.array_equal(merge_parts(sample.placed(), grouping)[1][0], whole)


def test_a_bottom_layer_that_is_no_background_is_grouped_like_any_other() -> None:
    specs = [
        layer(disc(60, "red"), at=(0, 0), kind=LayerKind.IMAGE),
        layer(disc(60, "lime"), at=(30, 30)),
        layer(disc(20, "blue"), at=(140, 140)),
    ]
    (grouping,) = group_design(make_sample(specs), EAGER)
    assert grouping.parts == ((0, 1), (2,))
