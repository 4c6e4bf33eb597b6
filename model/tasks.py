"""Which tokens every task has, in which order, and which of them are given: as data, and one function that follows it.

Layer numbers are the frame axis of the position embedding: 0 the composed picture, 1 the background, 2 and up the
foregrounds, bottom to top (ART, code). A condition carries the number of the layer that it stands for. The transparent
canvas has no tokens; it is the frame of reference (MRT, section 3).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from model.errors import LayoutError

Box = tuple[int, int, int, int]
"""``x0, y0, x1, y1``, half-open, in tokens of a design's padded canvas."""

COMPOSED, BACKGROUND, FOREGROUND = 0, 1, 2
"""The first layer number of each kind."""

LAYERED_INPUT = -1
"""The frame of the picture that Qwen-Image-Layered takes apart."""

RGBA_COND, RGB_COND = 0, 1
"""``additional_t_cond`` of Qwen-Image-Layered: which kind of picture the model makes."""

RESTYLE_PROMPT = "Harmonize these layers"
LAYER_TAGS = ("<layer>", "</layer>")
"""What stands around the caption of each layer to add (MRT, section 3)."""


class Task(StrEnum):
    """What the model is asked for. The last two are the first stage of Qwen-Image-Layered."""

    TEXT_TO_LAYERS = "text-to-layers"
    IMAGE_TO_LAYERS = "image-to-layers"
    ADD_LAYER = "add-layer"
    RESTYLE = "restyle"
    TEXT_TO_RGB = "text-to-rgb"
    TEXT_TO_RGBA = "text-to-rgba"


class Extent(StrEnum):
    """How much of its design the composed picture covers."""

    CANVAS = "canvas"
    VISIBLE = "visible"


@dataclass(frozen=True)
class TaskLayout:
    """The tokens of a task.

    ``composed``: what the composed picture covers, and ``composed_clean``: whether it is given. ``layers``: there are
    regions of layers. ``others_clean``: the layers that were not chosen are given, else all layers are made.
    ``conditions``: each chosen layer is given once more, in another style. ``kind``: of picture, where the checkpoint
    tells RGB from RGBA.
    """

    composed: Extent
    composed_clean: bool = False
    layers: bool = True
    others_clean: bool = False
    conditions: bool = False
    kind: int = RGBA_COND


LAYOUTS: dict[Task, TaskLayout] = {
    Task.TEXT_TO_LAYERS: TaskLayout(Extent.CANVAS),
    Task.IMAGE_TO_LAYERS: TaskLayout(Extent.VISIBLE, composed_clean=True),
    Task.ADD_LAYER: TaskLayout(Extent.CANVAS, composed_clean=True, others_clean=True),
    Task.RESTYLE: TaskLayout(Extent.CANVAS, composed_clean=True, others_clean=True, conditions=True),
    Task.TEXT_TO_RGB: TaskLayout(Extent.VISIBLE, layers=False, kind=RGB_COND),
    Task.TEXT_TO_RGBA: TaskLayout(Extent.VISIBLE, layers=False),
}
"""The table of MRT, section 3. Image-to-layers gives the visible pixels alone, so that nothing outside leaks."""


@dataclass(frozen=True)
class Region:
    """A stretch of tokens: one box of a layer, row-major. ``clean``: given, not noised. ``condition``: a reference."""

    layer: int
    box: Box
    clean: bool = False
    condition: bool = False

    @property
    def tokens(self) -> int:
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


def lay_out(
    task: Task, boxes: Sequence[Box], canvas: tuple[int, int], visible: Box, chosen: Collection[int] = ()
) -> list[Region]:
    """The regions of a design in the model's order: composed, background, foregrounds, conditions.

    ``boxes``: of the layers, bottom to top, the background first. ``canvas``: its width and height. ``visible``: what a
    viewer sees of it. ``chosen``: numbers of the layers that are added or restyled (the first box has number 1); other
    tasks heed none. All in tokens.

    Raises:
        LayoutError: the task has layers and there is none, or it is about chosen layers and none or another was chosen.
    """
    layout = LAYOUTS[task]
    if layout.layers and not boxes:
        raise LayoutError(f"{task} needs the box of at least one layer, the background")
    if layout.others_clean:
        _check_chosen(task, chosen, len(boxes))
    whole = visible if layout.composed is Extent.VISIBLE else (0, 0, *canvas)
    out = [Region(COMPOSED, whole, layout.composed_clean)]
    if layout.layers:
        for number, box in enumerate(boxes, BACKGROUND):
            out.append(Region(number, box, layout.others_clean and number not in chosen))
    if layout.conditions:
        out += [Region(r.layer, r.box, clean=True, condition=True) for r in out if r.layer in chosen]
    return out


def _check_chosen(task: Task, chosen: Collection[int], layers: int) -> None:
    there = f"layers are {BACKGROUND} to {layers}"
    if not chosen:
        raise LayoutError(f"{task}: no layer is chosen; choose one or more, {there}")
    foreign = [number for number in chosen if not BACKGROUND <= number < BACKGROUND + layers]
    if foreign:
        raise LayoutError(f"{task}: there is no layer {foreign[0]}; {there}")
