"""Requests on the token grid, and as a micro-batch: what the stream would deliver, as far as it is given.

The pictures that are to be made are transparent here, and only say how large they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.errors import LayoutError
from model.placement import Grid, Placement, place, to_pixels, to_tokens
from model.tasks import BACKGROUND, COMPOSED, LAYER_TAGS, LAYOUTS, RESTYLE_PROMPT, Region, Task, lay_out
from schemas.compositing import Rgba, composite_fast
from schemas.geometry import Box
from training.batch import MicroBatch
from training.errors import UsageError
from training.generation.request import Request
from training.streaming.resample import resample

_ALONE = np.zeros(1, np.int64)
"""Of one placement, each box is the first design's."""


@dataclass(frozen=True, eq=False)
class Laid:
    """A request on the token grid: its placement (N = 1) and its regions in the model's order."""

    request: Request
    placement: Placement
    regions: list[Region]

    @property
    def tokens(self) -> int:
        """In all regions."""
        return sum(region.tokens for region in self.regions)

    @property
    def first(self) -> int:
        """The model's number of the layout's first layer: a layout without a background gets a transparent one."""
        return BACKGROUND + (not self.request.layout.backed)

    @property
    def scale(self) -> float:
        """Px of the grid for a px of the request."""
        return float(self.placement.scale[0])

    def exact(self, box: Box) -> tuple[float, float, float, float]:
        """A box in px of the request as a box in px of the grid, on its padded canvas."""
        x0, y0, x1, y1 = to_pixels(np.array([box]), _ALONE, self.placement)[0].tolist()
        return x0, y0, x1, y1


def lay_out_request(request: Request, grid: Grid, most: int) -> Laid:
    """Place a request as the stream places a design.

    Raises:
        UsageError: it has more than ``most`` tokens, or its canvas or its task cannot be laid out.
    """
    layout, task = request.layout, request.task
    try:
        size = layout.canvas.width, layout.canvas.height
        placement = place(np.array([size]), np.array([layout.visible]), grid)
        around = np.array([layer.box for layer in layout.layers])
        boxes = to_tokens(around, np.zeros(len(around), np.int64), placement).tolist()
        x0, y0, x1, y1 = placement.visible[0].tolist()
        if not layout.backed:
            boxes = [[x0, y0, x1, y1], *boxes]
        first = BACKGROUND + (not layout.backed)
        chosen = {number + first for number in request.chosen}
        width, height = placement.canvas[0].tolist()
        laid = Laid(
            request,
            placement,
            lay_out(task, [(a, b, c, d) for a, b, c, d in boxes], (width, height), (x0, y0, x1, y1), chosen),
        )
    except LayoutError as error:
        raise UsageError(f"{request.key}: {error}") from None
    if laid.tokens > most:
        raise UsageError(
            f"{request.key}: its regions have {laid.tokens:,} tokens, over the budget of {most:,}: "
            "raise token_budget, lower resolution, or make the boxes smaller or fewer"
        )
    return laid


def assemble(designs: Sequence[Laid]) -> MicroBatch:
    """The micro-batch of designs, all tensors of a pixel stream on the CPU; see ``MicroBatch``."""
    regions = [region for one in designs for region in one.regions]
    t = designs[0].placement.token_px
    starts = np.cumsum([0, *(region.tokens for region in regions)], dtype=np.int64)
    pixels = np.zeros((int(starts[-1]) * t * t, 4), np.uint8)
    at = 0
    for one in designs:
        at = _draw(one, pixels, at)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "pixels": pixels,
        "starts": starts,
        "boxes": np.array([region.box for region in regions], np.int32),
        "layer": np.array([region.layer for region in regions], np.int32),
        "design": np.array([number for number, one in enumerate(designs) for _ in one.regions], np.int32),
        "clean": np.array([region.clean for region in regions], np.bool_),
        "condition": np.array([region.condition for region in regions], np.bool_),
        "canvas": np.concatenate([one.placement.canvas for one in designs]).astype(np.int32),
        "visible": np.array([one.exact(one.request.layout.visible) for one in designs], np.float64),
        "scale": np.array([one.scale for one in designs], np.float32),
    }
    requests = [one.request for one in designs]
    return MicroBatch(
        keys=tuple(request.key for request in requests),
        position=0,
        epoch=0,
        tasks=tuple(request.task for request in requests),
        prompts=tuple(_prompt(request) for request in requests),
        tensors={name: torch.from_numpy(array) for name, array in arrays.items()},
    )


def _prompt(request: Request) -> str:
    """The text in the words of the task, as it was learned."""
    if request.task is Task.RESTYLE:
        return RESTYLE_PROMPT
    if request.task is Task.ADD_LAYER:
        before, after = LAYER_TAGS
        layers = [request.layout.layers[number] for number in sorted(set(request.chosen))]
        words = [layer.caption or request.prompt or layer.name for layer in layers]
        for tag in LAYER_TAGS:
            words = [text.replace(tag, " ") for text in words]
        return " ".join(f"{before} {text} {after}" for text in words)
    return request.prompt


def _draw(one: Laid, pixels: Rgba, at: int) -> int:
    """Draw what is given into the px of the design's regions, which begin ``at``; returns where they end."""
    t, shown = one.placement.token_px, []
    views = []
    for region in one.regions:
        box = Box(*(side * t for side in region.box))
        view = pixels[at : at + box.area].reshape(box.height, box.width, 4)
        at += box.area
        views.append(view)
        source = _given(one, region)
        if source is None:
            continue
        picture, place_of_it = source
        x, y = one.exact(place_of_it)[:2]
        resample(picture, bool(picture[..., 3].min() == 255), one.scale, (x - box.x0, y - box.y0), view)
        if region.layer != COMPOSED and not region.condition:
            shown.append((view, box))
    if LAYOUTS[one.request.task].others_clean:
        views[0][...] = composite_fast(shown, Box(0, 0, views[0].shape[1], views[0].shape[0]))
    return at


def _given(one: Laid, region: Region) -> tuple[Rgba, Box] | None:
    """The picture of a region and its box in px of the request, where there is one."""
    request = one.request
    if region.layer == COMPOSED:
        return None if request.picture is None else (request.picture, request.layout.visible)
    number = region.layer - one.first
    if not region.clean or number < 0:
        return None
    picture = (request.references if region.condition else request.given)[number]
    return picture, request.layout.layers[number].box
