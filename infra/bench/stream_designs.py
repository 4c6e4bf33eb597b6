"""Designs for the benchmark of streaming: what a build publishes, without a build.

A design shows a visible square with a background and some ten layers whose shares of its area are lognormal (median
4.5 %, sigma 1), which is the distribution that gives the token counts the papers report. Pictures are cut out of the
ones that ``infra.bench.codecs`` measures codecs on.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace

import numpy as np

from infra.bench import codecs
from schemas import images
from schemas.compositing import Placed, Rgba, composite_fast
from schemas.design import Caption, Captions, Design, Layer, LayerKind, Licence, Provenance, Recomposition, Size
from schemas.geometry import Box, union
from schemas.images import Codec
from schemas.licence import SYNTHETIC
from schemas.sample import Sample, layer_stem

MEDIAN_SHARE, SIGMA, LARGEST = 0.045, 1.0, 0.9
KINDS = ("photograph", "gradient", "shapes", "text", "shadow")
OFTEN = (0.2, 0.1, 0.3, 0.3, 0.1)
PNG_EFFORT = 5
"""Level 6, at which stock tools write PNG."""


@dataclass(frozen=True)
class Drawn:
    """A design's record and its pictures by stem."""

    design: Design
    pictures: dict[str, Rgba]

    def sample(self, codec: Codec) -> Sample:
        """The sample as it is published with ``codec``."""
        effort = PNG_EFFORT if codec is Codec.PNG else images.DEFAULT_EFFORT
        members = {f"{stem}.{codec}": images.encode(pixels, codec, effort) for stem, pixels in self.pictures.items()}
        return Sample(self.design, members)


def draw(number: int, side: int, layers: int) -> Drawn:
    """Design ``number``: always the same one, with about ``layers`` layers on a visible box of ``side`` px."""
    rng = np.random.default_rng(number)
    visible = Box(0, 0, side, side)
    placed, kinds = [(_cut(rng, rng.choice(KINDS[:2]), side, side), visible)], [LayerKind.BACKGROUND]
    for _ in range(max(1, int(rng.poisson(layers - 1)))):
        kind = str(rng.choice(KINDS, p=OFTEN))
        box = _box(rng, side)
        placed.append((_cut(rng, kind, box.width, box.height), box))
        kinds.append(LayerKind.TEXT if kind == "text" else LayerKind.SHAPE if kind == "shapes" else LayerKind.IMAGE)
    whole = union(box for _, box in placed)
    moved = [(pixels, box.within(whole)) for pixels, box in placed]
    canvas = Box(0, 0, whole.width, whole.height)
    shown = composite_fast(moved, canvas)
    pictures = {layer_stem(i): pixels for i, (pixels, _) in enumerate(moved)}
    pictures |= {"composite": shown, "preview": shown[visible.within(whole).slices]}
    return Drawn(_record(number, moved, kinds, canvas, visible.within(whole)), pictures)


def renamed(sample: Sample, name: str) -> Sample:
    """The same design as another sample, for a dataset that is larger than what was drawn."""
    digest = _digest(name.encode())
    provenance = sample.design.provenance.model_copy(update={"uri": f"{name}.psd", "sha256": digest, "family": name})
    design = sample.design.model_copy(update={"design_id": digest[:32], "provenance": provenance})
    return replace(sample, design=design)


@functools.cache
def _pool() -> dict[str, list[Rgba]]:
    """Two pictures of each kind, ``codecs.SIDE`` px square."""
    rng = np.random.default_rng(0)
    return {name: [np.asarray(getattr(codecs, name)(rng)) for _ in range(2)] for name in KINDS}


def _cut(rng: np.random.Generator, kind: str, width: int, height: int) -> Rgba:
    """A piece of a picture of a kind, in its true scale, its colour channels in any order."""
    pictures = _pool()[kind]
    picture = pictures[int(rng.integers(len(pictures)))]
    y, x = int(rng.integers(codecs.SIDE - height + 1)), int(rng.integers(codecs.SIDE - width + 1))
    piece = picture[y : y + height, x : x + width]
    out = np.empty_like(piece)
    out[..., :3], out[..., 3] = piece[..., rng.permutation(3)], piece[..., 3]
    return out


def _box(rng: np.random.Generator, side: int) -> Box:
    """A box around a point of the visible square, so that some reach out of it."""
    share = min(LARGEST, MEDIAN_SHARE * float(np.exp(SIGMA * rng.normal())))
    ratio = float(np.exp(0.4 * rng.normal()))
    width = min(side, max(8, round(side * (share * ratio) ** 0.5)))
    height = min(side, max(8, round(side * (share / ratio) ** 0.5)))
    x0, y0 = (int(v) for v in rng.uniform(-0.1, 0.9, 2) * side)
    return Box(x0, y0, x0 + width, y0 + height)


def _record(number: int, placed: list[Placed], kinds: list[LayerKind], canvas: Box, visible: Box) -> Design:
    layers = tuple(
        Layer(
            index=i,
            name=f"{kind} {i}",
            kind=kind,
            box=box,
            coverage=float(pixels[..., 3].mean(dtype=np.float64)) / 255,
            sha256=_digest(pixels.tobytes()),
            caption=Caption(text=f"A {kind} of a design", source="template"),
        )
        for i, ((pixels, box), kind) in enumerate(zip(placed, kinds, strict=True))
    )
    name = f"design-{number}"
    digest = _digest(name.encode())
    caption = {"en": Caption(text=f"A design with {len(layers)} layers", source="template")}
    return Design(
        design_id=digest[:32],
        canvas=Size(width=canvas.width, height=canvas.height),
        visible=visible,
        layers=layers,
        captions=Captions(short=caption, long=caption),
        licence=Licence(id=SYNTHETIC, licensor="Acetate"),
        provenance=Provenance(uri=f"{name}.psd", format="psd", sha256=digest, bytes=1, family=name),
        recomposition=Recomposition(reference="render", mae=0.0, p99=0.0),
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
