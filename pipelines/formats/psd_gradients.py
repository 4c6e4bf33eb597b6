"""Gradients: their stops as one evenly spaced ramp in the document's channels, and how it is laid out.

Between two stops the level is first moved by the midpoint of the later one, then follows a Catmull-Rom spline over the
stops' places, blended with a straight line by the smoothness and never beyond the two stops (observed in Photoshop's
pixels). Perceptual gradients run straight in Oklab, linear ones in linear light.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from psd_tools.constants import ColorMode
from psd_tools.psd.descriptor import Descriptor

from pipelines import oklab, srgb
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_descriptors import angle, child, children, enum, flag, number
from pipelines.formats.psd_gradient_noise import noise_ramp
from pipelines.formats.psd_swatches import BLACK, colour_of, of_rgb
from pipelines.formats.style import Gradient

Ramp = npt.NDArray[np.float32]
Places = npt.NDArray[Any]
Kind = Literal["linear", "radial", "angle", "reflected", "diamond", "shape-burst"]
STEPS = 4097
"""Samples of a ramp: one for each place that a stop can have."""
_LAST = STEPS - 1
_KINDS: Mapping[bytes, Kind] = {
    b"Lnr ": "linear",
    b"Rdl ": "radial",
    b"Angl": "angle",
    b"Rflc": "reflected",
    b"Dmnd": "diamond",
    b"shapeburst": "shape-burst",
}
_METHODS = (b"gs99", b"gradientsInterpolationMethod")
_CLASSIC, _PERCEPTUAL, _LINEAR = (b"Gcls", b"classic"), (b"Perc", b"perceptual"), (b"Lnr ", b"linear")


def gradient(data: Descriptor, colours: Colours, problems: list[str]) -> Gradient | None:
    """The gradient of a fill, overlay, stroke or glow, whose object is at ``Grad``; None, with a problem, without."""
    stops = child(data, b"Grad")
    if stops is None:
        problems.append("gradient without stops")
        return None
    method = next((found for key in _METHODS if (found := enum(data, key))), b"Gcls")
    straight = method in (*_PERCEPTUAL, *_LINEAR) and (_is_rgb(colours) or colours.depth == 32)
    if method not in _CLASSIC and not straight:
        problems.append("gradient method")
    levels = ramp(stops, colours, problems, method)
    kind = _KINDS.get(enum(data, b"Type"), "linear")
    offset = child(data, b"Ofst")
    return Gradient(
        ramp=np.ascontiguousarray(levels[::-1]) if flag(data, b"Rvrs", False) else levels,
        kind=kind,
        angle=angle(data, b"Angl", 90.0),
        scale=number(data, b"Scl ", 100.0, 0.1, 10_000.0) / 100,
        offset=(0.0, 0.0) if offset is None else (_share(offset, b"Hrzn"), _share(offset, b"Vrtc")),
        aligned=flag(data, b"Algn", True),
    )


def _share(offset: Descriptor, key: bytes) -> float:
    return number(offset, key, 0.0, -10_000.0, 10_000.0) / 100


def ramp(stops: Descriptor, colours: Colours, problems: list[str], method: bytes = b"Gcls") -> Ramp:
    """The levels of a gradient object (``Grdn``): float32 ``[STEPS, channels + 1]``, opacity last."""
    if enum(stops, b"GrdF") == b"ClNs":
        levels, random = noise_ramp(stops, colours, STEPS)
        problems += ["noise gradient"] if random else []
        return levels
    smooth = number(stops, b"Intr", 4096.0, 0.0, 4096.0) / 4096
    levels = np.empty((STEPS, colours.channels + 1), np.float32)
    at, mid, values = _sorted(children(stops, b"Clrs"), lambda stop: _stop_colour(stop, colours, problems))
    if not len(at):
        problems.append("gradient without stops")
        at, mid, values = np.zeros(1), np.full(1, 0.5), np.array([of_rgb(BLACK, colours)])
    levels[:, :-1] = _coloured(at, mid, values, smooth, method, colours)
    at, mid, values = _sorted(children(stops, b"Trns"), lambda stop: (number(stop, b"Opct", 100.0, 0.0, 100.0) / 100,))
    levels[:, -1:] = _curve(at, mid, values, smooth) if len(at) else 1.0
    return levels


def _coloured(
    at: Places, mid: Places, values: Places, smooth: float, method: bytes, colours: Colours
) -> npt.NDArray[Any]:
    """Colours between stops, where the gradient's method says; 32-bit documents compose linear light."""
    if colours.depth == 32:
        return _coded(_curve(at, mid, srgb.decode(values), smooth))
    if method in _PERCEPTUAL and _is_rgb(colours):
        lab = oklab.of_light(srgb.decode(np.asarray(values, np.float32)))
        return _coded(oklab.to_light(np.asarray(_curve(at, mid, lab, 0.0), np.float32)))
    if method in _LINEAR and _is_rgb(colours):
        return _coded(_curve(at, mid, srgb.decode(values), 0.0))
    return _curve(at, mid, values, smooth)


