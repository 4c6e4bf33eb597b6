"""The recomposition check: the stack's composite against what the document itself shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.errors import Rejected
from pipelines.flatten.faults import drawn_near, undrawn
from pipelines.flatten.planes import bands
from pipelines.flatten.render import render_tree
from pipelines.flatten.scale import scaled_size
from pipelines.flatten.stack import FlattenConfig, Stack
from pipelines.formats.tree import Document
from schemas.compositing import Rgba
from schemas.design import Recomposition
from schemas.geometry import Box
from schemas.ledger import Code

_NAMED = 6
_SQUARE = 32

Errors = npt.NDArray[np.float32]


def reference(document: Document) -> tuple[Rgba, bool]:
    """What the document shows, ``uint8 [height, width, 4]``, and whether that is its own preview, not a render."""
    size = (document.height, document.width, 4)
    if document.preview is not None and document.preview.shape == size:
        return document.preview, True
    drawn = document.render() if document.render is not None else None
    if drawn is not None and drawn.shape == size:
        return drawn, False
    return render_tree(document), False


def errors(shown: Rgba, expected: Rgba, *, on_white: bool) -> Errors:
    """The error of each pixel of ``shown`` in 1/255, ``[height, width]``: the mean over its channels.

    On white and on black, so that alpha counts; only ``on_white`` where that is what the expected picture shows.
    """
    error = np.zeros(shown.shape[:2], np.float32)
    ours, theirs = (np.ascontiguousarray(picture).view(np.uint32)[..., 0] for picture in (shown, expected))
    for band in bands(Box(0, 0, shown.shape[1], shown.shape[0])):
        rows = band.slices
        differs = ours[rows] != theirs[rows]
        if differs.any():
            error[rows][differs] = _difference(shown[rows][differs], expected[rows][differs], on_white=on_white)
    return error


def _difference(shown: Rgba, expected: Rgba, *, on_white: bool) -> Errors:
    """The error of pixels ``[n, 4]``: on white c a + 255 (1 - a), on black c a."""
    a, b = (pixels[:, 3:].astype(np.float32) / np.float32(255) for pixels in (shown, expected))
    black = shown[:, :3] * a - expected[:, :3] * b
    white = np.abs(black + 255 * (b - a))
    error: Errors = (white if on_white else (white + np.abs(black)) / 2).mean(-1)
    return error


def summed(error: Errors, *, preview: bool) -> Recomposition:
    """What the record keeps of the errors."""
    mae = float(error.mean(dtype=np.float64))
    return Recomposition(reference="preview" if preview else "render", mae=mae, p99=_percentile(error, 0.99))


def _percentile(error: Errors, share: float) -> float:
    """``np.percentile`` of errors, most of which are 0."""
    wrong = error[error > 0]
    at = share * (error.size - 1)
    low, high = (int(rank) - (error.size - wrong.size) for rank in (np.floor(at), np.ceil(at)))
    if high < 0:
        return 0.0
    wrong.partition([max(low, 0), high])
    first = float(wrong[low]) if low >= 0 else 0.0
    return float(first + (float(wrong[high]) - first) * (at - np.floor(at)))


def measure(shown: Rgba, expected: Rgba, *, preview: bool, on_white: bool) -> Recomposition:
    """The error of ``shown``; ``on_white``: the expected picture has no alpha plane and was matted on white."""
    return summed(errors(shown, expected, on_white=on_white), preview=preview)


def worst_region(error: Errors) -> tuple[float, Box]:
    """The mean error over the worst square of 32 px, and where that is: squares of a grid, and of grids that end at the
    far edges.
    """
    height, width = error.shape
    high, wide = min(_SQUARE, height), min(_SQUARE, width)
    rows, columns = height // high * high, width // wide * wide
    worst, where = -1.0, Box(0, 0, wide, high)
    for top in {0, height - rows}:
        for left in {0, width - columns}:
            squares = error[top : top + rows, left : left + columns].reshape(rows // high, high, columns // wide, wide)
            means = squares.mean(axis=1).mean(axis=2)
            y, x = (int(i) for i in np.unravel_index(int(means.argmax()), means.shape))
            if float(means[y, x]) > worst:
                worst = float(means[y, x])
                where = Box(left + x * wide, top + y * high, left + (x + 1) * wide, top + (y + 1) * high)
    return worst, where


def check(document: Document, stack: Stack, config: FlattenConfig) -> None:
    """Hold a stack to the limits.

    Raises:
        Rejected: TOO_FEW_LAYERS, or RECOMPOSE_MISMATCH naming the features that were not drawn, or else those drawn
            where the error is worst.
    """
    if len(stack.layers) < config.min_layers:
        count = f"{len(stack.layers)} of {stack.source_layers} layers show"
        raise Rejected(Code.TOO_FEW_LAYERS, f"{count}, at least {config.min_layers} must")
    found, missing = stack.recomposition, undrawn(document)
    if found.reference == "render" and missing:  # the render lacks them too
        raise Rejected(Code.RECOMPOSE_MISMATCH, f"no preview to trust, and not drawn: {missing}")
    if found.mae >= config.max_mae or found.p99 >= config.max_p99 or stack.region >= config.max_region:
        numbers = f"mean error {found.mae:.2f}, p99 {found.p99:.1f}, worst {_SQUARE} px square {stack.region:.1f}"
        limits = f"limits {config.max_mae:g}, {config.max_p99:g}, {config.max_region:g}"
        near = drawn_near(document, stack.worst)
        reason = (
            f"not drawn: {missing}" if missing else f"at fault may be {near}" if near else "the preview is of another"
        )
        raise Rejected(Code.RECOMPOSE_MISMATCH, f"{numbers} ({limits}); {reason}")


def check_size(document: Document, config: FlattenConfig) -> None:
    """What can be refused before a pixel is read.

    Raises:
        Rejected: TOO_SMALL or TOO_FEW_LAYERS.
    """
    scaled = scaled_size(document.width, document.height, config.max_side)
    if min(scaled) < config.min_side:
        size = f"{document.width} x {document.height} px"
        if scaled != (document.width, document.height):
            size += f", scaled to {scaled[0]} x {scaled[1]} px"
        raise Rejected(Code.TOO_SMALL, f"{size}: the short side must be at least {config.min_side} px")
    if document.leaves < config.min_layers:
        raise Rejected(Code.TOO_FEW_LAYERS, f"the document has {document.leaves} layers, needs {config.min_layers}")
