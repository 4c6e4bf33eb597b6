"""The colours of a text as they are seen: an overlay or an adjustment changes what its runs say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pipelines.flatten.blend import MODES, blend, canonical
from pipelines.formats.style import AnyEffect, Gradient, Overlay, Solid
from schemas.design import Text

Colour = npt.NDArray[np.float32]
"""One colour, float32 ``[1, 3]``, 0..1."""


def recoloured(text: Text | None, change: Callable[[Colour], Colour]) -> Text | None:
    """The text with ``change`` applied to the colour of each run; RGB codes are taken for sRGB."""
    if text is None:
        return None
    runs = tuple(
        run if run.colour is None else run.model_copy(update={"colour": _hex(change(_levels(run.colour)))})
        for run in text.runs
    )
    return text.model_copy(update={"runs": runs})


def overlaid(text: Text | None, style: Sequence[AnyEffect], channels: int) -> Text | None:
    """The text under its colour and gradient overlays, of a gradient the mean colour."""
    overlays = [effect for effect in style if isinstance(effect, Overlay) and effect.opacity > 0]
    if text is None or channels != 3:
        return text
    for gradients in (True, False):  # colour overlays lie above gradients
        for overlay in overlays:
            colour = _mean(overlay)
            if colour is not None and isinstance(overlay.paint, Gradient) is gradients:
                text = recoloured(text, _over(overlay, colour))
    return text


def _mean(overlay: Overlay) -> Colour | None:
    if isinstance(overlay.paint, Solid):
        return np.array([overlay.paint.colour[:3]], np.float32)
    if isinstance(overlay.paint, Gradient):
        return np.asarray(overlay.paint.ramp[:, :3].mean(axis=0, keepdims=True), np.float32)
    return None


def _over(overlay: Overlay, colour: Colour) -> Callable[[Colour], Colour]:
    mode = canonical(overlay.blend_mode)

    def change(own: Colour) -> Colour:
        made = np.asarray(blend(mode, own, colour) if mode in MODES else colour, np.float32)
        return np.asarray(own + np.float32(overlay.opacity) * (made - own), np.float32)

    return change


def _levels(colour: str) -> Colour:
    return np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]], np.float32)


def _hex(colour: Colour) -> str:
    red, green, blue = (round(float(level) * 255) for level in np.clip(colour[0], 0, 1))
    return f"#{red:02x}{green:02x}{blue:02x}"
