"""From micro-batches to what a model learns from: pictures as the task shows them, as clean tokens in their regions.

Here are the augmentations too. Each is drawn from the key of its design, so that a design is the same whatever stands
beside it and on whichever rank. Shapes: D designs, R regions, T tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Annotated, Literal, Self, get_args

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from model.codecs.base import LayerCodec, cut
from model.errors import ModelError
from model.layouts import full_canvas
from model.pictures import BoxPx, Colour, Fit, clip, flatten, given_picture, refit
from model.regions import Regions
from model.tasks import BACKGROUND, COMPOSED, LAYOUTS, RGB_COND, Box, Region, Task
from model.variants import Variant, clip_to_visible, visible_tokens
from schemas.settings import Section
from training.batch import MicroBatch
from training.errors import UsageError
from training.jitter import JitterConfig, jittered, reboxed
from training.streaming.draws import generator

WHITE: Colour = (255, 255, 255)
NARROWEST = 0.5
"""What a side of a picture of other proportions is scaled by at most."""

TASKS_OF: dict[Variant, tuple[Task, ...]] = {
    Variant.MRT: tuple(Task),
    Variant.ART: (Task.TEXT_TO_LAYERS,),
    Variant.LAYERED: (Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS, Task.TEXT_TO_RGB, Task.TEXT_TO_RGBA),
}
"""What each model can be asked for."""

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Kind = Literal["alpha", "opaque", "refitted"]
Draw = Callable[[str], np.random.Generator]
"""A design's generator for a purpose."""


class References(Section):
    """Relative shares of what restyle is given of a layer.

    ``alpha``: the pair as it is stored, with the alpha of the layer. ``opaque``: that on a solid colour, which fills
    the box. ``refitted``: as a user's picture of other proportions: one of its sides, drawn, is scaled by a drawn
    factor of 0.5 to 1, then it is brought back to the box, contained or covering, one as likely as the other.
    """

    alpha: Weight = 0.5
    opaque: Weight = 0.25
    refitted: Weight = 0.25

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not any(self.shares):
            raise ValueError("alpha, opaque and refitted are all 0; give one of them a share")
        return self

    @property
    def shares(self) -> list[float]:
        return [getattr(self, kind) for kind in get_args(Kind)]

    def draw(self, rng: np.random.Generator) -> Kind:
        bounds = np.cumsum(self.shares)
        kind: Kind = get_args(Kind)[int(np.searchsorted(bounds / bounds[-1], rng.random(), side="right"))]
        return kind


class ExampleConfig(Section):
    """Augmentations, which an evaluation has none of, and ``overflow``.

    ``empty_prompt`` and ``no_references``: share of the designs that are learned without what guidance leaves out: the
    text, but never that of restyle, which is always the same, and the references of restyle. ``coloured_ground``: share
    of the solid grounds, under what image-to-layers is given and under opaque references, that have a colour drawn at
    random; the others are white. ``jitter``: of the layout in image-to-layers; Qwen-Image-Layered's has none.

    ``overflow``: layers are seen as far as they reach. False: the canvas is the picture, in every task. The boxes of
    layers, given ones and references too, end at the tokens of the visible box, their pixels at the box itself; layers
    that lie outside are left out, and those above them move down a number. So the model sees nothing of what lies
    outside but the captions of layers to add. The plan is not cut, that a step may have the same designs at the same
    scale with overflow and without, and that an evaluation, which judges whole designs, can show them so: without it a
    micro-batch has fewer tokens than ``token_budget`` allows for, and those are logged that are left. ART's and
    Qwen-Image-Layered's examples are always of the picture alone.
    """

    empty_prompt: Share = 0.1
    no_references: Share = 0.1
    coloured_ground: Share = 0.25
    references: References = References()
    jitter: JitterConfig = JitterConfig()
    overflow: bool = True


