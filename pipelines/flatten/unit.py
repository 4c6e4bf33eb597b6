"""A styled layer as plain layers: its own paint, what is clipped to it, and the pieces its effects draw.

Photoshop's model, in shares of the final colour (weights): what lies behind is painted first; own paint, clipped
layers and inner pieces are painted opaquely and then confined to the layer's shape S; strokes and outer bevels come
above; the layer's opacity scales all of it. So a concealed shadow weighs (1 - S) whatever the layer's fill is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipelines.flatten.planes import Plane, alpha_of, bands, coverage_of, level_of, trimmed
from pipelines.flatten.stack import StackLayer
from schemas.geometry import Box, union

Role = Literal["behind", "concealed", "own", "inside", "above"]

_TRACE = np.float32(1e-4)  # so that colour survives where it is covered


@dataclass(frozen=True, eq=False)
class Part:
    """One thing a unit paints: a normal layer, what it does there, and which of the unit's layers it goes into, its
    ``slot``: parts of one slot are neighbours.

    ``own`` parts cover the shape together; the alpha of ``inside`` ones is their strength in the shape. An own part
    shows at ``fill``, and where there is ``shown`` (uint8 at its box) at that share of it. ``cuts``: what the part
    takes away of those before it, uint8 at its box.
    """

    layer: StackLayer
    role: Role
    slot: str
    fill: float = 1.0
    shown: npt.NDArray[np.uint8] | None = None
    cuts: npt.NDArray[np.uint8] | None = None


def assembled(
    parts: Sequence[Part],
    slots: Mapping[str, StackLayer],
    strength: Callable[[Box], Plane | float],
) -> list[StackLayer]:
    """The unit as normal layers, one a slot, bottom to top.

    ``slots`` says what each layer is called and holds; its pixels and box are not read. ``strength``: the unit's
    opacity, in a box.
    """
    names = list(dict.fromkeys(part.slot for part in parts))
    boxes = [union(part.layer.box for part in parts if part.slot == name) for name in names]
    made = [np.zeros((box.height, box.width, parts[0].layer.pixels.shape[2]), np.uint8) for box in boxes]
    for band in bands(union(boxes), max(1 << 13, (1 << 18) // max(1, len(parts)))):
        _assemble(parts, names, band, boxes, made, strength(band))
    layers = [
        replace(slots[name], pixels=pixels, box=box) for name, pixels, box in zip(names, made, boxes, strict=True)
    ]
    return [layer for layer in map(trimmed, layers) if layer is not None]


def _assemble(
    parts: Sequence[Part],
    names: Sequence[str],
    band: Box,
    boxes: Sequence[Box],
    made: Sequence[npt.NDArray[np.uint8]],
    strength: Plane | float,
) -> None:
    here = [part for part in parts if not part.layer.box.intersect(band).empty]
    weights = _weights(here, band)
    left = np.ones((band.height, band.width), np.float32)  # what the layers above let through, as stored
    for slot, name in reversed(list(enumerate(names))):
        area = boxes[slot].intersect(band)
        if area.empty:
            continue
        spot = area.within(band).slices
        total, bare, colour = _mixed([(p, w[spot]) for p, w in zip(here, weights, strict=True) if p.slot == name], area)
        total, bare = (plane * (strength if isinstance(strength, float) else strength[spot]) for plane in (total, bare))
        level = level_of(total, bare, left[spot])
        out = made[slot][area.within(boxes[slot]).slices]
        out[..., -1] = level
        for channel, plane in enumerate(colour):
            out[..., channel] = np.rint(plane).clip(0, 255)
        left[spot] *= 1 - level / np.float32(255)


def _mixed(parts: Sequence[tuple[Part, Plane]], area: Box) -> tuple[Plane, Plane, list[Plane]]:
    """(weight, alpha if nothing lay above, colour planes 0..255) of the parts of one slot in ``area``."""
    size = (area.height, area.width)
    total, traced, through = np.zeros(size, np.float32), np.zeros(size, np.float32), np.ones(size, np.float32)
    colour = [np.zeros(size, np.float32) for _ in range(parts[0][0].layer.pixels.shape[2] - 1)] if parts else []
    for part, weight in parts:
        where = part.layer.box.intersect(area)
        if where.empty:
            continue
        spot = where.within(area).slices
        alpha = alpha_of(part.layer, where) * _showing(part, where)
        total[spot] += weight[spot]
        trace = weight[spot] + _TRACE * alpha
        traced[spot] += trace
        through[spot] *= 1 - alpha
        source = part.layer.pixels[where.within(part.layer.box).slices]
        for channel, plane in enumerate(colour):
            plane[spot] += source[..., channel] * trace
    for plane in colour:
        np.divide(plane, traced, out=plane, where=traced > 0)
    return total, 1 - through, colour


def _weights(parts: Sequence[Part], band: Box) -> list[Plane]:
    """Each part's share of the final colour in ``band`` before the unit's opacity."""
    weights = [_alpha(part, band) for part in parts]
    under = _stacked(parts, weights, ("behind",), band)  # what shows of those behind through the shape
    for i, weight in _stacked(parts, weights, ("own",), band).items():
        weights[i] = weight
    for i, weight in _stacked(parts, weights, ("behind", "concealed"), band).items():
        weights[i] = weight
    own = [i for i, part in enumerate(parts) if part.role == "own"]
    shape: Plane = np.asarray(sum((weights[i] for i in own), np.zeros((band.height, band.width), np.float32)))
    body: list[int] = []
    for i, part in enumerate(parts):
        if part.role == "own":
            where = part.layer.box.intersect(band)
            weights[i][where.within(band).slices] *= _showing(part, where)
            body.append(i)
        elif part.role == "inside":
            _under(weights, body, (1 - weights[i]) * (1 - _cut(part, band)))
            weights[i] = weights[i] * shape
            body.append(i)
    kept = np.clip(shape - sum(weights[i] for i in body), 0, 1) if body else shape
    for i, part in enumerate(parts):
        if part.role in ("behind", "concealed"):
            weights[i] = weights[i] * (1 - shape) + (under[i] * kept if part.role == "behind" else 0)
            body.append(i)
    for i, part in enumerate(parts):
        if part.role == "above":
            alpha = weights[i]
            _under(weights, body, (1 - alpha) * (1 - _cut(part, band)))
            body.append(i)
    return weights


def _stacked(parts: Sequence[Part], alphas: Sequence[Plane], roles: Sequence[Role], band: Box) -> dict[int, Plane]:
    """The weights of the parts of some roles among themselves."""
    weights: dict[int, Plane] = {}
    through = np.ones((band.height, band.width), np.float32)
    for i in reversed(range(len(parts))):
        if parts[i].role in roles:
            weights[i] = np.asarray(alphas[i] * through, np.float32)
            through = through * (1 - alphas[i]) * (1 - _cut(parts[i], band))
    return weights


def _showing(part: Part, where: Box) -> Plane | np.float32:
    """What of an own part shows in ``where``, a part of its box."""
    if part.shown is None:
        return np.float32(part.fill)
    plane: Plane = part.shown[where.within(part.layer.box).slices] * np.float32(part.fill / 255)
    return plane


def _under(weights: list[Plane], which: Sequence[int], factor: Plane) -> None:
    for i in which:
        weights[i] = weights[i] * factor


def _alpha(part: Part, band: Box) -> Plane:
    plane = np.zeros((band.height, band.width), np.float32)
    where = part.layer.box.intersect(band)
    plane[where.within(band).slices] = alpha_of(part.layer, where)
    return plane


def _cut(part: Part, band: Box) -> Plane:
    plane = np.zeros((band.height, band.width), np.float32)
    where = part.layer.box.intersect(band)
    if part.cuts is not None:
        plane[where.within(band).slices] = part.cuts[where.within(part.layer.box).slices] / np.float32(255)
    return plane


def shape_of(layers: Sequence[StackLayer]) -> tuple[npt.NDArray[np.uint8], Box]:
    """The alpha of the layers' composite, uint8 ``[box.height, box.width]``, and its box."""
    box = union(layer.box for layer in layers)
    if len(layers) == 1:
        return np.ascontiguousarray(layers[0].pixels[..., -1]), box
    alpha = np.zeros((box.height, box.width), np.uint8)
    for band in bands(box):
        alpha[band.within(box).slices] = np.rint(coverage_of(layers, band) * 255)
    return alpha, box
