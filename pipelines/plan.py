"""The plan of a build: every input with its row number, split and unit, and the licence's verdict, before a byte is
read.

The split is a hash of the family (default: the uri), a unit is a run of up to ``run.unit_size`` rows of one split in
the order of their hash. A grown manifest keeps every old row and unit and adds new ones. Plans are immutable parquet
files, one row group a unit, numbered by generation: ``manifest/plan-{generation:06d}-{sha8}.parquet``.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UsageError
from pipelines.manifest import Input
from pipelines.storage import Store
from schemas import SCHEMA_VERSION
from schemas.design import Record, canonical_json
from schemas.ledger import Code
from schemas.licence import LicencePolicy

PLAN_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("unit", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("licence", pa.string()),
        pa.field("licensor", pa.string()),
        pa.field("family", pa.string(), nullable=False),
        pa.field("expires", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("retries", pa.int32(), nullable=False),
    ]
)


class PlanRow(Record):
    """One input. ``code`` is the licence policy's verdict; ``retries`` how often it was asked for again after a
    failure."""

    row: int
    unit: int
    split: str
    uri: str
    licence: str | None
    licensor: str | None
    family: str
    expires: str | None
    caption: str | None
    tags: tuple[str, ...] = ()
    code: Code = Code.OK
    message: str = ""
    retries: int = 0

    @property
    def key(self) -> str:
        """Hash of what the outcome of this row depends on."""
        return digest(self.model_dump(mode="json", exclude={"row", "unit", "split", "message"}))


@dataclass(frozen=True)
class Plan:
    """All rows, by unit. ``base`` is where relative uris start, and is not stored; ``settings`` must not change while
    a dataset lives."""

    base: str
    settings: Mapping[str, object]
    units: Sequence[Sequence[PlanRow]]
    generation: int = 0
    name: str = ""

    @property
    def rows(self) -> int:
        return sum(len(unit) for unit in self.units)

    @cached_property
    def key(self) -> str:
        """Hash of the whole plan; two plans with the same one give the same dataset."""
        return digest([SCHEMA_VERSION, self.settings, [unit_key(unit) for unit in self.units]])


def digest(value: object) -> str:
    """sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def unit_key(rows: Iterable[PlanRow]) -> str:
    return digest([row.key for row in rows])


def make_plan(
    base: str,
    inputs: Sequence[Input],
    *,
    unit_size: int,
    splits: Mapping[str, float],
    policy: LicencePolicy,
    old: Plan | None,
    today: datetime.date,
) -> Plan:
    """Plan ``inputs``, keeping the rows and units of ``old``.

    Raises:
        UsageError: the old plan has other settings, or inputs that are gone or moved to another split: it names them.
    """
    settings = {"schema": SCHEMA_VERSION, "unit_size": unit_size, "splits": dict(sorted(splits.items()))}
    if old is not None and old.settings != settings:
        differing = [
            f"{k} was {old.settings.get(k)}, is {settings[k]}" for k in settings if settings[k] != old.settings.get(k)
        ]
        raise UsageError(
            f"the dataset was planned otherwise: {'; '.join(differing)}; give the old values or another --out"
        )
    wanted = dict(zip(_identities(inputs), inputs, strict=True))
    units: list[list[PlanRow]] = [[] for _ in (old.units if old else ())]
    kept = [row for unit in (old.units if old else ()) for row in unit]
    gone = []
    for identity, row in zip(_identities(kept), kept, strict=True):
        each = wanted.pop(identity, None)
        if each is None or split_of(each, splits) != row.split:
            gone.append(row.uri)
        else:
            units[row.unit].append(_row(each, row.row, row.unit, row.split, policy, today, row.retries))
    if gone:
        raise UsageError(
            f"{len(gone)} inputs of the dataset are no longer in the manifest or changed their split "
            f"({', '.join(gone[:3])}{', …' if len(gone) > 3 else ''}); list them again or give another --out"
        )
    number = len(kept)
    for split, chunk in _new_units(wanted, unit_size, splits):
        unit = [_row(each, number + i, len(units), split, policy, today) for i, each in enumerate(chunk)]
        units.append(unit)
        number += len(unit)
    return Plan(base, settings, units, generation=old.generation if old else 0)


