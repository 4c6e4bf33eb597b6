"""The plan of an epoch: which micro-batch holds which samples, as one memory-mapped file a host."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.design import canonical_json
from training.streaming.config import PLAN_VERSION, TASKS, PlanConfig
from training.streaming.draws import hashed, salt
from training.streaming.hostfile import alone, host_folder, keep_newest, used, written_whole
from training.streaming.index import Index
from training.streaming.order import windows
from training.streaming.packing import pack_window
from training.streaming.planfile import Head, Plan, PlanFileError, Summary, read_plan, write_plan
from training.streaming.survey import Progress, Steps, Survey, check_unique, survey

__all__ = ["KEPT_PLANS", "Plan", "Progress", "Summary", "open_plan"]

KEPT_PLANS = 4
_log = logging.getLogger(__name__)


def open_plan(
    index: Index,
    config: PlanConfig,
    seed: int,
    epoch: int,
    folder: Path,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Plan:
    """The plan of an epoch, from ``folder`` where it is there, else made by the first process of the host that asks.

    ``progress`` is called while it is made. The KEPT_PLANS plans that were opened last are kept, of each host, as hosts
    may share a folder. The index then knows its parts' rows without opening them.

    Raises:
        UsageError: the folder cannot be written. DamageError: the index is damaged, or has a sample twice.
            ReadError.
    """
    inputs = _inputs(index, config, seed, epoch)
    folder = host_folder(folder)
    path = folder / f"plan-{inputs[:32]}.bin"
    plan = _existing(path, inputs)
    if plan is None:
        with alone(folder, "plans.lock", "plans"):
            plan = _existing(path, inputs)
            if plan is None:
                keep_newest(folder, "plan-*.bin", KEPT_PLANS - 1)
                _build(index, config, seed, epoch, path, inputs, progress, threads)
                plan = read_plan(path, inputs)
    index.remember([rows for _, rows in plan.parts], folder, plan.window)
    return plan


def _inputs(index: Index, config: PlanConfig, seed: int, epoch: int) -> str:
    """Hash of all that decides a plan. The index's names too: rows of an index of other generations are others."""
    inputs = [PLAN_VERSION, index.fingerprint, list(index.parts), config.hash(), seed, epoch]
    return hashlib.sha256(canonical_json(inputs)).hexdigest()


def _existing(path: Path, inputs: str) -> Plan | None:
    try:
        plan = read_plan(path, inputs)
        used(path)
    except OSError:
        return None
    except PlanFileError as error:
        _log.warning("%s is damaged (%s) and made anew", path, error)
        return None
    return plan


def _build(
    index: Index,
    config: PlanConfig,
    seed: int,
    epoch: int,
    path: Path,
    inputs: str,
    progress: Progress | None,
    threads: int | None,
) -> None:
    """Two steps a row of the index: one to read it, one to pack it."""
    total = sum(index.counts)
    steps = Steps(2 * total, progress)
    found = survey(index, config, seed, epoch, steps, threads)
    check_unique(index, found)
    steps.add(total - len(found.rows))
    samples, starts, window = _pack(found, config, seed, epoch, steps)
    parts = tuple(zip(index.parts, index.counts, strict=True))
    head = Head(inputs=inputs, parts=parts, summary=_summary(found, starts, config), window=window)
    with written_whole(path, "plans") as temporary:
        arrays = (found.rows, found.tokens, found.partitions, found.tasks)
        write_plan(temporary, head, starts, *(array[samples] for array in arrays))


def _pack(
    found: Survey, config: PlanConfig, seed: int, epoch: int, steps: Steps
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], int]:
    """The samples [N] as places in ``found``, micro-batch by micro-batch, where each of these M starts [M + 1], and the
    samples of the largest window.

    What is drawn for a window is drawn by its place in the order, which is the same however the index is sorted.
    """
    shuffle, runs = salt(seed, epoch, "window"), salt(seed, epoch, "runs")
    samples, sizes, last, largest = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0, 0
    for number, window in enumerate(windows(found.paths, found.shards, config.window, seed, epoch)):
        keys, tokens = hashed(found.keys[window], shuffle), found.tokens[window].astype(np.int64)
        placed, counts, last = pack_window(tokens, keys, config, runs ^ number << 32, last)
        samples.append(window[placed])
        sizes.append(counts)
        largest = max(largest, len(window))
        steps.add(len(window))
    starts = np.cumsum(np.concatenate([[0], *sizes]), dtype=np.uint32)
    return np.concatenate(samples), starts, largest


def _summary(found: Survey, starts: npt.NDArray[np.uint32], config: PlanConfig) -> Summary:
    tokens = found.tokens.astype(np.int64)
    over = int(np.count_nonzero(tokens > config.token_budget))
    room = (len(starts) - 1) * config.token_budget
    return Summary(
        samples=len(tokens),
        ineligible=found.ineligible,
        scaled_down=found.scaled_down,
        over_budget=over,
        micro_batches=len(starts) - 1,
        tokens=int(tokens.sum()),
        useful_share=float(np.minimum(tokens, config.token_budget).sum() / room) if room else 0.0,
        samples_by_task={task: int(np.count_nonzero(found.tasks == i)) for i, task in enumerate(TASKS)},
        tokens_by_task={task: int(tokens[found.tasks == i].sum()) for i, task in enumerate(TASKS)},
    )
