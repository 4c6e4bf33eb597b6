"""Flattening: a document's tree to a flat stack of normal-mode RGBA layers that recomposes (DESIGN section 5).

``lower`` walks the tree: ``styled`` and ``effects`` draw what layers cast and carry, ``bake``, ``adjust`` and ``push``
make blend modes and adjustments plain layers, ``weights`` and ``unit`` find the alphas. ``colour`` then converts to
sRGB, ``canvas`` and ``clean`` make the stack of what is left, and ``check`` holds it to the preview. ``render`` is the
definition that all of it is tested against.
"""

from __future__ import annotations

from pipelines.errors import Rejected
from pipelines.flatten import clean
from pipelines.flatten.canvas import coverage, on_canvas, overflow, reach
from pipelines.flatten.check import check, check_size, errors, reference, summed, worst_region
from pipelines.flatten.colour import to_srgb
from pipelines.flatten.dissolve import settled
from pipelines.flatten.lower import lowered
from pipelines.flatten.planes import composite_banded
from pipelines.flatten.render import render_tree
from pipelines.flatten.scale import at_most, fitted, shrunk
from pipelines.flatten.stack import FlattenConfig, Stack, StackLayer
from pipelines.formats.tree import REACH, Document, Leaf
from schemas.ledger import Code

__all__ = ["FlattenConfig", "Stack", "StackLayer", "coverage", "flatten", "lower", "overflow", "render_tree"]

_PREVIEW_SIDE = 1024
_MUCH = 1 << 27


def flatten(document: Document, config: FlattenConfig) -> Stack:
    """The document as a stack that was checked against what the document itself shows.

    Raises:
        Rejected: TOO_SMALL, TOO_FEW_LAYERS, or RECOMPOSE_MISMATCH naming the features at fault.
    """
    check_size(document, config)
    stack = lower(document, config)
    try:
        check(document, stack, config)
    except Rejected as rejected:
        if rejected.code is not Code.RECOMPOSE_MISMATCH or stack.scale >= 1 or _painted(document) > _MUCH:
            raise
        stack = lower(document, config, late=True)
        check(document, stack, config)
    return stack


def _painted(document: Document) -> int:
    """Pixels of all visible layers."""
    return sum(node.box.area for _, node in document.walk() if isinstance(node, Leaf) and node.visible)


def lower(document: Document, config: FlattenConfig, *, late: bool = False) -> Stack:
    """The document as a stack with its error measured but not judged; needs at least one visible px.

    A document that is too large is scaled down first, with what its effects and fills say; ``late``: its layers are
    scaled once they are drawn, which is truer to small patterns and thin lines, and dearer.
    """
    scaled, factor = at_most(document, config.max_side)
    drawn = document if late else scaled
    layers = lowered(drawn, reach(drawn.visible, max(REACH, config.max_canvas_ratio)), config.shadows)
    layers = clean.contributing(layers, drawn.visible)
    layers = settled(to_srgb(layers, drawn.space, drawn.visible), drawn)
    if late:
        layers = shrunk(layers, document, scaled)
    document = scaled
    canvas, visible, layers = on_canvas(layers, document.visible, config.max_canvas_ratio)
    layers = clean.with_background(clean.at_most(layers, config.max_layers), visible)
    whole = composite_banded([layer.placed for layer in layers], canvas)
    shown, is_preview = reference(document)
    error = errors(whole[visible.slices], shown, on_white=is_preview and document.opaque_on_white)
    region, worst = worst_region(error)
    return Stack(
        canvas=canvas,
        visible=visible,
        layers=tuple(layers),
        scale=factor,
        composite=whole,
        preview=fitted(shown, _PREVIEW_SIDE),
        recomposition=summed(error, preview=is_preview),
        source_layers=document.leaves,
        region=region,
        worst=worst,
    )
