"""From planned positions to decoded micro-batches, in order: here or in worker processes, damage named or left out."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from training.errors import DamageError, StreamError
from training.streaming.config import PlanConfig, ReadConfig
from training.streaming.decode import make_decoder
from training.streaming.fetch import Fetched, Fetcher
from training.streaming.holes import Holes
from training.streaming.index import Index
from training.streaming.jobs import Arrays, Decoded, Decoder, Job, Loaded
from training.streaming.plan import Plan
from training.streaming.planned import planned_job
from training.streaming.source import Source
from training.streaming.unindexed import unindexed_jobs
from training.streaming.verify import Damaged, verified
from training.streaming.worker import arrays, place
from training.streaming.workers import Answer, WorkerPool

REREADS = 2
"""Times that bytes which proved damaged are read anew: they may have been damaged on the way."""

Retry = Callable[[Fetched | None, Mapping[int, str]], Answer]
"""Decodes a job once more: from other bytes or those at hand, without some items."""


@dataclass
class Delivery:
    """Reads, checks and decodes. ``skipped`` and ``holes`` say what is missing from what was delivered."""

    source: Source
    index: Index
    withdrawn: Holes
    config: PlanConfig
    seed: int
    read: ReadConfig = field(default_factory=ReadConfig)
    decoder: str = "pixels"
    workers: int = 0
    threads: int = 1
    skip_damage: bool = False
    skipped: list[tuple[str, str]] = field(default_factory=list)
    holes: Counter[str] = field(default_factory=Counter)

    def deliver(self, plan: Plan, epoch: int, positions: Sequence[int]) -> Generator[Decoded, None, None]:
        """The micro-batches at ``positions``, in their order; beyond the plan's end they are empty.

        Raises:
            ReadError: a shard is missing, too short or cannot be read; DamageError: its bytes are not those that the
                index promises; neither under ``skip_damage``, where such samples are left out and listed.
            WorkerError: a worker process is gone.
        """
        decoder = make_decoder(self.decoder, self.config, self.seed, self.withdrawn.withdrawn, threads=self.threads)
        holes: deque[Iterable[str]] = deque()

        def jobs() -> Iterator[Job]:
            for position in positions:
                job, left_out = planned_job(self.index, plan, decoder, self.withdrawn, epoch, position)
                holes.append(left_out)
                yield job

        with closing(self._pooled(jobs()) if self.workers else self._inline(decoder, jobs())) as delivered:
            for decoded in delivered:
                self.skipped.extend(decoded.dropped)
                self.holes.update(holes.popleft())
                self.holes.update(reason for _, reason in decoded.holes)
                yield decoded

    def _inline(self, decoder: Decoder, jobs: Iterator[Job]) -> Generator[Decoded, None, None]:
        with Fetcher(self.source, self.read) as fetcher, closing(fetcher.fetch(jobs)) as fetching:
            for fetched in fetching:
                unread, decode = self._unread(fetched), _Here(decoder, fetched)
                yield self._settle(fetcher, fetched.job, decode(None, unread), unread, decode)
                fetched.release()

    def _pooled(self, jobs: Iterator[Job]) -> Generator[Decoded, None, None]:
        hello = {
            "decoder": self.decoder,
            "config": self.config.model_dump(mode="json"),
            "seed": self.seed,
            "withdrawn": sorted(self.withdrawn.withdrawn),
            "threads": self.threads,
        }
        with (
            closing(WorkerPool(self.workers, hello, self.read.prefetch_bytes)) as pool,
            Fetcher(self.source, self.read, pool.allocate, pool.free) as fetcher,
            closing(pool.feed(fetcher.fetch(jobs), self._unread)) as turns,
        ):
            for turn, job, unread in turns:
                retry = partial(pool.again, turn, job)
                decoded = self._settle(fetcher, job, pool.answer(turn, job), unread, retry)
                pool.settle(job)
                yield decoded

    def _unread(self, fetched: Fetched) -> dict[int, str]:
        """The items of a job that could not be read, and why. Raises the first error unless they are skipped."""
        if fetched.errors and not self.skip_damage:
            raise fetched.errors[min(fetched.errors)]
        return {item: str(error) for item, error in fetched.errors.items()}

    def _settle(self, fetcher: Fetcher, job: Job, answer: Answer, without: Mapping[int, str], retry: Retry) -> Decoded:
        """What came of a job in the end: damaged bytes are read anew, what stays damaged is raised or left out."""
        dropped, rereads = dict(without), 0
        while answer.decoded is None:
            fetched = None
            if answer.error is not None:
                dropped |= self._culprit(job, answer.error, dropped)
            elif rereads == REREADS:
                dropped |= self._given_up(job, answer.damaged)
            else:
                rereads += 1
                fetched = fetcher.again(job, answer.damaged)
                dropped |= self._unread(fetched)
            answer = retry(fetched, dropped)
        lost = [(job.items[item].key, reason) for item, reason in sorted(dropped.items())]
        return replace(answer.decoded, dropped=[*answer.decoded.dropped, *lost])

    def _culprit(self, job: Job, error: StreamError, dropped: Mapping[int, str]) -> dict[int, str]:
        """The item of a job that cannot be decoded, and why. Raises ``error`` unless it can be skipped."""
        key = error.key if isinstance(error, DamageError) else None
        for number, item in enumerate(job.items):
            if item.key == key and number not in dropped:
                message = f"{self.source.url_of(item.shard)}: {error}"
                if not self.skip_damage:
                    raise DamageError(message, key)
                return {number: message}
        raise error

    def _given_up(self, job: Job, damaged: Sequence[Damaged]) -> dict[int, str]:
        """What stays damaged after REREADS, by item. Raises unless it is skipped."""
        out: dict[int, str] = {}
        for number, at in damaged:
            item = job.items[number]
            member = item.members[at]
            message = (
                f"{self.source.url_of(item.shard)}: bytes {member.offset} to {member.offset + member.size} are not "
                f"{item.key}.{member.name} as the index has it (expected sha256 {member.sha256}): the shard or the "
                "index is damaged; acetate validate tells which"
            )
            if not self.skip_damage:
                raise DamageError(message, item.key)
            out.setdefault(number, message)
        return out


@dataclass
class PlainDelivery:
    """Micro-batches of tars without an index, as ``unindexed`` packs them; ``skipped`` and ``holes`` as above."""

    urls: str | Sequence[str]
    options: Mapping[str, Any]
    withdrawn: Holes
    config: PlanConfig
    seed: int
    rank: int
    world_size: int
    decoder: str = "pixels"
    threads: int = 1
    skip_damage: bool = False
    skipped: list[tuple[str, str]] = field(default_factory=list)
    holes: Counter[str] = field(default_factory=Counter)

    def deliver(self, epoch: int) -> Iterator[Decoded]:
        """The micro-batches of this rank. Raises as ``unindexed_jobs`` and ``Decoder.decode``."""
        decoder = make_decoder(self.decoder, self.config, self.seed, self.withdrawn.withdrawn, threads=self.threads)
        jobs = unindexed_jobs(
            self.urls, self.config, self.seed, epoch, rank=self.rank, world_size=self.world_size, decoder=decoder,
            options=self.options, withdrawn=self._withdrawn, on_damage=self._skip if self.skip_damage else None,
        )  # fmt: skip
        for job, loaded in jobs:
            yield self._decode(decoder, job, loaded)

    def _decode(self, decoder: Decoder, job: Job, loaded: Sequence[Loaded]) -> Decoded:
        try:
            return decoder.decode(job, loaded, allocate)
        except DamageError as error:
            good = [one for one in loaded if one.item.key != error.key]
            if not self.skip_damage or len(good) == len(loaded):
                raise
            self._skip(error)
            return self._decode(decoder, job, good)

    def _withdrawn(self, key: str, expires: str | None) -> str | None:
        reason = self.withdrawn.reason(key, expires)
        if reason is not None:
            self.holes[reason] += 1
        return reason

    def _skip(self, error: StreamError) -> None:
        self.skipped.append((getattr(error, "key", None) or "", str(error)))


@dataclass
class _Here:
    """Checks and decodes what was fetched in this process: a ``Retry``."""

    decoder: Decoder
    fetched: Fetched

    def __call__(self, fetched: Fetched | None, without: Mapping[int, str]) -> Answer:
        self.fetched = fetched or self.fetched
        loaded, damaged = verified(self.fetched.job, self.fetched.buffer, without)
        if damaged:
            return Answer(damaged=damaged)
        try:
            return Answer(self.decoder.decode(self.fetched.job, loaded, allocate))
        except StreamError as error:
            return Answer(error=error)


def allocate(wanted: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> Arrays:
    """Arrays in this process's own memory: an ``Allocate``."""
    places, size = place(wanted)
    return arrays(np.empty(size, np.uint8), places)
