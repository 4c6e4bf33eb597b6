"""Files of generation: designs and pictures that a user gives, and what was made as PSD, OpenRaster, PNG and JSON.

A user's file is read by a child process with limits. What is written appears whole, file by file:

    {folder}/{key}/design.psd  design.ora  layout.json  merged.png  layer_00_sky.png ...
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from PIL import Image
from pydantic import ValidationError

from pipelines import errors as pipeline_errors
from pipelines import opening
from pipelines.flatten import FlattenConfig, Stack
from pipelines.formats import Document, Group, Leaf, Node, ReadLimits, raster
from pipelines.formats import write as write_document
from pipelines.sandbox import ChildError, Limits, Sandbox
from pipelines.scratch import working_directory
from schemas.compositing import Rgba, composite
from schemas.geometry import Box
from schemas.settings import explain
from training import sheet as sheets
from training.errors import TrainingError, UsageError
from training.generation.layout import MAX_LAYERS, MAX_SIDE, Canvas, LayoutPlan, PlannedLayer
from training.generation.request import Made
from training.outputs import Output

T = TypeVar("T")

_RATIO = 3.0
"""A canvas has at most so many visible sides: what lies beyond is cut off."""
_FLATTEN = FlattenConfig(max_side=int(MAX_SIDE / _RATIO), max_layers=MAX_LAYERS, max_canvas_ratio=_RATIO)
_UNSAFE = re.compile(r"[^\w.-]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_STEM = 48
"""Letters of a name of a file: in UTF-8 at most 255 bytes with all that is added until it is whole."""


class Form(StrEnum):
    """What a design is written as: layered files, a picture for each layer and for the whole, its layout."""

    PSD = "psd"
    PSB = "psb"
    ORA = "ora"
    PNG = "png"
    JSON = "json"


@dataclass(frozen=True, eq=False)
class Opened:
    """A design that was read: its layout and, for each layer, uint8 [h, w, 4] as large as its box.

    ``scale``: px of the layout per px of the file, under 1 where the file was too large.
    """

    layout: LayoutPlan
    layers: tuple[Rgba, ...]
    scale: float


class Opener:
    """Reads files of users in a child process, one at a time, which ends with ``close``."""

    def __init__(self, limits: ReadLimits | None = None, cost: Limits | None = None) -> None:
        self._limits = limits or ReadLimits()
        self._sandbox = Sandbox(cost or Limits())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        self._sandbox.close()

    def design(self, path: Path) -> Opened:
        """What a PSD, PSB, OpenRaster file or layer folder shows, as plain layers; hidden ones are left out.

        Raises:
            UsageError: it cannot be read, shows nothing or is over the limits.
        """
        with working_directory() as scratch:
            stack = self._run(path, opening.design, path.absolute(), scratch, _FLATTEN, self._limits)
        if not stack.layers:
            raise UsageError(f"{_shown(path)} has no layer that shows anything")
        try:
            layout = _layout_of(stack)
        except ValidationError as error:
            raise UsageError(f"{_shown(path)}: {explain(error, LayoutPlan)}") from None
        return Opened(layout, tuple(layer.pixels for layer in stack.layers), stack.scale)

    def picture(self, path: Path) -> Rgba:
        """A PNG, JPEG or WebP file, upright and in sRGB: uint8 [h, w, 4].

        Raises:
            UsageError: it is none, is animated or damaged, or is too small or too large.
        """
        return self._run(path, opening.picture, path.absolute())

    def _run(self, path: Path, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return self._sandbox.run(function, *arguments)
        except pipeline_errors.Rejected as error:
            raise UsageError(f"{_shown(path)}: {_plain(error.message)}") from None
        except ChildError as error:  # a file that no reader foresaw
            raise UsageError(f"{_shown(path)} cannot be read: {_plain(str(error))}") from None
        except pipeline_errors.PipelineError as error:
            raise TrainingError(str(error)) from None


def write(made: Made, out: Path, forms: Collection[Form]) -> Path:
    """Write what was made to a folder of its own in ``out``, which is returned.

    Layers keep their complete boxes: the document of a layered file is the visible box, and what reaches out of it lies
    outside of the document. Neighbours of one group lie in one folder.

    Raises:
        UsageError: the format cannot hold the design.
        TrainingError: the disk does not take it.
    """
    folder = out / safe_name(made.request.key, "design")
    output = Output(str(folder))
    layers = made.request.layout.layers
    if layered := [form for form in Form if form in forms and form in (Form.PSD, Form.PSB, Form.ORA)]:
        document = document_of(made)
        for form in layered:
            output.write(f"design.{form}", _file(document, form))
    if Form.PNG in forms:
        for number, (layer, pixels) in enumerate(zip(layers, made.layers, strict=True)):
            name = f"layer_{number:02d}_{safe_name(layer.name or layer.kind, layer.kind)}.png"
            output.write(name, raster.png(pixels))
        output.write("merged.png", raster.png(made.merged))
    if Form.JSON in forms:
        output.write("layout.json", made.request.layout.model_dump_json(indent=1).encode() + b"\n")
    return folder


def document_of(made: Made) -> Document:
    """What was made as a document of the visible box's size, with a preview of the layers that are visible."""
    layout = made.request.layout
    visible = layout.visible
    placed = [(pixels, layer.box) for pixels, layer in zip(made.layers, layout.layers, strict=True)]
    leaves = [
        _leaf(layer, number, pixels, layer.box.within(visible))
        for number, (layer, (pixels, _)) in enumerate(zip(layout.layers, placed, strict=True))
    ]
    nodes: list[Node] = []
    for group, some in groupby(zip(layout.layers, leaves, strict=True), key=lambda pair: pair[0].group):
        children = tuple(leaf for _, leaf in some)
        nodes += children if group is None else (Group(_plain(group), children=children),)
    shown = [part for part, layer in zip(placed, layout.layers, strict=True) if layer.visible]
    return Document(visible.width, visible.height, tuple(nodes), preview=composite(shown, visible))


