"""Which ranges of which shards are read for some micro-batches, and where in their buffers each part goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from training.streaming.jobs import Job, MemberAt, spans


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
