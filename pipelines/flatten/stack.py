"""The flat stack: what a document's tree is lowered to, and the settings that rule it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.compositing import Placed, Rgba
from schemas.design import LayerKind, Lowering, Recomposition, Text
from schemas.geometry import Box

_MAX_NOTES = 16
_NAME_IN_NOTE = 60


class Shadows(StrEnum):
    """Where what a layer casts behind itself (drop shadow, outer glow) goes."""

    JOINED = "joined"
    APART = "apart"


class FlattenConfig(BaseModel):
    """``extract.*`` of a build: what a stack may be.

    Sides are in px; ``max_side`` is the visible box's long side, above which a design is scaled down.
    ``max_canvas_ratio`` caps the canvas per side, in visible sides. ``max_mae`` and ``max_p99`` limit the
    recomposition error and ``max_region`` its mean over the worst square of 32 px, all in 1/255. ``shadows``: drop
    shadows and outer glows become part of their layer (joined) or layers of their own (apart).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_side: Annotated[int, Field(ge=16, le=16_383)] = 4096
    min_layers: Annotated[int, Field(ge=1)] = 2
    max_layers: Annotated[int, Field(ge=1)] = 50
    min_side: Annotated[int, Field(ge=1)] = 64
    max_canvas_ratio: Annotated[float, Field(ge=1, le=16)] = 3.0
    max_mae: Annotated[float, Field(ge=0)] = 1.0
    max_p99: Annotated[float, Field(ge=0)] = 25.0
    max_region: Annotated[float, Field(ge=0)] = 32.0
    shadows: Shadows = Shadows.JOINED


@dataclass(frozen=True)
class StackLayer:
    """One normal-mode layer: ``pixels`` uint8 ``[box.height, box.width, 4]`` at ``box``.

    ``opacity``, ``blend_mode`` and ``effects`` are what the document said; ``pixels`` already hold them. ``lowering``
    and ``notes`` say how. Not ``reusable``: its colour depends on what lies below. ``leaves``: layers of the document
    in it.
    """

    pixels: Rgba
    box: Box
    name: str
    kind: LayerKind
    opacity: float = 1.0
    blend_mode: str = "normal"
    effects: tuple[str, ...] = ()
    lowering: Lowering = Lowering.EXACT
    notes: tuple[str, ...] = ()
    reusable: bool = True
    leaves: int = 1
    text: Text | None = None
    cropped: bool = False

    @property
    def placed(self) -> Placed:
        return self.pixels, self.box

    def at_least(self, lowering: Lowering) -> StackLayer:
        """The layer, lowered this far or farther."""
        return replace(self, lowering=worst((self.lowering, lowering)))

    def baked(self, note: str) -> StackLayer:
        """The layer with a word on what of the backdrop is in it: it is nothing to use elsewhere."""
        return replace(self.at_least(Lowering.BAKED), reusable=False).noted(note)

    def noted(self, *notes: str) -> StackLayer:
        """The layer with more notes: each once, and at most 16, of which the last then says that there were more."""
        every = tuple(dict.fromkeys((*self.notes, *filter(None, notes))))
        if len(every) > _MAX_NOTES:
            every = (*every[: _MAX_NOTES - 1], "more notes left out")
        return self if every == self.notes else replace(self, notes=every)


def worst(lowerings: Iterable[Lowering]) -> Lowering:
    """The farthest from a layer's own pixels."""
    return max(lowerings, key=list(Lowering).index)


def brief(name: str) -> str:
    """A file's word (a name, a feature, a mode) as short as notes need it."""
    return name if len(name) <= _NAME_IN_NOTE else name[: _NAME_IN_NOTE - 1] + "…"


@dataclass(frozen=True)
class Stack:
    """A lowered document: layers bottom to top, their boxes on ``canvas``, which starts at 0, 0.

    ``scale``: canvas px per document px. ``composite``: the layers' composite, of canvas size. ``preview``: what the
    document shows in the visible box, at most 1024 px on the long side. ``source_layers``: leaves of the document,
    hidden ones too. ``region``: the mean error over the worst square of 32 px, in 1/255, which is ``worst`` of the
    visible box.
    """

    canvas: Box
    visible: Box
    layers: tuple[StackLayer, ...]
    scale: float
    composite: Rgba
    preview: Rgba
    recomposition: Recomposition
    source_layers: int
    region: float
    worst: Box
