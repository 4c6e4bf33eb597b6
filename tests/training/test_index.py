"""Locating samples in the index: what it says, whatever its row groups, and nothing that cannot be."""

from __future__ import annotations

import copy
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.storage import Store
from schemas.dataset import DATASET_JSON
from schemas.index import INDEX_SCHEMA
from tests.pipelines.dataset_builder import spoil_json
from training.errors import DamageError, ReadError, UsageError
from training.streaming import index as index_module
from training.streaming import part as part_module
from training.streaming.holes import Holes
from training.streaming.index import Index
from training.streaming.source import Source


def rows_of(store: Store) -> list[dict[str, Any]]:
    names = Index.open(Source(store.url)).parts
    return [row for name in names for row in pq.read_table(Path(store.url) / name).to_pylist()]


def with_index(designs: Store, root: Path, parts: list[list[dict[str, Any]]], group: int = 7) -> Index:
    """A dataset whose index has these parts; its shards are not there."""
    names = []
    for number, rows in enumerate(parts):
        names.append(f"manifest/index-{number}.parquet")
        (root / "manifest").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), root / names[-1], row_group_size=group)
    (root / DATASET_JSON).write_bytes(designs.read(DATASET_JSON))
    spoil_json(Store(str(root)), index=names)
    return Index.open(Source(str(root)))


def check(index: Index, rows: list[dict[str, Any]], numbers: list[int]) -> None:
    for number, found in zip(numbers, index.locate(numbers), strict=True):
        row = rows[number]
        assert (found.key, found.shard, found.expires) == (row["key"], row["shard"], row["expires"])
        assert [member._asdict() for member in found.members] == row["members"]


def test_locate_is_what_the_index_says(designs: Store, tmp_path: Path) -> None:
    rows = rows_of(designs)
    rows[3]["expires"] = "2031-02-03"
    rows = rows[::2] + rows[1::2]  # a shard's rows lie apart
    index = with_index(designs, tmp_path, [rows[:23], rows[23:24], [], rows[24:]])
    assert index.counts == [23, 1, 0, 36]
    check(index, rows, [41, 3, 3, 59, 0, 23, 22, 24])
    check(index, rows, list(range(60)))


def test_what_is_remembered_is_bounded(designs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "KEPT_ROWS", 10)
    rows = rows_of(designs)
    index = with_index(designs, tmp_path, [rows])
    for number in (0, 59, 30, 0, 17):
        check(index, rows, [number])
        assert len(index._at) <= 10
    check(index, rows, list(range(60)))


def test_large_row_groups_are_cut_anew_once(designs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module, "LARGE_GROUP", 20)
    monkeypatch.setattr(part_module, "CUT_ROWS", 8)
    rows = rows_of(designs)
    folder = tmp_path / "plans"
    for _ in range(2):
        index = with_index(designs, tmp_path / "ds", [rows[:40], rows[40:]], group=64)
        index.remember([40, 20], folder)
        check(index, rows, [39, 2, 45])
    (cut,) = folder.glob("*.parquet")
    assert pq.ParquetFile(cut).metadata.row_group(0).num_rows == 8
    assert {path.name for path in folder.iterdir()} == {cut.name, "members.lock"}
    cut.write_bytes(cut.read_bytes()[:-9])
    index = with_index(designs, tmp_path / "ds", [rows[:40], rows[40:]], group=64)
    index.remember([40, 20], folder)
    check(index, rows, list(range(60)))


def test_datasets_with_parts_of_one_name_share_a_folder(
    designs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "LARGE_GROUP", 8)
    rows = rows_of(designs)
    for name, own in (("a", rows[:30]), ("b", rows[30:])):  # of one fingerprint even
        index = with_index(designs, tmp_path / name, [own], group=64)
        index.remember([30], tmp_path / "plans")
        check(index, own, [0, 29])


def test_old_cuts_and_what_killed_writers_left_go(
    designs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "LARGE_GROUP", 8)
    rows, folder = rows_of(designs), tmp_path / "plans"
    folder.mkdir()
    (folder / ".tmp-0-members-0.parquet").write_bytes(b"half")
    (folder / ".tmp-0-plan-0.bin").write_bytes(b"another's")
    for number in range(4):
        index = with_index(designs, tmp_path / "ds", [rows[number : number + 30]], group=64)
        index.remember([30], folder)
        check(index, rows[number : number + 30], [7])
        for path in folder.glob("*.parquet"):
            os.utime(path, ns=(path.stat().st_mtime_ns - 10**9,) * 2)
    assert len(list(folder.glob("members-*.parquet"))) == 2
    assert [path.name for path in folder.glob(".tmp-*")] == [".tmp-0-plan-0.bin"]


def test_an_expiry_is_as_the_index_has_it(designs: Store, tmp_path: Path) -> None:
    """What is no date is no damage: the licence counts as ended."""
    rows = rows_of(designs)[:2]
    rows[0]["expires"], rows[1]["expires"] = "tomorrow", "2031-02-03T00:00:00+02:00"
    found = with_index(designs, tmp_path, [rows]).locate([0, 1])
    holes = Holes(date(2026, 1, 1))
    assert [holes.reason(one.key, one.expires) for one in found] == ["expired", None]


def test_threads_share_an_index(designs: Store, tmp_path: Path) -> None:
    rows = rows_of(designs)
    index = with_index(designs, tmp_path, [rows[:30], rows[30:]])
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(check, index, rows, [number]) for number in range(60)]
    for future in done:
        future.result()


