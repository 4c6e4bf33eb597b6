"""The blend functions against values worked out by hand from the W3C formulas, and against psd-tools' own."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.flatten.blend import LINEAR_IN_SOURCE, MODES, NEUTRAL, canonical

CB = np.array([0.25, 0.5, 1.0])
CS = np.array([0.5, 0.75, 0.0])

BY_HAND = {
    "multiply": [0.125, 0.375, 0.0],
    "screen": [0.625, 0.875, 1.0],
    "overlay": [0.25, 0.75, 1.0],
    "darken": [0.25, 0.5, 0.0],
    "lighten": [0.5, 0.75, 1.0],
    "color-dodge": [0.5, 1.0, 1.0],
    "color-burn": [0.0, 1 / 3, 1.0],
    "hard-light": [0.25, 0.75, 0.0],
    "soft-light": [0.25, 0.5 + 0.5 * (np.sqrt(0.5) - 0.5), 1.0],
    "difference": [0.25, 0.25, 1.0],
    "exclusion": [0.5, 0.5, 1.0],
    "linear-dodge": [0.75, 1.0, 1.0],
    "linear-burn": [0.0, 0.25, 0.0],
    "linear-light": [0.25 - 1 / 255, 1 - 1 / 255, 0.0],
    "pin-light": [0.25, 0.5, 0.0],
    "vivid-light": [0.25, 1.0, 0.0],
    "hard-mix": [0.0, 1.0, 1.0],
    "subtract": [0.0, 0.0, 1.0],
    "divide": [0.5, 2 / 3, 1.0],
}


@pytest.mark.parametrize("mode", BY_HAND)
def test_separable_modes_by_hand(mode):
    assert MODES[mode](CB, CS) == pytest.approx(BY_HAND[mode], abs=1e-9)


def test_hue_saturation_colour_and_luminosity_keep_what_they_should():
    rng = np.random.default_rng(1)
    cb, cs = rng.uniform(0.3, 0.7, (2, 500, 3))

    def lum(c):
        return c @ [0.3, 0.59, 0.11]

    for mode in ("hue", "saturation", "color"):
        assert lum(MODES[mode](cb, cs)) == pytest.approx(lum(cb), abs=1e-6)
    assert lum(MODES["luminosity"](cb, cs)) == pytest.approx(lum(cs), abs=1e-6)
    gray = np.full_like(cs, 0.4)
    assert np.ptp(MODES["saturation"](cb, gray), axis=-1) == pytest.approx(0, abs=1e-6)
    assert np.ptp(MODES["color"](cb, gray), axis=-1) == pytest.approx(0, abs=1e-6)


def test_all_modes_agree_with_psd_tools():
    blends = pytest.importorskip("psd_tools.composite.blend")
    rng = np.random.default_rng(2)
    cb, cs = rng.integers(0, 256, (2, 40, 40, 3)).astype(np.float32) / np.float32(255)
    for name, function in MODES.items():
        theirs = getattr(blends, name.replace("-", "_"))(cb.copy(), cs.copy())
        level = 1 if name == "linear-light" else 0  # as Photoshop 2026 was measured to do
        assert np.abs(function(cb, cs) - theirs).max() < 2e-3 + level / 255, name


def test_neutral_colours_change_no_backdrop():
    cb = np.random.default_rng(3).uniform(0, 1, (300, 3))
    for mode, gray in NEUTRAL.items():
        assert MODES[mode](cb, np.full_like(cb, gray / 255)) == pytest.approx(cb, abs=1e-6), mode


def test_modes_called_linear_blend_a_mixture_as_the_mixture_of_the_blended():
    cb, one, two = np.random.default_rng(4).uniform(0, 1, (3, 300, 3))
    for mode in LINEAR_IN_SOURCE:
        blend = MODES[mode]
        assert blend(cb, 0.3 * one + 0.7 * two) == pytest.approx(0.3 * blend(cb, one) + 0.7 * blend(cb, two), abs=1e-9)


def test_results_stay_in_range():
    levels = np.linspace(0, 1, 18)
    cb, cs = (part.reshape(-1, 1) * np.ones(3) for part in np.meshgrid(levels, levels))
    for mode, blend in MODES.items():
        out = blend(cb, cs)
        assert np.isfinite(out).all(), mode
        assert out.min() >= -1e-9, mode
        assert out.max() <= 1 + 1e-9, mode


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("COLOR_BURN", "color-burn"),
        ("svg:color-dodge", "color-dodge"),
        ("svg:src-over", "normal"),
        ("svg:plus", "linear-dodge"),
        ("pass-through", "normal"),
        ("Linear Dodge", "linear-dodge"),
        ("dissolve", "dissolve"),
    ],
)
def test_names_as_files_write_them(written, name):
    assert canonical(written) == name
