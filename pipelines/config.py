"""The configuration of a build: one YAML file that is the union of what the components own.

An unknown key is an error that names the nearest known one. ``run`` says how the work is done and is in no stage's key;
every other section decides what comes out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

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
from schemas.licence import LicencePolicy


class Section(BaseModel):
    """Base of the sections: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RunConfig(Section):
    """How the work is done. Only ``unit_size`` and ``splits`` shape the result; they are fixed once a dataset
    exists."""

    unit_size: Annotated[int, Field(ge=1, le=4096)] = 64
    splits: dict[str, Annotated[float, Field(gt=0, le=1)]] = {"train": 0.9, "validation": 0.05, "test": 0.05}
    executor: Literal["ray", "inline"] = "ray"
    workers: Annotated[int, Field(ge=1)] | None = None
    max_failed: Annotated[float, Field(ge=0, le=1)] = 0.05
    limits: Limits = Limits()
    storage_options: dict[str, Any] = {}

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
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"no configuration file {path}") from None
        except (yaml.YAMLError, OSError, ValueError) as error:
            raise UsageError(f"{path} is no readable YAML: {str(error).splitlines()[0]}") from None
        if loaded is not None and not isinstance(loaded, dict):
            raise UsageError(f"{path} must hold a mapping of sections such as 'extract:' and 'run:'")
        tree = {section: {} if keys is None else keys for section, keys in (loaded or {}).items()}
    for key, value in overrides.items():
        _lay(tree, key.split("."), value)
    try:
        return BuildConfig.model_validate(tree)
    except ValidationError as error:
        raise UsageError(_explain(error)) from None


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``key=value`` words of the command line as dotted keys; values are YAML scalars, lists or mappings."""
    out = {}
    for word in assignments:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"--set wants key=value, for example run.unit_size=64, not {word!r}")
        try:
            out[key.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):  # a ValueError: 2020-13-45 looks like a date to YAML
            raise UsageError(f"--set {key}: {value!r} is no YAML value") from None
    return out


def known_keys(model: type[BaseModel] = BuildConfig, prefix: str = "") -> list[str]:
    """Every dotted key of the configuration."""
    keys = []
    for name, info in model.model_fields.items():
        keys.append(prefix + name)
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            keys += known_keys(annotation, f"{prefix}{name}.")
    return keys


def _lay(tree: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise UsageError(f"{'.'.join(parts)}: {part!r} is a value, not a section")
        tree = below
    tree[parts[-1]] = value


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"configuration: {key}: {first['msg']}"
    keys = known_keys()
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
    same = [known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2]]
    return f"configuration: unknown key {key!r}; did you mean {(same or near)[0]!r}?"
