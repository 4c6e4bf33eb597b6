"""The main path of a build: plan -> extract -> dedup -> caption -> group -> restyle -> shard -> validate -> report ->
publish.

Everything a stage commits is found again by its key: a build that was killed goes on where it was, and a finished one
returns at once. ``dataset.json`` is swapped last.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipelines.artefacts import WORK, Deduplicated, Extracted, artefact_name, commit, load
from pipelines.config import BuildConfig
from pipelines.croissant import croissant
from pipelines.dedup import Signature, decide
from pipelines.errors import PublishError, StoreError, UsageError
from pipelines.execute import Executor, executor
from pipelines.flatten import FlattenConfig
from pipelines.manifest import read_inputs
from pipelines.plan import (
    Plan,
    admitted,
    captions_key,
    digest,
    load_plan,
    make_plan,
    newest_plan,
    retry,
    save_plan,
    terms_key,
    unit_key,
)
from pipelines.progress import Reporter
from pipelines.publish import assemble, batches, claim, discard_damaged, intact, load_dataset, swap
from pipelines.report import write_report
from pipelines.stages import STAGES, Context, Job
from pipelines.storage import Store
from pipelines.validation.expectations import ExpectationsConfig, check_index
from schemas.dataset import Dataset
from schemas.design import canonical_json
from schemas.errors import RecordError
from schemas.ledger import Code, State

_VERSION = 1


@dataclass(frozen=True)
class Retry:
    """Ask again for the inputs that failed, all or those of one code."""

    code: Code | None = None


@dataclass(frozen=True)
class Result:
    """What a build came to. ``fresh`` is false where there was nothing to do."""

    dataset: Dataset
    fresh: bool


def build(config: BuildConfig, store: Store, reporter: Reporter, again: Retry | None = None) -> Result:
    """Build or extend the dataset at ``store``.

    Raises:
        UsageError: the manifest, the configuration or the directory is not usable; nothing was computed.
        StoreError: a store refused a read or a write; what was committed stays.
        PublishError: a critical expectation failed, or another build published first.
    """
    base = _published(store)
    plan = _plan(config, store, base, again, reporter)
    settings = _settings(config)
    key = digest([_VERSION, plan.key, settings])
    if base is not None and base.build == key:
        if intact(store, base):
            return Result(base, fresh=False)
        reporter.say("parts of the dataset are gone or cut short; they are made again")
    for each in (store, Store(plan.base or ".", config.run.storage_options)):
        if not each.shared and config.run.executor == "ray":
            raise UsageError(f"{each.url} is seen by this process alone; use --executor inline with memory://")
    with executor(config.run.executor, config.run.workers) as workers:
        run = Run(Context(store, plan.name, plan.base, config), plan, workers, reporter)
        names = _stages(run, _winners(store, base, settings))
    dataset = claim(
        store,
        base,
        lambda generation: assemble(store, names, plan, generation=generation, build=key, settings=settings),
    )
    _validate(config, store, dataset, reporter)
    store.write("croissant.json", croissant(store, dataset))
    reporter.say(f"report: {store.url.rstrip('/')}/{write_report(store, dataset, config.report)}")
    swap(store, base, dataset)
    return Result(dataset, fresh=True)


def _stages(run: Run, winners: set[int]) -> list[str]:
    """Every stage over all units; gives the shard artefacts. A shard damaged since it was committed is remade."""
    units = run.plan.units
    extracted = run.stage("extract", [unit_key(rows) for rows in units])
    dedup = run.dedup(extracted, winners)
    captions = run.stage("caption", extracted, dedup, [captions_key(rows) for rows in units])
    groupings = run.stage("group", extracted, dedup)
    pairs = run.stage("restyle", extracted, dedup)
    made = (extracted, dedup, captions, groupings, pairs, [terms_key(rows) for rows in units])
    names = [artefact_name("shard", unit, key) for unit, key in enumerate(run.stage("shard", *made))]
    if discard_damaged(run.context.store, names):
        run.stage("shard", *made)
    return names


@dataclass
class Run:
    """The stages of one build over all units of its plan."""

    context: Context
    plan: Plan
    workers: Executor
    reporter: Reporter
    _keys: dict[str, Sequence[str]] = field(default_factory=dict)

    def stage(self, name: str, *inputs: Sequence[str]) -> list[str]:
        """Commit a stage's artefact for every unit that lacks it. Takes and gives one key a unit.

        Raises:
            StoreError: a unit could not be committed; the others were.
        """
        settings = STAGES[name].settings(self.context.config)
        keys = [digest([settings, *unit]) for unit in zip(*inputs, strict=True)]
        self._keys[name] = keys
        there = set(self.context.store.names(f"{WORK}/{name}"))
        wanted = [artefact_name(name, unit, key) for unit, key in enumerate(keys)]
        earlier = _by_unit(there) if name == "extract" else {}
        jobs = [
            self._job(name, unit, artefact, earlier.get(unit, []))
            for unit, artefact in enumerate(wanted)
            if artefact not in there
        ]
        total = sum(map(len, self.plan.units))
        todo = sum(len(self.plan.units[job.unit]) for job in jobs)
        line = self.reporter.stage(name, total, total - todo)
        errors = []
        for report in self.workers.run(self.context, jobs):
            line.add(len(self.plan.units[report.unit]), report.codes)
            if report.error:
                errors.append(report.error)
        if errors:
            raise StoreError(
                f"{name}: {len(errors)} of {len(jobs)} units not committed: {errors[0]}; run the build again"
            )
        return keys

    def dedup(self, extracted: Sequence[str], winners: set[int]) -> list[str]:
        """The barrier: which designs of the whole dataset are dropped. One small artefact a unit, keyed by what it
        says."""
        store, name = self.context.store, "dedup"
        dropped = decide(self._signatures(extracted), winners, self.context.config.dedup)
        line = self.reporter.stage(name, self.plan.rows, 0)
        there = set(store.names(f"{WORK}/{name}"))
        keys = []
        for unit, rows in enumerate(self.plan.units):
            mine = {row.row: dropped[row.row] for row in rows if row.row in dropped}
            artefact = Deduplicated(dropped=mine)
            keys.append(digest(artefact.model_dump(mode="json")))
            target = artefact_name(name, unit, keys[-1])
            if target not in there:
                commit(store, target, artefact)
            line.add(len(rows), _count(code for code, _ in mine.values()))
        self._keys[name] = keys
        return keys

    def _signatures(self, extracted: Sequence[str]) -> Iterable[Signature]:
        """The signatures of all ok designs, each with the row it stands for in this plan."""
        damaged = []
        for unit, key in enumerate(extracted):
            try:
                artefact = load(self.context.store, artefact_name("extract", unit, key), Extracted)
            except StoreError as error:
                damaged.append(str(error))
                continue
            for row, outcome in zip(admitted(self.plan.units[unit]), artefact.outcomes, strict=True):
                if outcome.signature is not None:
                    yield outcome.signature.model_copy(update={"row": row.row, "unit": row.unit})
        if damaged:
            raise StoreError(f"{len(damaged)} artefacts are to be made anew: {damaged[0]}; run the build again")

    def _job(self, name: str, unit: int, artefact: str, reuse: list[str]) -> Job:
        inputs = {stage: artefact_name(stage, unit, keys[unit]) for stage, keys in self._keys.items() if stage != name}
        return Job(name, unit, artefact, inputs, reuse)


def _by_unit(names: Iterable[str]) -> dict[int, list[str]]:
    """The artefacts of one stage by unit, whatever key they were made under."""
    found: dict[int, list[str]] = {}
    for name in sorted(names):
        unit, _, _ = name.rpartition("/")[2].partition("-")
        if name.endswith(".json") and unit.isdecimal():
            found.setdefault(int(unit), []).append(name)
    return found


def _published(store: Store) -> Dataset | None:
    try:
        return load_dataset(store)
    except RecordError as error:
        raise UsageError(
            f"{store.url} holds a dataset.json of another schema version or a damaged one ({error}); give another --out"
        ) from None


def _plan(config: BuildConfig, store: Store, base: Dataset | None, again: Retry | None, reporter: Reporter) -> Plan:
    """The plan to build: the newest one where nothing changed, else a new generation of it.

    A plan that was never published binds nobody: where the inputs do not fit it, the published one counts.
    """
    published = load_plan(store, base.plan) if base else None
    newest = newest_plan(store, published)
    place, inputs = read_inputs(config.manifest, config.source, config.run.storage_options)

    def extend(old: Plan | None) -> Plan:
        run = config.run
        return make_plan(
            place, inputs, unit_size=run.unit_size, splits=run.splits, policy=config.licence, old=old, today=_today()
        )

    try:
        plan = extend(newest)
    except UsageError:
        if newest is published:
            raise
        newest, plan = published, extend(published)
    if newest is not None and newest.place != plan.place:
        reporter.say("the inputs lie at another place than before; their files are taken to be the same")
    if again is not None:
        failed = _failed_rows(store, base, again.code) if base else set()
        asked = {row.row: row.retries for unit in (published.units if published else ()) for row in unit}
        failed = {row.row for unit in plan.units for row in unit if row.row in failed and row.retries == asked[row.row]}
        reporter.say(f"asking again for {len(failed)} failed inputs")
        plan = retry(plan, failed)
    if newest is not None and plan.key == newest.key:
        return replace(plan, name=newest.name)
    return save_plan(store, plan)


def _failed_rows(store: Store, dataset: Dataset, code: Code | None) -> set[int]:
    return {
        row["row"]
        for batch in batches(store, dataset.ledger, ["row", "state", "code"])
        for row in batch.to_pylist()
        if row["state"] == State.FAILED and code in (None, row["code"])
    }


def _winners(store: Store, base: Dataset | None, settings: Mapping[str, str]) -> set[int]:
    """The rows of the published generation: they win over later duplicates, unless dedup is set otherwise now."""
    if base is None or base.settings.get("dedup") != settings["dedup"]:
        return set()
    columns = ["row", "state"]
    rows = (row for batch in batches(store, base.ledger, columns) for row in batch.to_pylist())
    return {row["row"] for row in rows if row["state"] == State.OK}


def _validate(config: BuildConfig, store: Store, dataset: Dataset, reporter: Reporter) -> None:
    """Check the expectations over the index and keep the results. Limits not given are those of the extraction.

    Raises:
        PublishError: a critical expectation failed; the previous generation stays published.
    """
    given = config.expectations.model_fields_set
    follow = {
        name: getattr(config.extract, name)
        for name in FlattenConfig.model_fields
        if name in ExpectationsConfig.model_fields and name not in given
    }
    results = check_index(
        batches(store, dataset.index),
        config.expectations.model_copy(update=follow),
        policy=config.licence,
        today=_today(),
    )
    data = canonical_json([result.model_dump(mode="json") for result in results])
    sha8 = hashlib.sha256(data).hexdigest()[:8]
    store.write(f"manifest/expectations-{dataset.generation:06d}-{sha8}.json", data)
    failed = [result for result in results if not result.passed]
    reporter.say(f"validate: {len(results) - len(failed)} of {len(results)} expectations hold")
    critical = [result for result in failed if result.critical]
    if critical:
        first = critical[0]
        raise PublishError(
            f"not published: {first.name} fails for {len(first.failed_ids)} designs ({first.detail}); "
            f"see manifest/expectations-{dataset.generation:06d}-{sha8}.json"
        )


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _settings(config: BuildConfig) -> dict[str, str]:
    """By name, the hash of every stage's version and configuration, and of what else decides the published state."""
    sections = ("dedup", "expectations", "report", "licence")
    return {
        **{name: stage.settings(config) for name, stage in STAGES.items()},
        **{name: digest(getattr(config, name).model_dump(mode="json")) for name in sections},
    }


def _count(codes: Iterable[Code]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for code in codes:
        counts[str(code)] = counts.get(str(code), 0) + 1
    return counts
