"""A layer's vector path: where it lies and how much of each pixel is inside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools.composite.scanline import fill_coverage
from psd_tools.constants import Tag
from psd_tools.psd.vector import Knot

from pipelines.formats.limits import unreadable
from schemas.geometry import Box

Coverage = npt.NDArray[np.uint8]
Levels = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
"""``[n, 2]``, x first, document px."""

_UNITE, _SUBTRACT, _INTERSECT = 1, 2, 3
_FLATNESS = 0.02
_FIXED = 1e-3
"""px: places are stored in 24 bits of the document's side."""
_STEPS = 64
_MAX_POINTS = 400_000
_MAX_WORK = 1_000_000_000
_COMPONENT = 10_000
"""What a component costs besides its pixels, in pixels."""


class Work:
    """Counts what drawing a path costs, in pixels that are touched; raises ValueError where it is too much."""

    def __init__(self, most: int = _MAX_WORK) -> None:
        self._left = most

    def spend(self, pixels: int) -> None:
        self._left -= pixels
        if self._left < 0:
            raise ValueError("the path is too much work")


@dataclass(frozen=True, eq=False)
class Contour:
    """A subpath as a polyline; a ``closed`` one does not repeat its first point."""

    points: Points
    closed: bool


@dataclass(frozen=True, eq=False)
class Component:
    """Subpaths that are filled together by the even-odd rule, and how they are combined with what is there (0
    exclude, 1 unite, 2 subtract, 3 intersect).
    """

    operation: int
    contours: tuple[Contour, ...]


def has_path(layer: Any) -> bool:
    """Whether a vector mask is switched on."""
    return bool(layer.has_vector_mask() and layer.vector_mask is not None and not layer.vector_mask.disabled)


def components(layer: Any) -> tuple[Component, ...]:
    """The paths of a vector mask; raises Rejected(UNREADABLE) for more than a path may have."""
    with unreadable(f"path of layer {layer.name[:80]!r}"):
        size = np.array([layer._psd.width, layer._psd.height], np.float64)
        grouped: list[tuple[int, list[Contour]]] = []
        count = 0
        for subpath in layer.vector_mask.paths:
            if subpath.operation != -1 or not grouped:
                grouped.append((subpath.operation, []))
            contour = _contour(subpath, size)
            if contour is not None:
                count += len(contour.points)
                grouped[-1][1].append(contour)
            if count > _MAX_POINTS:
                raise ValueError("the path has too many points")
        paths = tuple(Component(operation, tuple(contours)) for operation, contours in grouped)
        aligned = layer.tagged_blocks.get_data(Tag.USING_ALIGNED_RENDERING, False)
        return _snapped(paths) if bool(getattr(aligned, "value", aligned)) else paths


def beyond(layer: Any) -> int:
    """What a vector mask lets through far away from its paths, 0 or 255."""
    mask = layer.vector_mask
    operations = [path.operation for path in mask.paths if path.operation != -1]
    shows = bool(mask.initial_fill_rule) if not operations else operations[0] == _SUBTRACT
    shows = shows and _INTERSECT not in operations[1:]
    return 255 if shows != bool(mask.inverted) else 0


def path_box(layer: Any) -> Box | None:
    """The whole pixels that a layer's path touches; None where it has none or one without bounds."""
    if not has_path(layer) or not layer.vector_mask.paths:
        return None
    left, top, right, bottom = layer.vector_mask.bbox
    if not all(math.isfinite(side) for side in (left, top, right, bottom)):
        return None
    width, height = layer._psd.width, layer._psd.height
    x0, y0 = math.floor(left * width + _FIXED), math.floor(top * height + _FIXED)
    box = Box(x0, y0, math.ceil(right * width - _FIXED), math.ceil(bottom * height - _FIXED))
    return None if box.empty else box


def path_coverage(layer: Any, box: Box) -> Coverage:
    """How much of each pixel of ``box`` a vector mask shows, uint8 ``[height, width]``."""
    with unreadable(f"path of layer {layer.name[:80]!r}"):
        covered = covered_by(components(layer), box, bool(layer.vector_mask.initial_fill_rule))
        if layer.vector_mask.inverted:
            covered = 1 - covered
        levels: Coverage = np.rint(covered * 255).clip(0, 255).astype(np.uint8)
        return levels


