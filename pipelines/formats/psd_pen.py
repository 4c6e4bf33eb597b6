"""The line that a pen draws along paths: how much of each pixel it covers, by the distance to the path.

Lines with round joins and caps are what lies within half a width of the path; flat ends cut that, mitres fill the
corners.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools.composite.scanline import fill_coverage

from pipelines.formats.psd_path import Component, Contour, Levels, Points, Work
from schemas.geometry import Box

MAX_MITRE = 10.0
_SMOOTH = math.cos(math.radians(12))
_MAX_WORK = 400_000_000
_EDGE_WORK, _DASH_WORK, _PIECE_WORK = 1_000, 5_000, 200
"""What an edge, a dash and a px of outline cost besides the pixels that they touch, in pixels."""
_MAX_DASHES = 20_000
_EDGE = 0.02


@dataclass(frozen=True)
class Pen:
    """``width`` px; ``join`` miter, round or bevel; ``cap`` butt, round or square; ``dashes`` px on and off."""

    width: float
    join: str = "miter"
    cap: str = "butt"
    mitre: float = MAX_MITRE
    dashes: tuple[float, ...] = ()
    dash_offset: float = 0.0


def line_coverage(paths: tuple[Component, ...], pen: Pen, box: Box, filled: Levels) -> Levels:
    """The line along the outline of the shape that ``paths`` make together, 0..1 ``[height, width]`` of ``box``;
    ``filled`` is that shape there. What one path buries in another is no outline. Raises ValueError for a line that
    is too much work.
    """
    out = np.zeros((box.height, box.width), np.float32)
    origin = np.array([box.x0, box.y0], np.float64)
    work = Work(_MAX_WORK)
    around = _around(filled) if len(paths) > 1 else None
    for path in paths:
        for contour in path.contours:
            moved = Contour(contour.points - origin, contour.closed)
            for run in (moved,) if around is None else _outlines(moved, around, work):
                for part in _dashed(run, pen, work):
                    _draw(out, part, pen, work)
    return out


def reach_of(paths: tuple[Component, ...], pen: Pen) -> float:
    """How far the line may reach from the paths, px."""
    longest = math.sqrt(2) if pen.cap == "square" else 1.0
    if pen.join == "miter":
        for path in paths:
            for contour in path.contours:
                cosines = _cosines(contour)
                sharp = np.sqrt(np.maximum((1 + cosines) / 2, 1e-9))  # sine of half the angle between the edges
                longest = max(longest, float(np.where(1 / sharp <= pen.mitre, 1 / sharp, 1.0).max(initial=1.0)))
    return longest * pen.width / 2


def _cosines(contour: Contour) -> npt.NDArray[np.float64]:
    """The cosine of the turn at each corner."""
    edges = _edges(contour)
    directions = edges / np.maximum(np.hypot(*edges.T), 1e-12)[:, None]
    following = np.roll(directions, -1, axis=0) if contour.closed else directions[1:]
    return np.asarray((directions[: len(following)] * following).sum(axis=1), np.float64)


def _edges(contour: Contour) -> Points:
    points = contour.points
    return np.asarray(np.roll(points, -1, axis=0) - points if contour.closed else points[1:] - points[:-1], np.float64)


def _clean(contour: Contour) -> Contour:
    """Without points that repeat the one before."""
    points = contour.points
    keep = np.ones(len(points), np.bool_)
    keep[1:] = np.hypot(*(points[1:] - points[:-1]).T) > 1e-6
    points = points[keep]
    if contour.closed and len(points) > 1 and np.hypot(*(points[0] - points[-1])) <= 1e-6:
        points = points[:-1]
    return Contour(points, contour.closed)


def _around(filled: Levels) -> Levels:
    """The 3 x 3 pixels around each pixel of a shape and of the line around it, ``[height + 2, width + 2, 3, 3]``."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(filled, 2, mode="edge"), (3, 3))


