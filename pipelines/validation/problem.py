"""What ``acetate validate`` reports."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.design import Record

_SHOWN = 5


class Problem(Record):
    """One thing that is wrong: ``where`` is a file, or a file and the sample in it; texts from the data are quoted."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def quoted(value: object, limit: int = 120) -> str:
    """Data from a dataset for a message: escaped, and cut to ``limit`` characters."""
    text = ascii(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def some(values: Iterable[object]) -> str:
    """The first few of many values, and how many more there are."""
    listed = list(values)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(quoted(value) for value in listed[:_SHOWN]) + more


def explained(error: BaseException) -> str:
    """One line for an exception that data provoked."""
    return f"{type(error).__name__}: {quoted(str(error), 300)}"
