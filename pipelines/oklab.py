"""OKLab, a colour space in which equal distances look about equally far (Ottosson, 2020).

L is 0 (black) to 1 (white); a (green to red) and b (blue to yellow) are 0 for gray. Arrays are float32 ``[..., 3]``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.srgb import decode, encode

Colours = npt.NDArray[np.float32]

_TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
_FROM_LAB = (
    (1.0, 0.3963377774, 0.2158037573),
    (1.0, -0.1055613458, -0.0638541728),
    (1.0, -0.0894841775, -1.2914855480),
)
_FROM_LMS = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)
_LINEAR = decode(np.arange(256, dtype=np.float64) / 255).astype(np.float32)


def to_oklab(rgb: npt.NDArray[np.uint8]) -> Colours:
    """8-bit sRGB ``[..., 3]`` as OKLab."""
    return of_light(_LINEAR[rgb])


def from_oklab(lab: Colours) -> Colours:
    """OKLab as sRGB in 0..1, not clipped: what is outside 0..1 cannot be shown."""
    return encode(to_light(lab))


def of_light(light: Colours) -> Colours:
    """Linear light of sRGB's primaries as OKLab."""
    return _mix(np.cbrt(_mix(light, _TO_LMS)), _TO_LAB)


def to_light(lab: Colours) -> Colours:
    """OKLab as linear light, not clipped."""
    return _mix(_mix(lab, _FROM_LAB) ** 3, _FROM_LMS)


def _mix(colours: Colours, matrix: tuple[tuple[float, float, float], ...]) -> Colours:
    """``colours`` times a 3x3 matrix, without BLAS: its rounding depends on the number of threads."""
    x, y, z = colours[..., 0], colours[..., 1], colours[..., 2]
    rows = [np.float32(a) * x + np.float32(b) * y + np.float32(c) * z for a, b, c in matrix]
    return np.stack(rows, axis=-1)
