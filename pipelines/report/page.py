"""Rendering the page. Everything is escaped: names, texts, messages and uris come from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipelines.report.cards import clip, is_link
from pipelines.report.ledger import Outcome
from pipelines.report.statistics import MAE_BIN, Statistics, bars, histogram
from schemas.dataset import Dataset

_LICENSORS = 50


def render(
    *,
    name: str,
    dataset: Dataset,
    statistics: Statistics,
    ledger: Sequence[Outcome],
    checks: Sequence[Mapping[str, Any]],
    checks_name: str | None,
    cards: Sequence[Mapping[str, Any]],
    assets: Mapping[str, str],
) -> str:
    """The page as HTML. ``assets``: where the style and the script are, from the page."""
    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, percent=_percent, clip=clip, is_link=is_link)
    return environment.get_template("index.html.j2").render(
        name=name,
        dataset=dataset,
        counts=dataset.counts,
        statistics=statistics,
        charts=_charts(statistics),
        licensors=_licensors(statistics),
        more_licensors=max(0, len(statistics.licensors) - _LICENSORS),
        ledger=ledger,
        checks=checks,
        checks_name=checks_name,
        cards=cards,
        shown={card["id"] for card in cards},
        assets=assets,
    )


def _charts(statistics: Statistics) -> dict[str, Any]:
    return {
        "layer_counts": histogram(statistics.layer_counts),
        "mae": histogram(statistics.mae, bins=20, scale=MAE_BIN),
        "kinds": bars(statistics.kinds),
        "lowerings": bars(statistics.lowerings),
        "languages": bars(statistics.languages),
        "formats": bars(statistics.formats),
    }


def _licensors(statistics: Statistics) -> list[dict[str, Any]]:
    ordered = sorted(statistics.licensors.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"licence": key[0], "licensor": key[1], "count": count, "expires": statistics.expiries.get(key)}
        for key, count in ordered[:_LICENSORS]
    ]


def _number(value: float) -> str:
    """Thousands apart by a thin space."""
    return f"{value:,}".replace(",", "\u202f")


def _percent(part: float, whole: float) -> str:
    """A share in per cent: never 0% for something, never 100% for not all."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1%"
    if 99.9 < share < 100:
        return "> 99.9%"
    return f"{share:.1f}".removesuffix(".0") + "%"
