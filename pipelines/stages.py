"""The stages of a build: pure functions from a unit's committed artefacts to a new committed artefact.

A stage's key is the hash of (its version, its configuration, the keys of its inputs). Raise ``version`` with every
change of code that changes what the stage makes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ConfigDict

from pipelines.artefacts import (
    WORK,
    Captioned,
    Extracted,
    Grouped,
    Outcome,
    Piece,
    Restyled,
    UnitSamples,
    commit,
    load,
    load_sample,
    put_blob,
)
from pipelines.caption import caption_design
from pipelines.config import BuildConfig
from pipelines.errors import PipelineError, Rejected, StoreError
from pipelines.extract import ExtractConfig, Extractor, ImageConfig, one_line
from pipelines.group import group_design
from pipelines.plan import admitted, digest, read_unit
from pipelines.restyle import RestyleConfig, restyle_design
from pipelines.sandbox import Limits, Sandbox
from pipelines.shard import shard_unit
from pipelines.storage import Store
from schemas import images
from schemas.design import Caption, Captions, RestylePair
from schemas.errors import SchemaError
from schemas.index import Location
from schemas.ledger import Code
from schemas.sample import Sample, write_shard

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What the work on every unit of a run shares; small, since it travels to the workers."""

    store: Store
    plan: str
    base: str
    config: BuildConfig


@dataclass(frozen=True)
class Job:
    """One stage of one unit: the artefact to commit, the artefacts it reads, and earlier ones it may take results
    from."""

    stage: str
    unit: int
    name: str
    inputs: dict[str, str]
    reuse: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """What came of a job: how many designs of each code, or why the store would not have it."""

    unit: int
    codes: dict[str, int] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Stage:
    """A stage: its version, the part of the configuration it depends on, and its function."""

    name: str
    version: int
    config: Callable[[BuildConfig], BaseModel]
    work: Callable[[Context, Job], tuple[BaseModel, Mapping[str, int]]]

    def settings(self, config: BuildConfig) -> str:
        """Hash of version and configuration."""
        return digest([self.name, self.version, self.config(config).model_dump(mode="json")])


def perform(context: Context, job: Job) -> Report:
    """Do a job and commit its artefact. What goes wrong is reported, so that the other units go on."""
    try:
        artefact, codes = STAGES[job.stage].work(context, job)
        commit(context.store, job.name, artefact)
    except (PipelineError, SchemaError, OSError) as error:
        return Report(job.unit, error=f"unit {job.unit}: {one_line(str(error))}")
    except Exception as error:  # noqa: BLE001 - a defect of ours: the same line under every executor
        return Report(job.unit, error=f"unit {job.unit}: {one_line(f'{type(error).__name__}: {error}')}")
    return Report(job.unit, dict(codes))


def extract_config(config: BuildConfig) -> ExtractConfig:
    return ExtractConfig(read=config.read, extract=config.extract, image=config.image)


_SANDBOXES: dict[Limits, Sandbox] = {}


def sandbox(limits: Limits) -> Sandbox:
    """The child with these limits, one a process."""
    if limits not in _SANDBOXES:
        _SANDBOXES[limits] = Sandbox(limits)
    return _SANDBOXES[limits]


def close_sandboxes() -> None:
    """End the children of this process."""
    while _SANDBOXES:
        _SANDBOXES.popitem()[1].close()


def _extract(context: Context, job: Job) -> tuple[BaseModel, Mapping[str, int]]:
    rows = admitted(read_unit(context.store, context.plan, job.unit))
    config = context.config
    settings = STAGES["extract"].settings(config)
    known = _known(context.store, job.reuse, settings)
    extractor = Extractor(context.base, extract_config(config), sandbox(config.run.limits), config.run.storage_options)
    fresh = extractor.rows(row for row in rows if row.key not in known)
    outcomes: list[Outcome] = []

    def samples() -> Iterator[Sample]:
        written = set()
        for row in rows:
            outcome, sample = _again(context.store, *known[row.key]) if row.key in known else next(fresh)
            outcomes.append(outcome)
            if sample is not None and outcome.design_id not in written:
                written.add(outcome.design_id)
                yield sample

    def write(out: IO[bytes]) -> list[Location]:
        return write_shard(out, samples(), "")

    blob, _, _, locations = put_blob(
        context.store, write, lambda sha, found: f"{WORK}/extract/{job.unit:06d}-{sha[:16]}.tar" if found else None
    )
    artefact = Extracted(
        config=settings, outcomes=tuple(outcomes), blob=blob, locations={place.key: place for place in locations}
    )
    return artefact, Counter(str(outcome.code) for outcome in outcomes)


