"""Artboards: the box beyond which nothing of them shows, and the colour under their layers."""

from __future__ import annotations

from typing import Any

from psd_tools.constants import Tag
from psd_tools.psd.descriptor import Descriptor

from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_descriptors import child, finite
from pipelines.formats.style import Colour
from schemas.geometry import Box

_TAGS = (Tag.ARTBOARD_DATA1, Tag.ARTBOARD_DATA2, Tag.ARTBOARD_DATA3)
_FAR = float(1 << 24)
_SIDES = (b"Left", b"Top ", b"Rght", b"Btom")
_GROUNDS = {1: (1.0, 1.0, 1.0), 2: (0.0, 0.0, 0.0)}
"""White and black; 3 is transparent (as previews show), 4 has a colour of its own."""


def artboard_of(group: Any, colours: Colours) -> tuple[Box, Colour | None] | None:
    """An artboard's box and ground; None for a group that is none, or one without a box that can be read."""
    data = next((found for tag in _TAGS if isinstance(found := group.tagged_blocks.get_data(tag), Descriptor)), None)
    rectangle = None if data is None else child(data, b"artboardRect")
    if data is None or rectangle is None:
        return None
    sides = [finite(rectangle.get(key)) for key in _SIDES]
    known = [int(min(_FAR, max(-_FAR, side))) for side in sides if side is not None]
    if len(known) != len(_SIDES):
        return None
    box = Box(known[0], known[1], max(known[0], known[2]), max(known[1], known[3]))
    return box, _ground(data, colours)


def _ground(data: Descriptor, colours: Colours) -> Colour | None:
    kind = finite(data.get(b"artboardBackgroundType"))
    own = child(data, b"Clr ") if kind == 4 else None
    if own is not None:
        levels = [finite(own.get(key)) or 0.0 for key in (b"Rd  ", b"Grn ", b"Bl  ")]
        return colours.codes([level / 255 for level in levels])
    rgb = _GROUNDS.get(int(kind)) if kind is not None else None
    return None if rgb is None else colours.codes(rgb)
