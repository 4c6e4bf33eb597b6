"""What a document says is bounded: words, numbers of type, depth, blend modes that nobody draws, embedded profiles."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageCms

from pipelines.errors import Rejected
from pipelines.formats import Document, Group, Leaf, Node, ReadLimits, detect, fetch, raster, read, write
from pipelines.formats.bounds import clean, number
from schemas.design import MAX_TYPE, LayerKind, Text, TextRun
from schemas.geometry import Box
from schemas.ledger import Code
from tests.pipelines.test_formats import document, leaf, round_trip
from tests.pipelines.test_formats_fetch import LABELS, crello_rows
from tests.pipelines.test_formats_hostile import ora, rejected

LIMITS = ReadLimits()
SQUARE = Box(0, 0, 4, 4)


def image(mode: str, colour: Any, format: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (4, 4), colour).save(out, format, **options)
    return out.getvalue()


def stack(path: Path, body: str, width: int = 8, height: int = 8) -> Document:
    xml = f'<image w="{width}" h="{height}"><stack>{body}</stack></image>'
    return read(ora(path, xml, data__a_png=image("RGBA", (9, 9, 9, 255))), "ora", LIMITS)


def test_words_of_every_layer_are_bounded_and_harmless(tmp_path: Path) -> None:
    many = tuple(f"{index}" + "e" * 1_000 for index in range(500))
    runs = tuple(TextRun(text="\x1b[31m" + "t" * 15_000, font="f" * 1_000) for _ in range(3))
    words: dict[str, Any] = {"name": "\x1b]0;x\x07\u0085" + "n" * 100_000, "effects": many, "undrawn": many}
    text = leaf("t", SQUARE, kind=LayerKind.TEXT, text=Text(runs=runs))
    inner = leaf("in", SQUARE, blend_mode="m" * 1_000)
    nodes = (replace(text, **words), Group("g", children=(replace(inner, **words),)))
    back = round_trip(document(nodes), tmp_path / "design")
    found = [node for _, node in back.walk() if isinstance(node, Leaf)]
    assert len(found) == 2
    for node in found:
        assert node.name == "]0;x" + "n" * 248
        assert len(node.blend_mode) <= 64
        for entries in (node.effects, node.undrawn):
            assert len(entries) == 64 and max(map(len, entries[:-1])) == 64
    written = found[0].text
    assert written is not None and len(written.content) <= 20_000 and written.content.startswith("[31mttt")
    assert len(written.runs) == 2 and {len(run.font or "") for run in written.runs} == {255}


def test_half_a_surrogate_pair_and_escapes_go_and_breaks_stay() -> None:
    assert clean("a\ud83db\udce9\x00\x7f\x9b\tc\nd 🙂", 99) == "ab\tc\nd 🙂"
    assert clean("abc", 2) == "ab"


@pytest.mark.parametrize("field", ["size", "weight", "tracking", "leading"])
def test_type_that_no_canvas_holds_is_no_record(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        TextRun.model_validate({"text": "x", field: 10**9})


def test_numbers_of_type_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    assert [number(value, 0.001, MAX_TYPE) for value in (None, 1e308, float("nan"), 0.0, 12.34567)] == [
        None,
        None,
        None,
        None,
        12.346,
    ]
    row = {**crello_rows()[2], "type": ["ImageElement", "ImageElement", "TextElement"], "angle": [0.0, 0.0, 765.0]}
    row |= {"font_size": [0.0, 0.0, 1e300], "letter_spacing": [0.0, 0.0, -1e300], "line_height": [1.0, 1.0, 1e300]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "c.parquet")
    crello = read(fetch(f"{tmp_path}/c.parquet#0", tmp_path, LIMITS, {}).path, "crello", LIMITS)
    found = crello.nodes[-1]
    assert isinstance(found, Leaf) and found.text is not None and found.text.rotation == 45
    assert [(run.size, run.leading, run.weight) for run in found.text.runs] == [(None, None, 900)] * 2


def nested(depth: int) -> Node:
    node: Node = leaf("x", SQUARE)
    for _ in range(depth):
        node = Group("g", children=(node,))
    return node


@pytest.mark.parametrize("name", ["a.psd", "a.ora", "d"])
def test_groups_may_be_nested_64_deep_and_no_deeper(tmp_path: Path, name: str) -> None:
    format = detect(name)
    assert format is not None
    if name != "d":  # what parses JSON stops a little earlier
        assert round_trip(document((nested(64),)), tmp_path / f"fits-{name}").leaves == 1
    for depth in (65, 150):
        path = tmp_path / f"{depth}-{name}"
        write(document((nested(depth),)), path)
        assert rejected(path, format).code in ((Code.TOO_LARGE, Code.UNREADABLE) if name == "d" else (Code.TOO_LARGE,))


def test_operators_that_are_no_blend_mode_are_named(tmp_path: Path) -> None:
    layer = '<layer src="data/a.png" composite-op="svg:{}"/>'
    opened = stack(tmp_path / "a.ora", "".join(layer.format(mode) for mode in ("multiply", "dst-out", "src-over-x")))
    assert [node.undrawn for node in opened.nodes] == [("blend-mode:src-over-x",), ("blend-mode:dst-out",), ()]


def test_offsets_of_stacks_move_what_is_in_them(tmp_path: Path) -> None:
    opened = stack(
        tmp_path / "a.ora",
        '<stack x="10" y="-3"><stack x="1" y="1"><layer src="data/a.png" x="2" y="0"/></stack></stack>',
    )
    boxes = [node.box for _, node in opened.walk() if isinstance(node, Leaf)]
    assert boxes == [Box(13, -2, 17, 2)]


def test_a_file_that_only_hidden_layers_want_may_be_missing(tmp_path: Path) -> None:
    hidden = '<layer src="none.png" name="gone" visibility="hidden"/>'
    inside = f'<stack visibility="hidden">{hidden.replace("hidden", "visible")}</stack>'
    opened = stack(tmp_path / "a.ora", f'{hidden}{inside}<layer src="data/a.png"/>')
    gone = [node for _, node in opened.walk() if isinstance(node, Leaf) and node.name == "gone"]
    assert len(gone) == 2 and all(node.box.empty for node in gone)
    with pytest.raises(Rejected, match=r"none\.png"):
        stack(tmp_path / "b.ora", hidden.replace("hidden", "visible"))


def swapped_profile() -> bytes:
    """sRGB with its red and green primaries exchanged: conversion exchanges the channels."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for offset in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12):
        name = bytes(data[offset : offset + 4])
        data[offset : offset + 4] = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}.get(name, name)
        if name == b"desc":  # the name would say that it is sRGB
            data[offset : offset + 4] = b"xxxx"
    return bytes(data)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