def _coded(light: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return srgb.encode(light.clip(0, 1))


def _is_rgb(colours: Colours) -> bool:
    """Whether the document's codes are RGB, or gray three times."""
    return colours.channels == 3 and colours.mode is not ColorMode.LAB


def _stop_colour(stop: Descriptor, colours: Colours, problems: list[str]) -> tuple[float, ...]:
    found = colour_of(child(stop, b"Clr "), colours)
    if found is not None:
        return found
    kind = enum(stop, b"Type")
    if kind not in (b"FrgC", b"BckC"):
        problems.append("gradient stop without colour")
    return of_rgb((1.0, 1.0, 1.0) if kind == b"BckC" else BLACK, colours)  # Photoshop's colours when it starts


def _sorted(stops: list[Descriptor], value: Any) -> tuple[Places, Places, Places]:
    """Places 0..``_LAST``, midpoints 0..1 and values ``[n, k]`` of the stops, in the order of their places."""
    found = [
        (number(stop, b"Lctn", 0.0, 0.0, 4096.0), number(stop, b"Mdpn", 50.0, 1.0, 99.0) / 100, value(stop))
        for stop in stops
    ]
    found.sort(key=lambda stop: stop[0])
    at = np.array([stop[0] for stop in found]) * (_LAST / 4096)
    return at, np.array([stop[1] for stop in found]), np.array([stop[2] for stop in found], np.float64)


def _curve(at: Places, mid: Places, values: Places, smooth: float) -> Ramp:
    """Values ``[STEPS, k]`` between stops; two stops at one place are a step, which the spline does not cross."""
    out = np.empty((STEPS, values.shape[1]), np.float32)
    out[:] = values[0]
    if (values == values[0]).all():
        return out
    for first, last in _runs(at):
        slopes = _slopes(at[first : last + 1], values[first : last + 1])
        for i in range(first, last):
            start, end = math.ceil(at[i]), math.floor(at[i + 1]) + 1
            width, step, m = at[i + 1] - at[i], values[i + 1] - values[i], mid[i + 1]
            t = (np.arange(start, end) - at[i]) / width
            if m != 0.5:
                t = np.where(t < m, t / (2 * m), 0.5 + (t - m) / (2 * (1 - m)))
            t = t[:, None]
            line = values[i] + step * t
            if smooth:
                a, b = slopes[i - first] * width - step, slopes[i + 1 - first] * width - step
                line += smooth * t * (1 - t) * ((1 - t) * a - t * b)
                line = line.clip(np.minimum(values[i], values[i + 1]), np.maximum(values[i], values[i + 1]))
            out[start:end] = line
        out[math.ceil(at[last]) :] = values[last]
    return out


def _runs(at: Places) -> list[tuple[int, int]]:
    """First and last index of each run of stops at places of their own."""
    steps = [i for i in range(1, len(at)) if at[i] - at[i - 1] < 1e-6]
    return list(zip([0, *steps], [*(i - 1 for i in steps), len(at) - 1], strict=True))


def _slopes(at: Places, values: Places) -> Places:
    """The slope at each stop, towards the next from the one before; at the ends half the slope of the segment."""
    slopes = np.zeros_like(values)
    if len(at) > 1:
        slopes[0] = (values[1] - values[0]) / (2 * (at[1] - at[0]))
        slopes[-1] = (values[-1] - values[-2]) / (2 * (at[-1] - at[-2]))
        slopes[1:-1] = (values[2:] - values[:-2]) / (at[2:] - at[:-2])[:, None]
    return slopes
