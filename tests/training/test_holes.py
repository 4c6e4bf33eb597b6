"""Holes: what is withdrawn is left out, and a list that cannot be read is never taken for an empty one."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.withdrawal import REVIEW_SCHEMA, REVOKED_SCHEMA
from training.errors import StreamError
from training.streaming import holes
from training.streaming.holes import Holes
from training.streaming.source import Source

TODAY = date(2026, 6, 1)
Url = tuple[str, dict[str, Any]]


def put(url: Url, name: str, data: bytes) -> None:
    fs, root = fsspec.core.url_to_fs(url[0], **url[1])
    fs.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
    fs.pipe_file(f"{root}/{name}", data)


def table(rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    return sink.getvalue()


def revoked(*keys: str) -> bytes:
    return table([{"design_id": key, "reason": "asked", "revoked": "2026-05-31"} for key in keys], REVOKED_SCHEMA)


def review(*decisions: tuple[str, str, str]) -> bytes:
    rows = [{"design_id": k, "decision": d, "reason": "", "decided": at} for k, d, at in decisions]
    return table(rows, REVIEW_SCHEMA)


@pytest.fixture
def local(tmp_path: Any) -> Url:
    return str(tmp_path), {}


def load(url: Url) -> Holes:
    return Holes.load(Source(*url), TODAY)


def test_lists_are_honoured_on_every_store(store_url: Url) -> None:
    put(store_url, "revoked.parquet", revoked("a"))
    put(store_url, "review/one.parquet", review(("b", "reject", "2026-05-01T10:00:00Z")))
    found = load(store_url)
    assert [found.reason(key, None) for key in "abc"] == ["revoked", "rejected", None]
    assert found.withdrawn == {"a", "b"}


def test_no_lists_no_holes(store_url: Url) -> None:
    found = load(store_url)
    assert found.withdrawn == frozenset()
    assert found.reason("a", None) is None


@pytest.mark.parametrize(
    ("expires", "reason"),
    [
        (None, None),
        ("2026-06-02", None),
        ("2026-06-01", "expired"),  # exclusive: on that day it holds no more
        ("2026-05-31", "expired"),
        ("2026-06-02T08:00:00", None),
        ("some day", "expired"),
    ],
)
def test_expiry_is_exclusive(expires: str | None, reason: str | None) -> None:
    assert Holes(TODAY).reason("a", expires) == reason


def test_revocation_is_named_before_expiry_and_rejection() -> None:
    found = Holes(TODAY, revoked=frozenset("a"), rejected=frozenset("ab"))
    assert found.reason("a", "2020-01-01") == "revoked"
    assert found.reason("b", "2020-01-01") == "expired"


def test_the_latest_decision_stands_over_all_files_and_time_zones(local: Url) -> None:
    put(local, "review/1.parquet", review(("a", "reject", "2026-05-01T10:00:00Z"), ("b", "accept", "2026-05-01")))
    put(local, "review/2.parquet", review(("a", "accept", "2026-05-01T11:30:00+01:00"), ("b", "reject", "2026-05-02")))
    put(
        local,
        "review/3.parquet",
        review(("c", "reject", "2026-05-01T12:00:00+02:00"), ("c", "accept", "2026-05-01T11:00Z")),
    )
    assert load(local).rejected == {"b"}  # a: accepted half an hour later; c: an hour later


def test_of_two_decisions_at_once_the_rejection_stands(local: Url) -> None:
    at = "2026-05-01T10:00:00Z"
    put(local, "review/1.parquet", review(("a", "reject", at), ("a", "accept", at)))
    assert load(local).rejected == {"a"}


def test_unfinished_and_foreign_files_are_left_alone(local: Url) -> None:
    put(local, "review/.tmp-1-x.parquet", b"half")
    put(local, "review/notes.txt", b"hello")
    assert load(local).withdrawn == frozenset()


def test_extra_columns_are_fine(local: Url) -> None:
    put(local, "revoked.parquet", table([{"x": 1, "design_id": "a"}]))
    assert load(local).revoked == {"a"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read"),
        (b"PAR1 and nothing", "cannot be read"),
        (revoked("a", "b")[:-20], "cannot be read"),
        (table([{"id": "a"}]), "no column 'design_id'"),
        (table([{"design_id": None}], pa.schema([("design_id", pa.string())])), "rows without design_id"),
        (table([{"design_id": ["a"]}]), "cannot be read"),
    ],
)
def test_a_damaged_list_is_an_error_that_names_it(local: Url, data: bytes, message: str) -> None:
    put(local, "revoked.parquet", data)
    with pytest.raises(StreamError, match=message) as raised:
        load(local)
    assert f"{local[0]}/revoked.parquet" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("row", [("a", "maybe", "2026-05-01"), ("a", "reject", "yesterday")])
def test_a_decision_that_is_none_is_an_error(local: Url, row: tuple[str, str, str]) -> None:
    put(local, "review/1.parquet", review(row))
    with pytest.raises(StreamError, match=r"review/1\.parquet"):
        load(local)


def test_a_list_that_cannot_be_reached_is_an_error(local: Url) -> None:
    put(local, "revoked.parquet/inside", b"")
    with pytest.raises(StreamError, match=r"revoked\.parquet"):
        load(local)


@pytest.mark.parametrize("limit", ["MAX_BYTES", "MAX_ROWS"])
def test_reading_is_bounded(local: Url, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(local, "revoked.parquet", revoked(*"abc"))
    monkeypatch.setattr(holes, limit, 2)
    with pytest.raises(StreamError, match=r"revoked\.parquet"):
        load(local)
