"""The expectation results of a generation, as validation left them beside the index."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pipelines.storage import Store
from schemas.errors import RecordError


class Result(BaseModel):
    """One expectation's result; what the report does not show is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    description: str = ""
    passed: bool
    critical: bool = False
    checked: int = 0
    failed_ids: tuple[str, ...] = ()
    detail: str = ""


def results(store: Store, generation: int) -> tuple[str | None, list[Result]]:
    """The newest results of ``generation`` by name, and the name; ``(None, [])`` where nothing was checked.

    Raises:
        RecordError: the file is not a list of results.
    """
    prefix = f"manifest/expectations-{generation:06d}-"
    names = [name for name in store.names("manifest") if name.startswith(prefix)]
    if not names:
        return None, []
    try:
        found = TypeAdapter(list[Result]).validate_python(json.loads(store.read(names[-1])))
    except (ValueError, ValidationError) as error:
        raise RecordError(f"{names[-1]}: {str(error).splitlines()[0]}") from None
    return names[-1], sorted(found, key=lambda r: (r.passed, not r.critical, r.name))


def failures(found: Sequence[Result]) -> dict[str, frozenset[str]]:
    """The designs each failed expectation names, by its name."""
    return {result.name: frozenset(result.failed_ids) for result in found if not result.passed}


def view(found: Sequence[Result], shown: Collection[str], limit: int) -> list[dict[str, Any]]:
    """The results for the page: ids that the gallery shows first, at most ``limit`` an expectation."""
    return [
        {
            **result.model_dump(exclude={"failed_ids"}),
            "failed": len(result.failed_ids),
            "ids": sorted(result.failed_ids, key=lambda key: (key not in shown, key))[:limit],
        }
        for result in found
    ]
