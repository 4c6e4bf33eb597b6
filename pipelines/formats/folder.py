"""The layer folder: ``design.json`` and an image file (PNG or WebP) for every layer.

The one format that says everything of a Document, true typography too. Layers are bottom to top; a layer's box
starts at (``x``, ``y``) in document pixels, may be negative, and has its image's size; paths are relative and stay
inside the folder. ``design.json`` follows FolderDesign; unknown fields are errors.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field

from pipelines.errors import Rejected, UsageError
from pipelines.formats import raster
from pipelines.formats.limits import ReadLimits
from pipelines.formats.tree import Document, Group, Leaf, Mask, Node
from pipelines.formats.unsaid import plain
from schemas.design import LayerKind, Record, Share, Text, canonical_json, parse_record
from schemas.errors import RecordError
from schemas.geometry import Box
from schemas.ledger import Code

DESIGN = "design.json"
MAX_DESIGN_BYTES = 64 * 1024**2


class FolderMask(Record):
    """A mask image (its alpha, else its gray) at (``x``, ``y``); ``outside`` (0..255) everywhere else."""

    file: str
    x: int = 0
    y: int = 0
    outside: Annotated[int, Field(ge=0, le=255)] = 0


class _Entry(Record):
    name: str = ""
    visible: bool = True
    opacity: Share = 1.0
    blend_mode: str = "normal"
    clipped: bool = False
    mask: FolderMask | None = None
    effects: tuple[str, ...] = ()
    undrawn: tuple[str, ...] = ()


class FolderLayer(_Entry):
    """A layer with pixels; without ``file`` it is empty."""

    type: Literal["layer"] = "layer"
    kind: LayerKind = LayerKind.IMAGE
    file: str | None = None
    x: int = 0
    y: int = 0
    text: Text | None = None


class FolderGroup(_Entry):
    """A group; ``isolated`` ones are composited alone first."""

    type: Literal["group"]
    isolated: bool = False
    layers: tuple[FolderGroup | FolderLayer, ...] = ()


class FolderDesign(Record):
    """``design.json``: schema version, visible size in px, layers bottom to top, and what the design looks like."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    layers: tuple[FolderGroup | FolderLayer, ...]
    preview: str | None = None

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)


def read(path: Path, limits: ReadLimits) -> Document:
    """Read the layer folder ``path``; raises Rejected(UNREADABLE | TOO_LARGE)."""
    reader = _Reader(path, limits)
    try:
        design = parse_record(FolderDesign, reader.bytes(DESIGN, MAX_DESIGN_BYTES))
    except RecordError as error:
        raise Rejected(Code.UNREADABLE, str(error)) from None
    limits.check_document(design.width, design.height)
    nodes = tuple(reader.node(entry, 0) for entry in design.layers)
    preview = None
    if design.preview is not None:
        preview = raster.decode(reader.bytes(design.preview), design.preview, limits)
        if preview.shape[:2] != (design.height, design.width):
            raise Rejected(Code.UNREADABLE, f"{design.preview} is not {design.width} x {design.height} px")
    return Document(design.width, design.height, nodes, preview=preview)


