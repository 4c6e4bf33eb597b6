"""The configuration of an evaluation: one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from model.tasks import Task
from schemas.settings import Section, load_settings
from training.errors import UsageError
from training.evaluation.layouts import Layout
from training.jitter import JitterConfig
from training.streaming.config import PlanConfig, plan_config

Steps = Annotated[int, Field(ge=1, le=1000)]
Where = Annotated[str, Field(min_length=1)]
JUDGED = (Task.TEXT_TO_LAYERS, Task.IMAGE_TO_LAYERS, Task.ADD_LAYER, Task.RESTYLE)


def _unquoted(value: Any) -> Any:
    """YAML reads true as a truth value."""
    return Layout.TRUE if value is True else value


def _of_all(value: Any) -> Any:
    """A jittered layout is one in every design, unless a share is asked for."""
    return {"share": 1, **value} if isinstance(value, Mapping) else value


class EvaluateConfig(Section):
    """``checkpoint``: a folder that training exported, on any fsspec URL; ``dataset``: a published one.

    ``designs``: of each of the two sets at most; ``steps``: of sampling, a row each, of which the last decides what the
    best and the worst cases are; ``guidance``: its scale, None is each task's own. ``layouts``: that the model is given
    in image-to-layers, the true one always; ``jitter``: of the jittered one, in all designs.
    ``layered``: a checkpoint or a pipeline of Qwen-Image-Layered, sampled in ``layered_steps`` with
    ``layered_guidance``. ``features``: of Fréchet distances, module:function that gives a network (an Inception makes
    it the FID), None the built-in ones. ``cases``: best, and worst, and first ones of each set that the page shows.
    """

    checkpoint: Where
    dataset: Where
    out: Where
    split: str = "test"
    resolution: Annotated[int, Field(ge=16, le=16_384)] = 512
    designs: Annotated[int, Field(ge=1)] = 100
    tasks: Annotated[list[Task], Field(min_length=1)] = Field(default_factory=lambda: [Task.IMAGE_TO_LAYERS])
    steps: Annotated[list[Steps], Field(min_length=1)] = Field(default_factory=lambda: [1, 8])
    shift: Annotated[float, Field(gt=0)] = 3.0
    guidance: Annotated[float, Field(ge=0)] | None = None
    seed: int = 0
    token_budget: Annotated[int, Field(ge=1)] = 32_768
    layouts: list[Annotated[Layout, BeforeValidator(_unquoted)]] = Field(default_factory=lambda: list(Layout))
    jitter: Annotated[JitterConfig, BeforeValidator(_of_all)] = JitterConfig(share=1)
    layered: str | None = None
    layered_steps: Steps = 50
    layered_guidance: Annotated[float, Field(ge=0)] = 4.0
    features: str | None = None
    cases: Annotated[int, Field(ge=0, le=100)] = 6
    device: Literal["auto", "cpu", "cuda"] = "auto"
    storage_options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for name in ("tasks", "steps", "layouts"):
            listed = getattr(self, name)
            if len(set(listed)) != len(listed):
                raise ValueError(f"{name} lists something twice")
        if Layout.TRUE not in self.layouts:
            raise ValueError("layouts is without true, which the control and the cases need: add it")
        unknown = [task for task in self.tasks if task not in JUDGED]
        if unknown:
            raise ValueError(f"there is no benchmark for {unknown[0]}; the tasks are {', '.join(JUDGED)}")
        if self.layered is not None and Task.IMAGE_TO_LAYERS not in self.tasks:
            raise ValueError(f"layered is a row of {Task.IMAGE_TO_LAYERS}: add it to tasks, or leave layered out")
        return self

    @classmethod
    def load(cls, path: Path | None, overrides: Mapping[str, Any]) -> EvaluateConfig:
        """Read a YAML file and lay ``overrides`` (dotted keys) over it.

        Raises:
            UsageError: a key is unknown (the nearest known one is named), missing, or has a value that does not fit.
        """
        return load_settings(cls, path, overrides, UsageError)

    def plan(self, task: Task, token_px: int) -> PlanConfig:
        """What decides how designs are laid out, without any augmentation."""
        return plan_config(
            split=self.split,
            resolution=self.resolution,
            token_px=token_px,
            token_budget=self.token_budget,
            tasks={task: 1.0},
            grouping=0.0,
        )
