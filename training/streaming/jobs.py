"""What the parts of the stream hand to each other: a planned micro-batch, its bytes, and what was decoded from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from training.streaming.config import Task

Bytes = bytes | bytearray | memoryview
ALIGNMENT = 64
BF16 = "_bf16"
"""Ends the name of an array of uint16 that are bfloat16, which numpy has no type for."""
Arrays = dict[str, npt.NDArray[Any]]


class MemberAt(NamedTuple):
    """``schemas.index.Member`` without its checks, which the index does for all at once: there are many."""

    name: str
    offset: int
    size: int
    sha256: str


class Draw(NamedTuple):
    """One sample of a plan: its row in the index (over all parts), its task, its partition (-1: none), its tokens."""

    row: int
    task: Task
    partition: int
    tokens: int


@dataclass(frozen=True)
class Item:
    """A sample of a job, and the members that its task needs, in the order of their offsets."""

    key: str
    task: Task
    partition: int
    tokens: int
    shard: str
    members: tuple[MemberAt, ...]

    @property
    def bytes(self) -> int:
        return sum(member.size for member in self.members)


@dataclass(frozen=True)
class Job:
    """A micro-batch to be read and decoded. ``position`` is its place in the epoch's global order."""

    epoch: int
    position: int
    items: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A sample's members as read and checked, by name (``json``, ``layer_00.webp``, ...)."""

    item: Item
    members: Mapping[str, Bytes]


@dataclass
class Decoded:
    """A micro-batch as arrays. ``keys``, ``tasks`` and ``prompts`` are of the designs in it, one each.

    ``holes`` are samples that were withdrawn, ``dropped`` those that could not be used, each with the reason.
    """

    keys: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    prompts: tuple[str, ...] = ()
    arrays: Arrays = field(default_factory=dict)
    holes: Sequence[tuple[str, str]] = ()
    dropped: Sequence[tuple[str, str]] = ()


Allocate = Callable[[Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]], Arrays]
"""Gives uninitialised arrays of the (shape, dtype) by name; a worker's lie in memory that its parent sees."""


class Decoder(Protocol):
    """Turns the members of samples into the arrays of a micro-batch. Made anew in each worker process."""

    def members(self, names: Sequence[str], task: Task) -> list[str]:
        """Which of a sample's members the task needs."""

    def decode(self, job: Job, loaded: Sequence[Loaded], allocate: Allocate) -> Decoded:
        """Decode the samples of a job, in order.

        Raises:
            DamageError: a sample cannot be decoded; ``key`` says which.
        """


def spans(job: Job) -> tuple[list[list[slice]], int]:
    """Where each member of each item lies in the one buffer of a job, and the buffer's size in bytes.

    Members lie back to back in the order of items and members, each at a multiple of ALIGNMENT.
    """
    out, at = [], 0
    for item in job.items:
        places = []
        for member in item.members:
            places.append(slice(at, at + member.size))
            at += -(-member.size // ALIGNMENT) * ALIGNMENT
        out.append(places)
    return out, at
