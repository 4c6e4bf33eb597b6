"""The recomposition check: the stack's composite against what the document itself shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from pipelines.errors import Rejected
from pipelines.flatten.blend import MODES, canonical
from pipelines.flatten.planes import bands
from pipelines.flatten.render import render_tree
from pipelines.flatten.stack import FlattenConfig, Stack
from pipelines.formats.tree import Document, Group, Node
from schemas.compositing import Rgba, on_solid
from schemas.design import Recomposition
from schemas.geometry import Box
from schemas.ledger import Code

_NAMED = 6


def reference(document: Document) -> tuple[Rgba, bool]:
    """What the document shows, ``uint8 [height, width, 4]``, and whether that is its own preview, not a render."""
    size = (document.height, document.width, 4)
    if document.preview is not None and document.preview.shape == size:
        return document.preview, True
    drawn = document.render() if document.render is not None else None
    if drawn is not None and drawn.shape == size:
        return drawn, False
    return render_tree(document), False


def measure(shown: Rgba, expected: Rgba, *, preview: bool) -> Recomposition:
    """The error of ``shown`` in 1/255: a pixel's is the mean over its channels, on white and black if there is alpha.

    An expected picture without alpha was matted on white, as files that cannot store its alpha do.
    """
    opaque = bool((expected[..., 3] == 255).all())
    error = np.zeros(shown.shape[:2], np.float32)
    solids = (255,) if opaque else (255, 0)
    for band in bands(Box(0, 0, shown.shape[1], shown.shape[0])):
        rows = band.slices
        for solid in solids:
            difference = np.abs(on_solid(shown[rows], solid) - on_solid(expected[rows], solid))
            error[rows] += difference.mean(-1) / len(solids)
    mae = float(error.mean(dtype=np.float64))
    return Recomposition(reference="preview" if preview else "render", mae=mae, p99=float(np.percentile(error, 99)))


def check(document: Document, stack: Stack, config: FlattenConfig) -> None:
    """Hold a stack to the limits.

    Raises:
        Rejected: TOO_FEW_LAYERS, or RECOMPOSE_MISMATCH naming the features that were not drawn.
    """
    if len(stack.layers) < config.min_layers:
        found = f"{len(stack.layers)} of {stack.source_layers} layers show"
        raise Rejected(Code.TOO_FEW_LAYERS, f"{found}, at least {config.min_layers} must")
    found_mae, found_p99 = stack.recomposition.mae, stack.recomposition.p99
    if found_mae > config.max_mae or found_p99 > config.max_p99:
        numbers = f"mean error {found_mae:.2f}, p99 {found_p99:.1f} (limits {config.max_mae:g}, {config.max_p99:g})"
        raise Rejected(Code.RECOMPOSE_MISMATCH, f"{numbers}: {suspects(document)}")


def check_size(document: Document, config: FlattenConfig) -> None:
    """What can be refused before a pixel is read.

    Raises:
        Rejected: TOO_SMALL or TOO_FEW_LAYERS.
    """
    short = min(document.width, document.height)
    if short < config.min_side:
        size = f"{document.width} x {document.height} px"
        raise Rejected(Code.TOO_SMALL, f"{size}: the short side must be at least {config.min_side} px")
    if document.leaves < config.min_layers:
        raise Rejected(Code.TOO_FEW_LAYERS, f"the document has {document.leaves} layers, needs {config.min_layers}")


def suspects(document: Document) -> str:
    """The visible features that were drawn as if absent, most frequent first: the likely reason of a mismatch."""
    counted = Counter(feature for node in _visible(document.nodes) for feature in _undrawn(node))
    if not counted:
        return "no undrawn feature is known; the tree or the preview may have been read wrong"
    names = [name if times == 1 else f"{name} ({times}x)" for name, times in counted.most_common(_NAMED)]
    more = len(counted) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _undrawn(node: Node) -> Iterator[str]:
    yield from node.undrawn
    mode = canonical(node.blend_mode)
    if mode != "normal" and mode not in MODES:
        yield f"blend mode {mode}"


def _visible(nodes: tuple[Node, ...]) -> Iterator[Node]:
    for node in nodes:
        if node.visible:
            yield node
            if isinstance(node, Group):
                yield from _visible(node.children)
