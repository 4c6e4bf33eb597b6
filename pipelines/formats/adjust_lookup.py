"""Colour lookup tables: .cube and .3dl text, and ICC device links, as functions on RGB colours 0..1.

Every size is checked before anything is sized by it. Raises ValueError for what is no such table.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.formats.adjustments import Apply
from pipelines.formats.tree import Colours

Grid = npt.NDArray[np.float32]
"""float32 ``[r, g, b, 3]``: the colours at evenly spaced reds, greens and blues."""
Curves = tuple[npt.NDArray[np.float64], ...]
"""One table a channel over 0..1."""
_LARGEST_SIDE = 65
_LARGEST_TEXT = 16 << 20
_LARGEST_CURVE = 65536
_LINK_HEADER = 132


@dataclass(frozen=True, eq=False)
class Lookup:
    """Curves, then the grid, then curves; ``low`` and ``high``: the inputs at the grid's ends."""

    grid: Grid
    before: Curves = ()
    beyond: Curves = ()
    low: tuple[float, ...] = (0.0, 0.0, 0.0)
    high: tuple[float, ...] = (1.0, 1.0, 1.0)


def lookup(table: Lookup) -> Apply:
    """The table between its entries, trilinear."""
    low = np.array(table.low, np.float32)
    span = np.maximum(np.array(table.high, np.float32) - low, 1e-6)

    def apply(colours: Colours) -> Colours:
        at = _curved(np.asarray(colours, np.float32), table.before)
        out = _trilinear(table.grid, np.clip((at - low) / span, 0, 1))
        return np.clip(_curved(out, table.beyond), 0, 1).astype(np.float32)

    return apply


def _curved(colours: Colours, curves: Curves) -> Colours:
    if not curves:
        return colours
    steps = [np.interp(colours[..., i], np.linspace(0, 1, len(curve)), curve) for i, curve in enumerate(curves)]
    return np.stack(steps, axis=-1).astype(np.float32)


def _trilinear(grid: Grid, at: Colours) -> Colours:
    sides = np.array(grid.shape[:3])
    position = at * (sides - 1).astype(np.float32)
    base = np.minimum(position.astype(np.int32), np.maximum(sides - 2, 0).astype(np.int32))
    share = (position - base).astype(np.float32)
    stride = np.array([sides[1] * sides[2], sides[2], 1])
    flat, start = grid.reshape(-1, 3), base @ stride
    out = np.zeros(at.shape, np.float32)
    for corner in range(8):
        weight: Colours = np.ones(at.shape[:-1], np.float32)
        index = start
        for axis in range(3):
            far = corner >> axis & 1
            weight = weight * (share[..., axis] if far else 1 - share[..., axis])
            index = index + far * stride[axis]
        out += flat.take(index, axis=0, mode="clip") * weight[..., None]
    return out


def _grid(values: npt.NDArray[np.float64], side: int, red_fastest: bool) -> Grid:
    if not 2 <= side <= _LARGEST_SIDE or values.shape != (side**3, 3) or not np.isfinite(values).all():
        raise ValueError("not a cube of colours")
    grid = values.reshape(side, side, side, 3)
    return np.ascontiguousarray(grid.transpose(2, 1, 0, 3) if red_fastest else grid, np.float32)


def cube(data: bytes, red_fastest: bool = True) -> Lookup:
    """An Adobe/Resolve .cube file with a 3D table."""
    side, low, high = 0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    rows: list[str] = []
    for line in _lines(data):
        word, _, rest = line.partition(" ")
        if word == "LUT_3D_SIZE":
            side = int(rest)
        elif word in ("DOMAIN_MIN", "DOMAIN_MAX", "LUT_3D_INPUT_RANGE"):
            numbers = tuple(float(part) for part in rest.split())
            if word == "LUT_3D_INPUT_RANGE":
                low, high = (numbers[0],) * 3, (numbers[1],) * 3
            elif len(numbers) != 3:
                raise ValueError("a domain has three numbers")
            elif word == "DOMAIN_MIN":
                low = numbers
            else:
                high = numbers
        elif word == "LUT_1D_SIZE":
            raise ValueError("a one-dimensional table")
        elif line[0] in "+-.0123456789":
            rows.append(line)
    if not 2 <= side <= _LARGEST_SIDE or len(rows) != side**3 or not np.isfinite([*low, *high]).all():
        raise ValueError("not a cube of colours")
    return Lookup(_grid(_numbers(rows), side, red_fastest), low=low, high=high)


def three_dl(data: bytes, red_fastest: bool = False) -> Lookup:
    """A .3dl file: a line of input levels, then integer colours whose largest power of two is full."""
    rows = [line for line in _lines(data) if line[0] in "+-.0123456789"]
    if len(rows) < 9:
        raise ValueError("too short")
    side = round((len(rows) - 1) ** (1 / 3))
    if not 2 <= side <= _LARGEST_SIDE or side**3 != len(rows) - 1 or len(rows[0].split()) != side:
        raise ValueError("not a cube of colours")
    values = _numbers(rows[1:])
    full = 2 ** int(np.ceil(np.log2(max(float(values.max()), 1.0) + 1))) - 1
    return Lookup(_grid(values / full, side, red_fastest))


def _lines(data: bytes) -> list[str]:
    if len(data) > _LARGEST_TEXT:
        raise ValueError("too large")
    lines = (line.strip().replace("\t", " ") for line in data.decode("latin-1").lstrip("\ufeff").splitlines())
    return [line for line in lines if line and line[0] != "#"]


def _numbers(rows: list[str]) -> npt.NDArray[np.float64]:
    return np.array([row.split() for row in rows], np.float64)


def device_link(profile: bytes) -> Lookup:
    """An ICC device link from RGB to RGB with an 8 or 16-bit table (``mft1``, ``mft2``, ICC.1)."""
    if len(profile) < _LINK_HEADER or profile[12:24] != b"linkRGB RGB ":
        raise ValueError("not an RGB device link")
    count = min(int.from_bytes(profile[128:132], "big"), 100)
    for i in range(count):
        tag, offset, size = struct.unpack_from(">4sII", profile, _LINK_HEADER + 12 * i)
        if tag == b"A2B0":
            return _table(profile[offset : offset + size])
    raise ValueError("no table")


def _table(data: bytes) -> Lookup:
    """A ``lut8Type`` or ``lut16Type`` with three channels in and out; the matrix counts only for XYZ."""
    kind, inputs, outputs, side = data[:4], data[8], data[9], data[10]
    if kind not in (b"mft1", b"mft2") or (inputs, outputs) != (3, 3) or not 2 <= side <= _LARGEST_SIDE:
        raise ValueError("an unknown table")
    if kind == b"mft1":
        dtype, start, entries, ends, full = ">u1", 48, 256, 256, 255
    else:
        entries, ends = struct.unpack_from(">HH", data, 48)
        dtype, start, full = ">u2", 52, 65535
    if not (2 <= entries <= _LARGEST_CURVE and 2 <= ends <= _LARGEST_CURVE):
        raise ValueError("an unknown table")
    total = 3 * entries + 3 * side**3 + 3 * ends
    values = np.frombuffer(data, dtype, total, start).astype(np.float64) / full
    first, grid, last = np.split(values, [3 * entries, 3 * entries + 3 * side**3])
    return Lookup(_grid(grid.reshape(-1, 3), side, False), tuple(first.reshape(3, -1)), tuple(last.reshape(3, -1)))