def _outlines(contour: Contour, windows: Levels, work: Work) -> Iterator[Contour]:
    """The parts of a contour on the edge of the filled shape, by the windows around its pixels. Their ends are pieces
    of a pixel: what is drawn from there on is round.
    """
    height, width = windows.shape[0] - 2, windows.shape[1] - 2
    edges = _edges(contour)
    starts = contour.points if contour.closed else contour.points[:-1]
    if not len(edges):
        return
    counts = np.ceil(np.hypot(*edges.T)).clip(1, 10_000).astype(np.int64)
    work.spend(_PIECE_WORK * int(counts.sum()))
    owner = np.repeat(np.arange(len(edges)), counts)
    rank = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    step = edges[owner] / counts[owner, None]
    begin = starts[owner] + rank[:, None] * step
    middle = np.floor(begin + step / 2).astype(np.int64)
    column, row = middle[:, 0].clip(-1, width), middle[:, 1].clip(-1, height)
    near = windows[row + 1, column + 1].reshape(len(owner), -1)
    kept = (near.min(axis=1) < 1 - _EDGE) & (near.max(axis=1) > _EDGE)
    if kept.all():
        yield contour
        return
    breaks = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
    for first, last in breaks.reshape(-1, 2):
        wanted = rank[first:last] == 0
        wanted[[0, min(1, last - first - 1), -1]] = True
        end = begin[last - 1 : last] + step[last - 1 : last]
        yield Contour(np.concatenate([begin[first:last][wanted], end]), False)


def _dashed(contour: Contour, pen: Pen, work: Work) -> Iterator[Contour]:
    contour = _clean(contour)
    if len(contour.points) < 2:
        return
    lengths = pen.dashes * (1 + len(pen.dashes) % 2)
    period = sum(lengths)
    points = np.concatenate([contour.points, contour.points[:1]]) if contour.closed else contour.points
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    if period <= 0 or at[-1] / period * len(lengths) > _MAX_DASHES:
        yield contour
        return
    position = -(pen.dash_offset % period)
    while position < at[-1]:
        for on, off in zip(lengths[::2], lengths[1::2], strict=True):
            begin, end = max(0.0, position), min(float(at[-1]), position + on)
            if end > begin:
                work.spend(_DASH_WORK)
                inner = points[np.searchsorted(at, begin, "right") : np.searchsorted(at, end, "left")]
                ends = _placed(points, at, begin), _placed(points, at, end)
                yield _clean(Contour(np.concatenate([ends[0], inner, ends[1]]), False))
            position += on + off


def _placed(points: Points, at: Points, distance: float) -> Points:
    """Where a polyline is after ``distance``, ``[1, 2]``; ``at`` is that of each point."""
    i = min(int(np.searchsorted(at, distance, "right")), len(at) - 1)
    share = (distance - at[i - 1]) / max(float(at[i] - at[i - 1]), 1e-12)
    return np.asarray(points[i - 1 : i] + share * (points[i : i + 1] - points[i - 1 : i]), np.float64)


def _draw(out: Levels, contour: Contour, pen: Pen, work: Work) -> None:
    """Draw one contour into ``out``."""
    if len(contour.points) < 2:
        return
    edges = _edges(contour)
    lengths = np.hypot(*edges.T)
    directions = edges / np.maximum(lengths, 1e-12)[:, None]
    starts = contour.points if contour.closed else contour.points[:-1]
    half = pen.width / 2
    near = _near(out, starts, edges, half * max(2.0, pen.mitre) + 2)
    if not len(near):
        return
    work.spend(_EDGE_WORK * len(near))
    joins = [_join(cosine, pen) for cosine in _cosines(contour)]  # the join at the end of each edge
    for i in near:
        start, direction, length = starts[i], directions[i], lengths[i]
        open_start, open_end = not contour.closed and i == 0, not contour.closed and i == len(edges) - 1
        flat = (
            pen.cap != "round" if open_start else joins[i - 1] == "bevel",
            pen.cap != "round" if open_end else joins[i] == "bevel",
        )
        longer = [half if pen.cap == "square" and at_end else 0.0 for at_end in (open_start, open_end)]
        _edge(out, start - direction * longer[0], direction, length + sum(longer), half, flat, work)
    for i in near:
        if i < len(joins) and joins[i] != "round":
            j = (i + 1) % len(edges)
            _corner(out, starts[j], directions[i], directions[j], half, joins[i], work)


