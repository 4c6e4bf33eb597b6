"""Colours, gradients, patterns and contours as the descriptors a PSD keeps them in.

Ramps and contours are sampled in the tree and made of points in the file: they are reduced to the fewest points whose
straight lines keep every sample, and written without smoothness, so that they read back as they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools.constants import ColorMode, Compression
from psd_tools.psd import patterns as psd_patterns
from psd_tools.psd.descriptor import Bool, Descriptor, Double, Enumerated, Integer, List, String, UnitFloat
from psd_tools.terminology import Unit

from pipelines.formats.style import Colour, Curve, Gradient, Paint, Pattern, Solid
from pipelines.formats.tree import Space

Items = list[tuple[bytes, Any]]
_KINDS = {
    "linear": b"Lnr ",
    "radial": b"Rdl ",
    "angle": b"Angl",
    "reflected": b"Rflc",
    "diamond": b"Dmnd",
    "shape-burst": b"shapeburst",
}
_LAST = 4096  # the position of a gradient's last stop
_POINTS = 250
_TOLERANCE = 1 / 2048
_ARRAYS = 26  # channels of a stored pattern: 24 for colour, then the masks; the last is its transparency


def described(class_id: bytes, items: Iterable[tuple[bytes, Any]], name: str = "") -> Descriptor:
    stored: Any = list(items)
    return Descriptor(items=stored, name=f"{name}\0", classID=class_id)  # type: ignore[call-arg]


def number(value: float) -> Double:
    return Double(float(value))  # type: ignore[call-arg]


def percent(share: float) -> UnitFloat:
    return UnitFloat(100 * float(share), Unit.Percent)  # type: ignore[call-arg]


def pixels(length: float) -> UnitFloat:
    return UnitFloat(float(length), Unit.Pixels)  # type: ignore[call-arg]


def degrees(angle: float) -> UnitFloat:
    return UnitFloat(float(angle), Unit.Angle)  # type: ignore[call-arg]


def flag(value: bool) -> Bool:
    return Bool(value)  # type: ignore[call-arg]


def chosen(kind: bytes, value: bytes) -> Enumerated:
    return Enumerated(kind, value)  # type: ignore[call-arg]


def text(value: str) -> String:
    return String(f"{value}\0")  # type: ignore[call-arg]


def point(x: Any, y: Any) -> Descriptor:
    return described(b"Pnt ", [(b"Hrzn", x), (b"Vrtc", y)])


def rgb(colour: Sequence[float] | npt.NDArray[np.float64]) -> Descriptor:
    """An sRGB colour, 0..1."""
    keys = (b"Rd  ", b"Grn ", b"Bl  ")
    return described(b"RGBC", [(key, number(255 * level)) for key, level in zip(keys, colour, strict=True)])


def listed(items: Iterable[Any]) -> List:
    return List(list(items))  # type: ignore[call-arg]


def contour(curve: Curve | None) -> Descriptor:
    """A contour by its corners; None is the straight line."""
    levels = np.linspace(0, 1, 256) if curve is None else np.asarray(curve, np.float64)
    corners = [
        described(b"CrPt", [(b"Hrzn", number(i)), (b"Vrtc", number(255 * float(levels[i]))), (b"Cnty", flag(False))])
        for i in knots(levels[:, None])
    ]
    return described(b"ShpC", [(b"Nm  ", text("Linear" if curve is None else "Custom")), (b"Crv ", listed(corners))])


def knots(values: npt.NDArray[np.float64], tolerance: float = _TOLERANCE) -> list[int]:
    """The rows of ``values`` ``[n, columns]`` that straight lines need to come within ``tolerance`` of every row; with
    more than ``_POINTS`` of them, of a coarser one."""
    keep, spans = {0, len(values) - 1}, [(0, len(values) - 1)]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        share = np.linspace(0, 1, end - start + 1)[:, None]
        off = np.abs(values[start] * (1 - share) + values[end] * share - values[start : end + 1]).max(axis=1)
        worst = int(off.argmax())
        if off[worst] > tolerance:
            keep.add(start + worst)
            spans += [(start, start + worst), (start + worst, end)]
    return sorted(keep) if len(keep) <= _POINTS else knots(values, 2 * tolerance)


class Paints:
    """Paints as descriptors, colours in sRGB; keeps the patterns they name, which a file stores once."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.patterns: dict[str, psd_patterns.Pattern] = {}

    def colour(self, colour: Colour) -> Descriptor:
        return rgb(self._srgb(np.asarray([colour], np.float64))[0])

    def _srgb(self, colours: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Colours ``[n, channels]`` of the document's space as sRGB, 0..1."""
        if self.space.convert is None:
            return colours
        codes = np.rint(colours * 255).clip(0, 255).astype(np.uint8)
        return np.asarray(self.space.convert(np.ascontiguousarray(codes[None]))[0] / 255, np.float64)

    def paint(self, paint: Paint, key: bytes = b"Clr ") -> Items:
        """The items of a paint; ``key`` is that of a plain colour."""
        if isinstance(paint, Solid):
            return [(key, self.colour(paint.colour))]
        return self.laid(paint) if isinstance(paint, Gradient) else self.pattern(paint)

    def laid(self, gradient: Gradient) -> Items:
        """A gradient and where it lies."""
        across, down = gradient.offset
        return [
            (b"Grad", self.ramp(gradient)),
            (b"Angl", degrees(gradient.angle)),
            (b"Type", chosen(b"GrdT", _KINDS[gradient.kind])),
            (b"Rvrs", flag(False)),
            (b"Dthr", flag(False)),
            (b"Algn", flag(gradient.aligned)),
            (b"Scl ", percent(gradient.scale)),
            (b"Ofst", point(percent(across), percent(down))),
        ]

    def ramp(self, gradient: Gradient) -> Descriptor:
        """A gradient's colours and opacities as stops."""
        ramp = np.asarray(gradient.ramp, np.float64)
        ramp = ramp if len(ramp) > 1 else np.repeat(ramp, 2, axis=0)
        colours, alpha = self._srgb(ramp[:, :-1]), ramp[:, -1:]

        def place(row: int) -> Items:
            return [(b"Lctn", Integer(round(row * _LAST / (len(ramp) - 1)))), (b"Mdpn", Integer(50))]  # type: ignore[call-arg]

        user = chosen(b"Clry", b"UsrS")
        stops = [described(b"Clrt", [(b"Clr ", rgb(colours[i])), (b"Type", user), *place(i)]) for i in knots(colours)]
        clear = [described(b"TrnS", [(b"Opct", percent(alpha[i, 0])), *place(i)]) for i in knots(alpha)]
        items: Items = [
            (b"Nm  ", text("Custom")),
            (b"GrdF", chosen(b"GrdF", b"CstS")),
            (b"Intr", number(0)),
            (b"Clrs", listed(stops)),
            (b"Trns", listed(clear)),
        ]
        return described(b"Grdn", items, "Gradient")

    def pattern(self, pattern: Pattern) -> Items:
        """A pattern by name, and where it lies; its tile goes into ``patterns``."""
        x, y = pattern.origin
        return [
            (b"Ptrn", described(b"Ptrn", [(b"Nm  ", text("Pattern")), (b"Idnt", text(self.kept(pattern)))])),
            (b"Angl", degrees(pattern.angle)),
            (b"Scl ", percent(pattern.scale)),
            (b"Algn", flag(True)),
            (b"phase", point(number(x), number(y))),
        ]

    def kept(self, pattern: Pattern) -> str:
        """The id of a tile: a digest in the shape of the format's ids, so that the same tile is the same pattern."""
        tile = np.ascontiguousarray(self.space.rgba(pattern.tile))
        digest = hashlib.sha256(repr(tile.shape).encode() + tile.tobytes()).hexdigest()
        name = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
        if name not in self.patterns:
            self.patterns[name] = _stored(name, tile)
        return name


def _stored(name: str, tile: npt.NDArray[np.uint8]) -> psd_patterns.Pattern:
    height, width = tile.shape[:2]
    arrays = [psd_patterns.VirtualMemoryArray() for _ in range(_ARRAYS)]
    planes = [(0, 0), (1, 1), (2, 2)] + ([(_ARRAYS - 1, 3)] if (tile[..., 3] < 255).any() else [])
    for place, channel in planes:
        data = np.ascontiguousarray(tile[..., channel]).tobytes()
        arrays[place].set_data((width, height), data, 8, Compression.RLE)
    listing = psd_patterns.VirtualMemoryArrayList(rectangle=(0, 0, height, width), channels=arrays)
    return psd_patterns.Pattern(
        image_mode=ColorMode.RGB, point=(height, width), name="Pattern\0", pattern_id=name, data=listing
    )