def retry(plan: Plan, failed: set[int]) -> Plan:
    """The plan with the rows numbered in ``failed`` asked for once more."""
    units = [
        [row.model_copy(update={"retries": row.retries + 1}) if row.row in failed else row for row in unit]
        for unit in plan.units
    ]
    return replace(plan, units=units)


def split_of(each: Input, splits: Mapping[str, float]) -> str:
    """The split of an input: where the hash of its family falls among the shares, in the order of their names."""
    point = int.from_bytes(hashlib.sha256((each.family or each.uri).encode()).digest()[:8], "big") / 2**64
    reached = 0.0
    for name, share in sorted(splits.items()):
        reached += share
        if point < reached:
            return name
    return max(splits)


def load_plan(store: Store) -> Plan | None:
    """The newest plan of a dataset directory, None where there is none.

    Raises:
        UsageError: it is of another schema version.
    """
    names = [name for name in store.names("manifest") if name.startswith("manifest/plan-")]
    if not names:
        return None
    name = max(names)
    table = pq.ParquetFile(io.BytesIO(store.read(name)))
    facts = json.loads((table.schema_arrow.metadata or {}).get(b"acetate", b"{}"))
    if facts.get("settings", {}).get("schema") != SCHEMA_VERSION:
        raise UsageError(
            f"{store.url} was built with schema version {facts.get('settings', {}).get('schema')}, this is version "
            f"{SCHEMA_VERSION}; give another --out"
        )
    units = [_read_unit(table, unit) for unit in range(table.num_row_groups)]
    return Plan("", facts["settings"], units, int(name.split("-")[1]), name)


def read_unit(store: Store, plan: str, unit: int) -> list[PlanRow]:
    """The rows of one unit, read from the plan's file by their row group alone."""
    with store.open(plan) as source:
        return _read_unit(pq.ParquetFile(source), unit)


def save_plan(store: Store, plan: Plan) -> Plan:
    """Write a plan as the next generation. Returns it with its name."""
    generation = plan.generation + 1
    facts = json.dumps({"settings": plan.settings}, sort_keys=True)
    schema = PLAN_SCHEMA.with_metadata({"acetate": facts})
    out = io.BytesIO()
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for unit in plan.units:
            rows = [row.model_dump(mode="json") for row in unit]
            writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=max(1, len(rows)))
    data = out.getvalue()
    name = f"manifest/plan-{generation:06d}-{hashlib.sha256(data).hexdigest()[:8]}.parquet"
    store.write(name, data)
    return replace(plan, generation=generation, name=name)


def _read_unit(table: pq.ParquetFile, unit: int) -> list[PlanRow]:
    return [PlanRow.model_validate(row) for row in table.read_row_group(unit).to_pylist()]


def _new_units(
    wanted: Mapping[tuple[str, int], Input], size: int, splits: Mapping[str, float]
) -> Iterator[tuple[str, list[Input]]]:
    """New inputs cut into units: (split, inputs), in the order of the hash of their uris."""
    fresh: defaultdict[str, list[tuple[bytes, int, Input]]] = defaultdict(list)
    for (uri, occurrence), each in wanted.items():
        fresh[split_of(each, splits)].append((hashlib.sha256(uri.encode()).digest(), occurrence, each))
    for split, entries in sorted(fresh.items()):
        entries.sort(key=lambda entry: entry[:2])
        for start in range(0, len(entries), size):
            yield split, [each for _, _, each in entries[start : start + size]]


def _identities(rows: Iterable[Input | PlanRow]) -> list[tuple[str, int]]:
    """A name for every row: its uri and how often that uri came before."""
    seen: Counter[str] = Counter()
    out = []
    for row in rows:
        out.append((row.uri, seen[row.uri]))
        seen[row.uri] += 1
    return out


def _row(
    each: Input, number: int, unit: int, split: str, policy: LicencePolicy, today: datetime.date, retries: int = 0
) -> PlanRow:
    code, message = policy.judge(each.licence, each.licensor, each.expires, today)
    return PlanRow(
        row=number,
        unit=unit,
        split=split,
        uri=each.uri,
        licence=each.licence,
        licensor=each.licensor,
        family=each.family or each.uri,
        expires=each.expires,
        caption=each.caption,
        tags=each.tags,
        code=code,
        message=message,
        retries=retries,
    )
