"""What the index says about all designs, gathered in one pass over its narrow columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INDEX_COLUMNS = (
    "key", "split", "layers", "kinds", "lowerings", "reusable", "overflow_share", "text_languages", "licence",
    "licensor", "expires", "format", "recompose_mae", "restyles",
)  # fmt: skip
MAE_BIN = 0.1  # 1/255


@dataclass
class Statistics:
    """Counts over the samples of a dataset. ``mae`` counts designs by recomposition error in steps of ``MAE_BIN``."""

    designs: int = 0
    overflowing: int = 0
    reusable: int = 0
    restyled: int = 0
    layer_counts: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    lowerings: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    mae: Counter[int] = field(default_factory=Counter)
    licensors: Counter[tuple[str, str]] = field(default_factory=Counter)
    expiries: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        return sum(count * designs for count, designs in self.layer_counts.items())

    def add(self, columns: Mapping[str, list[Any]]) -> None:
        """Count one row group of ``INDEX_COLUMNS``."""
        self.designs += len(columns["key"])
        self.overflowing += sum(share > 0 for share in columns["overflow_share"])
        self.restyled += sum(len(layers) for layers in columns["restyles"])
        self.layer_counts.update(columns["layers"])
        self.formats.update(columns["format"])
        self.mae.update(int(error / MAE_BIN) for error in columns["recompose_mae"])
        for kinds, lowerings, reusable in zip(columns["kinds"], columns["lowerings"], columns["reusable"], strict=True):
            self.kinds.update(kinds)
            self.lowerings.update(lowerings)
            self.reusable += sum(reusable)
        for languages in columns["text_languages"]:
            self.languages.update(languages)
        for licence, licensor, expires in zip(columns["licence"], columns["licensor"], columns["expires"], strict=True):
            self.licensors[licence, licensor] += 1
            if expires:
                self.expiries[licence, licensor] = min(expires, self.expiries.get((licence, licensor), expires))


@dataclass(frozen=True)
class Bar:
    """A bar of a chart: ``share`` of the whole, ``size`` relative to the longest bar, both 0..1."""

    label: str
    count: int
    share: float
    size: float


def bars(counts: Mapping[str, int], *, limit: int = 12) -> list[Bar]:
    """Bars of named counts, largest first; what is over ``limit`` becomes one bar."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) > limit:
        rest = ordered[limit - 1 :]
        ordered = [*ordered[: limit - 1], (f"{len(rest)} others", sum(count for _, count in rest))]
    return _bars(ordered)


def histogram(counts: Mapping[int, int], *, bins: int = 24, scale: float = 1.0) -> list[Bar]:
    """Bars of the values of ``counts`` from the lowest to the highest, at most ``bins`` wide steps of equal width.

    ``scale`` turns a value into what its label says (a value of 3 and a scale of 0.1 is "0.3").
    """
    if not counts:
        return []
    low, high = min(counts), max(counts)
    width = -(-(high - low + 1) // bins)
    ordered = []
    for start in range(low, high + 1, width):
        last = min(start + width - 1, high)
        label = f"{start * scale:g}" if width == 1 or last == start else f"{start * scale:g}–{last * scale:g}"
        ordered.append((label, sum(counts.get(value, 0) for value in range(start, last + 1))))
    return _bars(ordered)


def _bars(ordered: list[tuple[str, int]]) -> list[Bar]:
    total = sum(count for _, count in ordered) or 1
    longest = max((count for _, count in ordered), default=0) or 1
    return [Bar(label, count, count / total, count / longest) for label, count in ordered]
