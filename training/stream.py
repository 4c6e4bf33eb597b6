"""A published dataset as packed micro-batches: one global order, any world size, exact resume (DESIGN section 8).

``python -m training.stream DATASET --budget N`` says what an epoch would be, without reading a sample.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import IterableDataset, get_worker_info

from training.batch import MicroBatch
from training.errors import UsageError
from training.streaming import report
from training.streaming.config import PlanConfig, ReadConfig, Task, plan_config
from training.streaming.deliver import Delivery, PlainDelivery
from training.streaming.holes import Holes
from training.streaming.index import Index
from training.streaming.plan import Plan, open_plan
from training.streaming.source import Source
from training.streaming.unindexed import find_shards, indexed

log = logging.getLogger(__name__)


class DesignStream(IterableDataset[MicroBatch]):
    """The micro-batches of one rank, of the rest of one epoch each time it is iterated.

    The order of an epoch is the same for every world size and number of workers: of the rounds of ``world_size``
    micro-batches after the position where it starts, a rank has one each; where the last round is short its micro-batch
    is empty, so that collectives stay aligned. Designs that are revoked, expired or rejected are left out when they are
    read, and shift nothing.

    ``tasks`` is one task, or weights by task (the paper's mix by default). ``workers`` are processes that decode,
    ``threads`` what each of them decodes with; 0 decodes in this process. With ``on_error="skip"`` samples that are
    damaged or cannot be read are left out, listed in ``skipped`` and reported at the end of the epoch. ``plan_dir``
    holds the plans of epochs, one file a host however many ranks. Other settings are those of ``PlanConfig``.

    In a ``DataLoader`` use ``batch_size=None`` and ``num_workers=0``: this stream has workers of its own. With workers
    of the loader the place of the stream in this process does not move: take the state from
    ``state_at(batch.position, batch.epoch)``, and load it before the loader is iterated again. One iterator of a
    stream lives at a time.

    Raises:
        UsageError: a setting is wrong, or there is no such dataset.
        StreamError: the data cannot be delivered; see ``training.errors``.
    """

    def __init__(
        self,
        dataset_url: str | Path | Sequence[str],
        *,
        split: str = "train",
        seed: int = 0,
        resolution: int = 512,
        token_budget: int = 32_768,
        tasks: Task | str | Mapping[Task | str, float] | None = None,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        threads: int = 1,
        decoder: str = "pixels",
        on_error: Literal["raise", "skip"] = "raise",
        read: ReadConfig | None = None,
        plan_dir: str | Path | None = None,
        storage_options: Mapping[str, Any] | None = None,
        today: datetime.date | None = None,
        **settings: Any,
    ) -> None:
        for name, value in (("seed", seed), ("rank", rank), ("world_size", world_size)):
            if type(value) is not int:
                raise UsageError(f"{name} is a whole number (int), not {value!r}")
        if not 0 <= rank < world_size:
            raise UsageError(f"rank {rank} is not one of a world of {world_size}: it goes from 0 to {world_size - 1}")
        if workers < 0 or threads < 1 or on_error not in ("raise", "skip"):
            raise UsageError("workers is 0 or more, threads 1 or more, on_error 'raise' or 'skip'")
        mix = plan_tasks(tasks)
        self.config = plan_config(split=split, resolution=resolution, token_budget=token_budget, tasks=mix, **settings)
        self.rank, self.world_size = rank, world_size
        self.seed, self.epoch = seed, 0
        self._start = self._position = self._iteration = 0
        self._spent = False
        self._decoder, self._workers, self._threads = decoder, workers, threads
        self._skip = on_error == "skip"
        self._read = read or ReadConfig()
        self._folder = Path(plan_dir) if plan_dir is not None else default_plan_dir()
        self._today = today
        self._urls = str(dataset_url) if isinstance(dataset_url, str | Path) else list(dataset_url)
        self._options = dict(storage_options or {})
        self._index: Index | None = None
        if indexed(self._urls, self._options):
            self._index = Index.open(Source(str(self._urls), self._options))
        else:
            find_shards(self._urls, self.config.split, self._options)
        self._made: tuple[tuple[int, int], Plan] | None = None
        self.skipped: list[tuple[str, str]] = []
        self._skipped_before = 0
        self.holes: Counter[str] = Counter()

    @property
    def fingerprint(self) -> str:
        """The hash of the dataset's content."""
        return self._indexed.fingerprint

    @property
    def skipped_so_far(self) -> int:
        """How many samples were skipped in all epochs of this stream."""
        return self._skipped_before + len(self.skipped)

    @property
    def _indexed(self) -> Index:
        if self._index is None:
            raise UsageError(f"{self._urls} has no index, so it has no plan and no state")
        return self._index

    def plan(self) -> Plan:
        """The plan of the present epoch; made at the first call on a host, which takes a while for a large dataset."""
        wanted = (self.seed, self.epoch)
        if self._made is None or self._made[0] != wanted:
            self._made = (wanted, open_plan(self._indexed, self.config, self.seed, self.epoch, self._folder))
        return self._made[1]

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which opens the plan for itself: the file may be gone by then."""
        return {**self.__dict__, "_made": None}

    def __len__(self) -> int:
        """Micro-batches that this rank yields in the rest of the present epoch, empty ones too.

        Raises TypeError where there is no index, as of any iterable without a length.
        """
        if self._index is None:
            raise TypeError(f"{self._urls} has no index, so it has no length")
        return max(0, self._rounds(self.plan(), self._position))

    def __iter__(self) -> Iterator[MicroBatch]:
        self._iteration += 1
        yield from self._planned(self._index) if self._index is not None else self._plain()

    def _planned(self, index: Index) -> Iterator[MicroBatch]:
        info = get_worker_info()
        stride, offset = (info.num_workers, info.id) if info is not None else (1, 0)
        if info is not None:  # a lock of the process that this one was forked from may be held for ever
            self._index = index = Index(index.source, index.dataset)
        plan, start, iteration = self._begin(), self._position, self._iteration
        self._start = start
        positions = [
            start + number * self.world_size + self.rank for number in range(offset, self._rounds(plan, start), stride)
        ]
        delivery = Delivery(
            index.source, index, self._withdrawn(index.source), self.config, self.seed, self._read, self._decoder,
            self._workers, self._threads, self._skip, self.skipped, self.holes,
        )  # fmt: skip
        try:
            with closing(delivery.deliver(plan, self.epoch, positions)) as delivered:
                for done, (position, decoded) in enumerate(zip(positions, delivered, strict=True), 1):
                    if iteration != self._iteration:
                        raise UsageError("this stream is iterated anew: one iterator at a time, or its place is lost")
                    self._position = start + done * stride * self.world_size
                    yield MicroBatch.of(decoded, position, self.epoch)
        finally:
            self._report()
        if info is None:
            self._position = max(self._position, len(plan))
        else:
            self.epoch, self._position = self.epoch + 1, 0

    def _plain(self) -> Iterator[MicroBatch]:
        info = get_worker_info()
        parts, part = (info.num_workers, info.id) if info is not None else (1, 0)
        self._forget()
        delivery = PlainDelivery(
            self._urls, self._options, self._withdrawn(None), self.config, self.seed, self.rank * parts + part,
            self.world_size * parts, self._decoder, self._threads, self._skip, self.skipped, self.holes,
        )  # fmt: skip
        for position, decoded in enumerate(delivery.deliver(self.epoch)):
            yield MicroBatch.of(decoded, position, self.epoch)
        self._report()
        self.epoch += 1

    def _withdrawn(self, source: Source | None) -> Holes:
        today = self._today or datetime.datetime.now(datetime.UTC).date()
        return Holes.load(source, today) if source is not None else Holes(today)

    def _rounds(self, plan: Plan, start: int) -> int:
        return -(-(len(plan) - start) // self.world_size)

    def _begin(self) -> Plan:
        """The plan to go on with; after the end of an epoch that of the next."""
        plan = self.plan()
        if len(plan) == 0:
            raise UsageError(f"no sample of the split {self.config.split!r} can be used for {self.config.wanted_tasks}")
        if self._position >= len(plan) and not self._spent:
            self.epoch, self._position = self.epoch + 1, 0
            plan = self.plan()
        self._spent = False
        if self._position == 0:
            self._forget()
        return plan

    def _forget(self) -> None:
        """What was left out of the epoch before."""
        self._skipped_before += len(self.skipped)
        self.skipped.clear()
        self.holes.clear()

    def _report(self) -> None:
        if self.holes:
            log.info("epoch %d: %s", self.epoch, _counted("left out", self.holes))
        if self.skipped:
            example = self.skipped[0][1]
            log.warning("epoch %d: %d samples were skipped, the first: %s", self.epoch, len(self.skipped), example)

    def state_dict(self) -> dict[str, Any]:
        """Where this stream is: the same on every rank after equally many micro-batches; good for any world size."""
        return self._state(self.epoch, self._position)

    def state_at(self, position: int, epoch: int | None = None) -> dict[str, Any]:
        """The state after this rank has used the micro-batch of ``position``: for a loader that reads ahead."""
        epoch = self.epoch if epoch is None else epoch
        start = self._start if epoch == self.epoch else 0
        if position < start:
            raise UsageError(f"micro-batch {position} is before {start}, where this stream began")
        return self._state(epoch, start + ((position - start) // self.world_size + 1) * self.world_size)

    def _state(self, epoch: int, position: int) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "plan": self.config.hash(),
            "seed": self.seed,
            "epoch": epoch,
            "position": position,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after ``state``, at any world size. A state at the end of an epoch begins the next.

        Raises:
            UsageError: the state is of another dataset or another plan, or is no state.
        """
        names = set(self._state(0, 0))
        numbers = [state.get(name) for name in ("seed", "epoch", "position")]
        if set(state) != names or not all(type(number) is int for number in numbers):
            raise UsageError(f"this is no state of a stream, which has {', '.join(sorted(names))}")
        if state["fingerprint"] != self.fingerprint:
            raise UsageError(
                f"the state is of a dataset with fingerprint {state['fingerprint']}, {self._urls} has "
                f"{self.fingerprint}: open the dataset (or the generation) that it was made with"
            )
        if state["plan"] != self.config.hash() and state["position"] != 0:
            raise UsageError(
                f"the state is in the middle of an epoch of plan {state['plan']}, these settings give plan "
                f"{self.config.hash()}: keep {', '.join(PlanConfig.model_fields)} as they were, or load the state with "
                f"epoch {state['epoch'] + 1} and position 0"
            )
        if min(state["epoch"], state["position"]) < 0:
            raise UsageError("a state's epoch and position are 0 or more")
        self.seed, self.epoch = state["seed"], state["epoch"]
        self._start = self._position = state["position"]
        # A loader's worker may have had its last batch of an epoch that others are still in.
        self._spent = get_worker_info() is not None and state["position"] >= len(self.plan())
        self._iteration += 1


def plan_tasks(tasks: Task | str | Mapping[Task | str, float] | None) -> dict[str, float] | None:
    """Weights by task from what a user gives: one task, weights, or nothing for the paper's mix."""
    if tasks is None:
        return None
    return {tasks: 1.0} if isinstance(tasks, str) else {str(name): weight for name, weight in tasks.items()}


def default_plan_dir() -> Path:
    """``$ACETATE_CACHE/plans``, or below the user's cache directory."""
    ours, users = os.environ.get("ACETATE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(ours) if ours else Path(users or Path.home() / ".cache") / "acetate") / "plans"
    except RuntimeError:
        raise UsageError("this user has no home for plans: set plan_dir, or ACETATE_CACHE") from None


def _counted(what: str, counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}: {reason}" for reason, number in sorted(counts.items()))


def main() -> int:
    """The dry run."""
    parser = argparse.ArgumentParser(prog="python -m training.stream", description=report.__doc__)
    report.add_arguments(parser)
    return report.run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
