"""One sample: its members fit its record, its images say what the record says, and its layers recompose."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator

import numpy as np

from pipelines.dedup import signature
from pipelines.flatten import coverage, overflow
from pipelines.flatten.check import measure
from pipelines.flatten.planes import composite_banded
from pipelines.flatten.scale import fitted
from pipelines.group import prove
from pipelines.validation.problem import some
from schemas import images
from schemas.compositing import Placed, Rgba
from schemas.design import Design, Layer, Overflow, Recomposition
from schemas.errors import ImageError, SampleError
from schemas.images import Codec
from schemas.sample import Sample, required_members, restyle_stem

OPTIONAL = frozenset({"latents.safetensors"})
PREVIEW_SIDE = 1024
MAX_SAMPLE_PIXELS = 1 << 30
"""Pixels of canvas and layers of one sample together: 4 GiB of RGBA."""
SHARE_ERROR = 1e-6
EXACT_ERROR = 0.01
"""How far a recomposition error may differ from the recorded one, in 1/255: float32 summed in another order."""
SCALED_ERROR = 1.0
"""How much larger it may be on the scaled preview, in 1/255: two 8-bit roundings."""
PHASH_BITS = 16
"""How many of its 256 bits a perceptual hash may differ in: those that rounding decides."""
GROUP_WORST, GROUP_MEAN = 4.0, 0.5
"""How far a stack with merged parts may be from the composite, in 1/255 of premultiplied colour."""


def check_sample(sample: Sample, phash: str | None = None) -> Iterator[str]:
    """What is wrong with a sample whose record validates. Decodes every image once.

    ``phash``: the perceptual hash that the index gives, where it is known.
    """
    yield from _members(sample.design, sample.members.keys())
    design = sample.design
    if not design.provenance.sha256.startswith(design.design_id):
        yield "the design id is not the start of the source's sha256"
    pixels = sample.canvas.area + sum(layer.box.area for layer in design.layers)
    if pixels > MAX_SAMPLE_PIXELS or sample.canvas.area > images.MAX_PIXELS:
        yield f"{pixels} px of canvas and layers are over the limit of {MAX_SAMPLE_PIXELS}"
        return
    decoded: list[tuple[Layer, Rgba]] = []
    for layer in design.layers:
        try:
            decoded.append((layer, sample.layer(layer.index)))
        except (ImageError, SampleError) as error:
            yield f"layer {layer.index}: {error}"
            continue
        yield from (f"layer {layer.index}: {message}" for message in _layer(layer, decoded[-1][1], design))
    try:
        composite = sample.composite()
    except (ImageError, SampleError) as error:
        yield f"composite: {error}"
        composite = None
    if composite is not None:
        yield from _preview(sample, composite)
        yield from _look(sample, composite, phash)
        if len(decoded) == len(design.layers):
            yield from _recomposed(sample, [(pixels, layer.box) for layer, pixels in decoded], composite)
    yield from _restyles(sample, {layer.index: pixels for layer, pixels in decoded})


def _members(design: Design, names: Collection[str]) -> Iterator[str]:
    stems = Counter(name.rpartition(".")[0] for name in names if name.rpartition(".")[2] in set(Codec))
    required = required_members(design)
    if missing := sorted(required - stems.keys()):
        yield f"members are missing: {some(missing)}"
    if several := sorted(stem for stem in required if stems[stem] > 1):
        yield f"members in two codecs: {some(several)}"
    known = {f"{stem}.{codec}" for stem in required for codec in Codec}
    if foreign := sorted(set(names) - known - OPTIONAL):
        yield f"members that the record does not name: {some(foreign)}"


def _layer(layer: Layer, pixels: Rgba, design: Design) -> Iterator[str]:
    if hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest() != layer.sha256:
        yield "its pixels do not have the recorded sha256"
    found = coverage(pixels)
    if abs(found - layer.coverage) > SHARE_ERROR:
        yield f"alpha covers {found:.6f} of its box, the record says {layer.coverage:.6f}"
    if _differ(measured := overflow(pixels, layer.box, design.visible), layer.overflow):
        yield f"its overflow is {_spelled(measured)}, the record says {_spelled(layer.overflow)}"


def _differ(a: Overflow, b: Overflow) -> bool:
    sides = (a.left, a.top, a.right, a.bottom) != (b.left, b.top, b.right, b.bottom)
    return sides or abs(a.share - b.share) > SHARE_ERROR


def _spelled(value: Overflow) -> str:
    return f"{value.left}, {value.top}, {value.right}, {value.bottom} px (share {value.share:.6f})"


def _recomposed(sample: Sample, placed: list[Placed], composite: Rgba) -> Iterator[str]:
    difference = np.abs(composite_banded(placed, sample.canvas).astype(np.int16) - composite)
    if wrong := int(difference.any(axis=-1).sum()):
        yield f"composite differs from its layers in {wrong} px, by up to {int(difference.max())}/255"
    for grouping in sample.design.groupings:
        worst, mean = prove(placed, grouping, composite)
        if worst > GROUP_WORST or mean > GROUP_MEAN:
            yield f"grouping with seed {grouping.seed} is off by up to {worst:.1f}/255, by {mean:.2f} on average"


def _preview(sample: Sample, composite: Rgba) -> Iterator[str]:
    visible, recorded = sample.design.visible, sample.design.recomposition
    shown = fitted(composite[visible.slices], PREVIEW_SIDE)
    try:
        preview = images.decode(sample.member("preview"), size=(shown.shape[1], shown.shape[0]))
    except (ImageError, SampleError) as error:
        yield f"preview: {error}"
        return
    whole = shown.shape[:2] == (visible.height, visible.width)

    def agrees(found: Recomposition) -> bool:
        if not whole:
            return found.mae <= recorded.mae + SCALED_ERROR
        return max(abs(found.mae - recorded.mae), abs(found.p99 - recorded.p99)) <= EXACT_ERROR

    # An opaque preview may have been matted on white or not: the record does not say, so either may agree.
    grounds = (True, False) if (preview[..., 3] == 255).all() else (False,)
    by_preview = recorded.reference == "preview"
    measured = [measure(shown, preview, preview=by_preview, on_white=ground) for ground in grounds]
    if not any(agrees(found) for found in measured):
        found = measured[0]
        yield (
            f"the composite is off its preview by {found.mae:.3f}/255 (p99 {found.p99:.2f}), "
            f"the record says {recorded.mae:.3f} (p99 {recorded.p99:.2f})"
        )


def _look(sample: Sample, composite: Rgba, phash: str | None) -> Iterator[str]:
    found = signature(sample, composite, 0, 0)
    if phash is None or found.flat:
        return
    same_form = len(phash) == len(found.phash) and set(phash) <= set("0123456789abcdef")
    if not same_form or (int(phash, 16) ^ int(found.phash, 16)).bit_count() > PHASH_BITS:
        yield "index: phash is not that of the visible composite"


def _restyles(sample: Sample, layers: dict[int, Rgba]) -> Iterator[str]:
    for pair in sample.design.restyles:
        box = sample.design.layers[pair.layer].box
        try:
            pixels = images.decode(sample.member(restyle_stem(pair.layer)), size=(box.width, box.height))
        except (ImageError, SampleError) as error:
            yield f"restyle of layer {pair.layer}: {error}"
            continue
        if pair.layer in layers and not np.array_equal(pixels[..., 3], layers[pair.layer][..., 3]):
            yield f"restyle of layer {pair.layer}: its alpha is not the layer's"
