"""Writing OpenRaster: a zip with ``stack.xml``, a PNG for every layer, the merged picture and a thumbnail.

OpenRaster has no masks and no clipping flag; both are said with compositing operators. A masked node becomes an
isolated stack whose top layer is the mask with ``svg:dst-in``; a run of clipped layers becomes an isolated stack in
which they lie on their base with ``svg:src-atop``. ``ora`` reads both back.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from itertools import count
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from PIL import Image

from pipelines.errors import UsageError
from pipelines.formats import raster
from pipelines.formats.blending import ORA as OPERATORS
from pipelines.formats.tree import Document, Group, Leaf, Mask, Node
from pipelines.formats.unsaid import plain
from schemas.compositing import Rgba
from schemas.geometry import Box, union

MIMETYPE = b"image/openraster"
EPOCH = (1980, 1, 1, 0, 0, 0)
THUMBNAIL = 256
CLIP_OPERATOR = "svg:src-atop"
MASK_OPERATOR = "svg:dst-in"


def write(document: Document, path: Path) -> None:
    """Write ``document`` as OpenRaster in sRGB; text, shapes and plain fills become pixels.

    Raises:
        UsageError: something cannot be said (effects, adjustments, a blend mode outside SVG's), or there is no preview.
    """
    preview = document.preview
    if preview is None or preview.shape != (document.height, document.width, 4):
        raise UsageError("OpenRaster stores a merged picture: give the document a preview of its size")
    document = plain(document, "OpenRaster")
    with zipfile.ZipFile(path, "w") as archive:
        _store(archive, "mimetype", MIMETYPE)
        writer = _Writer(archive, document.visible)
        image = Element("image", version="0.0.6", w=str(document.width), h=str(document.height))
        writer.stack(SubElement(image, "stack"), document.nodes)
        _store(archive, "stack.xml", tostring(image, encoding="UTF-8", xml_declaration=True), compress=True)
        _store(archive, "mergedimage.png", raster.png(preview))
        small = Image.fromarray(preview, "RGBA")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        _store(archive, "Thumbnails/thumbnail.png", raster.png(np.array(small)))


def _store(archive: zipfile.ZipFile, name: str, data: bytes, compress: bool = False) -> None:
    entry = zipfile.ZipInfo(name, date_time=EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    entry.create_system = 3
    archive.writestr(entry, data)


class _Writer:
    def __init__(self, archive: zipfile.ZipFile, visible: Box) -> None:
        self.archive = archive
        self.visible = visible
        self.numbers = count()

    def stack(self, parent: Element, nodes: tuple[Node, ...]) -> None:
        """The children of a stack element, topmost first as the format wants them."""
        for base, clipped in reversed(_runs(nodes)):
            if clipped or base.mask is not None:
                self.isolated(parent, base, clipped, {})
            else:
                self.node(parent, base, {})

    def isolated(self, parent: Element, base: Node, clipped: tuple[Node, ...], extra: dict[str, str]) -> None:
        """An isolated stack for what needs one: the mask of ``base`` on top, its clipped nodes, ``base`` itself."""
        _check_backdrop(base)
        element = SubElement(parent, "stack", {**_attributes(base), **extra}, isolation="isolate")
        if base.mask is not None:
            box = union((_content(base), self.visible))
            self.image(element, "mask", _painted(base.mask, box), box.x0, box.y0, {"composite-op": MASK_OPERATOR})
        for node in reversed(clipped):
            if node.blend_mode != "normal":
                raise UsageError(f"layer {node.name!r}: OpenRaster has no clipped layers in mode {node.blend_mode!r}")
            atop = {"composite-op": CLIP_OPERATOR}
            if node.mask is not None:
                self.isolated(element, replace(node, clipped=False), (), atop)
            else:
                self.node(element, replace(node, clipped=False), atop)
        if isinstance(base, Group) and not clipped:
            self.stack(element, base.children)
        else:
            self.node(element, replace(base, blend_mode="normal", opacity=1.0, visible=True, mask=None), {})

    def node(self, parent: Element, node: Node, extra: dict[str, str]) -> None:
        attributes = {**_attributes(node), **extra}
        if isinstance(node, Group):
            if node.opacity < 1:
                _check_backdrop(node)
            isolation = "isolate" if node.isolated or node.blend_mode != "normal" or node.opacity < 1 else "auto"
            element = SubElement(parent, "stack", attributes, isolation=isolation)
            self.stack(element, node.children)
        elif isinstance(node, Leaf):
            self.image(parent, node.name, node.pixels(), node.box.x0, node.box.y0, attributes)
        else:
            raise TypeError(f"a node is a Leaf or a Group, not {type(node).__name__}")

    def image(self, parent: Element, name: str, pixels: Rgba, x: int, y: int, attributes: dict[str, str]) -> None:
        if pixels.size == 0:  # a PNG has at least one pixel
            pixels = np.zeros((1, 1, 4), np.uint8)
        source = f"data/layer{next(self.numbers):03d}.png"
        _store(self.archive, source, raster.png(pixels))
        SubElement(parent, "layer", {"name": name, **attributes}, src=source, x=str(x), y=str(y))


def _runs(nodes: tuple[Node, ...]) -> list[tuple[Node, tuple[Node, ...]]]:
    """Every unclipped node with the clipped ones right above it; a clipped bottom node has no base and is its own."""
    runs: list[tuple[Node, tuple[Node, ...]]] = []
    for node in nodes:
        if node.clipped and runs:
            base, clipped = runs[-1]
            runs[-1] = (base, (*clipped, node))
        else:
            runs.append((node, ()))
    return runs


def _attributes(node: Node) -> dict[str, str]:
    if node.blend_mode not in OPERATORS:
        raise UsageError(f"layer {node.name!r}: OpenRaster has no blend mode {node.blend_mode!r}")
    return {
        "name": "".join(c for c in node.name if c.isprintable()),
        "opacity": f"{node.opacity:.6g}",
        "visibility": "visible" if node.visible else "hidden",
        "composite-op": OPERATORS[node.blend_mode],
    }


def _check_backdrop(node: Node) -> None:
    """An isolated stack is what a pass-through group is as long as nothing in it blends with what lies below."""
    if isinstance(node, Group) and not node.isolated and node.blend_mode == "normal":
        for child in node.children:
            if child.blend_mode != "normal":
                raise UsageError(f"group {node.name!r}: OpenRaster has no masks or opacity on pass-through groups")
            _check_backdrop(child)


def _content(node: Node) -> Box:
    """The box around all pixels of a node."""
    if isinstance(node, Group):
        return union(_content(child) for child in node.children)
    return node.box if isinstance(node, Leaf) else Box(0, 0, 0, 0)


def _painted(mask: Mask, box: Box) -> Rgba:
    """A mask as white pixels whose alpha is the mask, over all of ``box``."""
    out = np.full((box.height, box.width, 4), 255, np.uint8)
    out[..., 3] = mask.outside
    part = mask.box.intersect(box)
    if not part.empty:
        out[(*part.within(box).slices, 3)] = mask.pixels[part.within(mask.box).slices]
    return out
