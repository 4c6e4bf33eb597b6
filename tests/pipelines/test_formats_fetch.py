"""Finding, copying and hashing sources, on local disk and in memory, and rows of Crello parquet files."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import uuid
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.errors import Rejected, UsageError
from pipelines.formats import Leaf, ReadLimits, detect, discover, fetch, read, write
from schemas.design import LayerKind
from schemas.geometry import Box
from schemas.ledger import Code
from tests.pipelines.test_formats import document, leaf

LIMITS = ReadLimits()
LABELS = ["", "ImageElement", "TextElement", "ColoredBackground"]


def picture(colour: tuple[int, int, int, int], width: int, height: int, mode: str = "RGBA") -> dict[str, Any]:
    out = io.BytesIO()
    Image.new("RGBA", (width, height), colour).convert(mode).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


def crello_rows() -> list[dict[str, Any]]:
    """Three rows; the last has a rotated element and a text of two colours."""
    plain = {
        "id": "a",
        "title": "plain",
        "length": 1,
        "canvas_width": 20,
        "canvas_height": 10,
        "type": [3],
        "left": [0.0],
        "top": [0.0],
        "width": [20.0],
        "height": [10.0],
        "angle": [0.0],
        "opacity": [1.0],
        "image": [picture((255, 255, 255, 255), 4, 2)],
        "text": [""],
        "font": [""],
        "font_size": [0.0],
        "text_align": [""],
        "letter_spacing": [0.0],
        "line_height": [1.0],
        "font_bold": [[]],
        "text_color": [[]],
    }
    rich = {
        **plain,
        "id": "c",
        "title": "rich",
        "length": 3,
        "type": [3, 1, 2],
        "left": [0.0, 6.0, -2.0],
        "top": [0.0, 3.0, 0.0],
        "width": [20.0, 8.0, 12.0],
        "height": [10.0, 4.0, 6.0],
        "angle": [0.0, 90.0, 0.0],
        "opacity": [1.0, 0.5, 1.0],
        "image": [picture((250, 250, 250, 255), 20, 10), picture((255, 0, 0, 255), 8, 4), picture((0, 0, 0, 9), 3, 3)],
        "text": ["", "", "Hi &amp; bye"],
        "font": ["", "", "Lato-Black"],
        "font_size": [0.0, 0.0, 10.0],
        "text_align": ["", "", "center"],
        "letter_spacing": [0.0, 0.0, 0.5],
        "line_height": [1.0, 1.0, 1.2],
        "font_bold": [[], [], [False] * 8],
        "text_color": [[], [], ["rgba(255,0,0,1)"] * 2 + ["rgb(0, 0, 255)"] * 6],
    }
    return [plain, {**plain, "id": "b"}, rich]


def write_crello(path: Path) -> Path:
    table = pa.Table.from_pylist(crello_rows())
    names = {"feature": {"names": LABELS, "_type": "ClassLabel"}, "_type": "Sequence"}
    features = {"info": {"features": {"type": names, "id": {"dtype": "string", "_type": "Value"}}}}
    table = table.replace_schema_metadata({b"huggingface": json.dumps(features).encode()})
    pq.write_table(table, path, row_group_size=2)
    return path


def test_discover_finds_files_folders_and_rows_and_names_each_once(tmp_path: Path) -> None:
    source = document((leaf("a", Box(0, 0, 4, 4)),))
    write(source, tmp_path / "b.psd")
    (tmp_path / "sub.dir").mkdir()
    write(source, tmp_path / "sub.dir" / "a.ora")
    write(source, tmp_path / "sub.dir" / "folder")
    write(source, tmp_path / "sub.dir" / "folder" / "nested.psd")  # part of the layer folder
    write_crello(tmp_path / "c.parquet")
    (tmp_path / "notes.txt").write_text("no design")
    found = [str(Path(uri).relative_to(tmp_path)) for uri in discover(str(tmp_path), {})]
    assert found == ["b.psd", "c.parquet#0", "c.parquet#1", "c.parquet#2", "sub.dir/a.ora", "sub.dir/folder"]
    assert list(discover(str(tmp_path / "b.psd"), {})) == [str(tmp_path / "b.psd")]


def test_discover_and_fetch_on_every_kind_of_store(tmp_path: Path, store_url: tuple[str, dict[str, Any]]) -> None:
    url, options = store_url
    source = document((leaf("a", Box(0, 0, 4, 4)),))
    local = tmp_path / "local"
    local.mkdir()
    write(source, local / "x.ora")
    write(source, local / "d")
    write_crello(local / "c.parquet")
    fs, root = fsspec.core.url_to_fs(url, **options)
    for path in sorted(path for path in local.rglob("*") if path.is_file()):
        name = f"{root}/in/{path.relative_to(local)}"
        fs.makedirs(name.rsplit("/", 1)[0], exist_ok=True)
        fs.pipe_file(name, path.read_bytes())
    uris = list(discover(f"{url}/in", options))
    assert [uri.rsplit("/", 1)[1] for uri in uris] == ["c.parquet#0", "c.parquet#1", "c.parquet#2", "d", "x.ora"]
    for number, uri in enumerate(uris):
        into, again = tmp_path / f"{number}", tmp_path / f"again{number}"
        into.mkdir()
        again.mkdir()
        fetched = fetch(uri, into, LIMITS, options)
        assert fetched.format == detect(uri)
        assert read(fetched.path, fetched.format, LIMITS).leaves >= 1
        same = fetch(str(local / uri.rsplit("/", 1)[1]), again, LIMITS, {})
        assert (same.sha256, same.bytes) == (fetched.sha256, fetched.bytes)


def test_discover_says_when_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing"):
        list(discover(str(tmp_path / "none"), {}))


def test_a_file_hashes_to_the_hash_of_its_bytes(tmp_path: Path) -> None:
    write(document((leaf("a", Box(0, 0, 4, 4)),)), tmp_path / "x.psd")
    data = (tmp_path / "x.psd").read_bytes()
    (tmp_path / "into").mkdir()
    fetched = fetch(str(tmp_path / "x.psd"), tmp_path / "into", LIMITS, {})
    assert (fetched.sha256, fetched.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert fetched.path.read_bytes() == data


def test_a_folders_hash_is_its_names_and_bytes_and_nothing_else(tmp_path: Path) -> None:
    def hashed(name: str) -> str:
        into = tmp_path / f"into-{name}-{uuid.uuid4().hex}"
        into.mkdir()
        return fetch(str(tmp_path / name), into, LIMITS, {}).sha256

    source = document((leaf("a", Box(0, 0, 4, 4)),))
    write(source, tmp_path / "one")
    write(source, tmp_path / "two")
    (tmp_path / "two" / ".DS_Store").write_bytes(b"litter")
    os.utime(tmp_path / "two" / "design.json", (1, 1))
    assert hashed("one") == hashed("two") == hashed("one")
    (tmp_path / "two" / "layer_000.png").rename(tmp_path / "two" / "layer_001.png")
    renamed = hashed("two")
    assert renamed != hashed("one")
    with (tmp_path / "two" / "layer_001.png").open("ab") as out:
        out.write(b"x")
    assert hashed("two") not in (renamed, hashed("one"))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("gone.psd", Code.NOT_FOUND),
        ("gone", Code.NOT_FOUND),
        ("c.parquet#9", Code.NOT_FOUND),
        ("notes.txt", Code.UNSUPPORTED),
        ("plain", Code.UNSUPPORTED),
        ("other.parquet#0", Code.UNSUPPORTED),
        ("c.parquet", Code.UNSUPPORTED),
        ("broken.parquet#0", Code.UNREADABLE),
        ("big.psd", Code.TOO_LARGE),
    ],
)
def test_what_cannot_be_fetched_is_rejected_with_its_code(tmp_path: Path, name: str, code: Code) -> None:
    write_crello(tmp_path / "c.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no PAR1")
    (tmp_path / "notes.txt").write_text("no design")
    (tmp_path / "plain").mkdir()
    (tmp_path / "big.psd").write_bytes(b"8BPS" * 100_000)
    (tmp_path / "into").mkdir()
    with pytest.raises(Rejected) as caught:
        fetch(str(tmp_path / name), tmp_path / "into", ReadLimits(max_bytes=300_000), {})
    assert caught.value.code is code


def test_an_unknown_protocol_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        fetch("nosuch://x/a.psd", tmp_path, LIMITS, {})
    assert caught.value.code is Code.UNSUPPORTED


def test_a_link_out_of_a_folder_is_rejected(tmp_path: Path) -> None:
    write(document((leaf("a", Box(0, 0, 4, 4)),)), tmp_path / "d")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "d" / "link.png").symlink_to(tmp_path / "secret")
    (tmp_path / "into").mkdir()
    with pytest.raises(Rejected, match="link") as caught:
        fetch(str(tmp_path / "d"), tmp_path / "into", LIMITS, {})
    assert caught.value.code is Code.UNREADABLE


def test_crello_rows_are_fetched_alone_and_hash_the_same_in_any_file(tmp_path: Path) -> None:
    path = write_crello(tmp_path / "c.parquet")
    rows = crello_rows()
    pq.write_table(
        pa.Table.from_pylist([{**rows[2], "type": [LABELS[i] for i in rows[2]["type"]]}]), tmp_path / "d.parquet"
    )
    hashes = []
    for number, uri in enumerate([f"{path}#2", f"{tmp_path}/d.parquet#0", f"{path}#0", f"{path}#1"]):
        (tmp_path / str(number)).mkdir()
        assert detect(uri) == "crello"
        hashes.append(fetch(uri, tmp_path / str(number), LIMITS, {}).sha256)
    assert hashes[0] == hashes[1]
    assert len({*hashes}) == 3  # rows 0 and 1 differ in their id


def test_a_crello_row_becomes_placed_layers_and_true_text(tmp_path: Path) -> None:
    path = write_crello(tmp_path / "c.parquet")
    fetched = fetch(f"{path}#2", tmp_path, LIMITS, {})
    crello = read(fetched.path, "crello", LIMITS)
    ground, turned, text = crello.nodes
    assert (crello.width, crello.height) == (20, 10)
    assert isinstance(ground, Leaf) and isinstance(turned, Leaf) and isinstance(text, Leaf)
    assert ground.kind is LayerKind.FILL and ground.box == Box(0, 0, 20, 10)
    assert turned.opacity == 0.5
    assert (turned.box.x0, turned.box.x1) in ((8, 12), (7, 13))  # 8 x 4 about (10, 5), turned by 90 degrees
    coverage = turned.pixels()[..., 3].astype(float) / 255
    assert math.isclose(coverage.sum(), 32, rel_tol=0.02)
    assert text.box == Box(-2, 0, 10, 6) and text.text is not None
    assert [(run.text, run.colour) for run in text.text.runs] == [("Hi", "#ff0000"), (" & bye", "#0000ff")]
    run = text.text.runs[0]
    assert (run.font, run.size, run.weight, run.tracking, run.leading) == ("Lato-Black", 10.0, 900, 50.0, 12.0)
    assert text.text.alignment == "centre"


def test_crello_turns_clockwise(tmp_path: Path) -> None:
    from pipelines.formats.crello import Element, _placed

    pixels = np.zeros((10, 10, 4), np.uint8)
    pixels[:5, 5:] = 255  # top right
    turned = _placed(pixels, Element(0, 0, 10, 10, 90.0))
    quadrants = [turned[:5, :5, 3], turned[:5, 5:, 3], turned[5:, :5, 3], turned[5:, 5:, 3]]
    assert int(np.argmax([int(part.astype(int).sum()) for part in quadrants])) == 3  # bottom right


def test_a_crello_text_without_a_picture_says_so(tmp_path: Path) -> None:
    row = crello_rows()[2]
    row["image"][2] = {"bytes": None, "path": None}
    row["preview"] = picture((9, 9, 9, 255), 4, 2)
    pq.write_table(pa.Table.from_pylist([{**row, "type": [LABELS[i] for i in row["type"]]}]), tmp_path / "d.parquet")
    fetched = fetch(f"{tmp_path}/d.parquet#0", tmp_path, LIMITS, {})
    crello = read(fetched.path, "crello", LIMITS)
    assert crello.nodes[-1].undrawn == ("text without a picture",)
    assert crello.preview is not None and crello.preview.shape == (10, 20, 4)
