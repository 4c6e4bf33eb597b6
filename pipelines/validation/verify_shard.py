"""One shard: its bytes, its tar, its samples, and what the index says of them.

The tar is walked header by header, members are read where they lie, one at a time: memory follows the largest design.
Nothing that the file holds is trusted, and one bad sample does not hide the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pipelines.storage import Store
from pipelines.validation.problem import Problem, explained, quoted, some
from pipelines.validation.verify_sample import check_sample
from schemas.design import Design
from schemas.errors import SampleError, SchemaError
from schemas.index import INDEX_SCHEMA, Location, Member, index_row
from schemas.sample import MAX_MEMBER_BYTES, RECORD, Sample

MAX_RECORD_BYTES = 64 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ShardJob:
    """A shard to check: where it lies, its row of the shard table, and its rows of the index (None: unknown)."""

    store: Store
    row: Mapping[str, Any]
    index: tuple[Mapping[str, Any], ...] | None = None

    @property
    def path(self) -> str:
        return str(self.row["path"])


@dataclass
class Span:
    """Where the members of one sample lie in the tar: (offset, size) by name, in the order of the tar."""

    key: str
    members: dict[str, tuple[int, int]] = field(default_factory=dict)


def check_shard(job: ShardJob) -> list[Problem]:
    """Everything wrong with one shard. Never raises for what the shard holds."""
    problems: list[Problem] = []
    try:
        with _local(job) as (source, size, digest):
            if size != job.row["bytes"]:
                problems.append(
                    Problem(where=job.path, message=f"{size} bytes, the shard table says {job.row['bytes']}")
                )
            if digest != job.row["sha256"]:
                said = quoted(job.row["sha256"][:8])
                message = f"its sha256 starts with {digest[:8]}, the shard table says {said}; remove it and build again"
                problems.append(Problem(where=job.path, message=message))
            _check_samples(job, source, size, problems)
    except FileNotFoundError:
        problems.append(Problem(where=job.path, message="is named by the shard table and not there"))
    except Exception as error:  # noqa: BLE001 - a shard is untrusted; what it provokes is a finding
        problems.append(Problem(where=job.path, message=f"cannot be read to its end: {explained(error)}"))
    return problems


def _check_samples(job: ShardJob, source: IO[bytes], size: int, problems: list[Problem]) -> None:
    rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in job.index or ():
        rows[str(row["key"])].append(row)
    seen: set[str] = set()
    for span in _walk(source, size, job.path, problems):
        where = f"{job.path}:{quoted(span.key, 40)[1:-1]}"
        if span.key in seen:
            problems.append(Problem(where=where, message="the key comes twice"))
        seen.add(span.key)
        try:
            found = list(_check_span(job, span, source, rows.get(span.key, [])))
        except Exception as error:  # noqa: BLE001 - one bad sample must not hide the next
            found = [f"cannot be checked: {explained(error)}"]
        problems.extend(Problem(where=where, message=message) for message in found)
    if len(seen) != job.row["samples"]:
        message = f"holds {len(seen)} samples, the shard table says {job.row['samples']}"
        problems.append(Problem(where=job.path, message=message))
    if lost := sorted(rows.keys() - seen):
        problems.append(Problem(where=job.path, message=f"samples of the index that it does not hold: {some(lost)}"))


def _check_span(job: ShardJob, span: Span, source: IO[bytes], rows: list[Mapping[str, Any]]) -> Iterator[str]:
    if RECORD not in span.members:
        yield "the sample has no record"
        return
    if span.members[RECORD][1] > MAX_RECORD_BYTES:
        yield f"a record of {span.members[RECORD][1]} bytes is over the limit of {MAX_RECORD_BYTES}"
        return
    members = _Members(source, span.members)
    record = members[RECORD]
    try:
        design = Design.from_json(record)
    except SchemaError as error:
        yield quoted(str(error), 300)[1:-1]
        return
    if design.design_id != span.key:
        yield f"holds the record of {design.design_id}"
    if design.to_json() != record:
        yield "the record is not in canonical form"
    if job.index is not None:
        yield from _indexed(job, design, span, members, rows)
    phash = str(rows[0]["phash"]) if len(rows) == 1 else None
    yield from check_sample(Sample(design, members.without(RECORD)), phash)


def _indexed(
    job: ShardJob, design: Design, span: Span, members: _Members, rows: list[Mapping[str, Any]]
) -> Iterator[str]:
    """Whether the index has this sample once and says what its record and its place say."""
    if len(rows) != 1:
        yield "is not in the index" if not rows else f"is {len(rows)} times in the index"
        return
    row = rows[0]
    location = Location(key=design.design_id, shard=job.path, members=tuple(_located(span, members)))
    expected = index_row(
        design, location, split=job.row["split"], unit=job.row["unit"], row=row["row"], phash=row["phash"]
    )
    for name in INDEX_SCHEMA.names:
        if name != "members" and row[name] != expected[name]:
            yield f"index: {name} is {quoted(row[name])}, the sample says {quoted(expected[name])}"
    there = {str(each["name"]): each for each in row["members"]}
    for member in location.members:
        listed = there.pop(member.name, None)
        if listed is None:
            yield f"index: member {quoted(member.name)} is missing"
        elif listed != member.model_dump():
            wrong = [name for name, value in member.model_dump().items() if listed[name] != value]
            yield f"index: member {quoted(member.name)}: {', '.join(wrong)} is not what the shard says"
    if there:
        yield f"index: members that the shard does not hold: {some(sorted(there))}"


def _located(span: Span, members: _Members) -> Iterator[Member]:
    for name, (offset, size) in span.members.items():
        yield Member(name=name, offset=offset, size=size, sha256=hashlib.sha256(members[name]).hexdigest())


class _Members(Mapping[str, bytes]):
    """The members of a sample, each read from the tar when it is asked for."""

    def __init__(self, source: IO[bytes], spans: Mapping[str, tuple[int, int]]) -> None:
        self._source = source
        self._spans = spans

    def __getitem__(self, name: str) -> bytes:
        offset, size = self._spans[name]
        self._source.seek(offset)
        data = self._source.read(size)
        if len(data) != size:
            raise SampleError(f"the shard ends inside {name!r}")
        return data

    def without(self, name: str) -> _Members:
        return _Members(self._source, {other: span for other, span in self._spans.items() if other != name})

    def __iter__(self) -> Iterator[str]:
        return iter(self._spans)

    def __len__(self) -> int:
        return len(self._spans)


def _walk(source: IO[bytes], size: int, path: str, problems: list[Problem]) -> Iterator[Span]:
    """The samples of a tar of ``size`` bytes in order, with what is wrong about its structure put into ``problems``."""
    span: Span | None = None
    try:
        tar = tarfile.open(fileobj=source, mode="r:")  # noqa: SIM115 - the stream is the caller's
    except tarfile.TarError as error:
        problems.append(Problem(where=path, message=f"is no tar: {quoted(str(error))}"))
        return
    while (info := _next(tar, path, problems)) is not None:
        tar.members.clear()  # type: ignore[attr-defined]
        key, dot, name = info.name.partition(".")
        message = _unfit(info, size) if dot and key and name else "is no member of a sample"
        if message:
            problems.append(Problem(where=path, message=f"{quoted(info.name)} {message}"))
            continue
        if span is None or span.key != key:
            if span is not None:
                yield span
            span = Span(key)
        if name in span.members:
            problems.append(Problem(where=path, message=f"{quoted(info.name)} comes twice"))
        span.members[name] = (info.offset_data, info.size)
    if span is not None:
        yield span
    if not _ends(source, tar.offset, size):
        problems.append(Problem(where=path, message=f"the tar does not end cleanly after byte {tar.offset}"))


def _next(tar: tarfile.TarFile, path: str, problems: list[Problem]) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except Exception as error:  # noqa: BLE001 - tarfile raises many kinds for a bad header
        problems.append(Problem(where=path, message=f"damaged tar at byte {tar.offset}: {explained(error)}"))
        return None


def _unfit(info: tarfile.TarInfo, size: int) -> str:
    if not info.isfile() or info.issparse() or "/" in info.name:
        return "is no member of a sample"
    if info.size > MAX_MEMBER_BYTES:
        return f"of {info.size} bytes is over the limit of {MAX_MEMBER_BYTES}"
    return "reaches beyond the end of the shard" if info.offset_data + info.size > size else ""


def _ends(source: IO[bytes], offset: int, size: int) -> bool:
    """Whether only the zero blocks that end a tar (two at least) come after ``offset``."""
    if size - offset < 2 * tarfile.BLOCKSIZE:
        return False
    source.seek(offset)
    while chunk := source.read(_CHUNK):
        if chunk.count(0) != len(chunk):
            return False
    return True


@contextlib.contextmanager
def _local(job: ShardJob) -> Iterator[tuple[IO[bytes], int, str]]:
    """The shard as a local file, its size and sha256; a remote one is copied into a temporary file."""
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(job.store.open(job.path))
        copy: IO[bytes] | None = None
        if job.store.local is None:
            copy = stack.enter_context(tempfile.TemporaryFile(prefix="acetate-"))
        digest, size = hashlib.sha256(), 0
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if copy is not None:
                copy.write(chunk)
        source = copy if copy is not None else stack.enter_context(Path(job.store.path(job.path)).open("rb"))
        source.seek(0)
        yield source, size, digest.hexdigest()
