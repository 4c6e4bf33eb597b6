"""Restyle pairs: alpha kept, colours changed, structure kept, poor pairs refused, and who lent the style."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from pipelines import recolour
from pipelines.oklab import from_oklab, to_oklab
from pipelines.restyle import METHODS, RestyleConfig, restyle_design
from schemas.compositing import Rgba
from schemas.design import LayerKind, RestylePair
from schemas.sample import Sample
from tests.builders import disc, layer, make_sample, solid, texture

CONFIG = RestyleConfig()


def restyle_unit(
    ids: Sequence[str], load: Callable[[str], Sample], config: RestyleConfig
) -> dict[str, list[tuple[RestylePair, Rgba]]]:
    return {design_id: restyle_design(design_id, ids, load, config) for design_id in ids}


def _tinted(seed: int, low: tuple[int, int, int], high: tuple[int, int, int], size: int = 60, alpha: int = 255) -> Rgba:
    """A texture whose colours run from ``low`` to ``high``."""
    gray = texture(size, size, seed)[..., :1].astype(float) / 255
    out = texture(size, size, seed, alpha=alpha)
    out[..., :3] = np.rint(np.array(low) * (1 - gray) + np.array(high) * gray)
    return out


def _design(seed: int, low: tuple[int, int, int], high: tuple[int, int, int]) -> Sample:
    soft = _tinted(seed, low, high)
    soft[..., 3] = disc(60, "white", softness=20)[..., 3]
    return make_sample(
        [
            layer(solid(160, 160, "white")),
            layer(soft, at=(10, 10)),
            layer(_tinted(seed + 50, low, high), at=(90, 20)),
            layer(_tinted(seed + 90, low, high), at=(20, 90), kind=LayerKind.TEXT),
            layer(solid(3, 3, "red"), at=(150, 150)),
        ]
    )


def _unit() -> dict[str, Sample]:
    samples = [
        _design(1, (60, 20, 20), (240, 170, 120)),
        _design(2, (10, 30, 80), (120, 200, 250)),
        _design(3, (20, 60, 20), (200, 240, 140)),
    ]
    return {sample.design.design_id: sample for sample in samples}


def test_pairs_keep_the_alpha_change_the_colour_and_name_their_donor() -> None:
    unit = _unit()
    pairs = restyle_unit(list(unit), unit.__getitem__, CONFIG)
    assert set(pairs) == set(unit)
    assert sum(len(found) for found in pairs.values()) >= 4
    for design_id, found in pairs.items():
        for record, pixels in found:
            source = unit[design_id].layer(record.layer)
            assert np.array_equal(pixels[..., 3], source[..., 3])
            assert not pixels[source[..., 3] == 0].any()
            shown = source[..., 3] > 0
            moved = np.linalg.norm(to_oklab(pixels[shown][:, :3]) - to_oklab(source[shown][:, :3]), axis=1)
            assert moved.mean() > 0.05
            assert record.scores["structure"] >= CONFIG.min_structure
            assert record.donor in unit and record.donor != design_id
            assert record.method in METHODS
            if record.donor_layer is not None:
                assert unit[record.donor].design.layers[record.donor_layer].kind is LayerKind.IMAGE


def test_only_layers_worth_it_are_chosen_and_no_more_than_allowed() -> None:
    unit = _unit()
    pairs = restyle_unit(list(unit), unit.__getitem__, RestyleConfig(max_pairs=50))
    chosen = {record.layer for found in pairs.values() for record, _ in found}
    assert chosen == {1, 2}
    few = restyle_unit(list(unit), unit.__getitem__, RestyleConfig(max_pairs=1))
    assert {len(found) for found in few.values()} == {1}
    assert not any(restyle_unit(list(unit), unit.__getitem__, RestyleConfig(max_pairs=0)).values())


def test_a_bottom_layer_that_is_no_background_may_be_restyled() -> None:
    unit = {}
    for seed, low, high in ((1, (60, 20, 20), (240, 170, 120)), (2, (10, 30, 80), (120, 200, 250))):
        specs = [layer(_tinted(seed, low, high), at=(10, 10), kind=LayerKind.IMAGE), layer(solid(9, 9, "red"))]
        sample = make_sample(specs, visible=(0, 0, 160, 160), canvas=(160, 160))
        unit[sample.design.design_id] = sample
    pairs = restyle_unit(list(unit), unit.__getitem__, CONFIG)
    assert {record.layer for found in pairs.values() for record, _ in found} == {0}


def test_the_order_of_the_unit_does_not_matter() -> None:
    unit = _unit()
    first = restyle_unit(sorted(unit), unit.__getitem__, CONFIG)
    second = restyle_unit(sorted(unit, reverse=True), unit.__getitem__, CONFIG)
    assert first.keys() == second.keys()
    for design_id, found in first.items():
        assert [record for record, _ in found] == [record for record, _ in second[design_id]]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found, second[design_id], strict=True))


def test_a_design_alone_has_no_pairs_and_is_not_even_read() -> None:
    def refuse(design_id: str) -> Sample:
        raise AssertionError(f"{design_id} was loaded")

    assert restyle_unit(["0" * 32], refuse, CONFIG) == {"0" * 32: []}


def test_donors_that_look_the_same_give_no_pair() -> None:
    one, two = _design(1, (60, 20, 20), (240, 170, 120)), _design(1, (60, 20, 20), (240, 170, 120))
    unit = {"a" * 32: one, "b" * 32: two}
    unit = {
        key: Sample(sample.design.model_copy(update={"design_id": key}), sample.members) for key, sample in unit.items()
    }
    assert restyle_unit(list(unit), unit.__getitem__, RestyleConfig(min_change=0.12)) == {"a" * 32: [], "b" * 32: []}


@pytest.mark.parametrize("apply", [recolour.statistics, recolour.palette])
def test_colours_move_to_the_donors(apply: Callable[..., recolour.Recoloured]) -> None:
    source = _tinted(4, (60, 20, 20), (240, 170, 120))
    donor = to_oklab(_tinted(5, (10, 30, 80), (120, 200, 250))[..., :3].reshape(-1, 3))
    result = apply(source, donor, np.ones(len(donor), np.float32))
    before = np.abs(to_oklab(source[..., :3]).mean(axis=(0, 1)) - donor.mean(axis=0))
    after = np.abs(to_oklab(result.pixels[..., :3]).mean(axis=(0, 1)) - donor.mean(axis=0))
    assert np.linalg.norm(after) < 0.5 * np.linalg.norm(before)
    assert result.scores["structure"] > 0.9
    assert result.scores["change"] > 0.1


def test_the_scores_see_a_flattened_and_a_clipped_picture() -> None:
    source = _tinted(6, (0, 0, 0), (255, 255, 255))
    dull = to_oklab(np.full((50, 3), 128, np.uint8))
    assert recolour.palette(source, dull, np.ones(50, np.float32)).scores["contrast"] < 0.5
    glaring = to_oklab(np.array([[255, 0, 0], [0, 255, 0]] * 20, np.uint8))
    assert recolour.statistics(source, glaring, np.ones(40, np.float32)).scores["clipped"] > 0.1


@pytest.mark.parametrize("apply", [recolour.statistics, recolour.palette])
def test_one_flat_colour_becomes_one_flat_colour(apply: Callable[..., recolour.Recoloured]) -> None:
    donor = to_oklab(solid(8, 8, "navy")[..., :3].reshape(-1, 3))
    result = apply(solid(30, 20, "orange", alpha=77), donor, np.ones(64, np.float32))
    assert np.abs(result.pixels.astype(int) - solid(30, 20, "navy", alpha=77)).max() <= 2
    assert result.scores["structure"] == result.scores["contrast"] == 1.0


def test_a_scrambled_picture_has_no_structure() -> None:
    source = _tinted(7, (60, 20, 20), (240, 170, 120))
    other = np.asarray(Image.fromarray(source).transpose(Image.Transpose.ROTATE_90))
    shown = source[..., 3] > 0
    lightness = [to_oklab(pixels[..., :3])[..., 0][shown] for pixels in (source, other)]
    assert recolour._correlation(lightness[0], lightness[1], shown) < 0.5
    assert recolour._correlation(lightness[0], lightness[0], shown) == pytest.approx(1)


def test_oklab_of_known_colours_and_back() -> None:
    known = to_oklab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))
    assert known == pytest.approx(np.array([[1, 0, 0], [0, 0, 0], [0.62796, 0.22486, 0.12585]]), abs=1e-4)
    every = np.stack(np.meshgrid(*[np.arange(0, 256, 17, dtype=np.uint8)] * 3), axis=-1).reshape(-1, 3)
    assert np.abs(np.rint(from_oklab(to_oklab(every)) * 255) - every).max() <= 0
