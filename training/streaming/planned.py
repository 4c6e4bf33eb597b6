"""A planned micro-batch as a job: its samples located, the holes among them left out, the members they need chosen."""

from __future__ import annotations

from collections import Counter

from training.streaming.holes import Holes
from training.streaming.index import Index
from training.streaming.jobs import Decoder, Item, Job
from training.streaming.plan import Plan


def planned_job(
    index: Index, plan: Plan, decoder: Decoder, holes: Holes, epoch: int, position: int
) -> tuple[Job, Counter[str]]:
    """The job of a position, which is empty beyond the plan's end, and how many of its samples are holes, by reason.

    Raises:
        DamageError: the plan or the index is damaged.
    """
    draws = plan[position] if position < len(plan) else ()
    items, left_out = [], Counter[str]()
    for draw, found in zip(draws, index.locate([draw.row for draw in draws]), strict=True):
        if (reason := holes.reason(found.key, found.expires)) is not None:
            left_out[reason] += 1
            continue
        wanted = set(decoder.members([member.name for member in found.members], draw.task))
        members = tuple(member for member in found.members if member.name in wanted)
        items.append(Item(found.key, draw.task, draw.partition, draw.tokens, found.shard, members))
    return Job(epoch, position, tuple(items)), left_out