@dataclass(frozen=True, eq=False)
class Example:
    """D designs in R regions. ``tokens`` float32 [T, C]: clean, as the codec normalises them, beside ``regions``.

    ``keys``, ``tasks`` and ``prompts`` are of the designs; ``epoch`` and ``position`` of the micro-batch. ``visible``
    float64 [D, 4]: the visible box in px of the canvas of the regions, on the CPU.
    """

    keys: tuple[str, ...]
    tasks: tuple[Task, ...]
    prompts: tuple[str, ...]
    epoch: int
    position: int
    regions: Regions
    tokens: Tensor
    visible: Tensor

    @cached_property
    def target_counts(self) -> Tensor:
        """int64 [D], on the CPU: the noised tokens of each design."""
        counts = torch.tensor(self.regions.counts, dtype=torch.int64) * ~self.regions.clean.cpu()
        return torch.zeros(len(self.keys), dtype=torch.int64).index_add(0, self.regions.design.cpu(), counts)

    @property
    def targets(self) -> int:
        """Noised tokens of all designs."""
        return int(self.target_counts.sum())

    def select(self, designs: Sequence[int]) -> Example:
        """The example of some designs, by their numbers and in that order."""
        owners, pieces = self.regions.design.tolist(), torch.split(self.tokens, self.regions.lengths)
        rows = [(new, row) for new, old in enumerate(designs) for row, owner in enumerate(owners) if owner == old]
        device = self.tokens.device
        kept_R = torch.tensor([row for _, row in rows], dtype=torch.long, device=device)
        kept_D = torch.tensor(designs, dtype=torch.long, device=device)
        keys = tuple(self.keys[number] for number in designs)
        regions = Regions(
            boxes=self.regions.boxes[kept_R],
            layer=self.regions.layer[kept_R],
            design=torch.tensor([new for new, _ in rows], dtype=torch.long, device=device),
            clean=self.regions.clean[kept_R],
            condition=self.regions.condition[kept_R],
            centre=self.regions.centre[kept_D],
            extent=self.regions.extent[kept_D],
            keys=keys,
        )
        return replace(
            self,
            keys=keys,
            tasks=tuple(self.tasks[number] for number in designs),
            prompts=tuple(self.prompts[number] for number in designs),
            regions=regions,
            tokens=torch.cat([self.tokens[:0], *(pieces[number] for number in designs)]),
            visible=self.visible[kept_D.cpu()],
        )

    def by_task(self) -> dict[Task, Example]:
        """The designs of each task that there are any of."""
        numbers = {task: [at for at, has in enumerate(self.tasks) if has is task] for task in Task}
        return {task: self.select(some) for task, some in numbers.items() if some}


def prepare(
    batch: MicroBatch,
    codec: LayerCodec,
    config: ExampleConfig,
    *,
    seed: int,
    device: torch.device | str,
    variant: Variant = Variant.MRT,
    evaluation: bool = False,
) -> Example:
    """The example of a micro-batch of pixels, encoded on ``device``; of no design where the micro-batch is empty.

    Image-to-layers is given what a viewer sees, clipped to the visible box and then on a solid ground; text-to-rgb
    makes the same on white. ``evaluation``: as the data are, without any augmentation.

    Raises:
        UsageError: tokens of another size than the codec's, a task that the ``variant`` does not know, or a design that
            no model can take.
    """
    _check(batch, codec.token_px, variant)
    t, drafts = codec.token_px, []
    try:
        for draft in _drafts(batch, t, device):
            draw = partial(generator, draft.key, seed, batch.epoch)
            ground = WHITE if evaluation else _colour(config, draw("ground"))
            reaching = config.overflow or variant is not Variant.MRT
            framed = draft if reaching else _framed(draft, t)
            changed = framed if evaluation else _augmented(framed, config, t, draw, variant)
            drafts.append(_layered(changed, ground, t) if variant is Variant.LAYERED else _shown(changed, ground, t))
        regions, visible_D4 = _placed(drafts, t)
        tokens_TC = codec.encode([picture for draft in drafts for picture in draft.pictures]).to(device, torch.float32)
        if variant is Variant.ART:
            corner_D4 = visible_tokens(visible_D4, t)
            clipped = clip_to_visible(regions, corner_D4)
            regions, tokens_TC = clipped.regions, tokens_TC[clipped.kept.to(device)]
            visible_D4 = visible_D4 - corner_D4[:, [0, 1, 0, 1]] * t
    except ModelError as error:
        raise UsageError(str(error)) from error
    return Example(
        keys=batch.keys,
        tasks=batch.tasks,
        prompts=tuple(draft.prompt for draft in drafts),
        epoch=batch.epoch,
        position=batch.position,
        regions=regions.to(device),
        tokens=tokens_TC,
        visible=visible_D4,
    )


