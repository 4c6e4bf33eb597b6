"""``acetate inspect FILE [--out DIR]``: one design's tree, its stack, and how well they agree."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from pipelines.errors import Rejected
from pipelines.flatten import FlattenConfig, Stack, StackLayer, coverage, lower, overflow
from pipelines.flatten.check import check, check_size
from pipelines.flatten.scale import resized
from pipelines.formats import ReadLimits, fetch, read
from pipelines.formats.tree import Document, Group, Leaf, Node
from schemas.compositing import Rgba, on_solid
from schemas.design import canonical_json

_AMPLIFY = 8
_NAME_LENGTH = 60


def inspect(
    uri: str,
    out: Path | None,
    console: Console,
    config: FlattenConfig | None = None,
    limits: ReadLimits | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Print the tree and the stack of one design; with ``out`` write its layers, pictures and layout there.

    All that can be shown is shown before the checks speak. Returns the exit status: 0, or 1 for a design that cannot
    become a sample, with the reason as the last line.
    """
    try:
        _inspect(uri, out, console, config or FlattenConfig(), limits or ReadLimits(), options or {})
    except Rejected as rejected:
        console.print(Text(_plain(str(rejected)), style="red"))
        return 1
    console.print(Text("ok: the stack shows what the document shows", style="green"))
    return 0


def _inspect(
    uri: str, out: Path | None, console: Console, config: FlattenConfig, limits: ReadLimits, options: Mapping[str, Any]
) -> None:
    with tempfile.TemporaryDirectory(prefix="acetate-inspect-") as scratch:
        fetched = fetch(uri, Path(scratch), limits, options)
        document = read(fetched.path, fetched.format, limits)
        console.print(tree_of(document, f"{_plain(uri)}  ({fetched.format}, design {fetched.sha256[:32]})"))
        refusal = _refusal(document, config)
        if refusal is not None and document.visible.empty:
            raise refusal
        stack = lower(document, config)
    console.print(table_of(stack))
    console.print(_summary(stack))
    if out is not None:
        write(stack, out)
        console.print(Text(f"written to {out}"))
    if refusal is not None:
        raise refusal
    check(document, stack, config)


def tree_of(document: Document, title: str) -> Tree:
    """The document's tree as text, top layer first, as layered editors list it."""
    size = f"{document.width} x {document.height} px, {_plain(document.colour_mode)} {document.depth} bit"
    preview = "preview" if document.preview is not None else "no preview"
    root = Tree(Text(f"{title}\n{size}, {document.leaves} layers, {preview}"))
    _branch(root, document.nodes)
    return root


def _branch(branch: Tree, nodes: tuple[Node, ...]) -> None:
    for node in reversed(nodes):
        line = Text(_short(node.name), style="" if node.visible else "dim")
        line.append(f"  {_plain(', '.join(_facts(node)))}", style="dim")
        child = branch.add(line)
        if isinstance(node, Group):
            _branch(child, node.children)


def _facts(node: Node) -> list[str]:
    if isinstance(node, Leaf):
        facts = [str(node.kind), _box(node.box)]
    else:
        facts = ["isolated group" if isinstance(node, Group) and node.isolated else "group"]
    facts += [] if node.visible else ["hidden"]
    facts += [f"opacity {node.opacity:.0%}"] if node.opacity < 1 else []
    facts += [node.blend_mode] if node.blend_mode not in ("normal", "pass-through") else []
    facts += ["clipped"] if node.clipped else []
    facts += ["mask"] if node.mask is not None else []
    facts += [f"effects: {', '.join(node.effects)}"] if node.effects else []
    facts += [f"not drawn: {', '.join(node.undrawn)}"] if node.undrawn else []
    return facts


def table_of(stack: Stack) -> Table:
    """The stack's layers, top first."""
    table = Table(title="stack", title_justify="left", show_lines=False)
    for name in ("layer", "name", "kind", "box", "overflow", "lowering", "reusable", "notes"):
        table.add_column(name, overflow="fold")
    for index, layer in reversed(list(enumerate(stack.layers))):
        table.add_row(
            str(index),
            Text(_short(layer.name)),
            str(layer.kind),
            _box(layer.box),
            _overflow(layer, stack),
            str(layer.lowering),
            "yes" if layer.reusable else "no",
            Text(_plain("; ".join(layer.notes))),
        )
    return table


def _overflow(layer: StackLayer, stack: Stack) -> str:
    found = overflow(layer.pixels, layer.box, stack.visible)
    if not found.share:
        return "cropped" if layer.cropped else ""
    sides = f"{found.left} {found.top} {found.right} {found.bottom} px, {found.share:.0%}"
    return f"{sides}, cropped" if layer.cropped else sides


def _summary(stack: Stack) -> Text:
    found = stack.recomposition
    lines = [
        f"canvas {stack.canvas.width} x {stack.canvas.height}, visible {_box(stack.visible)}, scale {stack.scale:.4g}",
        f"{len(stack.layers)} layers of {stack.source_layers} in the document",
        f"recomposition against the {found.reference}: mean error {found.mae:.3f}, p99 {found.p99:.1f}, "
        f"worst square {stack.region:.1f} (of 255)",
    ]
    return Text("\n".join(lines))


def write(stack: Stack, out: Path) -> None:
    """``layer_NN.png``, ``composite.png``, ``preview.png``, ``difference.png`` and ``layout.json`` in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    for index, layer in enumerate(stack.layers):
        _save(layer.pixels, out / f"layer_{index:02d}.png")
    _save(stack.composite, out / "composite.png")
    _save(stack.preview, out / "preview.png")
    _save(difference(stack), out / "difference.png")
    (out / "layout.json").write_bytes(canonical_json(layout(stack)) + b"\n")


def layout(stack: Stack) -> dict[str, Any]:
    """The layout as the record's spine has it, with what each layer is called and how it was lowered."""
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
            }
            for index, layer in enumerate(stack.layers)
        ],
    }


def difference(stack: Stack) -> Rgba:
    """Side by side on white: the preview, the visible part of the composite, their difference times 8."""
    height, width = stack.preview.shape[:2]
    ours = resized(stack.composite[stack.visible.slices], width, height)
    shown, made = on_solid(stack.preview, 255), on_solid(ours, 255)
    strip = np.concatenate([shown, made, np.abs(shown - made) * _AMPLIFY], axis=1)
    opaque = np.full((*strip.shape[:2], 1), 255, np.float32)
    picture: Rgba = np.rint(np.concatenate([strip, opaque], axis=2)).clip(0, 255).astype(np.uint8)
    return picture


def _save(pixels: Rgba, path: Path) -> None:
    if pixels.size:
        Image.fromarray(np.ascontiguousarray(pixels), "RGBA").save(path)


def _refusal(document: Document, config: FlattenConfig) -> Rejected | None:
    try:
        check_size(document, config)
    except Rejected as refused:
        return refused
    return None


def _box(box: tuple[int, int, int, int]) -> str:
    return "[{}, {}, {}, {}]".format(*box)


def _plain(words: str) -> str:
    """What came from a file as one line of printable text."""
    return "".join(letter if letter.isprintable() else " " for letter in words)


def _short(name: str) -> str:
    line = _plain(name)
    return line if len(line) <= _NAME_LENGTH else line[: _NAME_LENGTH - 1] + "…"
