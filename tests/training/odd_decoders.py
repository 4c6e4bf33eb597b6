"""Decoders of a user's own, named by ``module:Class``: one that fails, one that answers at length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.streaming.config import PlanConfig, Task
from training.streaming.jobs import Allocate, Decoded, Job, Loaded


class Plain:
    """Delivers the bytes of the records, and a long prompt for each."""

    def __init__(self, config: PlanConfig, seed: int, withdrawn: frozenset[str]) -> None:
        self.prompt = "prompt " * 30_000

    def members(self, names: Sequence[str], task: Task) -> list[str]:
        return [name for name in names if name == "json"]

    def decode(self, job: Job, loaded: Sequence[Loaded], allocate: Allocate) -> Decoded:
        records = [bytes(one.members["json"]) for one in loaded]
        arrays = allocate({"records": ((sum(map(len, records)),), np.uint8)})
        arrays["records"][...] = np.frombuffer(b"".join(records), np.uint8)
        keys = tuple(one.item.key for one in loaded)
        return Decoded(keys, tuple(one.item.task for one in loaded), (self.prompt,) * len(keys), arrays)


class Failing(Plain):
    """Has a mistake."""

    def decode(self, job: Job, loaded: Sequence[Loaded], allocate: Allocate) -> Decoded:
        raise ZeroDivisionError("a mistake of the user")
