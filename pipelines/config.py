"""The configuration of a build: one YAML file that is the union of what the components own.

An unknown key is an error that names the nearest known one. ``run`` says how the work is done and is in no stage's key;
every other section decides what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from pipelines.caption import CaptionConfig
from pipelines.dedup import DedupConfig
from pipelines.errors import UsageError
from pipelines.extract import ImageConfig
from pipelines.flatten import FlattenConfig
from pipelines.formats import ReadLimits
from pipelines.group import GroupConfig
from pipelines.manifest import ManifestConfig, SourceConfig
from pipelines.report import ReportConfig
from pipelines.restyle import RestyleConfig
from pipelines.sandbox import Limits
from pipelines.validation.expectations import ExpectationsConfig
from schemas import settings
from schemas.errors import SettingsError
from schemas.licence import LicencePolicy
from schemas.settings import Section, load_settings


class RunConfig(Section):
    """How the work is done. Only ``unit_size`` and ``splits`` shape the result; they are fixed once a dataset
    exists."""

    unit_size: Annotated[int, Field(ge=1, le=4096)] = 64
    splits: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=lambda: {"train": 0.9, "validation": 0.05, "test": 0.05}
    )
    executor: Literal["ray", "inline"] = "ray"
    workers: Annotated[int, Field(ge=1)] | None = None
    max_failed: Annotated[float, Field(ge=0, le=1)] = 0.05
    limits: Limits = Limits()
    storage_options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("splits")
    @classmethod
    def _whole(cls, splits: dict[str, float]) -> dict[str, float]:
        if abs(sum(splits.values()) - 1) > 1e-6:
            raise ValueError(f"the shares of the splits add up to {sum(splits.values()):g}, not 1")
        for name in splits:
            if not name.isidentifier():
                raise ValueError(f"a split is named with letters, digits and '_', not {name!r}")
        return splits


class BuildConfig(Section):
    """Everything a build can be told. See the README for what each key does."""

    manifest: ManifestConfig = ManifestConfig()
    source: SourceConfig = SourceConfig()
    licence: LicencePolicy = LicencePolicy()
    run: RunConfig = RunConfig()
    read: ReadLimits = ReadLimits()
    extract: FlattenConfig = FlattenConfig()
    image: ImageConfig = ImageConfig()
    dedup: DedupConfig = DedupConfig()
    caption: CaptionConfig = CaptionConfig()
    group: GroupConfig = GroupConfig()
    restyle: RestyleConfig = RestyleConfig()
    expectations: ExpectationsConfig = ExpectationsConfig()
    report: ReportConfig = ReportConfig()


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> BuildConfig:
    """Read a YAML file and lay ``overrides`` (dotted keys) over it.

    Raises:
        UsageError: no such file, no YAML mapping, an unknown key (the nearest known one is named), a value that does
        not fit.
    """
    return load_settings(BuildConfig, path, overrides, UsageError)


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``key=value`` words of the command line as dotted keys; values are YAML scalars, lists or mappings.

    Raises:
        UsageError: a word is none.
    """
    try:
        return settings.parse_assignments(assignments, "run.unit_size=64")
    except SettingsError as error:
        raise UsageError(str(error)) from None
