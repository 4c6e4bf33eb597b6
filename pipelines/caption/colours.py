"""Naming colours: which few named colours make up a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipelines.oklab import to_oklab
from schemas.compositing import Rgba

NAMED: dict[str, tuple[str, ...]] = {
    "black": ("#0a0a0a",), "dark gray": ("#404040", "#585858"), "gray": ("#8a8a8a",), "light gray": ("#c8c8c8",),
    "white": ("#fcfcfc",), "red": ("#e02020", "#f04438"), "dark red": ("#8b1218",), "orange": ("#f58a1f", "#e8651a"),
    "brown": ("#7a4a21", "#4a2c16"), "beige": ("#e8d8b8",), "yellow": ("#f8de22",), "gold": ("#cfa12e",),
    "olive": ("#6f7a1e",), "lime": ("#a4e02a",), "green": ("#2a9d3a", "#18d828", "#58a868"), "dark green": ("#12502a",),
    "mint": ("#a6e6c8",), "teal": ("#0f7f80",), "turquoise": ("#3ad0d2", "#00f0f0"), "light blue": ("#9fd0f2",),
    "blue": ("#2565d8", "#3a97dc", "#1414f0"), "navy": ("#141f57", "#25405f"), "purple": ("#7030a0", "#9a58b6"),
    "lavender": ("#c3b1e8",), "magenta": ("#d81fb0",), "pink": ("#f7a6c4", "#f078b0"), "coral": ("#f9866f",),
}  # fmt: skip
"""The names (in English; ``phrases`` has the other languages) and typical colours of each, sRGB."""

SAMPLES = 1024
"""Pixels looked at, at most, on a regular grid."""

_NAMES = tuple(NAMED)
_OWNER = np.array([index for index, codes in enumerate(NAMED.values()) for _ in codes])
_TYPICAL = to_oklab(np.array([tuple(bytes.fromhex(code[1:])) for codes in NAMED.values() for code in codes], np.uint8))


def name_of(hex_colour: str) -> str:
    """The nearest named colour of ``#rrggbb``."""
    return _NAMES[int(_nearest(np.array([tuple(bytes.fromhex(hex_colour[1:]))], np.uint8))[0])]


def dominant(pixels: Rgba, count: int, least: float = 0.12) -> tuple[str, ...]:
    """The up to ``count`` named colours that cover most of a picture ``uint8 [height, width, 4]``, largest first.

    Pixels count by their alpha; the first colour is always named, further ones from a share of ``least``. Empty where
    nothing is visible.
    """
    step = max(1, int((pixels.shape[0] * pixels.shape[1] / SAMPLES) ** 0.5))
    flat = pixels[step // 2 :: step, step // 2 :: step].reshape(-1, 4)
    if not flat[..., 3].any():
        flat = pixels.reshape(-1, 4)
    flat = flat[flat[:, 3] > 0]
    if len(flat) == 0:
        return ()
    weights = np.bincount(_nearest(flat[:, :3]), weights=flat[:, 3], minlength=len(_NAMES))
    order = np.argsort(-weights, kind="stable")[:count]
    return tuple(_NAMES[int(i)] for rank, i in enumerate(order) if rank == 0 or weights[i] >= least * weights.sum())


def _nearest(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The number of the nearest named colour for each row of ``rgb`` ``[n, 3]``."""
    distance = ((to_oklab(rgb)[:, None] - _TYPICAL) ** 2).sum(axis=2)
    nearest: npt.NDArray[np.int64] = _OWNER[distance.argmin(axis=1)]
    return nearest
