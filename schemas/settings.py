"""A YAML file as settings: one pydantic model that is the union of what the components own.

An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import SettingsError

Settings = TypeVar("Settings", bound=BaseModel)


class Section(BaseModel):
    """Base of the sections: frozen, unknown keys and NaN refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def load_settings(
    model: type[Settings], path: Path | None, overrides: Mapping[str, Any], error: type[Exception] = SettingsError
) -> Settings:
    """Read a YAML file and lay ``overrides`` (dotted keys) over it.

    Raises:
        SettingsError, or ``error`` in its place: no such file, no YAML mapping, an unknown key (the nearest known one
            is named), a value that does not fit.
    """
    try:
        return _loaded(model, path, overrides)
    except SettingsError as fault:
        raise error(str(fault)) from None


def _loaded(model: type[Settings], path: Path | None, overrides: Mapping[str, Any]) -> Settings:
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError(f"no configuration file {path}") from None
        except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
            raise SettingsError(f"{path} is no readable YAML: {str(error).splitlines()[0]}") from None
        if loaded is not None and not isinstance(loaded, dict):
            sections = [f"'{name}:'" for name in list(model.model_fields)[:2]]
            raise SettingsError(f"{path} must hold a mapping of sections such as {' and '.join(sections)}")
        for name, value in (loaded or {}).items():
            tree[name] = {} if value is None and _is_section(model, name) else value
    for key, value in overrides.items():
        _lay(tree, key.split("."), value)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise SettingsError(f"configuration: {explain(error, model)}") from None


def parse_assignments(assignments: Iterable[str], example: str) -> dict[str, Any]:
    """``key=value`` words of the command line as dotted keys; values are YAML scalars, lists or mappings.

    Raises:
        SettingsError: a word is none, which the message compares with ``example``.
    """
    out = {}
    for word in assignments:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise SettingsError(f"--set wants key=value, for example {example}, not {word!r}")
        try:
            out[key.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):  # a ValueError: 2020-13-45 looks like a date to YAML
            raise SettingsError(f"--set {key}: {value!r} is no YAML value") from None
    return out


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of a model."""
    keys = []
    for name, info in model.model_fields.items():
        keys.append(prefix + name)
        for kind in (info.annotation, *get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys += known_keys(kind, f"{prefix}{name}.")
    return keys


def _is_section(model: type[BaseModel], name: str) -> bool:
    """A section whose keys are all commented out is null to YAML."""
    kind = model.model_fields[name].annotation if name in model.model_fields else None
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _lay(tree: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise SettingsError(f"{'.'.join(parts)}: {part!r} is a value, not a section")
        tree = below
    tree[parts[-1]] = value


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first mistake in one line; an unknown key with the nearest that ``model`` has."""
    found = error.errors(include_url=False, include_input=False)
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])  # or its absence is told of
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{key}{': ' if key else ''}{first['msg']}"
    plain = ".".join(part for part in key.split(".") if not part.isdigit())
    keys = known_keys(model)
    near = difflib.get_close_matches(plain, keys, n=1, cutoff=0.0)
    same = [known for known in keys if known.rpartition(".")[2] == plain.rpartition(".")[2]]
    return f"unknown key {key!r}; did you mean {(same or near)[0]!r}?"