SPOILT = {
    "shard outside": {"shard": "../../etc/passwd"},
    "shard climbs": {"shard": "shards/../x.tar"},
    "shard elsewhere": {"shard": "manifest/x.tar"},
    "shard absolute": {"shard": "/shards/x.tar"},
    "short key": {"key": "ab"},
    "odd key": {"key": "G" * 32},
    "offset": {"members": {"offset": -1}},
    "large offset": {"members": {"offset": 2**60}},
    "size": {"members": {"size": -5}},
    "large size": {"members": {"size": 2**40}},
    "hash": {"members": {"sha256": "0" * 63}},
    "odd hash": {"members": {"sha256": "Z" * 64}},
    "name": {"members": {"name": "../json"}},
}


@pytest.mark.parametrize("change", SPOILT.values(), ids=SPOILT.keys())
def test_what_cannot_be_is_refused(designs: Store, tmp_path: Path, change: dict[str, Any]) -> None:
    rows = copy.deepcopy(rows_of(designs)[:6])
    members = change.get("members", {})
    rows[4].update({name: value for name, value in change.items() if name != "members"})
    rows[4]["members"][1].update(members)
    index = with_index(designs, tmp_path, [rows])
    with pytest.raises(DamageError, match=r"manifest/index-0\.parquet: the index"):
        index.locate([4])


def test_rows_that_are_not_there_are_refused(designs: Store, tmp_path: Path) -> None:
    index = with_index(designs, tmp_path, [rows_of(designs)])
    for row in (60, -1):
        with pytest.raises(DamageError, match="60 rows"):
            index.locate([row])


def test_a_part_that_is_damaged_missing_or_of_other_columns_is_named(designs: Store, tmp_path: Path) -> None:
    rows = rows_of(designs)
    index = with_index(designs, tmp_path, [rows])
    part = tmp_path / index.parts[0]
    index.remember([61])
    with pytest.raises(DamageError, match=r"index-0\.parquet has 60 rows, not 61"):
        index.locate([0])
    whole = part.read_bytes()
    for data in (whole[:-20], b"", b"PAR1" + bytes(100) + b"PAR1"):
        part.write_bytes(data)
        with pytest.raises(DamageError, match=r"index-0\.parquet is damaged"):
            _ = Index.open(Source(str(tmp_path))).counts
    pq.write_table(pa.table({"key": ["a"], "shard": ["b"], "members": [1]}), part)
    with pytest.raises(DamageError, match=r"index-0\.parquet: .*column"):
        Index.open(Source(str(tmp_path))).locate([0])
    part.unlink()
    with pytest.raises(ReadError, match=r"index-0\.parquet is missing"):
        _ = Index.open(Source(str(tmp_path))).counts


def test_a_row_group_that_claims_too_much_is_not_read(
    designs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "MAX_VALUES", 2)
    index = with_index(designs, tmp_path, [rows_of(designs)])
    with pytest.raises(DamageError, match="claims"):
        index.locate([0])
    with pytest.raises(DamageError, match="claims"):
        list(index.scan(0, ["key", "boxes"]))


def test_a_value_that_is_repeated_is_measured_before(
    designs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = {"split": "x" * 5000, "expires": "x" * 5000, "shard": "shards/" + "x" * 5000}
    for name, text in long.items():
        index = with_index(designs, tmp_path / name, [[row | {name: text} for row in rows_of(designs)]])
        with pytest.raises(DamageError, match=r"index-0\.parquet: .*a text of more than 4,096 bytes"):
            list(index.scan(0, [name]))
    monkeypatch.setattr(part_module, "MAX_TEXT", 40)
    index = with_index(designs, tmp_path / "sha", [rows_of(designs)])
    with pytest.raises(DamageError, match=r"claims .* bytes"):
        index.locate([0])


@pytest.mark.parametrize("name", ["key", "members"])
def test_a_column_that_is_there_twice_is_refused(designs: Store, tmp_path: Path, name: str) -> None:
    index = with_index(designs, tmp_path, [rows_of(designs)])
    part = tmp_path / index.parts[0]
    table = pq.read_table(part)
    pq.write_table(table.append_column(table.schema.field(name), table.column(name)), part)
    with pytest.raises(DamageError, match=rf"index-0\.parquet: 2 columns '{name}'"):
        Index.open(Source(str(tmp_path))).locate([0])
    with pytest.raises(DamageError, match="2 columns"):
        list(Index.open(Source(str(tmp_path))).scan(0, [name]))


def test_rows_are_as_many_as_the_footer_says(designs: Store, tmp_path: Path) -> None:
    index = with_index(designs, tmp_path, [rows_of(designs)], group=64)
    part = tmp_path / index.parts[0]
    data = bytearray(part.read_bytes())
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    at = data.index(b"\x16\x78", start)  # num_rows: zigzag of 60, the first number of the footer
    data[at + 1] = 2 * 50
    part.write_bytes(data)
    assert pq.read_metadata(part).num_rows == 50
    with pytest.raises(DamageError, match=r"index-0\.parquet: 60 rows in its row groups, not 50"):
        _ = Index.open(Source(str(tmp_path))).counts


def test_scan_gives_the_columns_in_order(designs: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module, "BATCH_ROWS", 16)
    rows = rows_of(designs)
    index = with_index(designs, tmp_path, [rows], group=5)
    tables = list(index.scan(0, ["shard", "key"]))
    assert max(map(len, tables)) <= 16
    assert [row for table in tables for row in table.to_pylist()] == [
        {"shard": row["shard"], "key": row["key"]} for row in rows
    ]


def test_a_directory_that_is_no_dataset_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dataset"):
        Index.open(Source(str(tmp_path)))
    (tmp_path / DATASET_JSON).write_bytes(b"{}")
    with pytest.raises(UsageError, match="cannot be used"):
        Index.open(Source(str(tmp_path)))
