"""Restyle pairs: a condition image of a layer in another style, with the same alpha (DESIGN section 7, restyle).

The embedded default moves the colours of a layer towards those of another design of the same unit, by one of two
methods: ``statistics`` (mean and spread of each OKLab channel; Reinhard et al., Color Transfer between Images, 2001)
or ``palette`` (the main colours, matched by lightness; after Chang et al., Palette-based Photo Recoloring, 2015).
Measured rules drop poor pairs.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipelines import recolour
from pipelines.oklab import Colours, to_oklab
from pipelines.recolour import Floats, Recoloured
from schemas.compositing import Rgba
from schemas.design import Layer, LayerKind, RestylePair, Share
from schemas.sample import Sample

STATISTICS = "statistics"
PALETTE = "palette"
METHODS = (STATISTICS, PALETTE)
STYLE_PIXELS = 1 << 14
"""Pixels that a style is measured on, about."""


class RestyleConfig(BaseModel):
    """Which layers get a pair, and which pairs are good enough.

    ``max_pairs`` a design at most. A layer is eligible when it is reusable, no text and not the background, covers
    ``min_area`` to ``max_area`` of the visible box, has alpha in ``min_coverage`` of its box, at least ``min_side``
    px a side and at most ``max_pixels`` px. ``donors``: how many other designs are tried. The rules: ``min_change``
    is the least mean change in OKLab (0.02 is just visible, black to white is 1), ``min_structure`` the least
    correlation of the gradients of lightness, ``min_contrast`` the least share of the spread of lightness that must
    remain, ``max_clipped`` the largest share of the layer that could not be shown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pairs: int = Field(default=2, ge=0, le=100)
    min_area: Share = 0.01
    max_area: Share = 0.9
    min_coverage: Share = 0.05
    min_side: int = Field(default=12, ge=1)
    max_pixels: int = Field(default=4_194_304, ge=1)
    donors: int = Field(default=2, ge=1)
    min_change: float = Field(default=0.08, ge=0)
    min_structure: float = Field(default=0.85, ge=-1, le=1)
    min_contrast: Share = 0.3
    max_clipped: Share = 0.1


@dataclass(frozen=True)
class _Donor:
    """Colours that stand for a style: OKLab float32 ``[n, 3]`` and their alpha as weights ``[n]``."""

    design_id: str
    layer: int | None
    colours: Colours
    weights: Floats


def restyle_design(
    design_id: str, unit: Iterable[str], load: Callable[[str], Sample], config: RestyleConfig
) -> list[tuple[RestylePair, Rgba]]:
    """The pairs of one design, by layer: a record and its image (``uint8``, the layer's size and alpha).

    ``unit`` are the designs of its unit that may be used, in any order. At most two samples are loaded at once. A
    design alone in its unit has no donor, so no pairs.
    """
    others = sorted(set(unit) - {design_id})
    if not others or config.max_pairs == 0:
        return []
    rng = random.Random(hashlib.sha256(f"restyle:{design_id}".encode()).digest())
    sample = load(design_id)
    ranked = sorted((rng.random(), layer.index) for layer in sample.design.layers if _eligible(layer, sample, config))
    open_layers = [index for _, index in ranked]
    pairs: dict[int, tuple[RestylePair, Rgba]] = {}
    for _, donor_id in sorted((rng.random(), other) for other in others)[: config.donors]:
        if not open_layers or len(pairs) == config.max_pairs:
            break
        donors = _donors(load(donor_id), config, rng)
        for index in list(open_layers):
            if len(pairs) == config.max_pairs:
                break
            if (pair := _pair(index, sample.layer(index), donors, config, rng)) is not None:
                pairs[index] = pair
                open_layers.remove(index)
    return [pairs[index] for index in sorted(pairs)]


def _pair(
    index: int, pixels: Rgba, donors: Sequence[_Donor], config: RestyleConfig, rng: random.Random
) -> tuple[RestylePair, Rgba] | None:
    """The first pair that passes the rules: the most unlike donor first, the methods in a random order."""
    first = rng.randrange(len(METHODS))
    colours, weights = _style(pixels)
    mean = recolour.moments(colours, weights)[0]
    unlike = [float(((recolour.moments(donor.colours, donor.weights)[0] - mean) ** 2).sum()) for donor in donors]
    for _, rank in sorted((-distance, rank) for rank, distance in enumerate(unlike)):
        donor = donors[rank]
        for method in (METHODS[first], METHODS[1 - first]):
            apply = recolour.statistics if method == STATISTICS else recolour.palette
            result = apply(pixels, donor.colours, donor.weights)
            if _passes(result, config):
                scores = {name: round(value, 4) for name, value in result.scores.items()}
                record = RestylePair(
                    layer=index, method=method, donor=donor.design_id, donor_layer=donor.layer, scores=scores
                )
                return record, result.pixels
    return None


def _passes(result: Recoloured, config: RestyleConfig) -> bool:
    scores = result.scores
    return (
        scores["change"] >= config.min_change
        and scores["structure"] >= config.min_structure
        and scores["contrast"] >= config.min_contrast
        and scores["clipped"] <= config.max_clipped
    )


def _eligible(layer: Layer, sample: Sample, config: RestyleConfig) -> bool:
    visible = sample.design.visible
    share = layer.box.intersect(visible).area / visible.area
    return (
        layer.reusable
        and layer.kind not in {LayerKind.TEXT, LayerKind.BACKGROUND}
        and layer.coverage >= config.min_coverage
        and config.min_area <= share * layer.coverage <= config.max_area
        and min(layer.box.width, layer.box.height) >= config.min_side
        and layer.box.area <= config.max_pixels
    )


def _donors(sample: Sample, config: RestyleConfig, rng: random.Random) -> list[_Donor]:
    """Up to two layers of a design as styles, then its whole visible composite."""
    ranked = sorted((rng.random(), layer.index) for layer in sample.design.layers if _eligible(layer, sample, config))
    out = [_donor(sample, index, sample.layer(index)) for _, index in ranked[:2]]
    out.append(_donor(sample, None, sample.composite()[sample.design.visible.slices]))
    return [donor for donor in out if len(donor.colours)]


def _donor(sample: Sample, layer: int | None, pixels: Rgba) -> _Donor:
    return _Donor(sample.design.design_id, layer, *_style(pixels))


def _style(pixels: Rgba) -> tuple[Colours, Floats]:
    """The visible colours of a picture on a coarse grid, OKLab ``[n, 3]``, and their alpha ``[n]``."""
    step = max(1, round((pixels.shape[0] * pixels.shape[1] / STYLE_PIXELS) ** 0.5))
    flat = pixels[::step, ::step].reshape(-1, 4)
    flat = flat[flat[:, 3] > 0]
    return to_oklab(flat[:, :3]), flat[:, 3].astype(np.float32)