def covered_by(paths: tuple[Component, ...], box: Box, starts_full: bool) -> Levels:
    """The paths one after the other, 0..1 ``[height, width]``. One that begins by taking away begins with all. Raises
    ValueError for paths that are too much work.
    """
    starts_full = starts_full if not paths else paths[0].operation in (_SUBTRACT, _INTERSECT)
    covered = np.full((box.height, box.width), float(starts_full), np.float32)
    origin = np.array([box.x0, box.y0], np.float64)
    work = Work()
    for path in paths:
        contours = [contour.points - origin for contour in path.contours]
        rows, columns = _touched(contours, box)
        part = covered[rows, columns]
        work.spend(_COMPONENT + (part.size + (covered.size // 8 if path.operation == _INTERSECT else 0)))
        corner = np.array([columns.start, rows.start])
        inside = fill_coverage([points - corner for points in contours], part.shape[1], part.shape[0])
        if path.operation == _UNITE:
            part += inside - part * inside
        elif path.operation == _SUBTRACT:
            np.maximum(0, part - inside, out=part)
        elif path.operation == _INTERSECT:
            inside *= part
            covered[...] = 0
            part[...] = inside
        else:
            part += inside - 2 * part * inside
    return covered.clip(0, 1, out=covered)


def _touched(contours: list[Points], box: Box) -> tuple[slice, slice]:
    """The rows and columns of ``box`` between the corners of contours that start at its corner; maybe none."""
    if not contours:
        return slice(0, 0), slice(0, 0)
    low = np.min([points.min(axis=0) for points in contours], axis=0)
    high = np.max([points.max(axis=0) for points in contours], axis=0)
    x0, y0 = (int(v) for v in np.floor(low).clip(0, (box.width, box.height)))
    x1, y1 = (int(v) for v in np.ceil(high).clip(0, (box.width, box.height)))
    return slice(y0, max(y0, y1)), slice(x0, max(x0, x1))


def _contour(subpath: Any, size: Points) -> Contour | None:
    knots = [knot for knot in subpath if isinstance(knot, Knot)]
    if len(knots) < 2:
        return None
    stored = np.array([(knot.preceding, knot.anchor, knot.leaving) for knot in knots], np.float64)
    placed = stored[..., ::-1] * size
    if not np.isfinite(placed).all():
        return None
    closed = bool(subpath.is_closed())
    ends = np.roll(placed, -1, axis=0) if closed else placed[1:]
    starts = placed if closed else placed[:-1]
    points = _flattened(starts[:, 1], starts[:, 2], ends[:, 0], ends[:, 1])
    return Contour(points if closed else np.concatenate([points, placed[-1:, 1]]), closed)


def _snapped(paths: tuple[Component, ...]) -> tuple[Component, ...]:
    """Paths stretched so that their box lies on whole pixels: what Photoshop's aligned rendering stores."""
    every = [contour.points for path in paths for contour in path.contours]
    if not every:
        return paths
    low, high = (edge(np.concatenate(every), axis=0) for edge in (np.min, np.max))
    size, wanted = high - low, np.rint(high) - np.rint(low)
    scale = np.where((size > 0) & (wanted > 0), wanted / np.maximum(size, 1e-9), 1.0)

    def moved(contour: Contour) -> Contour:
        return Contour((contour.points - low) * scale + np.rint(low), contour.closed)

    return tuple(Component(path.operation, tuple(moved(contour) for contour in path.contours)) for path in paths)


def _flattened(p0: Points, c0: Points, c1: Points, p1: Points) -> Points:
    """Cubics ``[n, 2]`` each as points along them, without their ends: a polyline within _FLATNESS px of them."""
    chord = p1 - p0
    length = np.maximum(np.hypot(*chord.T), 1e-12)
    straight = np.ones(len(p0), np.bool_)
    for control in (c0, c1):
        offset = control - p0
        across = np.abs(chord[:, 0] * offset[:, 1] - chord[:, 1] * offset[:, 0]) / length
        along = (chord * offset).sum(axis=1) / length**2
        straight &= (across < _FLATNESS) & (along >= -1e-9) & (along <= 1 + 1e-9)
    bend = np.maximum(np.hypot(*(p0 - 2 * c0 + c1).T), np.hypot(*(c0 - 2 * c1 + p1).T))
    steps = np.where(straight, 1, np.ceil(np.sqrt(0.75 * bend / _FLATNESS)).clip(1, _STEPS)).astype(np.int64)
    owner = np.repeat(np.arange(len(p0)), steps)
    rank = np.arange(int(steps.sum())) - np.repeat(np.cumsum(steps) - steps, steps)
    t = (rank / steps[owner])[:, None]
    s = 1 - t
    out = s**3 * p0[owner] + 3 * s * s * t * c0[owner] + 3 * s * t * t * c1[owner] + t**3 * p1[owner]
    return np.asarray(out, np.float64)