class RestylingConfig(BaseModel):
    """Pairs are stored encoded, so what decides them is the codec too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    restyle: RestyleConfig
    image: ImageConfig


def _known(store: Store, names: list[str], settings: str) -> dict[str, tuple[str, Extracted, Outcome]]:
    """Outcomes of earlier artefacts of the unit that still hold, by the key of their row. A damaged one is no loss."""
    known: dict[str, tuple[str, Extracted, Outcome]] = {}
    for name in names:
        with contextlib.suppress(StoreError):
            extracted = load(store, name, Extracted)
            if extracted.config == settings:
                known.update({outcome.key: (name, extracted, outcome) for outcome in extracted.outcomes})
    return known


def _again(store: Store, name: str, extracted: Extracted, outcome: Outcome) -> tuple[Outcome, Sample | None]:
    """An earlier outcome with its sample."""
    if outcome.code is not Code.OK:
        return outcome, None
    return outcome, load_sample(store, name, extracted, str(outcome.design_id))


def _open(context: Context, job: Job) -> UnitSamples:
    return UnitSamples.open(context.store, job.inputs, read_unit(context.store, context.plan, job.unit))


def _caption(context: Context, job: Job) -> tuple[BaseModel, Mapping[str, int]]:
    samples, config = _open(context, job), context.config
    given = {str(outcome.design_id): row.caption for row, outcome in samples.kept}
    child = sandbox(config.run.limits)

    def caption(key: str) -> tuple[Captions, dict[int, Caption]]:
        design = child.run(caption_design, samples.load(key), config.caption, given[key])
        return design.captions, {layer.index: layer.caption for layer in design.layers if layer.caption}

    designs, failed = _each(samples.ids, caption, Code.CAPTION_FAILED)
    return Captioned(designs=designs, failed=failed), _codes(designs, failed)


def _group(context: Context, job: Job) -> tuple[BaseModel, Mapping[str, int]]:
    samples, config = _open(context, job), context.config.group
    child = sandbox(context.config.run.limits)
    designs, failed = _each(samples.ids, lambda key: child.run(group_design, samples.load(key), config))
    return Grouped(designs=designs, failed=failed), _codes(designs, failed)


def _restyle(context: Context, job: Job) -> tuple[BaseModel, Mapping[str, int]]:
    samples = _open(context, job)
    image, config, ids = context.config.image, context.config.restyle, sorted(samples.ids)
    failed: dict[str, tuple[Code, str]] = {}

    def write(out: IO[bytes]) -> dict[str, Any]:
        def restyle(key: str) -> tuple[tuple[RestylePair, Piece], ...]:
            entries = []
            for pair, pixels in restyle_design(key, ids, samples.load, config):
                data = images.encode(pixels, image.codec, image.effort)
                sha256 = hashlib.sha256(data).hexdigest()
                entries.append((pair, Piece(offset=out.tell(), size=len(data), sha256=sha256)))
                out.write(data)
            return tuple(entries)

        placed, missed = _each(ids, restyle)
        failed.update(missed)
        return placed

    blob, _, _, designs = put_blob(
        context.store,
        write,
        lambda sha, placed: f"{WORK}/restyle/{job.unit:06d}-{sha[:16]}.bin" if any(placed.values()) else None,
    )
    return Restyled(designs=designs, blob=blob, failed=failed), _codes(designs, failed)


def _each(
    ids: Iterable[str], work: Callable[[str], T], code: Code = Code.INTERNAL
) -> tuple[dict[str, T], dict[str, tuple[Code, str]]]:
    """``work`` on every design; one that it cannot do costs that design alone, under ``code`` or the sandbox's own.

    Raises:
        StoreError: the store refused, which is no fault of a design.
    """
    done: dict[str, T] = {}
    failed: dict[str, tuple[Code, str]] = {}
    for key in ids:
        try:
            done[key] = work(key)
        except StoreError:
            raise
        except Rejected as error:
            failed[key] = (error.code, error.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this design's row in the ledger
            failed[key] = (code, one_line(f"{type(error).__name__}: {error}"))
    return done, failed


def _codes(designs: Mapping[str, object], failed: Mapping[str, tuple[Code, str]]) -> Mapping[str, int]:
    return {str(Code.OK): len(designs), **Counter(str(code) for code, _ in failed.values())}


def _shard(context: Context, job: Job) -> tuple[BaseModel, Mapping[str, int]]:
    rows = read_unit(context.store, context.plan, job.unit)
    sharded = shard_unit(context.store, job.inputs, rows, context.config.image.codec)
    return sharded, Counter(str(row.code) for row in sharded.ledger)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("extract", 2, extract_config, _extract),
        Stage("caption", 1, lambda config: config.caption, _caption),
        Stage("group", 1, lambda config: config.group, _group),
        Stage("restyle", 1, lambda config: RestylingConfig(restyle=config.restyle, image=config.image), _restyle),
        Stage("shard", 1, lambda config: config.image, _shard),
    )
}


def encode_job(job: Job) -> str:
    return json.dumps(vars(job), sort_keys=True)


def decode_job(data: str) -> Job:
    return Job(**json.loads(data))
