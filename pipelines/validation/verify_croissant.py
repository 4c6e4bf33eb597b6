"""``croissant.json``: mlcroissant accepts it, and it names the tables that ``dataset.json`` names."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.croissant import CROISSANT_JSON
from pipelines.storage import Store
from pipelines.validation.problem import Problem, explained, some
from schemas.dataset import Dataset

MAX_BYTES = 16 << 20


def check_croissant(store: Store, dataset: Dataset, digests: Mapping[str, str]) -> list[Problem]:
    """What is wrong with ``croissant.json``. Nothing it refers to is fetched.

    ``digests``: the sha256 of the tables that could be read, by name.
    """
    return [Problem(where=CROISSANT_JSON, message=message) for message in _check(store, dataset, digests)]


def _check(store: Store, dataset: Dataset, digests: Mapping[str, str]) -> Iterator[str]:
    try:
        if store.size(CROISSANT_JSON) > MAX_BYTES:
            yield f"is over the limit of {MAX_BYTES} bytes"
            return
        document = json.loads(store.read(CROISSANT_JSON))
    except FileNotFoundError:
        yield "is missing"
        return
    except (ValueError, RecursionError) as error:
        yield f"is no JSON: {explained(error)}"
        return
    if not isinstance(document, dict) or not isinstance(document.get("@context"), dict) or _contexts(document) != 1:
        yield "has not the one inline @context of Croissant"
        return
    if message := _refused(document):
        yield f"mlcroissant refuses it: {message}"
    yield from _files(dataset, document, digests)


def _files(dataset: Dataset, document: dict[str, Any], digests: Mapping[str, str]) -> Iterator[str]:
    """Whether the tables are those of ``dataset.json``, with their hashes."""
    listed = document.get("distribution")
    entries = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    named = {str(each.get("contentUrl")): each.get("sha256") for each in entries if "contentUrl" in each}
    tables = {*dataset.shards, *dataset.index, *dataset.ledger, dataset.plan}
    if lost := sorted(tables - named.keys()):
        yield f"does not name {some(lost)}"
    if foreign := sorted(named.keys() - tables):
        yield f"names what dataset.json does not: {some(foreign)}"
    if wrong := sorted(name for name in tables & digests.keys() & named.keys() if named[name] != digests[name]):
        yield f"gives another sha256 for {some(wrong)}"


def _contexts(value: Any) -> int:
    """How many contexts there are, imported ones too: any but the first could have a parser fetch a URL."""
    if isinstance(value, list):
        return sum(_contexts(each) for each in value)
    if not isinstance(value, dict):
        return 0
    return sum((key in ("@context", "@import")) + _contexts(each) for key, each in value.items())


def _refused(document: dict[str, Any]) -> str:
    with _quiet():
        import mlcroissant

        try:
            mlcroissant.Dataset(jsonld=document)
        except Exception as error:  # noqa: BLE001 - whatever a foreign document does to the parser is its refusal
            return explained(error)
    return ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the recommendations that mlcroissant logs and the deprecations of the libraries under it."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
