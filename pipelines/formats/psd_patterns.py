"""Patterns: the tiles a document carries, in its own channels, and where they start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from psd_tools import PSDImage
from psd_tools.constants import ColorMode, Tag
from psd_tools.psd.descriptor import Descriptor

from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_descriptors import angle, child, finite, flag, number, text
from pipelines.formats.psd_pixels import strict_decompression
from pipelines.formats.psd_swatches import of_cmyk, of_gray, of_rgb
from pipelines.formats.style import Pattern

Tile = npt.NDArray[np.uint8]
MAX_PIXELS = 4096 * 4096
"""A tile is not larger."""
_MAX_PLACE = 100_000.0
_MANY_COLOURS = 4096
_BLOCKS = (Tag.PATTERNS1, Tag.PATTERNS2, Tag.PATTERNS3)
_PLANES = {ColorMode.GRAYSCALE: 1, ColorMode.INDEXED: 1, ColorMode.RGB: 3, ColorMode.CMYK: 4, ColorMode.BITMAP: 1}
_TILES: WeakKeyDictionary[PSDImage, dict[str, Tile | None]] = WeakKeyDictionary()
_UNREADABLE = (ValueError, TypeError, IndexError, AttributeError, OSError, ArithmeticError, Warning)


def pattern(data: Descriptor, layer: Any, colours: Colours, problems: list[str]) -> Pattern | None:
    """The pattern of a fill, overlay, stroke or texture, whose object is at ``Ptrn``; None, with a problem, where the
    document does not carry it.

    Where it is linked with the layer (``Algn``) it starts at the layer's reference point, else at the document's
    corner; ``phase`` moves it from there.
    """
    wanted = child(data, b"Ptrn")
    key = text(wanted, b"Idnt") if wanted is not None else ""
    found = next((item for item in _carried(layer) if key and item.pattern_id.rstrip("\0") == key), None)
    if found is None:
        problems.append("pattern missing")
        return None
    tile = _shared(found, layer._psd, colours)
    if tile is None:
        problems.append("pattern unreadable")
        return None
    phase = child(data, b"phase")
    x, y = _reference(layer) if flag(data, b"Algn", True) else (0.0, 0.0)
    if phase is not None:
        x += number(phase, b"Hrzn", 0.0, -_MAX_PLACE, _MAX_PLACE)
        y += number(phase, b"Vrtc", 0.0, -_MAX_PLACE, _MAX_PLACE)
    return Pattern(tile, number(data, b"Scl ", 100.0, 1.0, 1000.0) / 100, angle(data, b"Angl", 0.0), (x, y))


def _shared(stored: Any, psd: PSDImage, colours: Colours) -> Tile | None:
    """The tile of a document's pattern, the same array for every layer; None where it cannot be read."""
    tiles = _TILES.setdefault(psd, {})
    key = stored.pattern_id
    if key not in tiles:
        try:
            with strict_decompression():
                tiles[key] = _tile(stored, colours)
        except _UNREADABLE:
            tiles[key] = None
    return tiles[key]


def _carried(layer: Any) -> Iterator[Any]:
    blocks = layer._psd.tagged_blocks
    for tag in _BLOCKS:
        yield from (blocks.get_data(tag) if blocks else None) or ()


def _reference(layer: Any) -> tuple[float, float]:
    """The layer's reference point, which moves with it."""
    point = layer.tagged_blocks.get_data(Tag.REFERENCE_POINT) or ()
    found = [finite(value) for value in list(point)[:2]]
    x, y = (min(_MAX_PLACE, max(-_MAX_PLACE, value or 0.0)) for value in (*found, 0.0, 0.0)[:2])
    return x, y


