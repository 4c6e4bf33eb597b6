"""sRGB values and linear light (IEC 61966-2-1), of any float type and shape; nothing is clipped."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

F = TypeVar("F", bound=np.floating[Any])

_KNEE = 0.04045
_LIGHT_KNEE = 0.0031308


def decode(values: npt.NDArray[F]) -> npt.NDArray[F]:
    """sRGB values, 0..1 where they can be shown, as linear light."""
    curve = ((np.maximum(values, _KNEE) + 0.055) / 1.055) ** 2.4
    return np.asarray(np.where(values <= _KNEE, values / 12.92, curve), values.dtype)


def encode(light: npt.NDArray[F]) -> npt.NDArray[F]:
    """Linear light as sRGB values."""
    curve = 1.055 * np.maximum(light, _LIGHT_KNEE) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(light <= _LIGHT_KNEE, light * 12.92, curve), light.dtype)
