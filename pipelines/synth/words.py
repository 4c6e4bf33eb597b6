"""What the designs say: invented copy in many languages (``words.json``). No real brands, people or addresses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from pipelines.synth.dice import Dice
from pipelines.synth.fonts import script_of

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


@dataclass(frozen=True)
class Copy:
    """The texts of one design in one language (BCP 47), and their theme."""

    language: str
    theme: str
    title: str
    subtitle: str
    call: str


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(resources.files("pipelines.synth").joinpath("words.json").read_text("utf-8"))
    return table


def draw_language(dice: Dice) -> str:
    shares: dict[str, float] = _table()["languages"]
    return dice.pick(list(shares), list(shares.values()))


def draw_copy(dice: Dice, language: str, themes: tuple[str, ...] = ()) -> Copy:
    """A copy line of ``language``, of one of ``themes`` where it has such a line."""
    lines: list[dict[str, str]] = _table()["copy"][language]
    return Copy(language, **dice.pick([line for line in lines if line["theme"] in themes] or lines))


def words(table: str, language: str) -> tuple[list[str], str]:
    """The ``labels``, ``dishes``, ``quotes`` or ``roles`` in ``language``, else in English; and their language."""
    found: dict[str, list[str]] = _table()[table]
    language = language if language in found else "en"
    return found[language], language


def names(language: str) -> list[str]:
    """Invented people's names of a language, else in its script."""
    table: dict[str, list[str]] = _table()["names"]
    return table.get(language) or table[script_of(language)]


def scenes(theme: str) -> list[str]:
    """The photographs (photos.py) that suit a theme."""
    out: list[str] = _table()["themes"][theme]
    return out


def draw_brand(dice: Dice) -> str:
    brands: list[str] = _table()["brands"]
    return dice.pick(brands)


def draw_date(dice: Dice) -> str:
    return f"{dice.integer(1, 28):02d} {dice.pick(MONTHS)} 2027"


def draw_price(dice: Dice) -> str:
    mark = dice.pick(("€ {}", "$ {}", "£ {}", "{} kr"))
    return mark.format(dice.pick((f"{dice.integer(4, 99)}", f"{dice.integer(4, 99)}.{dice.pick(('00', '50', '90'))}")))
