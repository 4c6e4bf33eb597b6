"""The configuration of a training run: one YAML file that is the union of what the components own.

A run has one stage or several, each the whole configuration with some keys of some sections changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from schemas.settings import Section, explain, load_settings
from training.average import AverageConfig
from training.checkpoint import CheckpointConfig
from training.errors import UsageError
from training.examples import ExampleConfig
from training.models import ModelConfig
from training.noise import NoiseConfig
from training.optimiser import OptimiserConfig
from training.streaming.config import PlanConfig, ReadConfig
from training.streaming.draws import salt
from training.validation import ValidationConfig
from training.watch import WatchConfig

OF_A_STAGE = ("data", "examples", "noise", "optimiser")
"""Sections that a stage may change keys of."""

MAX_HANG_S = 1e9
"""The longest that every timer takes, with room."""


class RunConfig(Section):
    """``out``: the run's folder, on any fsspec URL. ``steps``: of the optimiser. ``micro_batches``: of a step, over all
    ranks together. ``dtype``: of the computation; weights and their states are float32. ``checkpointing``: activations
    are computed again in the backward pass. ``export_dtype``: in which the weights of the model are written in the end.
    ``hang``: seconds without a sign of life after which a rank is given up.
    """

    out: Annotated[str, Field(min_length=1)]
    steps: Annotated[int, Field(ge=1)] = 1000
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    micro_batches: Annotated[int, Field(ge=1)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    export_dtype: Literal["float32", "bfloat16"] = "float32"
    hang: Annotated[float, Field(ge=1, le=MAX_HANG_S)] = 1800.0
    storage_options: dict[str, Any] = Field(default_factory=dict)


class DataConfig(PlanConfig):
    """A dataset, the settings of its plan, and how it is read: as ``training.stream.DesignStream`` takes them.

    ``token_px`` is the codec's.
    """

    dataset: str
    workers: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1)] = 1
    on_error: Literal["raise", "skip"] = "raise"
    read: ReadConfig = ReadConfig()
    plan_dir: str | None = None
    storage_options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("token_px")
    @classmethod
    def _of_the_codec(cls, value: int) -> int:
        raise ValueError("the codec says how large a token is; leave it out")

    def stream_settings(self, token_px: int, **changes: Any) -> dict[str, Any]:
        """Arguments of a ``DesignStream`` without its rank, some of them replaced."""
        plan = {name: getattr(self, name) for name in PlanConfig.model_fields}
        reading = {name: getattr(self, name) for name in ("workers", "threads", "on_error", "read", "plan_dir")}
        where = {"dataset_url": self.dataset, "storage_options": self.storage_options}
        return {**where, **plan, **reading, "token_px": token_px, **changes}


class StageConfig(Section):
    """``steps`` of the run with some keys of some sections changed, such as ``data: {resolution: 1024}``.

    The states of the optimiser and the averages go on; epochs and the schedule of the learning rate begin anew.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,60}$")]
    steps: Annotated[int, Field(ge=1)]
    data: dict[str, Any] = Field(default_factory=dict)
    examples: dict[str, Any] = Field(default_factory=dict)
    noise: dict[str, Any] = Field(default_factory=dict)
    optimiser: dict[str, Any] = Field(default_factory=dict)


class KeptConfig(Section):
    """What every configuration of a run has, and how the run's folder keeps it."""

    run: RunConfig
    data: DataConfig
    checkpoint: CheckpointConfig = CheckpointConfig()
    watch: WatchConfig = WatchConfig()

    def written(self) -> dict[str, Any]:
        """All of it in JSON types, what has its default too; validated again it is the same configuration."""
        tree = self.model_dump(mode="json")
        del tree["data"]["token_px"]
        return tree

    @classmethod
    def filled(cls, tree: Any) -> Any:
        """What was written, with the keys that it lacks; as it is where it cannot be read."""
        try:
            return cls.model_validate(tree).written()
        except ValidationError:
            return tree


class TrainConfig(KeptConfig):
    """Everything a training run can be told. See the README for what each key does."""

    model: ModelConfig = ModelConfig()
    examples: ExampleConfig = ExampleConfig()
    noise: NoiseConfig = NoiseConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    average: AverageConfig = AverageConfig()
    validation: ValidationConfig = ValidationConfig()
    stages: list[StageConfig] = Field(default_factory=list)

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        if self.stages and "steps" in self.run.model_fields_set:
            raise ValueError("run.steps stands beside stages, which have steps of their own: leave run.steps out")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"two stages have one name: {', '.join(names)}")
        for number in range(len(self.stages)):
            self._of(number)
        return self

    def staged(self) -> list[tuple[str, TrainConfig]]:
        """The configuration of each stage by its name, with its own seed; one, ``train``, where none are listed."""
        return [(stage.name, self._of(number)) for number, stage in enumerate(self.stages)] or [("train", self)]

    def written(self) -> dict[str, Any]:
        """As ever, without what may not be said: steps beside stages, a preset beside weights that have their own."""
        tree = super().written()
        if self.stages:
            del tree["run"]["steps"]
        if self.model.weights is not None and "preset" not in self.model.model_fields_set:
            del tree["model"]["preset"]
        return tree

    def _of(self, number: int) -> TrainConfig:
        stage = self.stages[number]
        sections = {name: _changed(getattr(self, name), getattr(stage, name), name) for name in OF_A_STAGE}
        # Each stage begins at epoch 0, and is not to draw again what the one before it drew.
        seed = salt(self.run.seed, 0, f"stage {number}") if number else self.run.seed
        run = self.run.model_copy(update={"steps": stage.steps, "seed": seed})
        return self.model_copy(update={**sections, "run": run, "stages": []})


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> TrainConfig:
    """Read a YAML file and lay ``overrides`` (dotted keys) over it.

    Raises:
        UsageError: no such file, no YAML mapping, an unknown key (the nearest known one is named), a value that does
            not fit.
    """
    return load_settings(TrainConfig, path, overrides, UsageError)


def _changed(section: BaseModel, changes: Mapping[str, Any], name: str) -> BaseModel:
    try:
        return type(section).model_validate(_merged(section, changes))
    except ValidationError as error:
        raise ValueError(f"stages: {name}: {explain(error, type(section))}") from None


def _merged(section: BaseModel, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What is set of a section and of those below it, with changes; a plain mapping is replaced as a whole."""
    kept = section.model_dump(exclude_unset=True)
    for name, value in changes.items():
        below = getattr(section, name, None)
        kept[name] = _merged(below, value) if isinstance(below, BaseModel) and isinstance(value, Mapping) else value
    return kept
