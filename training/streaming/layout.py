"""The regions of a task: those of one design (``regions``), and the tokens of those of many (``count_tokens``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model import tasks as model_tasks
from model.placement import Placement, areas, place, to_tokens, token_areas
from model.tasks import BACKGROUND, LAYER_TAGS, LAYOUTS, RESTYLE_PROMPT, Extent
from schemas.design import Design, Layer, LayerKind
from schemas.geometry import Box, union
from training.errors import DamageError
from training.streaming.config import TASKS, PlanConfig, Task
from training.streaming.layouts import Layouts, as_damage

MAX_TOKENS = np.iinfo(np.uint32).max
_TAG = re.compile("|".join(map(re.escape, LAYER_TAGS)))

# What the layouts say of each task, by its place in TASKS; a task of -1 finds the last, which is text-to-layers again.
_LAYOUTS = [LAYOUTS[task] for task in (*TASKS, Task.TEXT_TO_LAYERS)]
_SHOWN = np.array([layout.composed is Extent.VISIBLE for layout in _LAYOUTS])
_PICTURE_ALONE = np.array([not layout.layers for layout in _LAYOUTS])
_CONDITIONED = np.array([layout.conditions for layout in _LAYOUTS])


@dataclass(frozen=True)
class Region(model_tasks.Region):
    """A region of the model, its box in tokens of the padded canvas, and what it shows.

    ``sources``: the layers of the record that make it, bottom to top; none for the composed image and for a background
    that the design lacks.
    """

    sources: tuple[int, ...] = ()


def has_background(design: Design) -> bool:
    return design.layers[0].kind is LayerKind.BACKGROUND


def foregrounds(design: Design) -> tuple[int, ...]:
    """Indices of the layers over the background, bottom to top."""
    return tuple(range(int(has_background(design)), len(design.layers)))


def restyled(design: Design) -> frozenset[int]:
    """Indices of the foreground layers that have a restyle pair."""
    return frozenset(pair.layer for pair in design.restyles) & frozenset(foregrounds(design))


def regions(
    design: Design, task: Task, partition: int, subset: frozenset[int], config: PlanConfig
) -> tuple[Placement, list[Region]]:
    """The regions of a design in the model's order, and its placement (N = 1).

    ``model.tasks`` says which they are. ``subset`` holds the layers to add or to restyle, as indices of the record.

    Raises:
        DamageError: the canvas is absurd, or the record lacks the partition or the layers to add or to restyle.
    """
    if LAYOUTS[task].others_clean and not subset:
        raise DamageError(f"design {design.design_id} has no layer for {task}", design.design_id)
    with as_damage(design.design_id):
        size = design.canvas.width, design.canvas.height
        placement = place(np.array([size]), np.array([design.visible]), config.grid)
    parts = _parts(design, task, partition)
    around = np.array([union(design.layers[i].box for i in part) for part in parts])
    boxes = [Box(*box) for box in to_tokens(around, np.zeros(len(parts), np.int64), placement).tolist()]
    visible = Box(*placement.visible[0].tolist())
    if not has_background(design):
        parts, boxes = [(), *parts], [visible, *boxes]
    sources = dict(enumerate(parts, BACKGROUND))
    chosen = {number for number, part in sources.items() if not subset.isdisjoint(part)}
    width, height = placement.canvas[0].tolist()
    laid_out = model_tasks.lay_out(task, boxes, (width, height), visible, chosen)
    out = [Region(r.layer, Box(*r.box), r.clean, r.condition, sources.get(r.layer, ())) for r in laid_out]
    return placement, out


def count_tokens(
    layouts: Layouts, tasks: npt.NDArray[np.int8], partitions: npt.NDArray[np.int16], config: PlanConfig
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """Tokens u32 [N] of designs with drawn tasks (places in TASKS) and partitions (-1: none), and who is scaled down.

    The tokens of a design are those of its ``regions``, with all its pairs in the subset of restyle. A task of -1
    counts as text-to-layers; only image-to-layers heeds a partition.

    Raises:
        DamageError: as ``Layouts.merge``, or a canvas is absurd, a visible box is empty or not on its canvas, or a
            design has more tokens than 32 bits count.
    """
    with as_damage():
        placement = place(layouts.sizes, layouts.visible, config.grid)
    if len(layouts) == 0:
        return np.empty(0, np.uint32), placement.scaled_down
    owner = np.arange(len(layouts)).repeat(np.diff(layouts.offsets))
    layers = token_areas(layouts.boxes, owner, placement)
    tokens = np.add.reduceat(layers, layouts.offsets[:-1])
    merged = np.flatnonzero((tasks == TASKS.index(Task.IMAGE_TO_LAYERS)) & (partitions >= 0))
    if len(merged):
        boxes, owner = layouts.merge(merged, partitions[merged])
        tokens[merged] = 0
        np.add.at(tokens, owner, token_areas(boxes, owner, placement))
    visible, canvas = areas(placement.visible), placement.canvas[:, 0] * placement.canvas[:, 1]
    tokens += np.where(layouts.backed, 0, visible)
    tokens[_PICTURE_ALONE[tasks]] = 0
    tokens += np.where(_SHOWN[tasks], visible, canvas)
    owner = layouts.design_of(layouts.paired)
    conditions = _CONDITIONED[tasks[owner]]
    np.add.at(tokens, owner[conditions], layers[layouts.paired[conditions]])
    if tokens.max() > MAX_TOKENS:
        raise DamageError(f"a design of {tokens.max()} tokens; at most {MAX_TOKENS} are counted")
    return tokens.astype(np.uint32), placement.scaled_down


def prompt(design: Design, task: Task, subset: frozenset[int], rng: np.random.Generator) -> str:
    """The text that goes with a task; empty where a design has no caption."""
    if task is Task.RESTYLE:
        return RESTYLE_PROMPT
    if task is Task.ADD_LAYER:
        before, after = LAYER_TAGS
        return " ".join(f"{before} {_describe(design.layers[i])} {after}" for i in sorted(subset))
    captions = [group[name].text for group in (design.captions.short, design.captions.long) for name in sorted(group)]
    return captions[int(rng.integers(len(captions)))] if captions else ""


def _parts(design: Design, task: Task, partition: int) -> list[tuple[int, ...]]:
    if task is not Task.IMAGE_TO_LAYERS or partition < 0:
        return [(layer.index,) for layer in design.layers]
    if partition >= len(design.groupings):
        raise DamageError(f"design {design.design_id} has no grouping {partition}", design.design_id)
    return [part for part in design.groupings[partition].parts if part]


def _describe(layer: Layer) -> str:
    caption = layer.caption.text if layer.caption else ""
    text = caption or (layer.text.content if layer.text else "") or layer.name
    return _TAG.sub(" ", text)  # a space, so that what is left beside a tag does not make another