class _Reader:
    """Resolves an entry's files inside the folder and keeps count."""

    def __init__(self, root: Path, limits: ReadLimits) -> None:
        self.root = root.resolve()
        self.limits = limits
        self.nodes = 0
        self.read = 0

    def bytes(self, name: str, most: int | None = None) -> bytes:
        """The bytes of a file of the folder; raises Rejected for one outside of it, missing, or over the limits."""
        pure = PurePosixPath(name)
        target = (self.root / pure).resolve()
        escapes = pure.is_absolute() or "\\" in name or "\0" in name or not target.is_relative_to(self.root)
        if escapes:
            raise Rejected(Code.UNREADABLE, f"{name[:80]!r} is not a path inside the layer folder")
        if not target.is_file():
            raise Rejected(Code.UNREADABLE, f"the layer folder has no file {name[:80]!r}")
        size = target.stat().st_size
        self.read += size
        if most is not None and size > most:
            raise Rejected(Code.TOO_LARGE, f"{name[:80]!r} is over {most} bytes")
        self.limits.check_bytes(self.read, "the layer folder")
        return target.read_bytes()

    def node(self, entry: FolderGroup | FolderLayer, depth: int) -> Node:
        self.nodes += 1
        self.limits.check_layers(self.nodes)
        mask = self.mask(entry.mask) if entry.mask else None
        if isinstance(entry, FolderGroup):
            self.limits.check_depth(depth + 1)
            children = tuple(self.node(child, depth + 1) for child in entry.layers)
            return Group(**_common(entry, mask), children=children, isolated=entry.isolated)  # type: ignore[arg-type]
        if entry.file is None:
            return Leaf(**_common(entry, mask), kind=entry.kind, text=entry.text)  # type: ignore[arg-type]
        data = self.bytes(entry.file)
        width, height = raster.size_of(data, entry.file)
        self.limits.check_layer(entry.name, entry.x, entry.y, width, height)
        return Leaf(
            **_common(entry, mask),  # type: ignore[arg-type]
            kind=entry.kind,
            box=Box(entry.x, entry.y, entry.x + width, entry.y + height),
            pixels=raster.lazily(data, entry.file, self.limits),
            text=entry.text,
        )

    def mask(self, mask: FolderMask) -> Mask:
        pixels = raster.gray(self.bytes(mask.file), mask.file, self.limits)
        height, width = pixels.shape
        self.limits.check_layer(mask.file, mask.x, mask.y, width, height)
        return Mask(Box(mask.x, mask.y, mask.x + width, mask.y + height), pixels, mask.outside)


def _common(entry: _Entry, mask: Mask | None) -> dict[str, object]:
    return {
        "name": entry.name,
        "visible": entry.visible,
        "opacity": entry.opacity,
        "blend_mode": entry.blend_mode,
        "clipped": entry.clipped,
        "mask": mask,
        "effects": entry.effects,
        "undrawn": entry.undrawn,
    }


def write(document: Document, path: Path) -> None:
    """Write ``document`` as a layer folder in sRGB; ``path`` is made and must hold no design yet.

    Raises:
        UsageError: there is a design already, or a node has what only pixels could say here (effects, adjustments).
    """
    document = plain(document, "a layer folder", names=True)
    path.mkdir(parents=True, exist_ok=True)
    if (path / DESIGN).exists():
        raise UsageError(f"{path} holds a design already: choose another folder")
    writer = _Writer(path)
    layers = tuple(writer.entry(node) for node in document.nodes)
    preview = "preview.png" if document.preview is not None else None
    if document.preview is not None:
        (path / "preview.png").write_bytes(raster.png(document.preview))
    design = FolderDesign(width=document.width, height=document.height, layers=layers, preview=preview)
    (path / DESIGN).write_bytes(canonical_json(design.model_dump(mode="json", by_alias=True, exclude_defaults=False)))


class _Writer:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0

    def image(self, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], stem: str) -> str:
        name = f"{stem}_{self.count:03d}.png"
        self.count += 1
        (self.root / name).write_bytes(raster.png(pixels))
        return name

    def entry(self, node: Node) -> FolderGroup | FolderLayer:
        mask = None
        if node.mask is not None and not node.mask.box.empty:
            file = self.image(node.mask.pixels, "mask")
            mask = FolderMask(file=file, x=node.mask.box.x0, y=node.mask.box.y0, outside=node.mask.outside)
        elif node.mask is not None:
            file = self.image(np.full((1, 1), node.mask.outside, np.uint8), "mask")
            mask = FolderMask(file=file, outside=node.mask.outside)
        common = {
            name: getattr(node, name)
            for name in ("name", "visible", "opacity", "blend_mode", "clipped", "effects", "undrawn")
        }
        if isinstance(node, Group):
            layers = tuple(self.entry(child) for child in node.children)
            return FolderGroup(type="group", mask=mask, isolated=node.isolated, layers=layers, **common)
        if not isinstance(node, Leaf):
            raise TypeError(f"a node is a Leaf or a Group, not {type(node).__name__}")
        pixels = node.pixels()
        stored = self.image(pixels, "layer") if pixels.size else None
        return FolderLayer(
            kind=node.kind, file=stored, x=node.box.x0, y=node.box.y0, text=node.text, mask=mask, **common
        )
