"""The plan of a build: every input with its row number, split and unit, and the licence's verdict, before a byte is
read.

The split is a hash of the family (default: the uri), a unit is a run of up to ``run.unit_size`` rows of one split in
the order of their hash. A grown manifest keeps every old row and unit and adds new ones. Plans are immutable parquet
files, one row group a unit, numbered by generation: ``manifest/plan-{generation:06d}-{sha8}.parquet``.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipelines.errors import StoreError, UsageError
from pipelines.manifest import Input
from pipelines.storage import Store
from schemas import SCHEMA_VERSION
from schemas.design import Record, canonical_json
from schemas.ledger import Code
from schemas.licence import LicencePolicy, expiry

Identity = tuple[str, str, int]
_PLAN_NAME = re.compile(r"manifest/plan-([0-9]{6,})-[0-9a-f]{8}\.parquet$")

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
        """Hash of what decides the extraction of this row: terms and captions are bound later."""
        return digest([self.uri, self.retries])


@dataclass(frozen=True)
class Plan:
    """All rows, by unit. ``base`` is where relative uris start, and is not stored; ``settings`` must not change while
    a dataset lives; ``parent`` is the plan this one was made from and ``place`` a
    hash of ``base``."""

    base: str
    settings: Mapping[str, object]
    units: Sequence[Sequence[PlanRow]]
    generation: int = 0
    name: str = ""
    parent: str = ""
    place: str = ""

    @property
    def rows(self) -> int:
        return sum(len(unit) for unit in self.units)

    @cached_property
    def key(self) -> str:
        """Hash of the whole plan but for the place relative uris start at: files are taken to be immutable."""
        return digest([SCHEMA_VERSION, self.settings, [terms_key(unit) for unit in self.units]])


def digest(value: object) -> str:
    """sha256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def admitted(rows: Iterable[PlanRow]) -> list[PlanRow]:
    """The rows of a unit that the licence policy lets in, which are those that are extracted."""
    return [row for row in rows if row.code is Code.OK]


def unit_key(rows: Iterable[PlanRow]) -> str:
    """Hash of what decides the extraction of a unit."""
    return digest([row.key for row in admitted(rows)])


def captions_key(rows: Iterable[PlanRow]) -> str:
    """Hash of the captions that the manifest gives."""
    return digest([row.caption for row in admitted(rows)])


def terms_key(rows: Iterable[PlanRow]) -> str:
    """Hash of everything the manifest says of a unit and the policy's verdict."""
    return digest([row.model_dump(mode="json") for row in rows])


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
    return Plan(base, settings, units, old.generation if old else 0, parent=old.name if old else "", place=digest(base))


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


def load_plan(store: Store, name: str) -> Plan:
    """Read a plan.

    Raises:
        UsageError: it is of another schema version.
        StoreError: it is damaged.
    """
    with _undamaged(name):
        table = pq.ParquetFile(io.BytesIO(store.read(name)))
        facts = json.loads((table.schema_arrow.metadata or {}).get(b"acetate", b"{}"))
        version = facts.get("settings", {}).get("schema")
        if version != SCHEMA_VERSION:
            raise UsageError(
                f"{store.url} was built with schema version {version}, this is version {SCHEMA_VERSION}; "
                "give another --out"
            )
        units = [_read_unit(table, unit) for unit in range(table.num_row_groups)]
        return Plan("", facts["settings"], units, generation_of(name), name, facts["parent"], facts["place"])


def newest_plan(store: Store, published: Plan | None) -> Plan | None:
    """The newest plan that descends from the published one, or of all where nothing is published.

    A rival's plan that was made from another one is no descendant: to build on it would lose what was published.
    """
    later = [name for name in plan_names(store) if published is None or generation_of(name) > published.generation]
    if published is None:
        for name in reversed(later):
            with contextlib.suppress(StoreError):
                return load_plan(store, name)
        return None
    newest = published
    for name in later:
        with contextlib.suppress(StoreError):  # a damaged plan that was never published binds nobody
            plan = load_plan(store, name)
            newest = plan if plan.parent == newest.name else newest
    return newest


def plan_names(store: Store) -> list[str]:
    """The plans of a dataset directory, oldest first."""
    return [name for name in store.names("manifest") if _PLAN_NAME.match(name)]


def read_unit(store: Store, plan: str, unit: int) -> list[PlanRow]:
    """The rows of one unit, read from the plan's file by their row group alone."""
    with _undamaged(plan), store.open(plan) as source:
        return _read_unit(pq.ParquetFile(source), unit)


def save_plan(store: Store, plan: Plan) -> Plan:
    """Write a plan as the next generation. Returns it with its name."""
    generation = plan.generation + 1
    facts = json.dumps({"settings": plan.settings, "parent": plan.parent, "place": plan.place}, sort_keys=True)
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


def generation_of(name: str) -> int:
    """The number in a plan's name."""
    found = _PLAN_NAME.match(name)
    return int(found[1]) if found else 0


@contextlib.contextmanager
def _undamaged(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, json.JSONDecodeError, KeyError, ValidationError) as error:
        raise StoreError(f"{name} is damaged: {str(error).splitlines()[0]}") from None


def _read_unit(table: pq.ParquetFile, unit: int) -> list[PlanRow]:
    return [PlanRow.model_validate(row) for row in table.read_row_group(unit, use_threads=False).to_pylist()]


def _new_units(
    wanted: Mapping[Identity, Input], size: int, splits: Mapping[str, float]
) -> Iterator[tuple[str, list[Input]]]:
    """New inputs cut into units: (split, inputs), in the order of the hash of their uris."""
    fresh: defaultdict[str, list[tuple[bytes, int, Input]]] = defaultdict(list)
    for (uri, _, occurrence), each in wanted.items():
        fresh[split_of(each, splits)].append((hashlib.sha256(uri.encode()).digest(), occurrence, each))
    for split, entries in sorted(fresh.items()):
        entries.sort(key=lambda entry: entry[:2])
        for start in range(0, len(entries), size):
            yield split, [each for _, _, each in entries[start : start + size]]


def _identities(rows: Iterable[Input | PlanRow]) -> list[Identity]:
    """A name for every row: its uri, its family, and how often both came before."""
    seen: Counter[tuple[str, str]] = Counter()
    out = []
    for row in rows:
        pair = (row.uri, row.family or row.uri)
        out.append((*pair, seen[pair]))
        seen[pair] += 1
    return out


def _row(
    each: Input, number: int, unit: int, split: str, policy: LicencePolicy, today: datetime.date, retries: int = 0
) -> PlanRow:
    code, message = policy.judge(each.licence, each.licensor, each.expires, today)
    end = expiry(each.expires) if each.expires else None
    return PlanRow(
        row=number,
        unit=unit,
        split=split,
        uri=each.uri,
        licence=each.licence,
        licensor=each.licensor,
        family=each.family or each.uri,
        expires=end.isoformat() if end else each.expires,
        caption=each.caption,
        tags=each.tags,
        code=code,
        message=message,
        retries=retries,
    )
