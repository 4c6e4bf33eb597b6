"""Which designs the gallery shows: the same ones for the same dataset, spread over splits and formats."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.report.tables import Place

FAILING_SHARE = 4
"""At most one design in this many is shown because an expectation names it."""


@dataclass
class Chooser:
    """Gathers candidates in one pass, at most ``limit`` a (split, format), lowest id first: an id is a hash."""

    limit: int
    wanted: Collection[str] = ()
    strata: dict[tuple[str, str], list[tuple[str, Place]]] = field(default_factory=dict)
    named: dict[str, Place] = field(default_factory=dict)

    def add(self, place: Place, columns: Mapping[str, Sequence[Any]]) -> None:
        """Take in one row group: columns ``key``, ``split``, ``format``."""
        rows: dict[tuple[str, str], list[tuple[str, Place]]] = {}
        for key, split, kind in zip(columns["key"], columns["split"], columns["format"], strict=True):
            rows.setdefault((split, kind), []).append((key, place))
            if key in self.wanted:
                self.named[key] = place
        for stratum, found in rows.items():
            self.strata[stratum] = heapq.nsmallest(self.limit, [*self.strata.get(stratum, []), *found])

    def chosen(self) -> dict[str, Place]:
        """The gallery in the order shown: designs that expectations name, then each (split, format) in turn."""
        places = dict(sorted(self.named.items())[: self.limit // FAILING_SHARE])
        queues = [list(reversed(found)) for _, found in sorted(self.strata.items())]
        while len(places) < self.limit and any(queues):
            for queue in queues:
                if queue and len(places) < self.limit:
                    key, place = queue.pop()
                    places.setdefault(key, place)
        return places
