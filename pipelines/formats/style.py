"""What a layer's style says, with nothing of its file format: paints, effects and advanced blending.

Colours are 0..1 in the document's channels (``tree.Space``), straight. Lengths are in document px, angles in degrees
counter-clockwise from the right. Global light is already resolved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from schemas.geometry import Box

Colour = tuple[float, ...]
Curve = npt.NDArray[np.float32]
"""A contour: float32 ``[256]``, 0..1, what each level becomes."""


@dataclass(frozen=True)
class Solid:
    """One colour everywhere."""

    colour: Colour


@dataclass(frozen=True, eq=False)
class Gradient:
    """``ramp``: float32 ``[n, channels + 1]``, evenly spaced over the positions 0..1, the last column opacity.

    ``offset`` of the centre in shares of the box it is laid on: the layer's (``aligned``) or the document's.
    """

    ramp: npt.NDArray[np.float32]
    kind: Literal["linear", "radial", "angle", "reflected", "diamond", "shape-burst"] = "linear"
    angle: float = 90.0
    scale: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)
    aligned: bool = True


@dataclass(frozen=True, eq=False)
class Pattern:
    """``tile``: uint8 ``[h, w, channels + 1]``, repeated from ``origin`` (document px), scaled, then turned."""

    tile: npt.NDArray[np.uint8]
    scale: float = 1.0
    angle: float = 0.0
    origin: tuple[float, float] = (0.0, 0.0)


Paint = Solid | Gradient | Pattern


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What every effect has: how it is blended, on the layer or on what lies below it."""

    blend_mode: str = "normal"
    opacity: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Shadow(Effect):
    """A drop shadow, or an ``inner`` one. ``spread``: the share of ``size`` that is solid (choke, inside).

    ``concealed``: the layer hides the shadow under it even where its own fill does not.
    """

    colour: Colour
    inner: bool = False
    angle: float = 120.0
    distance: float = 0.0
    size: float = 0.0
    spread: float = 0.0
    noise: float = 0.0
    contour: Curve | None = None
    concealed: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Glow(Effect):
    """An outer or ``inner`` glow. ``range``: the level, 0..1, at which it reaches full strength."""

    paint: Solid | Gradient
    inner: bool = False
    size: float = 0.0
    spread: float = 0.0
    range: float = 0.5
    precise: bool = False
    from_centre: bool = False
    noise: float = 0.0
    jitter: float = 0.0
    contour: Curve | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlay(Effect):
    """A colour, gradient or pattern over the layer's own paint."""

    paint: Paint


@dataclass(frozen=True, kw_only=True, eq=False)
class Satin(Effect):
    """Two shifted copies of the blurred shape against each other."""

    colour: Colour
    angle: float = 19.0
    distance: float = 11.0
    size: float = 14.0
    invert: bool = True
    contour: Curve | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Stroke(Effect):
    """A line along the edge of the shape, ``size`` px wide. Not ``overprint``: it replaces what is under it."""

    paint: Paint
    size: float = 1.0
    position: Literal["inside", "center", "outside"] = "outside"
    overprint: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Texture:
    """A bevel's relief: the luminance of a pattern as height."""

    pattern: Pattern
    depth: float = 1.0
    invert: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Bevel:
    """A bevel or emboss. ``depth`` 1 is 100 %. ``highlight`` and ``shade`` are overlays whose paint is a Solid."""

    highlight: Overlay
    shade: Overlay
    kind: Literal["outer", "inner", "emboss", "pillow", "stroke"] = "inner"
    technique: Literal["smooth", "chisel-hard", "chisel-soft"] = "smooth"
    depth: float = 1.0
    up: bool = True
    size: float = 5.0
    soften: float = 0.0
    angle: float = 120.0
    altitude: float = 30.0
    gloss: Curve | None = None
    contour: Curve | None = None
    contour_range: float = 0.5
    texture: Texture | None = None


AnyEffect = Shadow | Glow | Overlay | Satin | Stroke | Bevel


@dataclass(frozen=True)
class Range:
    """A blend-if ramp over one grey or colour channel, 0..1: nothing below ``low[0]``, all from ``low[1]`` to
    ``high[0]``, nothing from ``high[1]``. ``channel`` None is gray.
    """

    channel: int | None
    low: tuple[float, float] = (0.0, 0.0)
    high: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Blending:
    """A layer's advanced blending options; the defaults do nothing.

    ``channels``: which colour channels the layer writes, None for all. ``own`` and ``below``: blend-if by the layer's
    own colour and by what lies under it. ``clipped_as_group``: clipped layers blend with the base before it meets
    what lies below, else they paint at full strength whatever the base's fill. ``interior_as_group``: effects inside
    the shape are part of what blends, and clipped layers lie above them. ``mask_hides_effects``: effects are drawn from
    the unmasked shape and then masked.
    """

    knockout: Literal["none", "shallow", "deep"] = "none"
    channels: tuple[bool, ...] | None = None
    own: tuple[Range, ...] = ()
    below: tuple[Range, ...] = ()
    clipped_as_group: bool = True
    interior_as_group: bool = False
    mask_hides_effects: bool = False


PLAIN = Blending()


@dataclass(frozen=True, kw_only=True, eq=False)
class PathStroke(Effect):
    """A shape's stroke: ``coverage`` uint8 ``[box.height, box.width]`` of the pen at the leaf's box, and its paint.

    ``inner``: it lies inside the fill and keeps the fill's edge. ``laid``: the box of the whole line, where the leaf's
    is a part of it.
    """

    coverage: npt.NDArray[np.uint8]
    paint: Paint
    inner: bool = False
    laid: Box | None = None
