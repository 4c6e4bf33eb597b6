"""What decides the plan of an epoch, and what decides how it is read. Only the first is part of a state."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model import tasks as model_tasks
from model.placement import Grid
from schemas.design import canonical_json
from training.errors import UsageError

PLAN_VERSION = 1
"""Raised whenever the same inputs would give another order, so that a state of the old one is refused."""

Task = model_tasks.Task
"""What the model learns from a design; ``model.tasks`` says which tokens each task has."""

TASKS = tuple(Task)
"""A task's number in a plan is its place here."""

PAPER_MIX = {
    Task.TEXT_TO_LAYERS: 0.70,
    Task.IMAGE_TO_LAYERS: 0.15,
    Task.ADD_LAYER: 0.075,
    Task.RESTYLE: 0.075,
}
"""70/15/15 of text-to-layers, image-to-layers and layers-to-layers, whose two halves are even."""

Weight = Annotated[float, Field(ge=0)]


class PlanConfig(BaseModel):
    """Everything beside the data, the seed and the epoch that decides which micro-batch holds what.

    ``resolution`` px: the visible box is scaled to about its square. ``token_px``: side of a token, by the codec.
    ``token_budget``: tokens of a micro-batch at most. ``tasks``: relative weights. ``grouping``: share of the
    image-to-layers samples with a partition that get one. ``max_canvas_tokens``: tokens of a canvas beyond which a
    design is scaled down; None is four times those of the visible box. ``window``: samples that are shuffled and packed
    together (whole shards, at least so many). ``balance``: consecutive micro-batches of like attention cost.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    split: str = "train"
    resolution: Annotated[int, Field(ge=16, le=16_384)] = 512
    token_px: Annotated[int, Field(ge=1, le=256)] = 16
    token_budget: Annotated[int, Field(ge=1, le=2**31 - 1)] = 32_768
    tasks: dict[Task, Weight] = Field(default_factory=lambda: dict(PAPER_MIX))
    grouping: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_canvas_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    window: Annotated[int, Field(ge=1)] = 1024
    balance: Annotated[int, Field(ge=1)] = 64

    @model_validator(mode="after")
    def _some_task(self) -> PlanConfig:
        if not any(self.tasks.values()):
            raise ValueError(f"tasks has no weight over 0; the tasks are {', '.join(TASKS)}")
        return self

    @property
    def grid(self) -> Grid:
        """What a design is scaled to, and its tokens."""
        return Grid(self.resolution, self.token_px, self.max_canvas_tokens)

    @property
    def wanted_tasks(self) -> str:
        """The tasks with a weight, for a message."""
        return ", ".join(task for task, weight in self.tasks.items() if weight)

    def hash(self) -> str:
        """16 hex digits over every setting: what a state says of the plan beside data, seed and epoch."""
        settings = {"version": PLAN_VERSION, **self.model_dump(mode="json")}
        return hashlib.sha256(canonical_json(settings)).hexdigest()[:16]


def plan_config(**settings: Any) -> PlanConfig:
    """The settings of a plan; None is the default.

    Raises:
        UsageError: one is unknown or out of its range; the message names it.
    """
    try:
        return PlanConfig.model_validate({name: value for name, value in settings.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise UsageError(f"{name}: {first['msg']}") from None


class ReadConfig(BaseModel):
    """How bytes come. Nothing here changes what is delivered.

    ``prefetch_bytes``: bytes that are read ahead of the consumer, at most (one micro-batch always fits). ``gap_bytes``:
    ranges of a shard that are no further apart are read as one. ``request_bytes``: of one request, at most.
    ``connections``: requests under way at once. ``attempts``: of a request that fails for a reason that may
    pass; bytes that came damaged are read anew twice, whatever is set here. ``cache_dir`` and ``cache_bytes``: a
    directory that keeps what was read, shared by the ranks of a host, and its limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefetch_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20
    gap_bytes: Annotated[int, Field(ge=0)] = 256 * 2**10
    request_bytes: Annotated[int, Field(ge=1)] = 32 * 2**20
    connections: Annotated[int, Field(ge=1, le=1024)] = 16
    attempts: Annotated[int, Field(ge=1, le=100)] = 5
    timeout: Annotated[float, Field(gt=0)] = 60.0
    cache_dir: str | None = None
    cache_bytes: Annotated[int, Field(ge=0)] = 10 * 2**30
