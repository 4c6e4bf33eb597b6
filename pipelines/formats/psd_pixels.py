"""Stored PSD channels to 8-bit codes of the document's own space with straight alpha: layers and the merged picture.

psd-tools' own conversions truncate (16 and 32 bit), drop the alpha of CMYK and remove the white of a merged picture
after its ICC conversion; here values are rounded, alpha is kept and the white goes first.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools import PSDImage
from psd_tools.api.utils import get_transparency_index, has_transparency
from psd_tools.compression import PSDDecompressionWarning
from psd_tools.constants import ChannelID, ColorMode, Compression, Resource

from pipelines.errors import Rejected
from pipelines.formats.limits import ReadLimits, unreadable
from pipelines.formats.psd_colours import Colours, Plane
from pipelines.formats.tree import Pixels
from schemas.compositing import Rgba
from schemas.ledger import Code

_ROWS = 256
_ALPHA_NAMES = (Resource.ALPHA_IDENTIFIERS, Resource.ALPHA_NAMES_UNICODE, Resource.ALPHA_NAMES_PASCAL)


def layer_pixels(layer: Any, colours: Colours) -> Pixels:
    """A layer's own stored pixels, uint8 ``[height, width, channels + 1]`` of its record's rectangle; opaque without
    an alpha channel.
    """
    record = layer._record
    width, height = record.right - record.left, record.bottom - record.top
    found = {int(info.id): data for info, data in zip(record.channel_info, layer._channels, strict=False)}
    with unreadable(f"pixels of layer {layer.name[:80]!r}"), strict_decompression():
        planes = [
            colours.plane(found[i].get_data(width, height, colours.depth, colours.version), width, height)
            for i in range(colours.count)
        ]
        out = np.empty((height, width, colours.channels + 1), np.uint8)
        colours.fill(out, planes)
        alpha = found.get(ChannelID.TRANSPARENCY_MASK)
        out[..., -1] = 255
        if alpha is not None and alpha.data:
            stored = alpha.get_data(width, height, colours.depth, colours.version)
            out[..., -1] = colours.plane(stored, width, height, linear=False)
        return out


def layer_alpha(layer: Any, colours: Colours) -> Plane | None:
    """A layer's stored alpha, uint8 ``[height, width]``; None where it has none and is opaque."""
    record = layer._record
    width, height = record.right - record.left, record.bottom - record.top
    found = {int(info.id): data for info, data in zip(record.channel_info, layer._channels, strict=False)}
    alpha = found.get(ChannelID.TRANSPARENCY_MASK)
    if alpha is None or not alpha.data:
        return None
    with unreadable(f"alpha of layer {layer.name[:80]!r}"), strict_decompression():
        stored = alpha.get_data(width, height, colours.depth, colours.version)
        return colours.plane(stored, width, height, linear=False)


class strict_decompression(warnings.catch_warnings):  # type: ignore[type-arg]  # noqa: N801 - reads as a with statement
    """While it holds, a channel that psd-tools would replace by black is an error."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PSDDecompressionWarning)


def merged(psd: PSDImage, colours: Colours, limits: ReadLimits) -> Rgba | None:
    """The merged picture the file carries, uint8 ``[height, width, 4]``; None where it says that it has none."""
    if not psd.has_preview():
        return None
    width, height = psd.width, psd.height
    limits.check_layer("merged picture", 0, 0, width, height)
    _check_length(psd)
    with unreadable("the merged picture"), strict_decompression():
        planes: Any = psd._record.image_data.get_data(psd._record.header)
    colour = [colours.plane(planes[i], width, height) for i in range(min(colours.count, psd.channels))]
    if len(colour) < colours.count:
        colour = colour[:1] * colours.count
    alpha = None
    if has_alpha(psd, colours):
        alpha = colours.plane(planes[_alpha_index(psd, colours)], width, height, linear=False)
    del planes
    out = np.empty((height, width, 4), np.uint8)
    for top in range(0, height, _ROWS):
        rows = slice(top, top + _ROWS)
        _fill(out[rows], [plane[rows] for plane in colour], None if alpha is None else alpha[rows], colours)
    return out


def _fill(out: Rgba, colour: Sequence[Plane], alpha: Plane | None, colours: Colours) -> None:
    """Some rows of the merged picture, sRGB, from its stored planes."""
    if alpha is not None and colours.mode in (ColorMode.RGB, ColorMode.GRAYSCALE):
        veiled = (alpha > 0) & (alpha < 255)
        if veiled.any():
            colour = [_without_white(plane, alpha, veiled) for plane in colour]
    if colours.space.convert is None:
        colours.fill(out, colour)
    else:
        out[..., :3] = colours.rgb(colour)
    out[..., 3] = 255 if alpha is None else alpha
    if alpha is not None:
        out[alpha == 0] = 0


def has_alpha(psd: PSDImage, colours: Colours) -> bool:
    """Whether the merged picture has an alpha plane; without one it shows the document on white."""
    return colours.count <= _alpha_index(psd, colours) < psd.channels


def _alpha_index(psd: PSDImage, colours: Colours) -> int:
    """Which plane of the merged picture is its alpha; -1 where none is. A single extra plane without a name is: some
    programs write it and do not declare it."""
    index = get_transparency_index(psd) if has_transparency(psd) else -1
    named = any(psd.image_resources.get_data(key) for key in _ALPHA_NAMES)
    if index < 0 and psd.channels == colours.count + 1 and not named:
        return colours.count
    return index


def _check_length(psd: PSDImage) -> None:
    """Raises Rejected(UNREADABLE) where the merged picture's data ends early: psd-tools would go on with black."""
    stored, header = psd._record.image_data, psd._record.header
    rows = header.height * header.channels
    needed = rows * ((header.width * header.depth + 7) // 8)
    if stored.compression is Compression.RLE:
        counts = np.frombuffer(stored.data[: rows * 2 * header.version], ">u2" if header.version == 1 else ">u4")
        needed = (
            len(counts.tobytes()) + int(counts.sum(dtype=np.int64)) if len(counts) == rows else len(stored.data) + 1
        )
    if stored.compression in (Compression.RAW, Compression.RLE) and len(stored.data) < needed:
        raise Rejected(Code.UNREADABLE, "the file ends inside the merged picture")


def _without_white(plane: Plane, alpha: Plane, veiled: npt.NDArray[np.bool_]) -> Plane:
    """The straight colour of a plane that is stored over white, where ``veiled``: neither opaque nor nothing."""
    out, a = plane.copy(), alpha[veiled].astype(np.float32)
    straight = (plane[veiled].astype(np.float32) + a - 255) * 255 / a
    out[veiled] = np.rint(straight).clip(0, 255).astype(np.uint8)
    return out
