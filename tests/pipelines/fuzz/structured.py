"""Mutations of what a file means: well-formed files that say impossible things."""

from __future__ import annotations

import copy
import io
import json
import math
import zipfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
from psd_tools import PSDImage
from psd_tools.constants import BlendMode, Clipping, SectionDivider, Tag
from psd_tools.psd.descriptor import Bool, Descriptor, Double, Enumerated, Integer, List, RawData, String, UnitFloat

_NUMBERS = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e300, 1e9, -1e9, 250.0, 30_000.0, 0.5, 1e-300)
_INTEGERS = (0, 1, -1, 2**31 - 1, -(2**31), 255, 30_000, 65_535)
_WHOLE = (Integer,)


def psd(data: bytes, other: bytes, dice: Random) -> bytes:
    """A PSD with blocks of its own and of another file exchanged, doubled and dropped, and values changed."""
    document = PSDImage.open(io.BytesIO(data))
    records = _records(document)
    given = [*_blocks(other), *(block for record in records for block in record.tagged_blocks.values())]
    for _ in range(dice.choice((1, 2, 4, 8))):
        if records:
            _change(dice.choice(records), records, given, dice)
    _resources(document, dice)
    out = io.BytesIO()
    document._record.write(out)
    return out.getvalue()


@cache
def _blocks(data: bytes) -> tuple[Any, ...]:
    """The tagged blocks of a donor's layers; whoever takes one copies it."""
    records = _records(PSDImage.open(io.BytesIO(data)))
    return tuple(block for record in records for block in record.tagged_blocks.values())


def _records(document: PSDImage) -> list[Any]:
    info = document._record.layer_and_mask_information
    layers = info.layer_info
    for tag in (Tag.LAYER_16, Tag.LAYER_32):
        if layers is None or not layers.layer_records:
            layers = (info.tagged_blocks or {}).get_data(tag) if info.tagged_blocks else layers
    return list(layers.layer_records) if layers is not None and layers.layer_records else []


def _change(record: Any, records: list[Any], given: list[Any], dice: Random) -> None:
    blocks = record.tagged_blocks
    what = dice.randrange(8)
    if what <= 2 and blocks:
        _descend(dice.choice(list(blocks.values())).data, dice, 0)
    elif what == 3 and given:
        block = dice.choice(given)
        blocks[block.key] = copy.deepcopy(block)
    elif what == 4 and blocks:
        del blocks[dice.choice(list(blocks))]
    elif what == 5:
        side = dice.choice(("top", "left", "bottom", "right"))
        setattr(record, side, getattr(record, side) + dice.choice((-1, 1, 100, -100, 40_000, -40_000, 2**30)))
    elif what == 6:
        record.blend_mode = dice.choice(list(BlendMode))
        record.opacity = dice.randrange(256)
        record.clipping = dice.choice(list(Clipping))
        if record.mask_data is not None:
            record.mask_data.left -= dice.choice((1, 1000, 70_000))
    else:
        dividers = [r.tagged_blocks.get_data(Tag.SECTION_DIVIDER_SETTING) for r in records]
        if found := [divider for divider in dividers if divider is not None]:
            dice.choice(found).kind = dice.choice(list(SectionDivider))


def _resources(document: PSDImage, dice: Random) -> None:
    resources = document.image_resources
    if dice.random() < 0.2 and resources:
        del resources[dice.choice(list(resources))]


def _descend(value: Any, dice: Random, depth: int) -> None:
    """Change one thing somewhere in a value of a tagged block."""
    if depth > 12:
        return
    if isinstance(value, Descriptor) and len(value):
        key = dice.choice(list(value))
        roll = dice.random()
        if roll < 0.08:
            del value[key]
        elif roll < 0.16:
            value[key] = dice.choice((Double(math.nan), Integer(-1), String("\ud800x"), Bool(True), RawData(b"")))
        else:
            _descend(value[key], dice, depth + 1)
    elif isinstance(value, List) and len(value):
        roll = dice.random()
        if roll < 0.15:
            value._items[:] = [copy.copy(value[0]) for _ in range(dice.choice((0, 1, 50, 3000)))]
        else:
            _descend(dice.choice(list(value)), dice, depth + 1)
    elif isinstance(value, Double | UnitFloat):
        value.value = dice.choice(_NUMBERS)
    elif isinstance(value, _WHOLE):
        value.value = dice.choice(_INTEGERS)
    elif isinstance(value, Bool):
        value.value = not value.value
    elif isinstance(value, String):
        value.value = dice.choice(("", "x" * 20_000, "\0", "nan"))
    elif isinstance(value, Enumerated):
        value.enum = dice.choice((b"Lnr ", b"Rdl ", b"none", b"xxxx", b""))
    elif isinstance(value, RawData) and value.value:
        data = bytearray(value.value)
        data[dice.randrange(len(data))] = dice.randrange(256)
        value.value = bytes(data)
    else:
        _attributes(value, dice, depth)


def _attributes(value: Any, dice: Random, depth: int) -> None:
    """The same for psd-tools' other structures, by their fields."""
    if isinstance(value, list) or hasattr(value, "_items"):
        items = value if isinstance(value, list) else value._items
        if isinstance(items, list) and items:
            _item(items, dice, depth)
        return
    fields = [field.name for field in getattr(type(value), "__attrs_attrs__", ())]
    if not fields:
        return
    name = dice.choice(fields)
    old = getattr(value, name)
    if isinstance(old, bool):
        setattr(value, name, not old)
    elif type(old) is int:
        setattr(value, name, dice.choice((0, 1, -1, 255, 30_000)))
    elif type(old) is float:
        setattr(value, name, dice.choice(_NUMBERS))
    else:
        _descend(old, dice, depth + 1)


