"""Where the layers of a design are to be: drawn by hand, planned, detected or read from a file. None of it is trusted.

    {"canvas": {"width": 1200, "height": 800}, "visible": [100, 0, 1100, 800],
     "layers": [{"name": "sky", "kind": "background", "box": [100, 0, 1100, 800], "caption": "an evening sky"}, ...]}

Boxes are half-open in px of the canvas, layers bottom to top; ``visible`` may be left out and is the canvas then.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from schemas.design import Design, Layer, LayerKind
from schemas.errors import RecordError
from schemas.geometry import Box, CanvasBox
from schemas.settings import Section, explain
from training.errors import UsageError

MAX_LAYERS = 100
MAX_SIDE = 16_384
"""Px of a canvas."""
MAX_PIXELS = 2**29
"""Of the visible box and all layers together: pictures of 2 GiB."""
MAX_JSON = 2**20
"""Bytes of a layout's JSON."""

Words = Annotated[str, Field(max_length=2000)]
Name = Annotated[str, Field(max_length=255)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class Canvas(Section):
    """Px."""

    width: Side
    height: Side


class PlannedLayer(Section):
    """A layer's place, and what it is to show. ``group``: the name of the folder that it lies in."""

    box: CanvasBox
    name: Name = ""
    kind: LayerKind = LayerKind.IMAGE
    caption: Words = ""
    group: Name | None = None
    visible: bool = True


class LayoutPlan(Section):
    """The places of all layers on a canvas, of which ``visible`` is what a viewer sees."""

    canvas: Canvas
    visible: CanvasBox
    layers: Annotated[tuple[PlannedLayer, ...], Field(min_length=1, max_length=MAX_LAYERS)]

    @model_validator(mode="before")
    @classmethod
    def _all_visible(cls, tree: object) -> object:
        if isinstance(tree, dict) and "visible" not in tree and isinstance(tree.get("canvas"), dict):
            canvas = tree["canvas"]
            return {**tree, "visible": [0, 0, canvas.get("width"), canvas.get("height")]}
        return tree

    @model_validator(mode="after")
    def _on_canvas(self) -> Self:
        canvas = Box(0, 0, self.canvas.width, self.canvas.height)
        if not canvas.contains(self.visible):
            raise ValueError(f"the visible box {list(self.visible)} reaches out of the canvas")
        for number, layer in enumerate(self.layers):
            if not canvas.contains(layer.box):
                raise ValueError(
                    f"layer {number}: its box {list(layer.box)} reaches out of the canvas of {canvas.width} x "
                    f"{canvas.height} px; enlarge the canvas and move what is on it, or cut the box"
                )
            if number and layer.kind is LayerKind.BACKGROUND:
                raise ValueError(f"layer {number} is a background; only the first layer, the lowest, can be one")
        if (pixels := self.visible.area + sum(layer.box.area for layer in self.layers)) > MAX_PIXELS:
            raise ValueError(
                f"visible box and layers have {pixels:,} px together, over {MAX_PIXELS:,}; scale the design down"
            )
        return self

    @property
    def backed(self) -> bool:
        """The first layer is the background."""
        return self.layers[0].kind is LayerKind.BACKGROUND

    @classmethod
    def from_json(cls, data: bytes | str, where: str = "the layout") -> LayoutPlan:
        """Read a layout, or the record of a design of a dataset, whose layout is taken.

        Raises:
            UsageError: it is too large, or is neither.
        """
        if len(data) > MAX_JSON:
            raise UsageError(f"{where} has {len(data):,} bytes; a layout has at most {MAX_JSON:,}")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            found = error
        try:
            return cls.of_design(Design.from_json(data))
        except RecordError:
            pass
        except ValidationError as error:
            found = error
        raise UsageError(f"{where}: {explain(found, cls)}")

    @classmethod
    def of_design(cls, design: Design) -> LayoutPlan:
        """The layout of a record.

        Raises:
            ValidationError: it has more than a layout may have.
        """
        layers = [
            PlannedLayer(
                box=layer.box,
                name=layer.name[:255],
                kind=layer.kind,
                caption=_described(layer)[:2000],
            )
            for layer in design.layers
        ]
        canvas = Canvas(width=design.canvas.width, height=design.canvas.height)
        return cls(canvas=canvas, visible=design.visible, layers=tuple(layers))


def _described(layer: Layer) -> str:
    """A text without a caption says what it shows, as it does where it is learned from."""
    return (layer.caption.text if layer.caption else "") or (layer.text.content if layer.text else "")
