"""Reading OpenRaster (0.0.6): nested stacks of PNG layers in a zip, and the merged picture as the preview.

Sizes are checked in the zip's directory and in each PNG's header before anything is unpacked. The XML may hold no
document type, so no entities. ``svg:src-atop`` over a single base in an isolated stack is a clipped layer,
``svg:dst-in`` on top of an isolated stack is its mask; other Porter-Duff operators are named as undrawn. Offsets of
stacks add up, and a hidden layer whose file cannot be read is empty.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from pipelines.errors import Rejected
from pipelines.formats import raster
from pipelines.formats.blending import FROM_ORA
from pipelines.formats.limits import ReadLimits, first_line
from pipelines.formats.tree import Document, Group, Leaf, Mask, Node
from schemas.compositing import Rgba
from schemas.geometry import Box
from schemas.ledger import Code

MAX_ENTRIES = 10_000
MAX_XML = 16 * 1024**2
MAX_RATIO = 1_100
ATOP, IN = "svg:src-atop", "svg:dst-in"
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


def read(path: Path, limits: ReadLimits) -> Document:
    """Read an OpenRaster file; raises Rejected(UNREADABLE | UNSUPPORTED | TOO_LARGE)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive, limits).document()
    except _BAD_ZIP as error:
        raise Rejected(Code.UNREADABLE, f"not a readable zip: {first_line(error)}") from error


@dataclass(frozen=True)
class _Place:
    """Where the children of an element are: the sum of the offsets, whether they show, how deep they lie."""

    x: int = 0
    y: int = 0
    shown: bool = True
    depth: int = -1

    def inside(self, element: Element) -> _Place:
        x, y = self.x + _integer(element, "x", 0), self.y + _integer(element, "y", 0)
        return _Place(x, y, self.shown and _shown(element), self.depth + 1)


