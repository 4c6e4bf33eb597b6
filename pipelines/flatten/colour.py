"""From the document's space to sRGB, after composing: converting layer by layer is right only where none is
translucent over another. A document composed in linear light has sRGB codes already, but they do not mix as such.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.flatten.push import Floats, pushed
from pipelines.flatten.stack import StackLayer
from pipelines.formats.tree import Space
from pipelines.srgb import decode, encode
from schemas.geometry import Box


def to_srgb(layers: Sequence[StackLayer], space: Space, visible: Box) -> list[StackLayer]:
    """The layers with sRGB pixels, ``[h, w, 4]``, whose composite is the converted composite."""
    convert = space.convert

    def change(colours: Floats, box: Box) -> Floats:
        if convert is None:
            return encode(colours)
        codes = np.rint(colours * 255).clip(0, 255).astype(np.uint8)
        return np.asarray(convert(np.ascontiguousarray(codes)) / np.float32(255), np.float32)

    if (convert is None and not space.linear) or not layers:
        return list(layers)
    return pushed(layers, change, visible, space.channels, "", decode if space.linear else None)