def test_colours_of_an_image_with_a_profile_become_srgb(format: str) -> None:
    options = {"lossless": True, "exact": True} if format == "WEBP" else {"quality": 100} if format == "JPEG" else {}
    mode, colour = ("RGB", (200, 20, 60)) if format == "JPEG" else ("RGBA", (200, 20, 60, 77))
    decoded = raster.decode(
        image(mode, colour, format, icc_profile=swapped_profile(), **options), "x", LIMITS, (format,)
    )
    expected = (20, 200, 60, 255 if format == "JPEG" else 77)
    assert np.abs(decoded[1, 1].astype(int) - expected).max() <= 4


def test_a_broken_profile_or_one_of_other_colours_is_ignored() -> None:
    for profile in (b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()):
        decoded = raster.decode(image("RGB", (200, 20, 60), icc_profile=profile), "x", LIMITS)
        assert tuple(decoded[0, 0]) == (200, 20, 60, 255)


def small_preview(path: Path, colour: tuple[int, int, int]) -> Document:
    row = {**crello_rows()[2], "type": [LABELS[i] for i in crello_rows()[2]["type"]]}
    row["preview"] = {"bytes": image("RGB", colour), "path": None}
    row["image"][1:] = [row["image"][2]] * 2  # all but white paper
    pq.write_table(pa.Table.from_pylist([row]), path / "c.parquet")
    return read(fetch(f"{path}/c.parquet#0", path, LIMITS, {}).path, "crello", LIMITS)


def test_a_small_preview_is_held_against_the_elements(tmp_path: Path) -> None:
    assert small_preview(tmp_path, (246, 246, 246)).render is not None
    with pytest.raises(Rejected, match="small preview") as caught:
        small_preview(tmp_path, (200, 200, 200))
    assert caught.value.code is Code.RECOMPOSE_MISMATCH


@pytest.mark.parametrize(("alpha", "opaque"), [(True, False), (False, True)])
def test_a_psd_says_whether_its_picture_has_alpha(corpus: Path, tmp_path: Path, alpha: bool, opaque: bool) -> None:
    name = (
        "localstorage/art/ic_launcher.psd" if alpha else "psd-tools/tests/psd_files/group-clipping/group-clipping.psd"
    )
    assert read(corpus / name, "psd", LIMITS).opaque_on_white is opaque