@dataclass
class _Reader:
    archive: zipfile.ZipFile
    limits: ReadLimits
    nodes: int = 0
    unpacked: int = 0

    def document(self) -> Document:
        if len(self.archive.infolist()) > MAX_ENTRIES:
            raise Rejected(Code.TOO_LARGE, f"the archive holds more than {MAX_ENTRIES} files")
        image = _parse(self.bytes("stack.xml", MAX_XML))
        if image.tag != "image":
            raise Rejected(Code.UNREADABLE, f"stack.xml starts with {image.tag[:80]!r}, not image")
        width, height = _integer(image, "w"), _integer(image, "h")
        self.limits.check_document(width, height)
        stack = image.find("stack")
        if stack is None:
            raise Rejected(Code.UNREADABLE, "stack.xml holds no stack")
        nodes, _ = self.children(stack, True, _Place().inside(stack))
        return Document(width, height, nodes, preview=self.preview(width, height))

    def bytes(self, name: str, most: int) -> bytes:
        """A file of the archive, its size checked before it is unpacked; raises Rejected."""
        try:
            entry = self.archive.getinfo(name)
        except KeyError:
            raise Rejected(Code.UNREADABLE, f"the archive has no file {name[:80]!r}") from None
        self.unpacked += entry.file_size
        bomb = entry.file_size > MAX_RATIO * max(1, entry.compress_size)
        if entry.file_size > most or bomb:
            raise Rejected(Code.TOO_LARGE, f"{name[:80]!r} unpacks to {entry.file_size} bytes")
        self.limits.check_bytes(self.unpacked, "the unpacked archive")
        with self.archive.open(entry) as stream:
            data = stream.read(entry.file_size + 1)
        if len(data) != entry.file_size:
            raise Rejected(Code.UNREADABLE, f"{name[:80]!r} is not as long as the archive says")
        return data

    def preview(self, width: int, height: int) -> Rgba | None:
        """The merged picture; None where it is missing or of another size."""
        if "mergedimage.png" not in self.archive.namelist():
            return None
        data = self.bytes("mergedimage.png", self.limits.max_bytes)
        if raster.size_of(data, "mergedimage.png", ("PNG",)) != (width, height):
            return None
        return raster.decode(data, "mergedimage.png", self.limits, ("PNG",))

    def children(self, stack: Element, isolated: bool, place: _Place) -> tuple[tuple[Node, ...], Mask | None]:
        """The nodes of a stack, bottom to top, and its mask where its top layer is one."""
        self.limits.check_depth(place.depth)
        elements = [element for element in stack if element.tag in ("layer", "stack")]
        mask = None
        if elements and isolated and _is_mask(elements[0]):
            leaf = self.layer(elements.pop(0), place)
            mask = Mask(leaf.box, leaf.pixels()[..., 3].copy(), 0)
        nodes: list[Node] = []
        for element in reversed(elements):
            self.nodes += 1
            self.limits.check_layers(self.nodes)
            node: Node = self.layer(element, place) if element.tag == "layer" else self.group(element, place)
            operator = element.get("composite-op", "svg:src-over")
            bases = sum(not below.clipped for below in nodes)
            if operator == ATOP and isolated and bases == 1:
                node = replace(node, clipped=True)
            elif operator not in FROM_ORA:
                node = replace(node, undrawn=(*node.undrawn, f"blend-mode:{operator.removeprefix('svg:')}"))
            nodes.append(node)
        return tuple(nodes), mask

    def group(self, element: Element, place: _Place) -> Group:
        operator = element.get("composite-op", "svg:src-over")
        opacity = _share(element, "opacity")
        isolated = element.get("isolation") == "isolate" or operator != "svg:src-over" or opacity < 1
        children, mask = self.children(element, isolated, place.inside(element))
        return Group(
            name=element.get("name", ""),
            visible=_shown(element),
            opacity=opacity,
            blend_mode=FROM_ORA.get(operator, "normal"),
            mask=mask,
            children=children,
            isolated=isolated,
        )

    def layer(self, element: Element, place: _Place) -> Leaf:
        leaf = Leaf(
            name=element.get("name", ""),
            visible=_shown(element),
            opacity=_share(element, "opacity"),
            blend_mode=FROM_ORA.get(element.get("composite-op", "svg:src-over"), "normal"),
        )
        at = place.inside(element)
        try:
            return self.drawn(leaf, element.get("src", ""), at.x, at.y)
        except Rejected as error:
            if at.shown or error.code is not Code.UNREADABLE:
                raise
            return leaf  # nobody sees it, so what is wrong with its file does no harm

    def drawn(self, leaf: Leaf, source: str, x: int, y: int) -> Leaf:
        """The layer with the pixels of its file."""
        data = self.bytes(source, self.limits.max_bytes)
        width, height = raster.size_of(data, source[:80], ("PNG",))
        self.limits.check_layer(leaf.name, x, y, width, height)
        return replace(
            leaf,
            box=Box(x, y, x + width, y + height),
            pixels=raster.lazily(data, source[:80], self.limits),
        )


def _shown(element: Element) -> bool:
    return element.get("visibility", "visible") != "hidden"


def _is_mask(element: Element) -> bool:
    shown = _shown(element) and _share(element, "opacity") == 1
    return element.tag == "layer" and element.get("composite-op") == IN and shown


class _NoDoctype(TreeBuilder):
    """Builds the tree and refuses document types: without one there are no entities to expand."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise Rejected(Code.UNREADABLE, "stack.xml declares a document type")


def _parse(data: bytes) -> Element:
    parser = XMLParser(target=_NoDoctype())
    try:
        parser.feed(data)
        root = parser.close()
    except (ParseError, LookupError, ValueError) as error:
        raise Rejected(Code.UNREADABLE, f"stack.xml: {first_line(error)}") from None
    assert isinstance(root, Element)
    return root


def _integer(element: Element, name: str, default: int | None = None) -> int:
    text = element.get(name)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
        if abs(value) <= 1e9:
            return round(value)
    except ValueError:
        pass
    raise Rejected(Code.UNREADABLE, f"stack.xml: {name}={(text or '')[:40]!r} is no number of pixels")


def _share(element: Element, name: str) -> float:
    try:
        value = float(element.get(name, "1"))
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise Rejected(Code.UNREADABLE, f"stack.xml: {name}={element.get(name, '')[:40]!r} is no number")
    return min(1.0, max(0.0, value))
