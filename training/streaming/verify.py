"""The check of what was read: every member against the hash that the index promises."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from training.streaming.jobs import Job, Loaded, spans

Damaged = tuple[int, int]
"""(item, member): which member of which item of a job."""


def verified(job: Job, buffer: memoryview, without: Collection[int] = ()) -> tuple[list[Loaded], list[Damaged]]:
    """The samples of a job as views of its one ``buffer``, and the members that are not what the index promises.

    The items of ``without`` are left out unseen.
    """
    loaded, damaged = [], []
    places, _ = spans(job)
    for number, (item, slices) in enumerate(zip(job.items, places, strict=True)):
        if number in without:
            continue
        members = {}
        for at, (member, place) in enumerate(zip(item.members, slices, strict=True)):
            data = buffer[place]
            if hashlib.sha256(data).hexdigest() != member.sha256:
                damaged.append((number, at))
            members[member.name] = data
        loaded.append(Loaded(item, members))
    return loaded, damaged
