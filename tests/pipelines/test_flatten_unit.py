"""A styled layer as plain ones: the share of each part in the final colour, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.flatten.unit import Part, Role, assembled, shape_of
from schemas.geometry import Box
from tests.pipelines.flat import painted

SPOT = (0, 0, 3, 2)
SHAPE, CAST, INNER = 102, 204, 51  # of 255: 0.4, 0.8, 0.2
S, C, I = 0.4, 0.8, 0.2  # noqa: E741 - as in the formulas
RED, BLUE, GREEN = (200, 0, 0), (0, 0, 100), (0, 120, 0)


def part(role: Role, colour: tuple[int, ...], alpha: int, slot: str = "", cuts: int | None = None, **given) -> Part:
    plane = None if cuts is None else np.full((2, 3), cuts, np.uint8)
    return Part(painted((*colour, alpha), SPOT), role, slot or role, cuts=plane, **given)


def shares(*parts: Part, strength: float = 1.0) -> dict[str, float]:
    """What each slot's layer contributes to the composite, 0..1, from the alphas as they are stored."""
    slots = {part.slot: painted((0, 0, 0), name=part.slot) for part in parts}
    left, found = 1.0, {}
    for layer in reversed(assembled(parts, slots, lambda _: strength)):
        alpha = int(layer.pixels[0, 0, 3]) / 255
        assert (layer.pixels[..., 3] == layer.pixels[0, 0, 3]).all()
        found[layer.name] = alpha * left
        left *= 1 - alpha
    return found


def about(**wanted: float) -> object:
    return pytest.approx(wanted, abs=1.5 / 255)


@pytest.mark.parametrize("fill", [0.0, 0.5, 1.0])
def test_a_concealed_shadow_weighs_what_the_shape_leaves_whatever_the_fill(fill: float) -> None:
    found = shares(part("concealed", BLUE, CAST), part("own", RED, SHAPE, fill=fill))
    assert found == about(concealed=C * (1 - S), **({"own": S * fill} if fill else {}))


@pytest.mark.parametrize("fill", [0.0, 0.5, 1.0])
def test_a_shadow_that_is_not_concealed_shows_through_what_the_fill_leaves(fill: float) -> None:
    found = shares(part("behind", BLUE, CAST), part("own", RED, SHAPE, fill=fill))
    wanted = C * (1 - S) + C * S * (1 - fill)
    assert found == about(behind=wanted, **({"own": S * fill} if fill else {}))


def test_the_upper_of_two_shadows_hides_the_lower() -> None:
    lower = part("concealed", BLUE, CAST, "lower")
    found = shares(lower, part("concealed", GREEN, INNER, "upper"), part("own", RED, SHAPE))
    assert found == about(lower=C * (1 - I) * (1 - S), upper=I * (1 - S), own=S)


def test_inner_pieces_keep_to_the_shape_and_stand_at_full_strength_whatever_the_fill() -> None:
    found = shares(part("own", RED, SHAPE, fill=0.5), part("inside", GREEN, INNER))
    assert found == about(own=0.5 * S * (1 - I), inside=S * I)


def test_what_overprints_adds_and_what_does_not_takes_away_first() -> None:
    over = shares(part("own", RED, SHAPE), part("inside", GREEN, 128))
    assert over == about(own=S * (1 - 128 / 255), inside=S * 128 / 255)
    assert shares(part("own", RED, SHAPE), part("inside", GREEN, 128, cuts=255)) == about(inside=S * 128 / 255)


def test_a_cut_that_bares_the_ground_lets_an_unconcealed_shadow_through() -> None:
    found = shares(part("behind", BLUE, CAST), part("own", RED, 255), part("inside", GREEN, 128, cuts=255))
    assert found == about(behind=C * (1 - 128 / 255), inside=128 / 255)


def test_what_lies_above_is_not_confined_and_cuts_all_below() -> None:
    found = shares(part("concealed", BLUE, CAST), part("own", RED, SHAPE), part("above", GREEN, INNER, cuts=128))
    kept = (1 - I) * (1 - 128 / 255)
    assert found == about(concealed=C * (1 - S) * kept, own=S * kept, above=I)


def test_opacity_scales_all_of_a_unit() -> None:
    parts = (part("concealed", BLUE, CAST), part("own", RED, SHAPE), part("above", GREEN, INNER))
    whole, half = shares(*parts), shares(*parts, strength=0.5)
    assert half == about(**{name: share / 2 for name, share in whole.items()})


def test_what_shows_of_an_own_part_is_less_than_its_shape() -> None:
    seen = np.full((2, 3), 128, np.uint8)
    found = shares(part("own", RED, SHAPE, shown=seen), part("inside", GREEN, INNER))
    assert found == about(own=S * (1 - I) * 128 / 255, inside=S * I)


def test_parts_of_one_slot_become_one_layer_of_their_mean_colour() -> None:
    parts = (part("concealed", BLUE, CAST, "one"), part("own", RED, SHAPE, "one"))
    (made,) = assembled(parts, {"one": painted(RED, name="one")}, lambda _: 1.0)
    shadow, own = C * (1 - S), S
    assert made.pixels[0, 0, 3] == pytest.approx((shadow + own) * 255, abs=1)
    mean = (np.array(BLUE) * shadow + np.array(RED) * own) / (shadow + own)
    assert np.abs(made.pixels[0, 0, :3] - mean).max() <= 1


def test_what_lies_wholly_covered_keeps_its_own_pixels() -> None:
    parts = (part("own", RED, 255), part("above", GREEN, 255))
    own, above = assembled(parts, {part.slot: painted(RED, name=part.slot) for part in parts}, lambda _: 1.0)
    assert own.pixels[0, 0].tolist() == [*RED, 255]
    assert above.pixels[0, 0].tolist() == [*GREEN, 255]


def test_the_shape_of_several_layers_is_that_of_their_composite() -> None:
    alpha, box = shape_of([painted((*RED, SHAPE), (0, 0, 4, 2)), painted((*RED, CAST), (2, 0, 6, 2))])
    assert box == Box(0, 0, 6, 2)
    assert alpha[0].tolist() == [SHAPE, SHAPE, *[round(255 * (1 - (1 - S) * (1 - C)))] * 2, CAST, CAST]