def _near(out: Levels, starts: Points, edges: Points, reach: float) -> list[int]:
    """Which edges are within ``reach`` of ``out``."""
    low, high = np.minimum(starts, starts + edges) - reach, np.maximum(starts, starts + edges) + reach
    found: list[int] = np.flatnonzero(((high > 0) & (low < out.shape[::-1])).all(axis=1)).tolist()
    return found


def _join(cosine: float, pen: Pen) -> str:
    """How two edges are joined; nearly straight ones and mitres beyond their limit are not as the pen says."""
    if cosine > _SMOOTH or pen.join == "round":
        return "round"
    if pen.join == "miter" and math.sqrt(max((1 + cosine) / 2, 1e-9)) * pen.mitre >= 1:
        return "miter"
    return "bevel"


def _edge(
    out: Levels, start: Points, direction: Points, length: float, half: float, flat: tuple[bool, bool], work: Work
) -> None:
    end = start + direction * length
    low, high = np.minimum(start, end) - half - 1, np.maximum(start, end) + half + 1
    part = _part(out, low, high)
    if part is None:
        return
    rows, columns = part
    work.spend(out[part].size)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5 - start[1])
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] + np.float32(0.5 - start[0])
    along = x * np.float32(direction[0]) + y * np.float32(direction[1])
    across = np.abs(x * np.float32(direction[1]) - y * np.float32(direction[0]))
    before, after = np.maximum(-along, 0), np.maximum(along - np.float32(length), 0)
    past = (np.zeros_like(before) if flat[0] else before) + (np.zeros_like(after) if flat[1] else after)
    covered = (half + 0.5 - np.hypot(across, past)).clip(0, min(1.0, 2 * half))
    if flat[0]:
        covered *= (along + 0.5).clip(0, 1)
    if flat[1]:
        covered *= (np.float32(length) - along + 0.5).clip(0, 1)
    np.maximum(out[part], covered, out=out[part])


def _corner(out: Levels, at: Points, first: Points, second: Points, half: float, join: str, work: Work) -> None:
    """Fill the outer side of a corner: to the mitre's tip, or straight across."""
    side = -math.copysign(1.0, first[0] * second[1] - first[1] * second[0]) * half
    a, b = (at + side * np.array([-d[1], d[0]]) for d in (first, second))
    if join == "miter":
        middle = a + b - 2 * at
        polygon = [at, a, at + middle * (2 * half * half / max(float(middle @ middle), 1e-9)), b]
    else:
        polygon = [at - first, a - first, a, b, b + second, at + second]
    corners = np.array(polygon)
    part = _part(out, corners.min(axis=0), corners.max(axis=0))
    if part is None:
        return
    rows, columns = part
    work.spend(out[part].size)
    shifted = corners - np.array([columns.start, rows.start])
    covered = fill_coverage([shifted], columns.stop - columns.start, rows.stop - rows.start)
    np.maximum(out[part], covered, out=out[part])


def _part(out: Levels, low: Any, high: Any) -> tuple[slice, slice] | None:
    """The rows and columns between two corners, None where none is in ``out``."""
    height, width = out.shape
    x0, x1 = (int(np.clip(v, 0, width)) for v in (math.floor(low[0]), math.ceil(high[0])))
    y0, y1 = (int(np.clip(v, 0, height)) for v in (math.floor(low[1]), math.ceil(high[1])))
    return None if x0 >= x1 or y0 >= y1 else (slice(y0, y1), slice(x0, x1))
