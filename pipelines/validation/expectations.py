"""Holding the index to the suite with Great Expectations, before publication and in ``acetate validate``.

A critical expectation that fails stops publication; the others warn. The failing ids are complete. Great Expectations
is imported when it is needed: it takes seconds and hundreds of megabytes.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field

from pipelines.validation import columns
from pipelines.validation.suite import ExpectationsConfig, Rule, suite
from schemas.design import Record
from schemas.licence import LicencePolicy

__all__ = ["Expectation", "ExpectationsConfig", "check_index", "config_of"]

_CHATTY = "great_expectations.data_context.types.base"
"""A logger that sets its own level and tells of every context."""
_BASE = ("key", "split", "family", "licence", "expires")


class Expectation(Record):
    """What became of one expectation.

    ``checked`` counts samples; ``failed_ids`` are the keys of all that fail, sorted; ``limits`` are the settings of
    ``ExpectationsConfig`` it was held to.
    """

    name: str
    description: str
    passed: bool
    critical: bool
    checked: Annotated[int, Field(ge=0)]
    failed_ids: tuple[str, ...] = ()
    detail: str = ""
    limits: dict[str, Any] = Field(default_factory=dict)


def check_index(
    index: pa.Table | Iterable[pa.Table],
    config: ExpectationsConfig,
    *,
    policy: LicencePolicy | None = None,
    today: datetime.date | None = None,
) -> list[Expectation]:
    """Hold the index (or its parts, one after another) to the suite.

    With ``policy``, licences must be allowed by it; with ``today``, none may have ended. Only scalar columns are kept
    in memory. An expectation that cannot be evaluated is a critical failure with the reason.
    """
    rules = suite(config, policy, today)
    wanted = {*_BASE, *(rule.column for rule in rules)}
    whole: dict[str, columns.Column] = {"family_straddles": columns.family_straddles}
    if policy is not None:
        whole["licence_refused"] = columns.licence_refused(policy)
    if today is not None:
        whole["licence_ended"] = columns.licence_ended(today)
    parts = [index] if isinstance(index, pa.Table) else index
    rows, values, errors = _gather(parts, sorted(wanted - whole.keys()))
    for name, column in whole.items():
        with _noting(errors, name):
            values = values.append_column(name, column(values))
    if rows == 0:
        return [_outcome(rule, rows, errors.get(rule.column, True), detail="no samples") for rule in rules]
    with _great_expectations(values) as validate:
        return [_judge(rule, rows, errors.get(rule.column), validate) for rule in rules]


def config_of(results: Iterable[Expectation]) -> ExpectationsConfig:
    """The thresholds that ``results`` were held to.

    Raises:
        ValueError: they are no thresholds.
    """
    limits: dict[str, Any] = {}
    for result in results:
        limits.update(result.limits)
    return ExpectationsConfig.model_validate(limits)


def _gather(parts: Iterable[pa.Table], names: list[str]) -> tuple[int, pa.Table, dict[str, Exception]]:
    """The number of rows, the columns ``names`` of all parts as one table, and why a column is missing from it."""
    gathered: dict[str, list[Any]] = {name: [] for name in names}
    errors: dict[str, Exception] = {}
    rows = 0
    for part in parts:
        rows += part.num_rows
        for name in names:
            with _noting(errors, name):
                values = columns.column(name)(part)
                chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [pa.array(values)]
                gathered[name].extend(chunks)
    table = {}
    for name, chunks in gathered.items():
        if name not in errors:
            with _noting(errors, name):
                table[name] = pa.chunked_array(chunks) if chunks else pa.nulls(0)
    return rows, pa.table(table), errors


@contextlib.contextmanager
def _noting(errors: dict[str, Exception], name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever the index holds becomes a failed expectation, not a traceback
        errors.setdefault(name, error)


def _judge(rule: Rule, rows: int, error: Exception | None, validate: Callable[[Rule], Any]) -> Expectation:
    if error is not None:
        return _outcome(rule, rows, error)
    try:
        result = validate(rule)
    except Exception as raised:  # noqa: BLE001 - one expectation that cannot be evaluated must not hide the others
        return _outcome(rule, rows, raised)
    if message := _raised(result.exception_info):
        return _outcome(rule, rows, RuntimeError(message))
    found = result.result
    if rule.aggregate:
        return _outcome(rule, rows, bool(result.success), detail=f"mean {float(found['observed_value']):.4g}")
    failing = {str(each["key"]) for each in found.get("unexpected_index_list") or ()}
    worst = "" if result.success else f"{int(found['unexpected_count'])} of {rows} samples"
    return _outcome(rule, rows, bool(result.success), tuple(sorted(failing)), worst)


def _outcome(
    rule: Rule, rows: int, passed: bool | Exception, failed_ids: tuple[str, ...] = (), detail: str = ""
) -> Expectation:
    error = passed if isinstance(passed, Exception) else None
    if error is not None:
        detail = f"cannot be evaluated: {type(error).__name__}: {error}"[:500]
    return Expectation(
        name=rule.name,
        description=rule.description,
        passed=passed is True,
        critical=rule.critical or error is not None,
        checked=rows,
        failed_ids=failed_ids,
        detail=detail,
        limits=dict(rule.limits),
    )


def _raised(info: Any) -> str:
    """The message of an exception that Great Expectations caught: its report is flat or keyed by metric."""
    reports = [info] if "raised_exception" in (info or {}) else (info or {}).values()
    return next((str(each["exception_message"]) for each in reports if each.get("raised_exception")), "")


@contextlib.contextmanager
def _great_expectations(values: pa.Table) -> Iterator[Callable[[Rule], Any]]:
    """An ephemeral context over ``values``, without telemetry and progress bars, its own deprecations kept quiet."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning, ImportWarning):
            warnings.simplefilter("ignore", kind)
        import great_expectations as gx
        from great_expectations import expectations
        from great_expectations.data_context.types.base import ProgressBarsConfig

        logging.getLogger(_CHATTY).setLevel(logging.WARNING)
        context = gx.get_context(mode="ephemeral")
        context.variables.analytics_enabled = False
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("acetate").add_dataframe_asset("index")
        batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": values.to_pandas()})
        complete = {"result_format": "COMPLETE", "unexpected_index_column_names": ["key"]}

        def validate(rule: Rule) -> Any:
            expectation = getattr(expectations, rule.kind)(column=rule.column, **rule.arguments)
            return batch.validate(expectation, result_format=complete)

        yield validate