@dataclass(frozen=True, eq=False)
class _Draft:
    """One design before it is encoded: its regions and the picture of each, u8 ``[h t, w t, 4]``.

    ``canvas``: width and height in tokens; ``visible``: px on it.
    """

    key: str
    task: Task
    prompt: str
    canvas: tuple[int, int]
    visible: BoxPx
    regions: Sequence[Region]
    pictures: Sequence[Tensor]


def _check(batch: MicroBatch, token_px: int, variant: Variant) -> None:
    pixels, tokens = len(batch["pixels"]), batch.tokens
    if pixels != tokens * token_px**2:
        found = round((pixels / max(1, tokens)) ** 0.5)
        raise UsageError(
            f"the tokens of micro-batch {batch.position} are of {found} px, the codec's of {token_px} px: "
            f"open the stream with token_px={token_px}"
        )
    known = TASKS_OF[variant]
    for key, task in zip(batch.keys, batch.tasks, strict=True):
        if task not in known:
            raise UsageError(
                f"design {key} is of {task}, which the variant {variant} does not know: "
                f"give weights in data.tasks to none but {', '.join(known)}, or set model.variant to {Variant.MRT}"
            )


def _drafts(batch: MicroBatch, token_px: int, device: torch.device | str) -> list[_Draft]:
    names = ("layer", "boxes", "clean", "condition")
    rows = zip(*(batch[name].tolist() for name in names), strict=True)
    regions = [Region(layer, (x0, y0, x1, y1), *flags) for layer, (x0, y0, x1, y1), *flags in rows]
    sizes = [(box[3] - box[1], box[2] - box[0]) for box in (region.box for region in regions)]
    pictures = cut(batch["pixels"].to(device), sizes, token_px)
    owners, visible = batch["design"].tolist(), batch["visible"].tolist()
    canvases = [(width, height) for width, height in batch["canvas"].tolist()]
    out = []
    for number, (key, task, prompt) in enumerate(zip(batch.keys, batch.tasks, batch.prompts, strict=True)):
        x0, y0, x1, y1 = visible[number]
        own = [at for at, owner in enumerate(owners) if owner == number]
        shown = [regions[at] for at in own], [pictures[at] for at in own]
        out.append(_Draft(key, task, prompt, canvases[number], (x0, y0, x1, y1), *shown))
    return out


def _placed(drafts: Sequence[_Draft], token_px: int) -> tuple[Regions, Tensor]:
    """The regions, and the visible boxes float64 [D, 4] in px."""
    visible_D4 = torch.tensor([draft.visible for draft in drafts], dtype=torch.float64).reshape(-1, 4)
    boxes: list[Box] = [(x0, y0, x1, y1) for x0, y0, x1, y1 in visible_tokens(visible_D4, token_px).tolist()]
    canvases, keys = [draft.canvas for draft in drafts], [draft.key for draft in drafts]
    return Regions.lay_out([draft.regions for draft in drafts], canvases, boxes, keys), visible_D4


def _augmented(draft: _Draft, config: ExampleConfig, token_px: int, draw: Draw, variant: Variant) -> _Draft:
    if LAYOUTS[draft.task].conditions:
        bare = draw("no references").random() < config.no_references
        return _without_references(draft) if bare else _with_references(draft, config, draw)
    if draw("empty prompt").random() < config.empty_prompt:
        draft = replace(draft, prompt="")
    if draft.task is not Task.IMAGE_TO_LAYERS or variant is Variant.LAYERED:
        return draft
    regions, pictures = jittered(draft.regions, draft.pictures, draft.canvas, token_px, config.jitter, draw("jitter"))
    return replace(draft, regions=regions, pictures=pictures)


def _without_references(draft: _Draft) -> _Draft:
    kept = [at for at, region in enumerate(draft.regions) if not region.condition]
    regions, pictures = [draft.regions[at] for at in kept], [draft.pictures[at] for at in kept]
    return replace(draft, regions=regions, pictures=pictures)


def _with_references(draft: _Draft, config: ExampleConfig, draw: Draw) -> _Draft:
    pictures = [
        _reference(picture, config, draw(f"reference {region.layer}")) if region.condition else picture
        for region, picture in zip(draft.regions, draft.pictures, strict=True)
    ]
    return replace(draft, pictures=pictures)


