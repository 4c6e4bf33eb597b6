"""Writing the report: one pass over the index, one over the ledger, then the designs of the gallery one at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pipelines.report import expectations, page
from pipelines.report.cards import card
from pipelines.report.choose import Chooser
from pipelines.report.config import ReportConfig
from pipelines.report.ledger import outcomes
from pipelines.report.pictures import ASSETS, Pictures
from pipelines.report.statistics import INDEX_COLUMNS, Statistics
from pipelines.report.tables import Place, entries, row_groups
from pipelines.storage import Store
from schemas.dataset import Dataset
from schemas.design import canonical_json

REPORT_HTML = "report/index.html"
SUMMARY_JSON = "report/summary.json"


def write_report(store: Store, dataset: Dataset, config: ReportConfig) -> str:
    """Write the report of ``dataset`` into its store, ``index.html`` last; returns ``"report/index.html"``.

    The same dataset gives the same bytes. Pictures of designs that are no longer shown stay: see ``stale_assets``.

    Raises:
        StoreError: the store refused to read or write.
        RecordError: the expectation results cannot be read.
    """
    checks_name, checks = expectations.results(store, dataset.generation)
    failing = expectations.failures(checks)
    statistics, places = _survey(store, dataset, Chooser(config.gallery, frozenset().union(*failing.values())))
    pictures = Pictures(store, frozenset(store.names(ASSETS)))
    cards = _cards(pictures, places, failing, config.image_side)
    html = page.render(
        name=_name(store),
        dataset=dataset,
        statistics=statistics,
        ledger=outcomes(store, dataset.ledger, config.ledger_rows),
        checks=expectations.view(checks, set(places), config.failing_ids),
        checks_name=checks_name,
        cards=cards,
        assets={name: _static(pictures, name) for name in ("report.css", "report.js")},
    )
    summary = _summary(store, dataset, statistics, checks)
    assets = sorted(set(pictures.used))
    store.write(SUMMARY_JSON, canonical_json({**summary, "gallery": list(places), "assets": assets}) + b"\n")
    store.write(REPORT_HTML, html.encode("utf-8", "replace"))
    return REPORT_HTML


def _survey(store: Store, dataset: Dataset, chooser: Chooser) -> tuple[Statistics, dict[str, Place]]:
    """Count the index and choose the gallery in one pass."""
    statistics = Statistics()
    for place, columns in row_groups(store, dataset.index, INDEX_COLUMNS):
        statistics.add(columns)
        chooser.add(place, columns)
    return statistics, chooser.chosen()


def _cards(
    pictures: Pictures, places: dict[str, Place], failing: Mapping[str, frozenset[str]], image_side: int
) -> list[dict[str, Any]]:
    found = entries(pictures.store, places)
    cards = []
    for key in places:
        failed = sorted(name for name, ids in failing.items() if key in ids)
        cards.append({**card(pictures, found[key], image_side), "failing": failed})
    return cards


def stale_assets(store: Store) -> list[str]:
    """Names under ``report/assets`` that the present report does not use."""
    try:
        used = frozenset(json.loads(store.read(SUMMARY_JSON))["assets"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []
    return [name for name in store.names(ASSETS) if name not in used]


def _name(store: Store) -> str:
    return store.root.rsplit("/", 1)[-1] or "dataset"


def _static(pictures: Pictures, name: str) -> str:
    """Copy a file of the package into the store under a name that holds its hash; returns its path from the page."""
    data = (files("pipelines.report") / "assets" / name).read_bytes()
    stem, _, suffix = name.partition(".")
    asset = f"{ASSETS}/{stem}-{hashlib.sha256(data).hexdigest()[:12]}.{suffix}"
    pictures.used.append(asset)
    if asset not in pictures.present:
        pictures.store.write(asset, data)
    return asset.removeprefix("report/")


def _summary(
    store: Store, dataset: Dataset, statistics: Statistics, checks: list[expectations.Result]
) -> Mapping[str, Any]:
    return {
        "name": _name(store),
        "generation": dataset.generation,
        "fingerprint": dataset.fingerprint,
        "counts": dataset.counts.model_dump(),
        "splits": dataset.splits,
        "licences": dataset.licences,
        "layers": statistics.layers,
        "designs_with_overflow": statistics.overflowing,
        "reusable_layers": statistics.reusable,
        "lowerings": dict(statistics.lowerings),
        "expectations": {
            "passed": sum(result.passed for result in checks),
            "failed": sorted(result.name for result in checks if not result.passed),
            "critical_failed": sorted(result.name for result in checks if not result.passed and result.critical),
        },
    }
