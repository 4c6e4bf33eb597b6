"""Layer edit distance of LayerD (arXiv 2509.25134): how well a stack is another one, when nobody numbers the layers.

On both sides layers that nothing covers are flattened into one, from the top down, so that the order of layers that do
not overlap plays no part. Dynamic time warping then walks both stacks from the bottom by steps of one layer here, there
or on both sides; a pair costs (RGB L1 + 1 - alpha IoU) / 2, and the score is the mean over the path. What finer or
coarser layers cost is taken off by merging neighbours, made or true, one at a time, for at most five times.

The published code ranks merges by an estimate from the neighbouring layers, which may pick one that makes the score
worse; here a merge's gain is the fall of the score itself. Pictures are brought to about 256 x 256 px before, by exact
area averages, which takes fine noise off: twenty layers of 1024 px then need about a second, not fifteen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from schemas.compositing import Rgba, composite
from schemas.geometry import Box
from training.evaluation.stack import Stack, cut
from training.streaming.resample import resample

Floats = npt.NDArray[np.float64]
Path = list[tuple[int, int]]

SIDE = 256
"""Pictures are judged at about the pixels that a square of this side has, at most."""
MAX_MERGES, MIN_LAYERS = 5, 2
_LEAST_GAIN = 1e-12


@dataclass(frozen=True)
class EditScore:
    """Means over the path, after ``merges`` merges that were made."""

    merges: int
    cost: float
    rgb_l1: float
    alpha_iou: float


def edit_scores(made: Stack, true: Stack, *, max_merges: int = MAX_MERGES, side: int | None = SIDE) -> list[EditScore]:
    """The scores after at most 0, 1, … ``max_merges`` merges; once no merge helps, the last one is carried on.

    ``side``: see ``SIDE``; None judges the pictures as they are.

    Raises:
        ValueError: the canvases differ.
    """
    if made.canvas != true.canvas:
        raise ValueError(f"a canvas of {made.canvas} px is not judged by one of {true.canvas} px")
    ours, theirs = ([_Picture.of(p) for p in grouped(_pictures(stack, side))] for stack in (made, true))
    return _merge_on(ours, theirs, max_merges)


def grouped(pictures: Sequence[Rgba]) -> list[Rgba]:
    """Pictures ``[h, w, 4]`` of one canvas with all that nothing covers flattened into one, again and again.

    Bottom to top before and after; "covers" is any shared pixel with alpha > 0.
    """
    solid = [picture[..., 3] > 0 for picture in pictures]
    meet = np.array([[bool((a & b).any()) for b in solid] for a in solid])
    left, groups = list(range(len(pictures))), []
    while left:
        tops = [i for place, i in enumerate(left) if not meet[i, left[place + 1 :]].any()]
        groups.append(tops)
        left = [i for i in left if i not in tops]
    return [_flat([pictures[i] for i in group]) for group in reversed(groups)]


def align(costs: Floats) -> Path:
    """The cheapest walk (dynamic time warping) through ``costs [n, m]`` from the first pair to the last.

    Its steps are (1, 1), (1, 0) and (0, 1); of equally cheap ones the first of these.
    """
    n, m = costs.shape
    total = np.full((n + 1, m + 1), math.inf).tolist()
    total[0][0] = 0.0
    for i, row in enumerate(costs.tolist()):
        above, here = total[i], total[i + 1]
        for j, cost in enumerate(row):
            here[j + 1] = cost + min(above[j], above[j + 1], here[j])
    i, j = n, m
    path = [(n - 1, m - 1)]
    while (i, j) != (1, 1):
        before = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = min(before, key=lambda at: total[at[0]][at[1]])
        path.append((i - 1, j - 1))
    return path[::-1]


@dataclass(frozen=True, eq=False)
class _Picture:
    """A picture of the canvas, with what all its comparisons need: where its pixels are, and its sum of alpha."""

    pixels: Rgba
    rows: slice
    columns: slice
    solid: npt.NDArray[np.bool_]
    alpha: int

    @classmethod
    def of(cls, pixels: Rgba) -> _Picture:
        solid = pixels[..., 3] > 0
        ys, xs = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
        rows, columns = (slice(int(v[0]), int(v[-1]) + 1) if len(v) else slice(0, 0) for v in (ys, xs))
        return cls(pixels, rows, columns, solid[rows, columns], int(pixels[..., 3].sum(dtype=np.int64)))

    def judge(self, made: _Picture) -> tuple[float, float]:
        """RGB L1 over the pixels of this true picture and alpha IoU; 0 of nothing."""
        ours, theirs = made.pixels[self.rows, self.columns], self.pixels[self.rows, self.columns]
        shared = int(np.minimum(ours[..., 3], theirs[..., 3]).sum(dtype=np.int64))
        either = self.alpha + made.alpha - shared
        pixels = int(self.solid.sum())
        a, b = ours[..., :3][self.solid], theirs[..., :3][self.solid]
        differences = int((np.maximum(a, b) - np.minimum(a, b)).sum(dtype=np.int64))
        return differences / (255 * 3 * pixels) if pixels else 0.0, shared / either if either else 0.0


@dataclass
class _Memory:
    """Comparisons and merges that were made: a merge changes one row or column of pairs, the others are looked up."""

    judged: dict[tuple[_Picture, _Picture], tuple[float, float]] = field(default_factory=dict)
    merged: dict[tuple[_Picture, _Picture], _Picture] = field(default_factory=dict)

    def table(self, made: Sequence[_Picture], true: Sequence[_Picture]) -> Floats:
        """RGB L1 and alpha IoU of all pairs, ``[n, m, 2]``."""
        return np.array([[self._judge(ours, theirs) for theirs in true] for ours in made])

    def merges(self, pictures: Sequence[_Picture]) -> list[list[_Picture]]:
        """The stacks that one merge of neighbours makes of one; none of a stack of ``MIN_LAYERS``."""
        if len(pictures) <= MIN_LAYERS:
            return []
        places = range(len(pictures) - 1)
        return [[*pictures[:i], self._merge(*pictures[i : i + 2]), *pictures[i + 2 :]] for i in places]

    def _judge(self, made: _Picture, true: _Picture) -> tuple[float, float]:
        pair = made, true
        if pair not in self.judged:
            self.judged[pair] = true.judge(made)
        return self.judged[pair]

    def _merge(self, below: _Picture, above: _Picture) -> _Picture:
        pair = below, above
        if pair not in self.merged:
            self.merged[pair] = _Picture.of(_flat([below.pixels, above.pixels]))
        return self.merged[pair]


def _merge_on(made: list[_Picture], true: list[_Picture], max_merges: int) -> list[EditScore]:
    memory = _Memory()
    scores = [_score(memory.table(made, true), 0)]
    while len(scores) <= max_merges:
        last = scores[-1]
        tried = [(one, true) for one in memory.merges(made)] + [(made, one) for one in memory.merges(true)]
        found = [_score(memory.table(*pair), len(scores)) for pair in tried]
        best = min(range(len(found)), key=lambda i: found[i].cost, default=None)
        if best is None or found[best].cost > last.cost - _LEAST_GAIN:
            return scores + [last] * (max_merges + 1 - len(scores))
        made, true = tried[best]
        scores.append(found[best])
    return scores


def _score(table: Floats, merges: int) -> EditScore:
    costs = (table[..., 0] + 1 - table[..., 1]) / 2
    i, j = np.array(align(costs)).T
    rgb_l1, alpha_iou = table[i, j].mean(axis=0).tolist()
    return EditScore(merges, float(costs[i, j].mean()), rgb_l1, alpha_iou)


def _pictures(stack: Stack, side: int | None) -> list[Rgba]:
    """Each layer on the whole canvas, at no more than about ``side`` x ``side`` pixels."""
    width, height = stack.canvas
    scale = 1.0 if side is None else side / math.sqrt(width * height)
    if scale >= 1:
        return [cut(layer, stack.frame) for layer in stack.layers]
    small = []
    for box, picture in stack.layers:
        out = np.empty((math.ceil(height * scale), math.ceil(width * scale), 4), np.uint8)
        resample(picture.numpy(force=True), False, scale, (box.x0 * scale, box.y0 * scale), out)
        small.append(out)
    return small


def _flat(pictures: Sequence[Rgba]) -> Rgba:
    if len(pictures) == 1:
        return pictures[0]
    height, width = pictures[0].shape[:2]
    frame = Box(0, 0, width, height)
    return composite([(picture, frame) for picture in pictures], frame)
