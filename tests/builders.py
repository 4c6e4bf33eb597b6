"""Small valid samples: ``make_sample([layer(solid(64, 64, "white")), layer(disc(20, "red"), at=(8, 8))])``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from schemas.compositing import Rgba, composite
from schemas.design import Design, Layer, LayerKind, Licence, Overflow, Provenance, Recomposition, Size
from schemas.geometry import Box, union
from schemas.images import Codec, encode
from schemas.licence import SYNTHETIC
from schemas.sample import Sample, layer_stem

PREVIEW_SIDE = 1024


@dataclass(frozen=True)
class LayerSpec:
    """A layer to be: its pixels, its top left corner on the canvas and further fields of the record's layer."""

    pixels: Rgba
    at: tuple[int, int] = (0, 0)
    fields: dict[str, Any] = field(default_factory=dict)


def layer(pixels: Rgba, at: tuple[int, int] = (0, 0), **fields: Any) -> LayerSpec:
    """A layer of ``pixels`` at (x, y); ``fields`` are those of ``schemas.design.Layer`` (name, kind, text, ...)."""
    return LayerSpec(pixels, at, fields)


def solid(width: int, height: int, colour: str, alpha: int = 255) -> Rgba:
    """One colour: ``uint8 [height, width, 4]``."""
    out = np.empty((height, width, 4), np.uint8)
    out[:] = (*ImageColor.getrgb(colour)[:3], alpha)
    return out


def disc(diameter: int, colour: str, softness: float = 1.5) -> Rgba:
    """A disc whose alpha falls off over ``softness`` px: ``uint8 [diameter, diameter, 4]``."""
    y, x = np.mgrid[:diameter, :diameter] + 0.5 - diameter / 2
    edge = np.clip((diameter / 2 - np.hypot(x, y)) / softness, 0, 1)
    out = solid(diameter, diameter, colour)
    out[..., 3] = np.rint(edge * 255)
    out[out[..., 3] == 0] = 0
    return out


def texture(width: int, height: int, seed: int, alpha: int = 255, cells: int = 6) -> Rgba:
    """Smooth coloured blotches, unlike for each seed: ``uint8 [height, width, 4]``."""
    coarse = np.random.default_rng(seed).integers(0, 256, (cells, cells, 3), np.uint8)
    smooth = Image.fromarray(coarse, "RGB").resize((width, height), Image.Resampling.BICUBIC)
    return np.dstack([np.asarray(smooth), np.full((height, width), alpha, np.uint8)])


def make_sample(
    layers: Sequence[LayerSpec],
    *,
    visible: tuple[int, int, int, int] | None = None,
    canvas: tuple[int, int] | None = None,
    design_id: str | None = None,
    codec: Codec = Codec.PNG,
    uri: str = "memory://designs/made.psd",
    family: str = "made",
    **fields: Any,
) -> Sample:
    """A sample that validates, recomposes and holds all its members, from layers bottom to top.

    Unless given, the canvas is the union of the layers, the visible box is the whole canvas and the id is a hash of the
    layers. ``fields`` are further fields of ``schemas.design.Design``.
    """
    placed = [(spec.pixels, _box(spec)) for spec in layers]
    around = union(box for _, box in placed)
    whole = Box(0, 0, *(canvas or (around.x1, around.y1)))
    shown = Box(*(visible or whole))
    full = composite(placed, whole)
    records = tuple(_record(index, spec, shown) for index, spec in enumerate(layers))
    digest = hashlib.sha256(repr([record.model_dump_json() for record in records]).encode()).hexdigest()
    design = Design(
        design_id=design_id or digest[:32],
        canvas=Size(width=whole.width, height=whole.height),
        visible=shown,
        layers=records,
        **{
            "licence": Licence(id=SYNTHETIC, licensor="tests"),
            "provenance": Provenance(
                uri=uri, format="psd", sha256=digest, bytes=1000, family=family, source_layers=len(layers)
            ),
            "recomposition": Recomposition(reference="render", mae=0.0, p99=0.0),
            **fields,
        },
    )
    members = {f"{layer_stem(i)}.{codec}": encode(spec.pixels, codec) for i, spec in enumerate(layers)}
    members[f"composite.{codec}"] = encode(full, codec)
    members[f"preview.{codec}"] = encode(_preview(full[shown.slices]), codec)
    return Sample(design, members)


def _box(spec: LayerSpec) -> Box:
    height, width = spec.pixels.shape[:2]
    return Box(spec.at[0], spec.at[1], spec.at[0] + width, spec.at[1] + height)


def _record(index: int, spec: LayerSpec, visible: Box) -> Layer:
    box = _box(spec)
    alpha = spec.pixels[..., 3].astype(np.float64)
    total = float(alpha.sum())
    inside = float(alpha[box.intersect(visible).within(box).slices].sum())
    overflow = Overflow(
        left=max(0, visible.x0 - box.x0),
        top=max(0, visible.y0 - box.y0),
        right=max(0, box.x1 - visible.x1),
        bottom=max(0, box.y1 - visible.y1),
        share=1 - inside / total if total else 0.0,
    )
    return Layer(
        **{
            "index": index,
            "name": f"Layer {index}",
            "kind": LayerKind.BACKGROUND if index == 0 else LayerKind.IMAGE,
            "box": box,
            "overflow": overflow,
            "coverage": float((alpha > 0).mean()),
            "sha256": hashlib.sha256(spec.pixels.tobytes()).hexdigest(),
            **spec.fields,
        }
    )


def _preview(pixels: Rgba) -> Rgba:
    image = Image.fromarray(np.ascontiguousarray(pixels), "RGBA")
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return np.array(image)
