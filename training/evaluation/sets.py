"""The benchmark: designs of a split without and with overflow, chosen by the hash of their keys, as a model sees them.

A set is the same for every seed, resolution, codec and order of the index. Shapes: D designs, R regions.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import numpy as np
import numpy.typing as npt

from model.codecs.base import cut
from model.pictures import given_picture
from model.tasks import COMPOSED, Task
from schemas.geometry import Box
from training.batch import MicroBatch
from training.errors import UsageError
from training.evaluation.stack import Placed, Stack
from training.examples import WHITE
from training.streaming.config import TASKS, PlanConfig
from training.streaming.deliver import Delivery
from training.streaming.draws import hashed, salt
from training.streaming.holes import Holes
from training.streaming.index import Index
from training.streaming.jobs import Draw
from training.streaming.plan import Plan
from training.streaming.survey import Steps, Survey, survey

DATA_SEED = 0
"""Of what is drawn for a design, such as the layers to add: the same in every evaluation."""


class Which(StrEnum):
    """The two sets: designs that lie inside of their visible box, and designs with a layer that reaches out of it."""

    INSIDE = "inside"
    OVERFLOW = "overflow"


@dataclass(frozen=True)
class Chosen:
    """The designs of a set for a task, ``wanted`` of them where ``there`` are as many in the split."""

    which: Which
    task: Task
    draws: tuple[Draw, ...]
    wanted: int
    there: int


@dataclass(frozen=True, eq=False)
class Case:
    """A design at the size that the model works at, and what it is asked for.

    ``truth``: its layers, the background first, in px of the padded canvas; ``targets``: places in it of those that are
    to be made. ``composed``: the composed picture: in image-to-layers what is given, clipped to the visible box and on
    white; in add-layer and restyle the layers that are given; in text-to-layers all of them, of which none is given.
    """

    key: str
    task: Task
    prompt: str
    truth: Stack
    targets: tuple[int, ...]
    composed: Placed


@dataclass(frozen=True, eq=False)
class Group:
    """A micro-batch with the cases of its designs."""

    batch: MicroBatch
    cases: tuple[Case, ...]


def choose(index: Index, plan: PlanConfig, designs: int, today: datetime.date | None = None) -> list[Chosen]:
    """For each set at most so many ``designs`` that the one task of the plan can use, in the order of their hashes.

    Raises:
        UsageError: the split has no design for the task. StreamError: the index cannot be read.
    """
    (task,) = (name for name, weight in plan.tasks.items() if weight)
    found = survey(index, plan, DATA_SEED, 0, Steps(0, None))
    if len(found.rows) == 0:
        raise UsageError(
            f"the split {plan.split!r} of {index.source.shown} has no sample for {task}: "
            "leave the task out, or give another split"
        )
    order = np.argsort(hashed(found.keys, salt(DATA_SEED, 0, "benchmark")), kind="stable")
    over = _overflows(index)[found.rows]
    holes = Holes.load(index.source, today or datetime.datetime.now(datetime.UTC).date())
    out = []
    for which, wanted in ((Which.INSIDE, ~over), (Which.OVERFLOW, over)):
        places = order[wanted[order]]
        kept = _delivered(index, found, places, holes, designs)
        out.append(Chosen(which, task, tuple(_draw(found, place) for place in kept), designs, len(places)))
    return out


def read(index: Index, chosen: Chosen, plan: PlanConfig, today: datetime.date | None = None) -> list[Group]:
    """The designs of a set in micro-batches of at most the plan's token budget.

    Raises:
        StreamError: a sample cannot be read or is damaged.
    """
    holes = Holes.load(index.source, today or datetime.datetime.now(datetime.UTC).date())
    batches = _packed(chosen.draws, plan.token_budget)
    delivery = Delivery(index.source, index, holes, plan, DATA_SEED)
    # A delivery asks no more of a plan than its length and the samples of a position, which a list has too.
    delivered = delivery.deliver(cast(Plan, batches), 0, range(len(batches)))
    found = [MicroBatch.of(decoded, position, 0) for position, decoded in enumerate(delivered)]
    return [Group(batch, tuple(cases_of(batch, plan.token_px))) for batch in found if batch.keys]


def cases_of(batch: MicroBatch, token_px: int) -> list[Case]:
    """What each design of a micro-batch of pixels is, and what is asked of it."""
    boxes = batch["boxes"].tolist()
    sizes = [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in boxes]
    pictures = cut(batch["pixels"], sizes, token_px)
    placed = [Box(*(side * token_px for side in box)) for box in boxes]
    owners, layers = batch["design"].tolist(), batch["layer"].tolist()
    clean, condition = batch["clean"].tolist(), batch["condition"].tolist()
    out = []
    for number in range(len(batch.keys)):
        own = [at for at, owner in enumerate(owners) if owner == number and not condition[at]]
        composed, below = own[0], [at for at in own if layers[at] != COMPOSED]
        out.append(
            _case(
                batch,
                number,
                [(placed[at], pictures[at]) for at in below],
                tuple(place for place, at in enumerate(below) if not clean[at]),
                (placed[composed], pictures[composed]),
                token_px,
            )
        )
    return out


def _case(
    batch: MicroBatch,
    number: int,
    layers: Sequence[Placed],
    targets: tuple[int, ...],
    composed: Placed,
    token_px: int,
) -> Case:
    box, picture = composed
    task = batch.tasks[number]
    x0, y0, x1, y1 = batch["visible"][number].tolist()
    if task is Task.IMAGE_TO_LAYERS:
        picture = given_picture(picture, (box.x0, box.y0), (x0, y0, x1, y1), WHITE)
    width, height = (side * token_px for side in batch["canvas"][number].tolist())
    truth = Stack(layers, (width, height), (x0, y0, x1, y1))
    return Case(batch.keys[number], task, batch.prompts[number], truth, targets, (box, picture))


def _overflows(index: Index) -> npt.NDArray[np.bool_]:
    """bool [rows]: whether a layer of the design reaches out of its visible box."""
    parts = range(len(index.parts))
    pieces = [table.column("overflow_share") for part in parts for table in index.scan(part, ("overflow_share",))]
    return np.concatenate([np.empty(0, np.bool_), *(piece.to_numpy() > 0 for piece in pieces)])


def _delivered(index: Index, found: Survey, places: npt.NDArray[np.int64], holes: Holes, designs: int) -> list[int]:
    """The first of ``places`` whose designs were not withdrawn."""
    kept: list[int] = []
    for start in range(0, len(places), designs):
        some = places[start : start + designs].tolist()
        located = index.locate([int(found.rows[place]) for place in some])
        kept += [at for at, one in zip(some, located, strict=True) if holes.reason(one.key, one.expires) is None]
        if len(kept) >= designs:
            break
    return kept[:designs]


def _draw(found: Survey, place: int) -> Draw:
    return Draw(
        int(found.rows[place]),
        TASKS[int(found.tasks[place])],
        int(found.partitions[place]),
        int(found.tokens[place]),
    )


def _packed(draws: Sequence[Draw], budget: int) -> list[tuple[Draw, ...]]:
    """Micro-batches of designs next to each other; one that is over the budget alone."""
    out: list[tuple[Draw, ...]] = []
    tokens = 0
    for draw in draws:
        if out and tokens + draw.tokens <= budget:
            out[-1] += (draw,)
            tokens += draw.tokens
        else:
            out.append((draw,))
            tokens = draw.tokens
    return out