def sheet(made: Sequence[Made]) -> Image.Image:
    """A contact sheet: each design and the layers of it that were made, with what was given or asked for; RGB."""
    return sheets.sheet([_row(one) for one in made])


def safe_name(name: str, otherwise: str) -> str:
    """A name as part of a name of a file: letters, digits, ``.``, ``-`` and ``_`` alone, of bounded length.

    One that cannot stay as it is ends in a hash of what it was, so that two names never become one file.
    """
    safe = _UNSAFE.sub("_", name)[:_STEM].strip("._") or otherwise
    if _RESERVED.fullmatch(safe):
        safe = f"_{safe}"
    if safe == name:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _layout_of(stack: Stack) -> LayoutPlan:
    """Raises ValidationError where the stack has more than a layout may have."""
    layers = [PlannedLayer(box=layer.box, name=_plain(layer.name)[:255], kind=layer.kind) for layer in stack.layers]
    canvas = Canvas(width=stack.canvas.width, height=stack.canvas.height)
    return LayoutPlan(canvas=canvas, visible=stack.visible, layers=tuple(layers))


def _leaf(layer: PlannedLayer, number: int, pixels: Rgba, box: Box) -> Leaf:
    name = _plain(layer.name).strip() or f"{layer.kind} {number}"
    return Leaf(name, visible=layer.visible, kind=layer.kind, box=box, pixels=lambda: pixels)


def _file(document: Document, form: Form) -> bytes:
    """The bytes of a layered file."""
    try:
        with working_directory() as scratch:
            path = scratch / f"design.{form}"
            write_document(document, path)
            return path.read_bytes()
    except pipeline_errors.UsageError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise TrainingError(f"cannot write a design: {error.strerror or error}") from error


def _row(made: Made) -> sheets.Row:
    request = made.request
    layout = request.layout
    placed = [(pixels, layer.box) for pixels, layer in zip(made.layers, layout.layers, strict=True)]
    numbers = tuple(sorted(request.chosen)) or tuple(range(len(placed)))
    given = request.picture
    if given is None and request.given:
        given = composite([placed[number] for number in sorted(request.given)], layout.visible)
    model = sheets.Version(made.merged, tuple(placed[number] for number in numbers))
    canvas = Box(0, 0, layout.canvas.width, layout.canvas.height)
    return sheets.Row(request.key, request.prompt, canvas, layout.visible, numbers, given, None, model)


def _shown(path: Path) -> str:
    return _plain(str(path))


def _plain(words: str) -> str:
    """What came from outside as one line of printable text."""
    return "".join(letter if letter.isprintable() else " " for letter in words)
