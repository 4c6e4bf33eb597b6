"""From the document's space to sRGB, after composing: converting layer by layer is right only where none is
translucent over another. A document composed in linear light has sRGB codes already, but they do not mix as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pipelines.flatten.push import Floats, pushed
from pipelines.flatten.stack import StackLayer
from pipelines.formats.tree import Space
from schemas.geometry import Box

F = TypeVar("F", bound=np.floating[Any])

_KNEE = 0.04045


def light(codes: npt.NDArray[F]) -> npt.NDArray[F]:
    """sRGB values 0..1 as linear light (IEC 61966-2-1)."""
    curve = ((np.maximum(codes, _KNEE) + 0.055) / 1.055) ** 2.4
    return np.asarray(np.where(codes <= _KNEE, codes / 12.92, curve), codes.dtype)


def encoded(linear: npt.NDArray[F]) -> npt.NDArray[F]:
    """Linear light 0..1 as sRGB values."""
    curve = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(linear <= _KNEE / 12.92, linear * 12.92, curve), linear.dtype)


def to_srgb(layers: Sequence[StackLayer], space: Space, visible: Box) -> list[StackLayer]:
    """The layers with sRGB pixels, ``[h, w, 4]``, whose composite is the converted composite."""
    convert = space.convert

    def change(colours: Floats, box: Box) -> Floats:
        if convert is None:
            return encoded(colours)
        codes = np.rint(colours * 255).clip(0, 255).astype(np.uint8)
        return np.asarray(convert(np.ascontiguousarray(codes)) / np.float32(255), np.float32)

    if (convert is None and not space.linear) or not layers:
        return list(layers)
    return pushed(layers, change, visible, space.channels, "", light if space.linear else None)