def _reference(picture: Tensor, config: ExampleConfig, rng: np.random.Generator) -> Tensor:
    kind = config.references.draw(rng)
    if kind == "alpha":
        return picture
    if kind == "opaque":
        return flatten(picture, _colour(config, rng))
    size = picture.shape[0], picture.shape[1]
    narrow, factor = int(rng.integers(2)), rng.uniform(NARROWEST, 1)
    height, width = (max(1, round(side * factor)) if axis == narrow else side for axis, side in enumerate(size))
    fit = (Fit.CONTAIN, Fit.COVER)[int(rng.integers(2))]
    return refit(refit(picture, (height, width), Fit.STRETCH), size, fit)


def _colour(config: ExampleConfig, rng: np.random.Generator) -> Colour:
    if rng.random() >= config.coloured_ground:
        return WHITE
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _shown(draft: _Draft, ground: Colour, token_px: int) -> _Draft:
    """The composed picture as the task shows it."""
    first, *others = draft.pictures
    if draft.task is Task.IMAGE_TO_LAYERS:
        x0, y0, _, _ = draft.regions[0].box
        first = given_picture(first, (x0 * token_px, y0 * token_px), draft.visible, ground)
    elif LAYOUTS[draft.task].kind == RGB_COND:
        first = flatten(first, WHITE)
    return replace(draft, pictures=[first, *others])


def _layered(draft: _Draft, ground: Colour, token_px: int) -> _Draft:
    """The design as Qwen-Image-Layered has it: pictures as large as the visible box, with nothing of what lies outside.

    Frame 0 is the composed picture; 1 and up are the layers, the background first, without those that lie outside of
    the visible box; the last is the picture that image-to-layers takes apart.
    """
    outer = _picture_box(draft, token_px)
    x0, y0, x1, y1 = outer
    visible = _moved(draft.visible, (x0, y0), token_px)
    seen = [
        clip(reboxed(picture, region.box, outer, token_px), visible)
        for region, picture in zip(draft.regions, draft.pictures, strict=True)
        if region.layer <= BACKGROUND or _common(region.box, outer)
    ]
    if LAYOUTS[draft.task].kind == RGB_COND:
        seen[0] = flatten(seen[0], WHITE)
    regions = full_canvas(len(seen) - 1, (y1 - y0, x1 - x0))
    if draft.task is Task.IMAGE_TO_LAYERS:
        seen.append(flatten(seen[0], ground))
    else:
        regions = [region for region in regions if not region.clean]
    return replace(draft, canvas=(x1 - x0, y1 - y0), visible=visible, regions=regions, pictures=seen)


def _framed(draft: _Draft, token_px: int) -> _Draft:
    """The design as if its picture were all there is of it. A background that lies outside is transparent."""
    outer = _picture_box(draft, token_px)
    x0, y0, x1, y1 = outer
    numbers = {layer: layer for layer in (COMPOSED, BACKGROUND)}
    regions, pictures = [], []
    for region, picture in zip(draft.regions, draft.pictures, strict=True):
        box = _common(region.box, outer)
        if box is None and region.layer > BACKGROUND:
            continue
        left, top, right, bottom = box = box or outer
        number = numbers.setdefault(region.layer, len(numbers))
        own = _moved(draft.visible, (left, top), token_px)
        pictures.append(clip(reboxed(picture, region.box, box, token_px), own))
        regions.append(replace(region, layer=number, box=(left - x0, top - y0, right - x0, bottom - y0)))
    visible = _moved(draft.visible, (x0, y0), token_px)
    return replace(draft, canvas=(x1 - x0, y1 - y0), visible=visible, regions=regions, pictures=pictures)


def _picture_box(draft: _Draft, token_px: int) -> Box:
    """The tokens of the visible box."""
    x0, y0, x1, y1 = visible_tokens(torch.tensor([draft.visible], dtype=torch.float64), token_px)[0].tolist()
    return x0, y0, x1, y1


def _common(one: Box, other: Box) -> Box | None:
    x0, y0 = max(one[0], other[0]), max(one[1], other[1])
    x1, y1 = min(one[2], other[2]), min(one[3], other[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _moved(box: BoxPx, corner: tuple[int, int], token_px: int) -> BoxPx:
    x, y = (side * token_px for side in corner)
    x0, y0, x1, y1 = box
    return x0 - x, y0 - y, x1 - x, y1 - y