def _item(items: list[Any], dice: Random, depth: int) -> None:
    at = dice.randrange(len(items))
    if type(items[at]) is int:
        items[at] = dice.choice((0, 1, 255, 30_000))
    elif type(items[at]) is float:
        items[at] = dice.choice(_NUMBERS)
    elif dice.random() < 0.2:
        items[:] = items + [copy.copy(items[at]) for _ in range(dice.choice((1, 20)))]
    else:
        _descend(items[at], dice, depth + 1)


_WORDS = ("nan", "inf", "-1", "1e300", "99999999", "-99999999", "", "0", "0.5", "..", "x" * 5_000, "\u202e", "30000")


def ora(data: bytes, dice: Random) -> bytes:
    """An OpenRaster file whose stack or pictures say something else, or that is packed to unfold."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    what = dice.random()
    if what < 0.6:
        files["stack.xml"] = _stack(files["stack.xml"], dice)
    elif what < 0.8:
        name = dice.choice(sorted(files))
        files[name] = _damaged(files[name], dice)
    elif what < 0.9:
        files[dice.choice(sorted(files))] += bytes(dice.choice((10, 10_000_000)))
    else:
        del files[dice.choice(sorted(files))]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def _stack(data: bytes, dice: Random) -> bytes:
    root = ElementTree.fromstring(data)
    elements = list(root.iter())
    for _ in range(dice.choice((1, 2, 5))):
        element = dice.choice(elements)
        if dice.random() < 0.25 and element is not root:
            inner = element
            for _ in range(dice.choice((1, 70, 500))):
                inner = ElementTree.SubElement(inner, "stack", {"composite-op": "svg:multiply"})
            ElementTree.SubElement(inner, "layer", dict(elements[-1].attrib))
        else:
            names = [*element.attrib, "x", "opacity", "composite-op", "isolation", "visibility"]
            element.set(dice.choice(names), dice.choice((*_WORDS, "svg:dst-in", "svg:src-atop", "svg:xor")))
    return ElementTree.tostring(root)


def _damaged(data: bytes, dice: Random) -> bytes:
    broken = bytearray(data)
    for _ in range(dice.choice((1, 4))):
        if broken:
            broken[dice.randrange(len(broken))] = dice.randrange(256)
    return bytes(broken[: dice.randrange(len(broken) + 1)] if dice.random() < 0.2 else broken)


def folder(path: Path, dice: Random) -> None:
    """A layer folder, in place: its design says something else, or one of its files is damaged."""
    if dice.random() < 0.25:
        files = sorted(file for file in path.rglob("*") if file.is_file())
        file = dice.choice(files)
        file.write_bytes(_damaged(file.read_bytes(), dice))
        return
    design = json.loads((path / "design.json").read_text(encoding="utf-8"))
    for _ in range(dice.choice((1, 2, 4))):
        _json(design, dice)
    (path / "design.json").write_text(json.dumps(design), encoding="utf-8")


def _json(value: Any, dice: Random) -> None:
    """Change one thing somewhere in a JSON value."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return
    key = dice.choice(keys)
    if isinstance(value[key], dict | list) and dice.random() < 0.85:
        _json(value[key], dice)
    elif isinstance(value, list) and dice.random() < 0.5:
        value.extend(copy.deepcopy(value[key]) for _ in range(dice.choice((1, 30))))
    else:
        odd = (None, True, -1, 10**9, 1e300, math.nan, "", "../x", "\ud800", [], {}, [[]], 10**30, *_WORDS[:5])
        value[key] = dice.choice(odd)


def crello(data: bytes, dice: Random) -> bytes:
    """A parquet file whose rows say something else."""
    table = pq.read_table(io.BytesIO(data))
    rows = table.to_pylist()
    for row in rows:
        for _ in range(dice.choice((1, 2))):
            _value(row, dice.choice(list(row)), dice)
    try:
        changed = pa.Table.from_pylist(rows, schema=table.schema)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        try:
            changed = pa.Table.from_pylist(rows)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return _damaged(data, dice)
    out = io.BytesIO()
    pq.write_table(changed, out, row_group_size=dice.choice((1, 2, 100)))
    return out.getvalue()


def _value(row: dict[str, Any], name: str, dice: Random) -> None:
    old = row[name]
    if isinstance(old, list) and old:
        at = dice.randrange(len(old))
        roll = dice.random()
        if roll < 0.2:
            row[name] = old * dice.choice((0, 2, 500))
        elif isinstance(old[at], float):
            old[at] = dice.choice(_NUMBERS)
        elif isinstance(old[at], dict):
            old[at] = {"bytes": _damaged(old[at].get("bytes") or b"", dice), "path": None}
        elif isinstance(old[at], str):
            old[at] = dice.choice(("", "x" * 50_000, "&" * 100, "rgb(999999999999,1,1)", "\u202e"))
        else:
            old[at] = None
    elif isinstance(old, int):
        row[name] = dice.choice((0, -1, 30_000, 2**40, 1))
    elif isinstance(old, float):
        row[name] = dice.choice(_NUMBERS)
    else:
        row[name] = None
