"""Bad files cost a clear rejection and no memory: truncation, bombs, escapes, entities, oversize headers."""

from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest

from pipelines.errors import Rejected
from pipelines.formats import ReadLimits, read, write
from schemas.ledger import Code
from tests.pipelines.test_formats import everything

LIMITS = ReadLimits()
STACK = '<image w="8" h="8"><stack><layer src="data/a.png" x="0" y="0"/></stack></image>'


def rejected(path: Path, format: str, limits: ReadLimits = LIMITS) -> Rejected:
    with pytest.raises(Rejected) as caught:
        read(path, format, limits)
    assert "\n" not in caught.value.message and caught.value.message
    return caught.value


def header(width: int, height: int, channels: int = 3, depth: int = 8, mode: int = 3, version: int = 1) -> bytes:
    return struct.pack(">4sH6xHIIHH", b"8BPS", version, channels, height, width, depth, mode)


def png(width: int, height: int) -> bytes:
    """A PNG header that claims any size over almost no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def ora(path: Path, stack: str = STACK, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "image/openraster")
        archive.writestr("stack.xml", stack)
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_png", ".png"), data)
    return path


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Code.UNREADABLE),
        (b"8BPS", Code.UNREADABLE),
        (b"GIF89a" + b"\0" * 40, Code.UNREADABLE),
        (header(0, 10) + b"\0" * 100, Code.UNREADABLE),
        (header(10, 10, channels=9999), Code.UNREADABLE),
        (header(10, 10, depth=7), Code.UNREADABLE),
        (header(10, 10, mode=5), Code.UNREADABLE),
        (header(10, 10, version=3), Code.UNREADABLE),
        (header(300_000, 300_000, version=2), Code.TOO_LARGE),
        (header(12_000, 12_000, channels=56, depth=32), Code.TOO_LARGE),
        (header(10, 10) + struct.pack(">I", 2**31), Code.UNREADABLE),
    ],
)
def test_a_psd_header_is_judged_before_anything_is_allocated(tmp_path: Path, data: bytes, code: Code) -> None:
    path = tmp_path / "x.psd"
    path.write_bytes(data)
    tracemalloc.start()
    assert rejected(path, "psd").code is code
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000


@pytest.mark.parametrize("name", ["a.psd", "a.psb", "a.ora"])
def test_a_file_cut_anywhere_is_read_or_rejected(tmp_path: Path, name: str) -> None:
    from pipelines.formats import Leaf, detect

    write(everything(), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    format = detect(name)
    assert format is not None
    refused = 0
    for cut in random.Random(1).sample(range(len(data)), 60):
        (tmp_path / name).write_bytes(data[:cut])
        try:
            for _, node in read(tmp_path / name, format, LIMITS).walk():
                if isinstance(node, Leaf):
                    node.pixels()
        except Rejected as error:
            assert error.code in (Code.UNREADABLE, Code.TOO_LARGE, Code.UNSUPPORTED)
            refused += 1
    assert refused >= 50


@pytest.mark.parametrize("name", ["a.psd", "a.ora"])
def test_flipped_bytes_are_read_or_rejected(tmp_path: Path, name: str) -> None:
    from pipelines.formats import Leaf, detect

    write(everything(), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    format = detect(name)
    assert format is not None
    dice = random.Random(2)
    for _ in range(80):
        broken = bytearray(data)
        for _ in range(4):
            broken[dice.randrange(min(len(data), 4_000))] = dice.randrange(256)
        (tmp_path / name).write_bytes(broken)
        try:
            for _, node in read(tmp_path / name, format, LIMITS).walk():
                if isinstance(node, Leaf):
                    node.pixels()
        except Rejected:
            pass


def test_limits_of_layers_hold_for_every_format(tmp_path: Path) -> None:
    few = ReadLimits(max_layers=3)
    for name, format in (("a.psd", "psd"), ("a.ora", "ora"), ("d", "folder")):
        write(everything(), tmp_path / name)
        assert rejected(tmp_path / name, format, few).code is Code.TOO_LARGE
        assert rejected(tmp_path / name, format, ReadLimits(max_layer_pixels=100)).code is Code.TOO_LARGE


def test_a_zip_bomb_is_rejected_by_its_directory(tmp_path: Path) -> None:
    path = ora(tmp_path / "x.ora", data__a_png=png(8, 8) + b"\0" * 50_000_000)
    assert path.stat().st_size < 100_000
    assert rejected(path, "ora", ReadLimits(max_bytes=10_000_000)).code is Code.TOO_LARGE


def test_a_png_bomb_is_rejected_by_its_header(tmp_path: Path) -> None:
    path = ora(tmp_path / "x.ora", data__a_png=png(50_000, 50_000))
    assert rejected(path, "ora").code is Code.TOO_LARGE


@pytest.mark.parametrize(
    "stack",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><image w="8" h="8"><stack name="&b;"/></image>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><image w="8" h="8"><stack/></image>',
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><image w="8" h="8"><stack>&e;</stack></image>',
    ],
)
def test_document_types_and_entities_are_refused(tmp_path: Path, stack: str) -> None:
    error = rejected(ora(tmp_path / "x.ora", stack), "ora")
    assert error.code is Code.UNREADABLE and "document type" in error.message


@pytest.mark.parametrize(
    "stack",
    [
        "",
        "<image",
        "<svg/>",
        '<image w="8" h="8"/>',
        '<image w="eight" h="8"><stack/></image>',
        '<image w="8" h="1e99"><stack/></image>',
        '<image w="8" h="8"><stack><layer/></stack></image>',
        '<image w="8" h="8"><stack><layer src="../../etc/passwd"/></stack></image>',
        '<image w="8" h="8"><stack opacity="x"><stack opacity="nan"/></stack></image>',
        '<?xml version="1.0" encoding="no-such"?><image w="8" h="8"><stack/></image>',
    ],
)
def test_bad_stacks_are_rejected(tmp_path: Path, stack: str) -> None:
    assert rejected(ora(tmp_path / "x.ora", stack, data__a_png=png(8, 8)), "ora").code is Code.UNREADABLE


def test_deep_nesting_is_rejected(tmp_path: Path) -> None:
    deep = '<image w="8" h="8"><stack>' + "<stack>" * 3_000 + "</stack>" * 3_000 + "</stack></image>"
    assert rejected(ora(tmp_path / "x.ora", deep), "ora").code is Code.TOO_LARGE
    (tmp_path / "d").mkdir()
    nested = '{"type":"group","layers":[' * 150 + "]}" * 150
    (tmp_path / "d" / "design.json").write_text('{"schema":1,"width":8,"height":8,"layers":[' + nested + "]}")
    assert rejected(tmp_path / "d", "folder").code in (Code.TOO_LARGE, Code.UNREADABLE)


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "a/../../secret.png", "..\\secret.png", "link.png", "\0", ""]
)
def test_a_folders_paths_stay_inside_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(png(1, 1))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    design = {"schema": 1, "width": 8, "height": 8, "layers": [{"type": "layer", "file": name}]}
    (folder / "design.json").write_text(json.dumps(design))
    assert rejected(folder, "folder").code is Code.UNREADABLE


@pytest.mark.parametrize(
    "design",
    [
        "{",
        "[]",
        '{"schema": 2, "width": 8, "height": 8, "layers": []}',
        '{"schema": 1, "width": 8, "height": 8, "layers": [], "extra": 1}',
        '{"schema": 1, "width": 8, "height": 8, "layers": [{"type": "layer", "opacity": 1.5}]}',
        '{"schema": 1, "width": 0, "height": 8, "layers": []}',
        '{"schema": 1, "width": 8, "height": 8, "layers": [{"type": "layer", "file": "none.png"}]}',
        '{"schema": 1, "width": 8, "height": 8, "layers": [{"type": "layer", "file": "design.json"}]}',
    ],
)
def test_bad_designs_are_rejected(tmp_path: Path, design: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "design.json").write_text(design)
    assert rejected(tmp_path / "d", "folder").code is Code.UNREADABLE


def test_a_broken_crello_row_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "row.arrow").write_bytes(b"ARROW1 nothing")
    assert rejected(tmp_path / "row.arrow", "crello").code is Code.UNREADABLE
    assert rejected(tmp_path / "row.arrow", "nosuch").code is Code.UNSUPPORTED


def test_png_helper_is_a_real_png() -> None:
    from PIL import Image

    with Image.open(io.BytesIO(png(3, 2))) as image:
        assert image.size == (3, 2)
