"""Sources that mean harm before anything is parsed: names that lead elsewhere, pipes, rows that unfold."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import Rejected
from pipelines.formats import ReadLimits, crello_parquet, discover, fetch, write
from schemas.geometry import Box
from schemas.ledger import Code
from tests.pipelines.test_formats import document, leaf
from tests.pipelines.test_formats_fetch import LABELS, crello_rows, picture

LIMITS = ReadLimits()


def refused(uri: str, into: Path, limits: ReadLimits = LIMITS) -> Rejected:
    into.mkdir(exist_ok=True)
    with pytest.raises(Rejected) as caught:
        fetch(uri, into, limits, {})
    return caught.value


def folder(path: Path) -> Path:
    write(document((leaf("a", Box(0, 0, 4, 4)),)), path)
    return path


@pytest.mark.parametrize(
    "name", ["/{out}/x", "../x", "a/../../x", "a\\x", "a\0x", "a//x", "./x", "a/./x", "\udce9.png"]
)
def test_names_of_an_object_store_stay_in_the_working_copy(tmp_path: Path, name: str) -> None:
    root = f"/{uuid.uuid4().hex}/d"
    fs = fsspec.filesystem("memory")
    fs.pipe_file(f"{root}/design.json", b"{}")
    outside = tmp_path / "out"
    outside.mkdir()
    fs.pipe_file(f"{root}/x", b"data")
    fs.store[f"{root}/{name.format(out=outside)}"] = fs.store[f"{root}/x"]  # as an S3 client may name an object
    error = refused(f"memory:/{root}", tmp_path / "into")
    assert error.code is Code.UNREADABLE and "no name of a file" in error.message
    assert list(outside.iterdir()) == [] and not (tmp_path / "x").exists()


def test_pipes_and_sockets_are_refused_instead_of_waited_for(tmp_path: Path) -> None:
    for name in ("a.psd", "b.parquet"):
        os.mkfifo(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "c.ora"))
    found = list(discover(str(tmp_path), {}))
    assert [Path(uri).name for uri in found] == ["a.psd", "c.ora"]
    for uri in (*found, f"{tmp_path}/b.parquet#0", "/dev/zero"):
        error = refused(uri, tmp_path / "into")
        assert error.code is Code.UNSUPPORTED and "regular" in error.message


def test_a_pipe_or_a_folder_behind_a_link_in_a_layer_folder_is_named(tmp_path: Path) -> None:
    piped, linked = folder(tmp_path / "piped"), folder(tmp_path / "linked")
    os.mkfifo(piped / "x.png")
    (linked / "sub").mkdir()
    (linked / "again").symlink_to("sub")
    assert "'x.png' is no regular file" in refused(str(piped), tmp_path / "into").message
    assert "'again' is a link to a folder" in refused(str(linked), tmp_path / "into2").message


def test_a_name_that_is_no_utf8_is_one_input_that_is_not_found(tmp_path: Path) -> None:
    folder(tmp_path / "d")
    (tmp_path / os.fsdecode(b"caf\xe9.psd")).write_bytes(b"8BPS")
    found = list(discover(str(tmp_path), {}))
    assert [uri.rsplit("/", 1)[1] for uri in found] == ["caf\\xe9.psd", "d"]
    assert refused(found[0], tmp_path / "into").code is Code.NOT_FOUND
    assert all(uri.encode() for uri in discover(f"file://{tmp_path}", {}))


def crello(path: Path, **columns: Any) -> str:
    row = {**crello_rows()[0], "type": ["ImageElement"], **columns}
    pq.write_table(pa.Table.from_pylist([row]), path, compression="zstd")
    return f"{path}#0"


def test_a_small_row_that_unfolds_is_refused_before_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = crello(tmp_path / "c.parquet", image=[{"bytes": b"\0" * 1_000_000, "path": None}] * 500)
    assert (tmp_path / "c.parquet").stat().st_size < 20_000
    monkeypatch.setattr(crello_parquet, "_plain", lambda *_: pytest.fail("there are Python objects"))
    usual, counted = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(counted)
    try:
        error = refused(bomb, tmp_path / "into", ReadLimits(max_bytes=50_000_000))
    finally:
        pa.set_memory_pool(usual)
    assert error.code is Code.TOO_LARGE and "the row is over" in error.message
    assert 1_000_000 < counted.max_memory() < 50_000_000


def test_a_row_has_no_more_elements_than_a_document_layers(tmp_path: Path) -> None:
    row = crello(tmp_path / "c.parquet", angle=[0.0] * 3_000)
    error = refused(row, tmp_path / "into")
    assert error.code is Code.TOO_LARGE and "3000" in error.message


def test_a_row_with_repeated_pictures_reads_the_same_with_and_without_a_dictionary(tmp_path: Path) -> None:
    rows = [
        {**row, "type": [LABELS[i] for i in row["type"]], "preview": picture((9, 9, 9, 9), 4, 4)}
        for row in crello_rows()
    ]
    hashes = []
    for name, dictionary in (("a", True), ("b", False)):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet", use_dictionary=dictionary)
        (tmp_path / name).mkdir()
        hashes.append([fetch(f"{tmp_path}/{name}.parquet#{i}", tmp_path / name, LIMITS, {}).sha256 for i in range(3)])
    assert hashes[0] == hashes[1] and len({*hashes[0]}) == 3
