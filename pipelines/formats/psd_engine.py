"""Engine data, the dictionaries in which Photoshop keeps its typography: safe look-ups and inherited style sheets.

Nothing in it can be trusted: every look-up gives None for what is absent, of another type or out of bounds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from psd_tools.psd.base import DictElement, ListElement

from pipelines.formats.bounds import RUNS

_LENGTH = 2**31

_NAMES = (
    "en fi fr fr de de de it nb nn pt pt es sv en nl da ca ru uk bg sr cs pl ro el tr is hu zh ja hr he sl be sq lt lv "
    "sk ar et fa de nl de en th vi lo hi mr bn pa gu or ta te kn ml"
)
LANGUAGES = tuple(_NAMES.split())
"""BCP 47 language of each number of a run's ``Language``, in the order of Adobe's text engine."""


def at(data: Any, *path: str | int) -> Any:
    """The value at a path of keys and indices; None where there is none."""
    for step in path:
        if isinstance(step, int):
            data = data[step] if isinstance(data, (list, ListElement)) and 0 <= step < len(data) else None
        else:
            data = data.get(step) if isinstance(data, (dict, DictElement)) else None
    return getattr(data, "value", data)


def real(value: Any, low: float, high: float) -> float | None:
    """A number of ``low`` .. ``high``; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if low <= value <= high else None


def numbers(values: Any, most: int) -> tuple[float, ...] | None:
    """At most ``most`` finite numbers; None where there is none, or one is none."""
    if not isinstance(values, (list, ListElement)):
        return None
    found = [real(getattr(value, "value", value), -1e9, 1e9) for value in list(values)[:most]]
    kept = tuple(value for value in found if value is not None)
    return kept if kept and len(kept) == len(found) else None


@dataclass(frozen=True)
class Sheet:
    """A style sheet above those it inherits from; each with the px that one unit of its lengths has."""

    layers: tuple[tuple[Any, float], ...] = ()

    def get(self, key: str) -> Any:
        """The first value that is set, from the top sheet down."""
        return next((value for data, _ in self.layers if (value := at(data, key)) is not None), None)

    def whole(self, key: str) -> int | None:
        """A number that chooses one of several things."""
        value = self.get(key)
        return value if isinstance(value, int) else None

    def number(self, key: str, low: float, high: float) -> float | None:
        return next((v for data, _ in self.layers if (v := real(at(data, key), low, high)) is not None), None)

    def length(self, key: str) -> float | None:
        """A length in px, before any transform."""
        for data, unit in self.layers:
            value = real(at(data, key), -1e6, 1e6)
            if value is not None:
                return value * unit
        return None

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key)
        return value if isinstance(value, bool) else default


@dataclass(frozen=True)
class Runs:
    """Stretches of a text that share a sheet: ``ends`` are indices of characters, one a sheet."""

    ends: tuple[int, ...]
    sheets: tuple[Sheet, ...]

    def sheet(self, index: int) -> Sheet:
        """The sheet of the character at ``index``."""
        return self.sheets[min(bisect_left(self.ends, index + 1), len(self.sheets) - 1)]


def runs_of(data: Any, text: str, body: tuple[str, str], base: Sheet) -> Runs:
    """The runs of ``StyleRun`` or ``ParagraphRun``; ``body``: where a run keeps its sheet. ``base``: what all inherit.

    Broken lengths give one run.
    """
    base = Sheet(((at(data, "DefaultRunData", *body), 1.0), *base.layers))
    lengths = numbers(at(data, "RunLengthArray"), RUNS)
    if lengths is None or min(lengths) < 0 or max(lengths) > _LENGTH:
        lengths = (float(len(text) * 2),)
    sheets = [Sheet(((at(data, "RunArray", i, *body), 1.0), *base.layers)) for i in range(len(lengths))]
    return Runs(tuple(_ends(text, [int(length) for length in lengths])), tuple(sheets))


def _ends(text: str, lengths: Sequence[int]) -> list[int]:
    """Where runs of UTF-16 ``lengths`` end, in characters. A character belongs to the run that has its first half; what
    the lengths leave over to the last one.
    """
    starts = [0, *accumulate(2 if ord(c) > 0xFFFF else 1 for c in text)][: len(text)]
    ends = [bisect_left(starts, end) for end in accumulate(lengths)]
    return [*ends[:-1], len(text)]
