"""What ``acetate inspect`` does inside the limited child process: read a design, lower it, judge it, draw it.

Nothing but words comes back; pictures are written here, so that a design's pixels never reach the parent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.errors import Rejected, UsageError
from pipelines.exploded import exploded
from pipelines.flatten import FlattenConfig, Stack, StackLayer, coverage, lower, overflow
from pipelines.flatten.check import check, check_size
from pipelines.formats import Fetched, ReadLimits, read
from pipelines.formats.tree import Adjustment, Document, Group, Leaf, Node
from pipelines.pictures import comparison
from schemas.compositing import Rgba
from schemas.design import canonical_json


@dataclass(frozen=True)
class Branch:
    """A node of the document's tree as words; ``children`` from the bottom up. ``place``: its layer in the stack."""

    name: str
    facts: str
    visible: bool = True
    place: str = ""
    children: tuple[Branch, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What was found, as far as it went: ``rows`` and ``summary`` of the stack, and why it cannot become a sample."""

    tree: Branch
    rows: tuple[tuple[str, ...], ...] = ()
    summary: str = ""
    verdict: Rejected | None = None


def outline(fetched: Fetched, limits: ReadLimits) -> Findings:
    """The tree alone.

    Raises:
        Rejected: the file cannot be read.
    """
    return Findings(tree_of(read(fetched.path, fetched.format, limits)))


def examine(fetched: Fetched, title: str, config: FlattenConfig, limits: ReadLimits, out: Path | None) -> Findings:
    """Everything; with ``out`` the layers, the pictures and the layout are written there.

    Raises:
        Rejected: the file cannot be read.
        UsageError: ``out`` cannot be written to.
    """
    document = read(fetched.path, fetched.format, limits)
    refusal = _refusal(document, config)
    if refusal is not None and document.visible.empty:
        return Findings(tree_of(document), verdict=refusal)
    try:
        stack = lower(document, config)
    except Rejected as rejected:
        return Findings(tree_of(document), verdict=refusal or rejected)
    found = Findings(tree_of(document, stack), rows_of(stack), summary_of(stack), refusal)
    if out is not None:
        try:
            write(stack, out, title)
        except OSError as error:
            raise UsageError(f"cannot write to {out}: {error.strerror or error}") from None
    try:
        check(document, stack, config)
    except Rejected as rejected:
        return replace(found, verdict=refusal or rejected)
    return found


def tree_of(document: Document, stack: Stack | None = None) -> Branch:
    """The document's tree, each node with the layer of the stack that it became."""
    preview = "preview" if document.preview is not None else "no preview"
    size = f"{document.width} x {document.height} px, {document.colour_mode} {document.depth} bit"
    places = _places(document, stack) if stack is not None else {}
    children = tuple(_branch(node, places) for node in document.nodes)
    return Branch("", f"{size}, {document.leaves} layers, {preview}", children=children)


def _branch(node: Node, places: dict[int, str]) -> Branch:
    children = tuple(_branch(child, places) for child in node.children) if isinstance(node, Group) else ()
    return Branch(node.name, ", ".join(_facts(node)), node.visible, places.get(id(node), ""), children)


def _places(document: Document, stack: Stack) -> dict[int, str]:
    """By a node's id: the layer that bears its name, where both orders agree."""
    nodes = [node for _, node in document.walk() if node.visible]
    places, position = {}, 0
    for index, layer in enumerate(stack.layers):
        found = next((i for i in range(position, len(nodes)) if nodes[i].name == layer.name), None)
        if found is not None:
            places[id(nodes[found])] = f"layer {index}, {layer.lowering}"
            position = found + 1
    return places


def _facts(node: Node) -> list[str]:
    facts = _sort(node)
    facts += [] if node.visible else ["hidden"]
    facts += [f"opacity {node.opacity:.0%}"] if node.opacity < 1 else []
    facts += [f"fill {node.fill_opacity:.0%}"] if node.fill_opacity < 1 else []
    facts += [node.blend_mode] if node.blend_mode not in ("normal", "pass-through") else []
    facts += ["clipped"] if node.clipped else []
    facts += ["mask"] if node.mask is not None else []
    facts += [f"effects: {', '.join(node.effects)}"] if node.effects else []
    facts += [f"not drawn: {', '.join(node.undrawn)}"] if node.undrawn else []
    return facts


def _sort(node: Node) -> list[str]:
    if isinstance(node, Leaf):
        return [str(node.kind), box_words(node.box)]
    if isinstance(node, Adjustment):
        return [f"adjustment {node.kind}"]
    if isinstance(node, Group) and node.clip is not None:
        return ["artboard", box_words(node.clip)]
    return ["isolated group" if isinstance(node, Group) and node.isolated else "group"]


def rows_of(stack: Stack) -> tuple[tuple[str, ...], ...]:
    """A row a layer, lowest first: number, name, kind, box, overflow, lowering, reusable, notes."""
    return tuple(
        (
            str(index),
            layer.name,
            str(layer.kind),
            box_words(layer.box),
            _overflow(layer, stack),
            str(layer.lowering),
            "yes" if layer.reusable else "no",
            "; ".join(layer.notes),
        )
        for index, layer in enumerate(stack.layers)
    )


def _overflow(layer: StackLayer, stack: Stack) -> str:
    found = overflow(layer.pixels, layer.box, stack.visible)
    if not found.share:
        return "cropped" if layer.cropped else ""
    sides = f"{found.left} {found.top} {found.right} {found.bottom} px, {found.share:.0%}"
    return f"{sides}, cropped" if layer.cropped else sides


def summary_of(stack: Stack) -> str:
    found, canvas = stack.recomposition, stack.canvas
    return "\n".join(
        (
            f"canvas {canvas.width} x {canvas.height}, visible {box_words(stack.visible)}, scale {stack.scale:.4g}",
            f"{len(stack.layers)} layers of {stack.source_layers} in the document",
            f"recomposition against the {found.reference}: mean error {found.mae:.3f}, p99 {found.p99:.1f}, "
            f"worst square {stack.region:.1f} (of 255)",
        )
    )


def write(stack: Stack, out: Path, title: str) -> None:
    """``layer_NN.png``, ``composite.png``, ``preview.png``, ``difference.png``, ``exploded.png``, ``layout.json``."""
    out.mkdir(parents=True, exist_ok=True)
    for index, layer in enumerate(stack.layers):
        _save(layer.pixels, out / f"layer_{index:02d}.png")
    _save(stack.composite, out / "composite.png")
    _save(stack.preview, out / "preview.png")
    comparison(stack).save(out / "difference.png")
    exploded(stack, title).save(out / "exploded.png")
    (out / "layout.json").write_bytes(canonical_json(layout(stack)) + b"\n")


def layout(stack: Stack) -> dict[str, Any]:
    """The layout as the record's spine has it, with what each layer is called, says and was lowered by."""
    return {
        "canvas": {"width": stack.canvas.width, "height": stack.canvas.height},
        "visible": list(stack.visible),
        "scale": stack.scale,
        "recomposition": stack.recomposition.model_dump(mode="json"),
        "layers": [
            {
                "index": index,
                "name": layer.name,
                "kind": str(layer.kind),
                "box": list(layer.box),
                "overflow": overflow(layer.pixels, layer.box, stack.visible).model_dump(),
                "coverage": coverage(layer.pixels),
                "lowering": str(layer.lowering),
                "notes": list(layer.notes),
                "reusable": layer.reusable,
                "leaves": layer.leaves,
                "cropped": layer.cropped,
                "text": None if layer.text is None else layer.text.model_dump(mode="json"),
            }
            for index, layer in enumerate(stack.layers)
        ],
    }


def _save(pixels: Rgba, path: Path) -> None:
    if pixels.size:
        Image.fromarray(np.ascontiguousarray(pixels), "RGBA").save(path)


def _refusal(document: Document, config: FlattenConfig) -> Rejected | None:
    try:
        check_size(document, config)
    except Rejected as refused:
        return refused
    return None


def box_words(box: tuple[int, int, int, int]) -> str:
    return "[{}, {}, {}, {}]".format(*box)
