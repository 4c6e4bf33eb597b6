"""sRGB codes, linear light and Oklab (B. Ottosson, 2020), for gradients that do not run in codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_FROM_CONES, _FROM_LAB = np.linalg.inv(_TO_CONES), np.linalg.inv(_TO_LAB)


def decode(codes: Values) -> Values:
    """sRGB codes 0..1 as linear light (IEC 61966-2-1)."""
    return np.where(codes <= 0.04045, codes / 12.92, ((np.maximum(codes, 0.0) + 0.055) / 1.055) ** 2.4)


def encode(light: Values) -> Values:
    """Linear light as sRGB codes 0..1, clipped."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def from_srgb(codes: Values) -> Values:
    """sRGB codes 0..1 ``[..., 3]`` as Oklab."""
    return np.asarray(np.cbrt(decode(codes) @ _TO_CONES.T) @ _TO_LAB.T)


def to_srgb(lab: Values) -> Values:
    """Oklab ``[..., 3]`` as sRGB codes 0..1, clipped."""
    return encode((lab @ _FROM_LAB.T) ** 3 @ _FROM_CONES.T)
