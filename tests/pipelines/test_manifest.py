"""Manifests in three formats, with the columns of others, and folders without one."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UsageError
from pipelines.manifest import Input, ManifestConfig, SourceConfig, read_inputs, resolve

ROWS = [
    {"uri": "a.psd", "licence": "MIT", "licensor": "one", "family": "f", "tags": "x, y"},
    {"uri": "b/c.ora", "licence": "", "licensor": "two", "family": "", "tags": ""},
]
INPUTS = [
    Input("a.psd", "MIT", "one", family="f", tags=("x", "y")),
    Input("b/c.ora", None, "two"),
]


def write(folder: Path, suffix: str) -> str:
    path = folder / f"m.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        path.write_text('uri,licence,licensor,family,tags\na.psd,MIT,one,f,"x, y"\nb/c.ora,,two,,\n')
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_formats_say_the_same(tmp_path: Path, suffix: str) -> None:
    base, inputs = read_inputs(ManifestConfig(path=write(tmp_path, suffix)), SourceConfig(), {})
    assert inputs == INPUTS
    assert resolve(base, "a.psd") == str(tmp_path / "a.psd")
    assert resolve(base, "s3://x/a.psd") == "s3://x/a.psd"


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("file,spdx,owner\na.psd,MIT,one\n")
    config = ManifestConfig(path=str(path), columns={"uri": "file", "licence": "spdx", "licensor": "owner"})
    assert read_inputs(config, SourceConfig(), {})[1] == [Input("a.psd", "MIT", "one")]


def test_a_manifest_is_read_from_any_store() -> None:
    with fsspec.open("memory://inputs/m.csv", "w") as out:
        out.write("uri,licence,licensor\na.psd,MIT,one\n")
    base, inputs = read_inputs(ManifestConfig(path="memory://inputs/m.csv"), SourceConfig(), {})
    assert resolve(base, inputs[0].uri) == "memory://inputs/a.psd"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("m.csv", "uri,licence\na,MIT\n", "has no column 'licensor'"),
        ("m.csv", "uri,licence,licensor\n,MIT,one\n", "row 1 has no uri"),
        ("m.csv", "", "has no column"),
        ("m.csv", "uri,licence,licensor\n", "lists no inputs"),
        ("m.jsonl", "{", "damaged"),
        ("m.jsonl", "[1]", "JSON object"),
        ("m.parquet", "nonsense", "damaged"),
        ("m.txt", "x", ".csv, .jsonl or .parquet"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=told) as caught:
        read_inputs(ManifestConfig(path=str(tmp_path / name)), SourceConfig(), {})
    assert "\n" not in str(caught.value)


def test_one_of_manifest_and_source_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="either --manifest FILE or --source FOLDER"):
        read_inputs(ManifestConfig(), SourceConfig(), {})
    with pytest.raises(UsageError, match="no manifest"):
        read_inputs(ManifestConfig(path=str(tmp_path / "none.csv")), SourceConfig(), {})
    with pytest.raises(UsageError, match=r"nothing at|no design under"):
        read_inputs(ManifestConfig(), SourceConfig(uri=str(tmp_path)), {})


def test_a_folder_gives_its_designs_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.psd").write_bytes(b"x")
    (tmp_path / "a.ora").write_bytes(b"x")
    (tmp_path / "note.txt").write_bytes(b"x")
    base, inputs = read_inputs(ManifestConfig(), SourceConfig(uri=f"{tmp_path}/", licence="MIT", licensor="one"), {})
    assert [each.uri for each in inputs] == ["a.ora", "in/b.psd"]
    assert inputs[0].licensor == "one"
    assert resolve(base, "a.ora") == str(tmp_path / "a.ora")
    base, inputs = read_inputs(ManifestConfig(), SourceConfig(uri=str(tmp_path / "a.ora")), {})
    assert resolve(base, inputs[0].uri) == str(tmp_path / "a.ora")
