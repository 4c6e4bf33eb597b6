"""Adjustments: neutral ones do nothing, points are hit, formulas by hand, and what Photoshop's previews showed.

"Measured": in Photoshop 2026 by the Patchy project, docs/adjustments-calibration.md and docs/high-bit-depth.md.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.formats import adjust_colour as colour
from pipelines.formats import adjustments as tables

CODES = np.linspace(0, 1, 256, dtype=np.float32)
RANDOM = np.random.default_rng(3).integers(0, 256, (24, 24, 3)).astype(np.float32) / np.float32(255)
EXACT = 1e-6
LEVEL = 1 / 255 + EXACT
RED, GREEN, BLUE, WHITE, BLACK = ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0])
REDS = colour.HueRange(315, 345, 15, 45)
NOTHING = [[0.0] * 4] * 9
LINE = np.array([BLACK, WHITE], np.float32)

NEUTRAL = {
    "levels": tables.per_channel([tables.levels(0, 1, 0, 1, 1)]),
    "curve": tables.per_channel([tables.curve([(0, 0), (0.3, 0.3), (1, 1)])] * 3),
    "exposure": tables.per_channel([tables.exposure(0, 0, 1)]),
    "brightness-contrast": tables.per_channel([tables.modern_brightness_contrast(0, 0)]),
    "legacy brightness-contrast": tables.per_channel([tables.legacy_brightness_contrast(0, 0)]),
    "posterize": tables.per_channel([tables.posterize(255)]),
    "hue-saturation": colour.hue_saturation(0, 0, 0, [REDS]),
    "hue-saturation, a full turn": colour.hue_saturation(360, 0, 0),
    "colour balance": colour.colour_balance([[0.0] * 3] * 3, True),
    "photo filter": colour.photo_filter([1, 1, 1], 1.0, True),
    "channel mixer": colour.channel_mixer(np.eye(3).tolist(), [0, 0, 0]),
    "selective colour": colour.selective_colour(NOTHING, True),
    "vibrance": colour.vibrance(0, 0),
}


def at(apply, *colours):
    """What becomes of a few colours, as a list."""
    return apply(np.array(colours, np.float32)).tolist()


@pytest.mark.parametrize("kind", NEUTRAL)
def test_neutral_parameters_change_nothing(kind):
    assert np.abs(NEUTRAL[kind](RANDOM) - RANDOM).max() <= LEVEL


def test_levels_by_hand():
    table = tables.levels(51 / 255, 204 / 255, 0.1, 0.9, 2.0)
    assert tables.look_up(table, np.array([0.2, 0.35, 0.8], np.float32)) == pytest.approx([0.1, 0.5, 0.9], abs=EXACT)
    assert tables.look_up(table, np.array([0.0, 1.0], np.float32)) == pytest.approx([0.1, 0.9], abs=EXACT)


@pytest.mark.parametrize("gamma", [1.2, 1.5, 2.0, 3.0])
def test_levels_leave_black_with_a_finite_slope(gamma):
    """Measured: 2^gamma at black, the plain power from 2^(-gamma - 1 / (gamma - 1)) on."""
    table = tables.levels(0, 1, 0, 1, gamma)
    end = 2 ** (-gamma - 1 / (gamma - 1))
    assert table[1] / tables.GRID[1] == pytest.approx(2**gamma, rel=0.05)
    later = end <= tables.GRID
    assert np.abs(table - tables.GRID ** (1 / gamma))[later].max() < EXACT
    assert np.diff(table, 2)[: int(end * tables.STEPS) - 2].max() <= EXACT  # bends one way only
    assert np.abs(np.diff(table)).max() <= 2**gamma / tables.STEPS + EXACT


def test_levels_with_a_toe_by_hand():
    # gamma 2: the toe ends at 1/8; half way there 0.5 * 8 ** -0.5 + (4 - 2 ** 0.5) / 64
    found = tables.look_up(tables.levels(0, 1, 0, 1, 2.0), np.array([1 / 16], np.float32))
    assert found == pytest.approx([0.5 * 8**-0.5 + (4 - 2**0.5) / 64], abs=1e-5)


def test_a_curve_hits_its_points_and_is_level_beyond_them():
    points = [(20 / 255, 60 / 255), (100 / 255, 90 / 255), (200 / 255, 240 / 255)]
    table = tables.curve(points)
    assert tables.look_up(table, np.array([x for x, _ in points])) == pytest.approx([y for _, y in points], abs=EXACT)
    assert tables.look_up(table, np.array([0.0, 1.0])) == pytest.approx([60 / 255, 240 / 255], abs=EXACT)


def test_a_curve_is_the_natural_spline():
    interpolate = pytest.importorskip("scipy.interpolate")
    x, y = [0, 0.1, 0.45, 0.8, 1], [0.1, 0.3, 0.35, 0.7, 0.9]
    expected = interpolate.CubicSpline(x, y, bc_type="natural")(tables.GRID)
    assert np.abs(tables.curve(list(zip(x, y, strict=True))) - expected).max() < EXACT


def test_a_curve_of_one_point_is_refused():
    with pytest.raises(ValueError, match="two points"):
        tables.curve([(0.5, 0.1), (0.5, 0.9)])


def test_a_stop_of_exposure_doubles_the_light():
    level = np.array([0.4], np.float32)
    assert tables.look_up(tables.exposure(1, 0, 1), level) == pytest.approx(0.4 * 2 ** (1 / 2.2), abs=2e-3)


def test_modern_brightness_as_photoshop_saved_it():
    """Levels read off previews: brightness and contrast, inputs, outputs."""
    inputs = np.array([15, 60, 105, 150, 195, 225, 240]) / 255
    seen = {
        (-95, -50): [11, 42, 70, 94, 121, 145, 170],
        (-31, 47): [8, 39, 76, 122, 175, 210, 230],
        (23, 70): [9, 53, 118, 188, 231, 247, 252],
        (150, -21): [43, 150, 220, 245, 253, 254, 255],
    }
    for (brightness, contrast), expected in seen.items():
        found = tables.look_up(tables.modern_brightness_contrast(brightness, contrast), inputs) * 255
        assert np.abs(found - expected).max() < 0.55, (brightness, contrast)


def test_darkening_undoes_brightening():
    there, back = (tables.modern_brightness_contrast(sign * 60, 0) for sign in (1, -1))
    assert np.abs(tables.after(there, back) - tables.GRID).max() < 1e-5


def test_modern_contrast_is_two_parabolas():
    """Measured: below the middle (2 - 2s) u^2 + s u with s = 1 - 0.0076 contrast."""
    found = tables.look_up(tables.modern_brightness_contrast(0, 100), np.array([0.25, 0.5, 0.75]))
    assert found == pytest.approx([1.52 / 16 + 0.06, 0.5, 1 - 1.52 / 16 - 0.06], abs=1e-4)


def test_brightness_beyond_100_is_applied_twice():
    """Measured."""
    first, second = (tables.modern_brightness_contrast(part, 0) for part in (100, 50))
    whole = tables.modern_brightness_contrast(150, 0)
    assert np.abs(tables.after(first, second) - whole).max() < 1e-4
    bright = np.array([0.1], np.float32)
    assert tables.look_up(whole, bright) == pytest.approx(0.1 * 2 ** (150 / 110), abs=1e-3)


def test_full_legacy_contrast_is_a_threshold():
    """Measured: white from level 127 on."""
    found = tables.look_up(tables.legacy_brightness_contrast(0, 100), np.array([126, 127, 128]) / 255)
    assert found.tolist() == [0, 1, 1]


@pytest.mark.parametrize(("brightness", "contrast", "expected"), [(25.5, 0, 0.35), (0, -50, 0.375), (0, 50, 0.002)])
def test_legacy_brightness_and_contrast(brightness, contrast, expected):
    found = tables.look_up(tables.legacy_brightness_contrast(brightness, contrast), np.array([0.25], np.float32))
    assert found == pytest.approx(expected, abs=LEVEL)


def test_inverting_twice_gives_the_colours_back():
    invert = tables.per_channel([tables.INVERSE])
    assert np.abs(invert(invert(RANDOM)) - RANDOM).max() < EXACT


def test_posterize_has_equal_steps_cut_to_codes():
    found = np.rint(tables.look_up(tables.posterize(3), CODES) * 255).astype(int)
    assert [int((found == level).sum()) for level in (0, 127, 255)] == [86, 85, 85]
    assert set(np.unique(tables.posterize(3, codes=False))) == {0.0, 0.5, 1.0}


def test_threshold_counts_luminosity():
    apply = tables.threshold(128, colour=True)
    gray = [[level / 255] * 3 for level in (127, 128)]
    assert at(apply, *gray, RED, GREEN) == [BLACK, WHITE, BLACK, WHITE]


def test_threshold_of_inks_rounds_before_black():
    """Measured: round((30 C + 59 M + 11 Y) / 100), times black, rounded; black alone is printed."""
    apply = tables.threshold(88, colour=True)
    inks = np.array([[200, 100, 50, 180], [200, 100, 50, 179]], np.float32) / 255  # 124.5 -> 125; 88.2, 87.7
    assert (apply(inks) * 255).tolist() == [[255] * 4, [255] * 4]
    assert (apply(inks - 2 / 255) * 255).tolist() == [[255, 255, 255, 0]] * 2


def test_a_third_of_a_turn_moves_the_channels_on():
    turned = colour.hue_saturation(120, 0, 0)(RANDOM)
    assert np.abs(turned - RANDOM[..., [2, 0, 1]]).max() < 1e-5


def test_saturation_ends():
    assert np.ptp(colour.hue_saturation(0, -1, 0)(RANDOM), axis=-1).max() < EXACT
    full = at(colour.hue_saturation(0, 0.5, 0), [0.6, 0.5, 0.4], [0.9, 0.1, 0.1])
    assert full == pytest.approx(np.array([[0.7, 0.5, 0.3], [1, 0, 0]]), abs=1e-5)


def test_full_saturation_is_a_factor_of_128():
    """Measured: a middle gray with a chroma of one level gets half the saturation."""
    (found,) = at(colour.hue_saturation(0, 1, 0), [127 / 255, 127 / 255, 128 / 255])
    assert (found[2] - found[0]) * 255 == pytest.approx(128, abs=0.01)


def test_ranges_multiply_the_overall_saturation():
    """Measured: the overall factor times 1 plus the ranges' sum; half a range at +0.5 is 1.5, not the table's half."""
    hues = colour.HueRange(0, 60, 300, 300, saturation=0.5)
    both = at(colour.hue_saturation(0, -0.5, 0, [hues]), [0.25, 0.75, 0.25], [0.6, 0.5, 0.4])
    assert both[0] == pytest.approx([0.25, 0.75, 0.25], abs=1e-5)  # 0.5 * 2
    assert both[1] == pytest.approx([0.575, 0.5, 0.425], abs=1e-5)  # 30 degrees: 0.5 * 1.5
    strong = colour.hue_saturation(0, 1, 0, [colour.HueRange(0, 0, 359, 359, saturation=-1.0)])
    assert at(strong, [0.7, 0.5, 0.3]) == pytest.approx(np.array([[0.5] * 3]), abs=1e-5)


def test_ranges_go_by_the_hue_before_the_turn():
    """Measured."""
    apply = colour.hue_saturation(120, 0, 0, [colour.HueRange(315, 345, 15, 45, saturation=-1.0)])
    assert at(apply, RED, GREEN) == pytest.approx(np.array([[0.5] * 3, BLUE]), abs=1e-5)


@pytest.mark.parametrize(("lightness", "expected"), [(0.5, [0.9, 0.5, 0.5]), (-0.5, [0.5, 0.1, 0.1])])
def test_lightness_of_a_range_goes_to_the_colours_own_ends(lightness, expected):
    """Measured: up moves all to the largest channel, down to the smallest; grays stay."""
    apply = colour.hue_saturation(0, 0, 0, [colour.HueRange(315, 345, 15, 45, lightness=lightness)])
    assert at(apply, [0.9, 0.1, 0.1], [0.3] * 3) == pytest.approx(np.array([expected, [0.3] * 3]), abs=1e-5)


def test_lightness_ends_in_white_and_black():
    assert (colour.hue_saturation(0, 0, 1)(RANDOM) == 1).all()
    assert (colour.hue_saturation(0, 0, -1)(RANDOM) == 0).all()


def test_a_range_of_hues_changes_only_its_own():
    apply = colour.hue_saturation(0, 0, 0, [colour.HueRange(315, 345, 15, 45, saturation=-1.0)])
    half = [1, 0.5, 0]  # 30 degrees: half way down
    assert at(apply, RED, GREEN, half) == pytest.approx(np.array([[0.5] * 3, GREEN, [0.75, 0.5, 0.25]]), abs=1e-5)


def test_overlapping_ranges_add_their_chroma_factors():
    ranges = [colour.HueRange(0, 0, 359, 359, saturation=value) for value in (0.5, 0.5)]
    (found,) = at(colour.hue_saturation(0, 0, 0, ranges), [0.6, 0.5, 0.4])
    assert found == pytest.approx([0.8, 0.5, 0.2], abs=1e-5)  # 1 + 1 + 1 times


def test_colorize_gives_one_hue():
    found = colour.colorize(120, 1, 0)(RANDOM)
    assert np.abs(found[..., 0] - found[..., 2]).max() < EXACT
    assert at(colour.colorize(120, 1, 0), [0.5] * 3) == [GREEN]


def test_colour_balance_keeps_the_luminosity_where_asked():
    tones = [[0.0] * 3, [0.6, 0.0, -0.3], [0.0] * 3]
    middle = RANDOM * 0.4 + 0.3
    kept = colour.colour_balance(tones, True)(middle)
    assert np.abs(tables.luminosity(kept) - tables.luminosity(middle)).max() < 1e-4
    free = colour.colour_balance(tones, False)(middle)
    assert (free[..., 0] > middle[..., 0]).all()
    assert np.abs(free[..., 1] - middle[..., 1]).max() < 1e-3


def test_black_white_weighs_pure_colours():
    weights = [0.4, 0.6, 0.3, 0.5, 0.2, 0.8]
    pure = [RED, [1, 1, 0], GREEN, [0, 1, 1], BLUE, [1, 0, 1]]
    found = at(colour.black_white(weights), *pure, [0.37] * 3)
    assert found == pytest.approx(np.repeat([[*weights, 0.37]], 3, axis=0).T, abs=1e-5)


def test_a_tint_keeps_the_gray_and_takes_the_hue():
    tinted = colour.black_white([0.4, 0.6, 0.4, 0.6, 0.2, 0.8], [225 / 255, 211 / 255, 179 / 255])(RANDOM)
    plain = colour.black_white([0.4, 0.6, 0.4, 0.6, 0.2, 0.8])(RANDOM)
    assert np.abs(tables.luminosity(tinted) - plain[..., 0]).max() < 1e-4
    assert (tinted[..., 0] >= tinted[..., 2]).all()


def test_a_photo_filter_multiplies():
    assert at(colour.photo_filter([1, 0.5, 0], 0.5, False), [0.8] * 3) == pytest.approx(np.array([[0.8, 0.6, 0.4]]))


def test_channel_mixer_by_hand():
    swapped = colour.channel_mixer([[0, 1, 0], [1, 0, 0], [0, 0, 1]], [0, 0, 0.1])
    assert at(swapped, [0.2, 0.4, 0.6]) == pytest.approx(np.array([[0.4, 0.2, 0.7]]))
    gray = colour.channel_mixer([[0.5, 0.25, 0.25]], [0.05])
    assert at(gray, [0.2, 0.4, 0.8]) == pytest.approx(np.array([[0.45] * 3]))


def test_a_gradient_map_from_black_to_white_is_the_luminosity():
    found = colour.gradient_map(LINE)(RANDOM)
    assert np.abs(found - tables.luminosity(RANDOM)[..., None]).max() < 1e-3


@pytest.mark.parametrize(
    ("plate", "change", "before", "relative", "after"),
    [
        ("reds", [1, 0, 0, 0], RED, False, BLACK),
        ("reds", [-1, 0, 0, 0], [0.8, 0.2, 0.2], True, [0.8 + 0.6 * 0.2, 0.2, 0.2]),
        ("reds", [1, 1, 1, 0], BLUE, False, BLUE),
        ("yellows", [0, 0, -1, 0], [0.9, 0.9, 0.3], False, [0.9, 0.9, 0.3 + 0.6 * 0.7]),
        ("whites", [0, 0, 0.5, 0], WHITE, False, [1, 1, 0.5]),
        ("blacks", [0, 0, 0, -1], BLACK, False, WHITE),
        ("neutrals", [0, 0.5, 0, 0], [0.5] * 3, False, [0.5, 0, 0.5]),
    ],
)
def test_selective_colour_by_hand(plate, change, before, relative, after):
    plates = [list(change) if name == plate else [0.0] * 4 for name in colour.SELECTIVE]
    assert at(colour.selective_colour(plates, relative), before) == pytest.approx(np.array([after]), abs=1e-5)


def test_selective_colour_changes_inks():
    plates = [[0.5, 0, 0, 0] if name == "reds" else [0.0] * 4 for name in colour.SELECTIVE]
    red, blue = [1, 0, 0, 1], [0, 0, 1, 1]  # what is left of white
    assert at(colour.selective_inks(plates, False), red, blue) == [[0.5, 0, 0, 1], blue]
    assert at(colour.selective_inks(plates, True), red) == [red]  # no cyan to scale


def test_vibrance_does_more_to_dull_colours():
    dull, vivid = np.array([[0.45, 0.5, 0.55], [0.1, 0.5, 0.9]], np.float32)
    found = colour.vibrance(0.5, 0)(np.array([dull, vivid]))
    assert np.ptp(found[0]) / np.ptp(dull) > np.ptp(found[1]) / np.ptp(vivid) >= 1


SHARE = st.floats(-1, 1)
THREE = st.tuples(SHARE, SHARE, SHARE)


@settings(max_examples=60, deadline=None)
@given(
    apply=st.one_of(
        st.builds(colour.hue_saturation, st.floats(-360, 360), SHARE, SHARE),
        st.builds(
            lambda ends, turn: colour.hue_saturation(0, 0, 0, [colour.HueRange(*ends, turn[0] * 180, *turn[1:])] * 2),
            st.tuples(*[st.floats(-400, 400)] * 4),
            THREE,
        ),
        st.builds(colour.colorize, st.floats(-360, 360), SHARE, SHARE),
        st.builds(colour.colour_balance, st.tuples(THREE, THREE, THREE), st.booleans()),
        st.builds(colour.black_white, st.tuples(*[st.floats(-10, 10)] * 6), st.none() | THREE),
        st.builds(lambda c, d, p: colour.photo_filter(np.abs(c), abs(d), p), THREE, SHARE, st.booleans()),
        st.builds(colour.channel_mixer, st.tuples(THREE, THREE, THREE), THREE),
        st.builds(colour.selective_colour, st.lists(st.tuples(*[SHARE] * 4), min_size=9, max_size=9), st.booleans()),
        st.builds(colour.vibrance, SHARE, SHARE),
        st.builds(tables.threshold, st.integers(0, 300), st.booleans()),
        st.builds(
            lambda *numbers: tables.per_channel([tables.levels(*numbers)]), *[st.floats(0, 1)] * 4, st.floats(0, 100)
        ),
        st.builds(lambda *numbers: tables.per_channel([tables.exposure(*numbers)]), *[st.floats(-100, 100)] * 3),
        st.builds(
            lambda *numbers: tables.per_channel([tables.modern_brightness_contrast(*numbers)]),
            *[st.floats(-255, 255)] * 2,
        ),
        st.builds(
            lambda *numbers: tables.per_channel([tables.legacy_brightness_contrast(*numbers)]),
            *[st.floats(-255, 255)] * 2,
        ),
    )
)
def test_every_adjustment_keeps_shape_and_range(apply):
    corners = np.array([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], np.float32)
    for colours in (corners, RANDOM[:4], RANDOM[0, 0]):
        found = apply(colours)
        assert found.shape == colours.shape
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert found.min() >= 0
        assert found.max() <= 1