def _tile(stored: Any, colours: Colours) -> Tile | None:
    """The tile, uint8 ``[h, w, channels + 1]``; None for a mode that is not known.

    A stored tile has as many slots for planes as it says, and after them two more, the last one alpha.
    """
    top, left, bottom, right = (int(side) for side in stored.data.rectangle)
    height, width = bottom - top, right - left
    if height <= 0 or width <= 0 or height * width > MAX_PIXELS:
        return None
    slots = stored.data.channels
    written = [slot for slot in slots[:-2] if slot.is_written and slot.rectangle is not None]
    count = _PLANES.get(stored.image_mode, 1 if len(written) == 1 else 0)
    if not count or len(written) < count:
        return None
    box = (top, left, height, width)
    planes = np.stack([_plane(slot, box) for slot in written[:count]], axis=2)
    out = np.full((height, width, colours.channels + 1), 255, np.uint8)
    out[..., :-1] = _in_document(planes, stored, colours)
    alpha = slots[-1]
    if alpha.is_written and alpha.rectangle is not None:
        out[..., -1] = _plane(alpha, box)
    return out


def _plane(slot: Any, box: tuple[int, int, int, int]) -> Tile:
    """One plane, uint8 ``[h, w]`` of the tile's box; raises ValueError where it does not lie in it."""
    top, left, height, width = box
    y0, x0, y1, x1 = (int(side) for side in slot.rectangle)
    y0, x0, y1, x1 = y0 - top, x0 - left, y1 - top, x1 - left
    if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
        raise ValueError("a plane outside of its tile")
    depth = int(slot.depth)
    row = (x1 - x0) * depth // 8 if depth >= 8 else (x1 - x0 + 7) // 8
    data = slot.get_data(max_output_bytes=row * (y1 - y0))
    out = np.zeros((height, width), np.uint8)
    out[y0:y1, x0:x1] = _levels(bytes(data or b""), depth, y1 - y0, x1 - x0)
    return out


def _levels(data: bytes, depth: int, height: int, width: int) -> Tile:
    if depth == 8:
        return np.frombuffer(data, np.uint8, height * width).reshape(height, width)
    if depth == 16:
        return np.asarray(np.frombuffer(data, ">u2", height * width) >> 8, np.uint8).reshape(height, width)
    if depth == 32:
        values = np.nan_to_num(np.frombuffer(data, ">f4", height * width)).clip(0, 1)
        return np.asarray(np.rint(values * 255), np.uint8).reshape(height, width)
    if depth != 1:
        raise ValueError(f"a plane of {depth} bits")
    bits = np.frombuffer(data, np.uint8, height * ((width + 7) // 8)).reshape(height, -1)
    return (1 - np.unpackbits(bits, axis=1, count=width)) * np.uint8(255)


def _in_document(planes: Tile, stored: Any, colours: Colours) -> Tile:
    """Planes ``[h, w, 1, 3 or 4]`` of the tile's mode as the document's codes."""
    if stored.image_mode is ColorMode.INDEXED:
        table = np.zeros((256, 3), np.uint8)
        listed = np.array(stored.color_table or [(0, 0, 0)], np.uint8)[:256]
        table[: len(listed)] = listed
        planes = table[planes[..., 0]]
    kinds = {1: _of_gray, 3: of_rgb, 4: of_cmyk}
    rgb_document = colours.channels == 3 and (colours.count == 3 or colours.palette is not None)
    if rgb_document and colours.mode is not ColorMode.LAB and colours.depth != 32 and planes.shape[2] < 4:
        return planes
    levels, places = _unique(planes)
    made = [kinds[planes.shape[2]]([value / 255 for value in level.tolist()], colours) for level in levels]
    table = np.rint(np.array(made) * 255).clip(0, 255).astype(np.uint8)
    return np.asarray(table[places].reshape(*planes.shape[:2], colours.channels))


def _of_gray(level: list[float], colours: Colours) -> tuple[float, ...]:
    return of_gray(level[0], colours)


def _unique(planes: Tile) -> tuple[Tile, npt.NDArray[np.intp]]:
    """The colours of a tile ``[n, k]`` and which of them each pixel has; where they are very many, rounded ones."""
    for coarse in (0, 3, 4):
        flat = planes.reshape(-1, planes.shape[2]) >> coarse << coarse
        packed = flat.astype(np.uint32) @ (256 ** np.arange(planes.shape[2], dtype=np.uint32))
        _, first, places = np.unique(packed, return_index=True, return_inverse=True)
        if len(first) <= _MANY_COLOURS:
            break
    return planes.reshape(-1, planes.shape[2])[first], places.ravel()
