"""Requests to layers: packed into micro-batches, sampled, decoded and brought back to the px of each request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from model.errors import ModelError
from model.guidance import Guidance
from model.placement import Grid
from model.sampling import FEW_STEP_SHIFT, Progress
from model.tasks import BACKGROUND, LAYOUTS
from model.variants import Variant
from schemas.compositing import Rgba, composite
from schemas.geometry import Box
from schemas.settings import Section
from training.errors import UsageError
from training.evaluation.runs import variant_of
from training.examples import TASKS_OF, Example, ExampleConfig, prepare
from training.generation.assemble import Laid, assemble, lay_out_request
from training.generation.request import Made, Request
from training.learner import Learner
from training.sampled import Sampler, decoded, sample_tokens
from training.streaming.resample import resample

Positive = Annotated[float, Field(gt=0)]
Floats = npt.NDArray[np.float64]


class SampleSettings(Section):
    """How layers are made. ``shift``: of the schedule towards noise. ``guidance``: its scale, None is the task's own.

    ``resolution`` px: visible boxes are scaled to about its square, best the one that the model learned at.
    ``token_budget``: tokens of all regions that are made together; a request has no more.
    """

    steps: Annotated[int, Field(ge=1, le=1000)] = 50
    shift: Positive = FEW_STEP_SHIFT
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    resolution: Annotated[int, Field(ge=16, le=16_384)] = 512
    token_budget: Annotated[int, Field(ge=1, le=2**24)] = 32_768


class Maker:
    """A model on a device that makes what is asked for.

    The noise of a design depends on the key and the seed of its request, not on the requests beside it.
    """

    def __init__(self, learner: Learner, device: torch.device, settings: SampleSettings) -> None:
        self._learner, self._device, self._settings = learner, device, settings
        self._variant = variant_of(learner.transformer.config)
        self._overflows = self._variant is Variant.MRT and learner.bundle.overflow
        guidance = None if settings.guidance is None else Guidance(settings.guidance)
        self._sampler = Sampler(settings.steps, settings.shift, guidance)

    def make(self, requests: Sequence[Request], watch: Callable[[Progress], None] | None = None) -> Iterator[Made]:
        """What comes of each request, in order; ``watch`` is told of each step of each micro-batch.

        All requests are looked at before the first is made.

        Raises:
            UsageError: the model does not know a task, or a request is too large or cannot be laid out.
        """
        grid = Grid(self._settings.resolution, self._learner.codec.token_px)
        for request in requests:
            self._check(request)
        laid = [lay_out_request(request, grid, self._settings.token_budget) for request in requests]
        for designs in _packed(laid, self._settings.token_budget):
            yield from self._made(designs, watch)

    def _check(self, request: Request) -> None:
        known = [task for task in TASKS_OF[self._variant] if LAYOUTS[task].layers]
        if request.task not in known:
            raise UsageError(
                f"{request.key}: a model of the variant {self._variant} makes no layers by {request.task}: "
                f"ask for {', '.join(known)}, or take another checkpoint"
            )

    @torch.no_grad()
    def _made(self, designs: Sequence[Laid], watch: Callable[[Progress], None] | None) -> list[Made]:
        config = ExampleConfig(overflow=self._overflows)
        example = prepare(
            assemble(designs),
            self._learner.codec,
            config,
            seed=0,
            device=self._device,
            variant=self._variant,
            evaluation=True,
        )
        # Each design has a seed of its own: it goes with the key, by which noise is drawn.
        keyed = replace(example, keys=tuple(f"{one.request.key} {one.request.seed}" for one in designs))
        tokens_TC = sample_tokens(self._learner, keyed, self._sampler, watch)
        try:
            pictures = decoded(self._learner, example, tokens_TC)
        except ModelError as error:
            raise UsageError(f"checkpoint: of {designs[0].request.key} and those beside it: {error}") from error
        return [
            self._of_request(one, _placed(one, example, number, [made.cpu().numpy() for made in own]))
            for number, (one, own) in enumerate(zip(designs, pictures, strict=True))
        ]

    def _of_request(self, one: Laid, placed: dict[int, tuple[Rgba, Box]]) -> Made:
        request, layers = one.request, []
        numbers = dict(zip(self._known(one), sorted(placed), strict=True))
        stays = request.given if LAYOUTS[request.task].others_clean else {}
        for place, layer in enumerate(request.layout.layers):
            number = numbers.get(place + one.first)
            if place in stays and place not in request.chosen:
                layers.append(stays[place])
            elif number is None:
                layers.append(np.zeros((layer.box.height, layer.box.width, 4), np.uint8))
            else:
                layers.append(_brought_back(*placed[number], one, layer.box))
        visible = request.layout.visible
        shown = [
            (picture, layer.box) for picture, layer in zip(layers, request.layout.layers, strict=True) if layer.visible
        ]
        return Made(request, tuple(layers), composite(shown, visible))

    def _known(self, one: Laid) -> list[int]:
        """Numbers of the layers that the model has tokens for: without overflow, of what is in the picture."""
        own = [region for region in one.regions if region.layer >= BACKGROUND and not region.condition]
        if self._overflows:
            return [region.layer for region in own]
        visible = Box(*one.placement.visible[0].tolist())
        stays = () if self._variant is Variant.ART else (BACKGROUND,)  # the others keep a background that is not seen
        return [r.layer for r in own if r.layer in stays or not Box(*r.box).intersect(visible).empty]


def _packed(laid: Sequence[Laid], budget: int) -> Iterator[list[Laid]]:
    """Neighbours of one task, as many as the budget of tokens allows."""
    pack: list[Laid] = []
    for one in laid:
        if pack and (pack[0].request.task is not one.request.task or sum(o.tokens for o in pack) + one.tokens > budget):
            yield pack
            pack = []
        pack.append(one)
    if pack:
        yield pack


def _placed(one: Laid, example: Example, design: int, pictures: Sequence[Rgba]) -> dict[int, tuple[Rgba, Box]]:
    """The pictures of a design by layer number, with their boxes in px of the request's grid.

    An example of the picture alone lies on another canvas; the corner of its visible box says where.
    """
    regions, t = example.regions, one.placement.token_px
    rows = [row for row in range(len(regions.counts)) if regions.design[row] == design and not regions.condition[row]]
    corner = one.exact(one.request.layout.visible)[:2]
    x, y = (round(a - b) for a, b in zip(corner, example.visible[design].tolist()[:2], strict=True))
    boxes, layers = regions.boxes.tolist(), regions.layer.tolist()
    return {
        layers[row]: (picture, Box(*(side * t for side in boxes[row])).shift(x, y))
        for row, picture in zip(rows, pictures, strict=True)
        if layers[row] >= BACKGROUND
    }


def _brought_back(picture: Rgba, around: Box, one: Laid, box: Box) -> Rgba:
    """The part of a picture that lies in ``box``, in px of the request and as large as that.

    ``around``: where the picture lies, px of the grid. A px that the exact box covers in part has as much less alpha,
    which is undone, so that opaque layers stay so up to their rims.
    """
    out = np.zeros((box.height, box.width, 4), np.uint8)
    x0, y0, x1, y1 = one.exact(box)
    columns, left, across = _rim(x0 - around.x0, x1 - around.x0, around.width)
    rows, top, down = _rim(y0 - around.y0, y1 - around.y0, around.height)
    if not len(rows) or not len(columns):
        return out
    part = picture[np.ix_(rows, columns)]
    alpha = part[..., 3] / (down[:, None] * across)
    part[..., 3] = np.rint(alpha).clip(0, 255)
    offset = (around.x0 + left - x0) / one.scale, (around.y0 + top - y0) / one.scale
    resample(part, False, 1 / one.scale, offset, out)
    return out


def _rim(low: float, high: float, length: int) -> tuple[npt.NDArray[np.int64], int, Floats]:
    """The px, of ``length``, from ``low`` to ``high``: which is taken for each, where they begin, and their coverage.

    A px that is covered by less than half says little, so its neighbour stands for it where there is one.
    """
    start, stop = max(0, int(np.floor(low))), min(length, int(np.ceil(high)))
    touched = np.arange(start, stop)
    coverage = (np.minimum(touched + 1, high) - np.maximum(touched, low)).clip(1e-3, 1)
    sound = touched[coverage >= 0.5]
    taken = touched.clip(sound[0], sound[-1]) if len(sound) else touched
    return taken, start, coverage[taken - start]
