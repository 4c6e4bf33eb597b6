"""Which micro-batches are read together, as which ranges of which shards, and where in their buffers each part goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from training.streaming.config import ReadConfig
from training.streaming.jobs import Job, MemberAt, spans

JOB_COST = 4096
"""Bytes that a job counts for at least, so that empty ones are not taken without end."""

IN_FLIGHT = 4
"""Answers of remote requests that wait to be copied have this part of ``prefetch_bytes``, the jobs have the rest."""

LOCAL_AHEAD = 32 * 2**20
"""Of a local file system no more is read ahead: it answers at once, and memory that is used again is warm."""

LOCAL_GAP = 4096
"""Local ranges that are no further apart (a tar header and its padding) are read by one call."""


class Piece(NamedTuple):
    """A member, or a part of a large one. ``at``: its place in the buffer of the job ``number`` of the group."""

    offset: int
    size: int
    number: int
    item: int
    at: int


class Request(NamedTuple):
    """One range of a shard. Its pieces do not overlap and are in the order of their offsets."""

    shard: str
    offset: int
    size: int
    pieces: tuple[Piece, ...]

    @property
    def numbers(self) -> set[int]:
        """The jobs of the group that need it."""
        return {piece.number for piece in self.pieces}


class Ahead(NamedTuple):
    """Bytes read ahead, at most: of answers that wait to be copied, of jobs, and of the jobs of one group.

    ``gap``: bytes between two ranges of a shard that are read over.
    """

    in_flight: int
    jobs: int
    group: int
    gap: int


def ahead(read: ReadConfig, *, local: bool) -> Ahead:
    """Of a local file system every job is its own group, since neighbours cost nothing there."""
    if local:
        return Ahead(0, min(read.prefetch_bytes, LOCAL_AHEAD), 0, LOCAL_GAP)
    in_flight = read.prefetch_bytes // IN_FLIGHT
    jobs = read.prefetch_bytes - in_flight
    return Ahead(in_flight, jobs, jobs // 2, read.gap_bytes)


def cost(job: Job) -> int:
    """Bytes that a job counts for."""
    return max(spans(job)[1], JOB_COST)


def groups(jobs: Iterable[Job], limit: int) -> Iterator[list[Job]]:
    """The jobs that are planned together: as many as cost ``limit`` bytes, at least one.

    A group that costs half the limit ends where its shards end: the jobs of a window need all of its shards, in pieces,
    so that together they are whole shards. What the iterator raises is raised after the jobs before it.
    """
    group: list[Job] = []
    shards: set[str] = set()
    size = 0
    try:
        for job in jobs:
            apart = shards.isdisjoint(item.shard for item in job.items)
            if group and (size + cost(job) > limit or (apart and 2 * size >= limit)):
                yield group
                group, shards, size = [], set(), 0
            group.append(job)
            shards.update(item.shard for item in job.items)
            size += cost(job)
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group


Wanted = Callable[[int, int, int, MemberAt], bool]
"""Of (job, item, place in the job's buffer, member): whether the member is still to be read."""


def plan(jobs: Sequence[Job], *, gap: int, limit: int, wanted: Wanted = lambda *_: True) -> list[Request]:
    """The requests for the jobs of a group, those of earlier jobs first.

    Pieces of a shard at most ``gap`` bytes apart are one request of at most ``limit`` bytes; larger members are cut.
    """
    found: dict[str, list[Piece]] = defaultdict(list)
    for number, job in enumerate(jobs):
        for index, (item, places) in enumerate(zip(job.items, spans(job)[0], strict=True)):
            pieces = found[item.shard]
            for member, place in zip(item.members, places, strict=True):
                if member.size and wanted(number, index, place.start, member):
                    pieces += _cut(member, number, index, place.start, limit)
    requests = [request for shard, pieces in found.items() for request in _joined(shard, sorted(pieces), gap, limit)]
    return sorted(requests, key=lambda request: min(request.numbers))


def _cut(member: MemberAt, number: int, item: int, at: int, limit: int) -> Iterable[Piece]:
    if member.size <= limit:
        return [Piece(member.offset, member.size, number, item, at)]
    starts = range(0, member.size, limit)
    return [Piece(member.offset + i, min(limit, member.size - i), number, item, at + i) for i in starts]


def _joined(shard: str, pieces: Sequence[Piece], gap: int, limit: int) -> Iterable[Request]:
    first = 0
    for i, piece in enumerate(pieces):
        start = pieces[first].offset
        end = pieces[i - 1].offset + pieces[i - 1].size
        if i > first and not (0 <= piece.offset - end <= gap and piece.offset + piece.size - start <= limit):
            yield Request(shard, start, end - start, tuple(pieces[first:i]))
            first = i
    if pieces:
        start, last = pieces[first].offset, pieces[-1]
        yield Request(shard, start, last.offset + last.size - start, tuple(pieces[first:]))
