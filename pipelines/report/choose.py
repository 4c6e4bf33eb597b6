"""Which designs the gallery shows: the same ones for the same dataset, spread over splits, formats and layer counts."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.report.tables import Place

FAILING_SHARE = 4
"""At most one design in this many is shown because an expectation names it."""

Stratum = tuple[int, str, str]
"""Minus the octave of the number of layers (2 and 3 layers are one octave, 4 to 7 the next), the split, the format."""


@dataclass
class Chooser:
    """Gathers candidates in one pass, at most ``limit`` a stratum, lowest id first: an id is a hash."""

    limit: int
    wanted: Collection[str] = ()
    strata: dict[Stratum, list[tuple[str, Place]]] = field(default_factory=dict)
    named: dict[str, Place] = field(default_factory=dict)

    def add(self, place: Place, columns: Mapping[str, Sequence[Any]]) -> None:
        """Take in one row group: columns ``key``, ``split``, ``format``, ``layers``."""
        rows: dict[Stratum, list[tuple[str, Place]]] = {}
        names = ("key", "split", "format", "layers")
        for key, split, kind, layers in zip(*(columns[name] for name in names), strict=True):
            rows.setdefault((-int(layers).bit_length(), split, kind), []).append((key, place))
            if key in self.wanted:
                self.named[key] = place
        for stratum, found in rows.items():
            self.strata[stratum] = heapq.nsmallest(self.limit, [*self.strata.get(stratum, []), *found])

    def chosen(self) -> dict[str, Place]:
        """The gallery in the order shown: each stratum in turn, many layers first; then what expectations name."""
        named = dict(sorted(self.named.items())[: self.limit // FAILING_SHARE])
        places: dict[str, Place] = {}
        queues = [list(reversed(found)) for _, found in sorted(self.strata.items())]
        while any(queues):
            for queue in queues:
                if queue and len(places.keys() | named.keys()) < self.limit:
                    key, place = queue.pop()
                    places[key] = place
                else:
                    queue.clear()
        return places | named
