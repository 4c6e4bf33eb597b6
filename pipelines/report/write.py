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
from pipelines.report.tables import entries, row_groups
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
    failing = {key for result in checks for key in result.failed_ids if not result.passed}
    statistics, chooser = Statistics(), Chooser(config.gallery, failing)
    for place, columns in row_groups(store, dataset.index, INDEX_COLUMNS):
        statistics.add(columns)
        chooser.add(place, columns)
    places = chooser.chosen()
    found = entries(store, places)
    pictures = Pictures(store, frozenset(store.names(ASSETS)))
    cards = [card(pictures, found[key], config.image_side) for key in places]
    for shown in cards:
        shown["failing"] = sorted({r.name for r in checks if not r.passed and shown["id"] in r.failed_ids})
    ledger = outcomes(store, dataset.ledger, config.ledger_rows)
    scripts = {name: _static(pictures, name) for name in ("report.css", "report.js")}
    html = page.render(
        name=_name(store),
        dataset=dataset,
        statistics=statistics,
        ledger=ledger,
        checks=expectations.view(checks, set(places), config.failing_ids),
        checks_name=checks_name,
        cards=cards,
        assets=scripts,
    )
    summary = _summary(store, dataset, statistics, checks, len(cards))
    store.write(SUMMARY_JSON, canonical_json({**summary, "assets": sorted(set(pictures.used))}) + b"\n")
    store.write(REPORT_HTML, html.encode("utf-8", "replace"))
    return REPORT_HTML


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
    store: Store, dataset: Dataset, statistics: Statistics, checks: list[expectations.Result], gallery: int
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
        "gallery": gallery,
    }
