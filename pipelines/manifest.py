"""The inputs of a build: the rows of a manifest (CSV, JSONL, parquet) or what lies under a folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from pipelines import formats
from pipelines.errors import UsageError
from pipelines.storage import filesystem

REQUIRED = ("uri", "licence", "licensor")
OPTIONAL = ("family", "expires", "caption", "tags")
MAX_FIELD = 16_384
MAX_TAGS = 64


class ManifestConfig(BaseModel):
    """The manifest (CSV, JSONL or parquet) and what its columns are called: ours -> its."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = None
    columns: dict[str, str] = {}


class SourceConfig(BaseModel):
    """A folder or file of designs without a manifest, and the terms that hold for all of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uri: str | None = None
    licence: str | None = None
    licensor: str | None = None


@dataclass(frozen=True)
class Input:
    """One row of a manifest. ``uri`` is as written there; relative ones start at the manifest's place."""

    uri: str
    licence: str | None = None
    licensor: str | None = None
    family: str | None = None
    expires: str | None = None
    caption: str | None = None
    tags: tuple[str, ...] = ()


def read_inputs(manifest: ManifestConfig, source: SourceConfig, options: Mapping[str, Any]) -> tuple[str, list[Input]]:
    """The place relative uris start at, and the inputs in the order they are listed.

    Raises:
        UsageError: neither or both of manifest and source are given, the manifest is missing or lacks a column.
    """
    if bool(manifest.path) == bool(source.uri):
        raise UsageError("say what to build: either --manifest FILE or --source FOLDER")
    if manifest.path:
        inputs = list(_read_manifest(manifest, options))
        if not inputs:
            raise UsageError(f"{manifest.path} lists no inputs")
        return _absolute(manifest.path).rpartition("/")[0], inputs
    uri = (source.uri or "").rstrip("/")
    uri = _absolute(uri)
    found = list(formats.discover(uri, options))
    if not found:
        raise UsageError(f"no design under {uri}: looked for PSD, PSB and ORA files, layer folders and Crello parquet")
    base = uri if not any(name == uri or name.startswith(f"{uri}#") for name in found) else uri.rpartition("/")[0]
    return base, [Input(_relative(name, base), source.licence, source.licensor) for name in found]


def resolve(base: str, uri: str) -> str:
    """The full URL or path of an input."""
    if "://" in uri or uri.startswith("/") or not base:
        return uri
    return f"{base}/{uri}"


def _absolute(uri: str) -> str:
    """A local path as workers with another working directory need it."""
    return uri if "://" in uri else str(Path(uri).absolute())


def _relative(name: str, base: str) -> str:
    return name[len(base) + 1 :] if base and name.startswith(f"{base}/") else name


def _read_manifest(config: ManifestConfig, options: Mapping[str, Any]) -> Iterator[Input]:
    path = config.path or ""
    unknown = sorted(set(config.columns) - set(REQUIRED) - set(OPTIONAL))
    if unknown:
        raise UsageError(f"manifest.columns: {unknown[0]!r} is none of {', '.join(REQUIRED + OPTIONAL)}")
    fs, place = filesystem(path, options)
    try:
        data = fs.cat_file(place)
    except FileNotFoundError:
        raise UsageError(f"no manifest {path}") from None
    except OSError as error:
        raise UsageError(f"cannot read the manifest {path}: {error}") from None
    columns, rows = _rows(path, data)
    names = {ours: config.columns.get(ours, ours) for ours in REQUIRED + OPTIONAL}
    missing = [names[ours] for ours in (*REQUIRED, *config.columns) if names[ours] not in columns]
    if missing:
        raise UsageError(
            f"{path} has no column {missing[0]!r} (it has {', '.join(sorted(columns))}); "
            "name the right one with --set manifest.columns.NAME=COLUMN"
        )
    for number, row in enumerate(rows, 1):
        values = {ours: _text(row.get(theirs)) for ours, theirs in names.items() if ours != "tags"}
        if not values["uri"]:
            raise UsageError(f"{path}: row {number} has no uri")
        tags = _tags(row.get(names["tags"]))
        if len(tags) > MAX_TAGS:
            raise UsageError(f"{path}: row {number} has more than {MAX_TAGS} tags")
        for value in (*values.values(), *tags):
            if value and len(value) > MAX_FIELD:
                raise UsageError(f"{path}: row {number} has a field of more than {MAX_FIELD} characters")
            if value and value.encode(errors="ignore").decode() != value:  # a lone surrogate cannot be stored
                raise UsageError(f"{path}: row {number} has a field that is no Unicode text")
        uri = str(values.pop("uri"))
        yield Input(uri, **values, tags=tags)  # type: ignore[arg-type]


def _rows(path: str, data: bytes) -> tuple[set[str], Iterable[Mapping[str, Any]]]:
    """The column names of a manifest and its rows."""
    suffix = path.rpartition(".")[2].lower()
    try:
        if suffix == "parquet":
            table = pq.ParquetFile(io.BytesIO(data)).read(use_threads=False)
            return set(table.column_names), table.to_pylist()
        text = data.decode("utf-8-sig")
        if suffix in ("jsonl", "ndjson"):
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
            if not all(isinstance(row, dict) for row in rows):
                raise UsageError(f"{path}: every line must be a JSON object")
            return {key for row in rows for key in row}, rows
        if suffix == "csv":
            reader = csv.DictReader(io.StringIO(text, newline=""))
            return set(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise UsageError(f"{path} is damaged: {error}") from None
    raise UsageError(f"{path}: a manifest is .csv, .jsonl or .parquet")


def _text(value: object) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _tags(value: object) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(str(tag) for tag in value)
    return tuple(tag.strip() for tag in str(value or "").replace(";", ",").split(",") if tag.strip())
