"""Random small documents over everything the neutral tree can say, as hypothesis strategies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pipelines.flatten.blend import MODES
from pipelines.formats.style import (
    PLAIN,
    Bevel,
    Blending,
    Glow,
    Gradient,
    Overlay,
    PathStroke,
    Pattern,
    Range,
    Satin,
    Shadow,
    Solid,
    Stroke,
)
from pipelines.formats.tree import SRGB, Adjustment, Document, Group, Leaf, Mask, Node, Space
from schemas.geometry import Box

LEVELS = st.integers(0, 255)
SHARES = st.sampled_from((0.0, 0.2, 0.4, 0.6, 0.8, 1.0))
NORMAL = ("normal",)
SPECIAL = ("color-burn", "linear-burn", "color-dodge", "linear-dodge", "vivid-light", "linear-light", "difference")
ALL_MODES = tuple(sorted(MODES))
CMYK = Space("CMYK", 4, lambda codes: (codes[..., :3].astype(np.uint16) * codes[..., 3:] // 255).astype(np.uint8))


@dataclass(frozen=True)
class Features:
    """What documents may have beyond leaves, groups, opacity, masks, clipping and hidden nodes."""

    modes: tuple[str, ...] = NORMAL
    effects: tuple[str, ...] = ()
    fills: bool = False
    fill_opacity: bool = False
    knockout: bool = False
    channels: bool = False
    ranges: bool = False
    adjustments: bool = False
    artboards: bool = False
    strokes: bool = False
    clipped_alone: bool = False
    interior: bool = False
    mask_hides: bool = False
    space: Space = SRGB
    masks: bool = True
    clipping: bool = True
    groups: bool = True
    most: int = 5


def boxes(side: int) -> st.SearchStrategy[Box]:
    """Boxes that may reach out of the document or lie beyond it."""
    whole = st.just(Box(0, 0, side, side))
    return st.one_of(
        whole,
        st.builds(
            lambda x, y, w, h: Box(x, y, x + w, y + h),
            st.integers(-8, side - 2),
            st.integers(-8, side - 2),
            st.integers(2, side),
            st.integers(2, side),
        ),
    )


@st.composite
def planes(draw: Any, height: int, width: int) -> np.ndarray:
    """Alpha: opaque, one level, a soft ramp, a hard shape or noise."""
    kind = draw(st.sampled_from(("opaque", "level", "ramp", "disc", "noise")))
    if kind == "opaque":
        return np.full((height, width), 255, np.uint8)
    if kind == "level":
        return np.full((height, width), draw(LEVELS), np.uint8)
    if kind == "ramp":
        return np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width)).copy()
    if kind == "disc":
        y, x = np.mgrid[:height, :width]
        far = np.hypot(x - width / 2 + 0.5, y - height / 2 + 0.5)
        return np.asarray(np.clip(min(height, width) / 2 - far + 0.5, 0, 1) * 255).astype(np.uint8)
    return np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width)).astype(np.uint8)


@st.composite
def pixels(draw: Any, box: Box, channels: int) -> np.ndarray:
    """Colours of one level, or of noise, with any alpha."""
    out = np.empty((box.height, box.width, channels + 1), np.uint8)
    if draw(st.booleans()):
        out[..., :-1] = draw(st.tuples(*[LEVELS] * channels))
    else:
        random = np.random.default_rng(draw(st.integers(0, 99)))
        out[..., :-1] = random.integers(0, 256, (box.height, box.width, channels))
    out[..., -1] = draw(planes(box.height, box.width))
    return out


def colours(channels: int) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(*[LEVELS.map(lambda level: level / 255)] * channels)


@st.composite
def gradients(
    draw: Any, channels: int, kinds: tuple[str, ...] = ("linear", "radial", "reflected", "diamond")
) -> Gradient:
    ramp = [(*draw(colours(channels)), draw(SHARES)) for _ in range(draw(st.integers(2, 4)))]
    return Gradient(
        np.array(ramp, np.float32),
        kind=draw(st.sampled_from(("linear", "radial", "angle", "reflected", "diamond"))),
        angle=draw(st.sampled_from((0.0, 30.0, 90.0, -45.0))),
        scale=draw(st.sampled_from((1.0, 0.5, 1.5))),
        offset=draw(st.sampled_from(((0.0, 0.0), (0.25, -0.1)))),
        aligned=draw(st.booleans()),
    )


@st.composite
def patterns(draw: Any, channels: int) -> Pattern:
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    tile = draw(pixels(Box(0, 0, *size), channels))
    return Pattern(tile, origin=draw(st.sampled_from(((0.0, 0.0), (2.0, 3.0)))))


def paints(channels: int) -> st.SearchStrategy[Any]:
    return st.one_of(st.builds(Solid, colours(channels)), gradients(channels), patterns(channels))


@st.composite
def effects(draw: Any, kind: str, channels: int, modes: tuple[str, ...]) -> Any:
    common = {"blend_mode": draw(st.sampled_from(modes)), "opacity": draw(st.sampled_from((1.0, 0.5, 0.8)))}
    size, colour = draw(st.sampled_from((0.0, 1.0, 3.0, 6.0))), draw(colours(channels))
    distance, angle = draw(st.sampled_from((0.0, 2.0, 5.0))), draw(st.sampled_from((90.0, 120.0, -30.0)))
    if kind in ("drop-shadow", "inner-shadow"):
        return Shadow(
            colour=colour,
            inner=kind == "inner-shadow",
            angle=angle,
            distance=distance,
            size=size,
            spread=draw(st.sampled_from((0.0, 0.3))),
            concealed=draw(st.booleans()),
            **common,
        )
    if kind in ("outer-glow", "inner-glow"):
        paint = draw(st.one_of(st.builds(Solid, colours(channels)), gradients(channels)))
        return Glow(
            paint=paint, inner=kind == "inner-glow", size=size, precise=draw(st.booleans()), from_centre=False, **common
        )
    if kind == "overlay":
        return Overlay(paint=draw(paints(channels)), **common)
    if kind == "satin":
        return Satin(colour=colour, angle=angle, distance=distance, size=size, invert=draw(st.booleans()), **common)
    if kind == "stroke":
        places = st.sampled_from(("inside", "outside", "center"))
        return Stroke(
            paint=draw(paints(channels)),
            size=draw(st.sampled_from((1.0, 2.0, 5.0))),
            position=draw(places),
            overprint=draw(st.booleans()),
            **common,
        )
    light = Overlay(paint=Solid((1.0,) * channels), blend_mode=draw(st.sampled_from(modes)), opacity=0.75)
    shade = Overlay(paint=Solid((0.0,) * channels), blend_mode=draw(st.sampled_from(modes)), opacity=0.75)
    kinds = st.sampled_from(("outer", "inner", "emboss", "pillow"))
    return Bevel(highlight=light, shade=shade, kind=draw(kinds), size=max(1.0, size), angle=angle)


EFFECTS = (
    "drop-shadow",
    "inner-shadow",
    "outer-glow",
    "inner-glow",
    "overlay",
    "satin",
    "stroke",
    "bevel",
)


@st.composite
def masks(draw: Any, side: int) -> Mask:
    box = draw(boxes(side))
    return Mask(box, draw(planes(box.height, box.width)), draw(st.sampled_from((0, 255))))


@st.composite
def blendings(draw: Any, features: Features) -> Blending:
    channels = features.space.channels
    written = st.one_of(st.none(), st.tuples(*[st.booleans()] * channels))
    places = st.sampled_from((None, *range(channels)))
    ramps = st.sampled_from(((0.0, 0.0), (0.1, 0.4), (0.3, 0.3)))
    ranges = st.lists(st.builds(Range, places, ramps, st.sampled_from(((1.0, 1.0), (0.6, 0.9)))), max_size=2)
    return Blending(
        knockout=draw(st.sampled_from(("none", "shallow", "deep"))) if features.knockout else "none",
        channels=draw(written) if features.channels else None,
        own=tuple(draw(ranges)) if features.ranges else (),
        below=tuple(draw(ranges)) if features.ranges else (),
        clipped_as_group=not (features.clipped_alone and draw(st.booleans())),
        interior_as_group=features.interior and draw(st.booleans()),
        mask_hides_effects=features.mask_hides and draw(st.booleans()),
    )


@st.composite
def _common(draw: Any, features: Features, side: int) -> dict[str, Any]:
    kinds = draw(st.lists(st.sampled_from(features.effects), max_size=2, unique=True)) if features.effects else []
    blended = draw(st.booleans())
    return {
        "name": "node",
        "visible": draw(st.sampled_from((True, True, True, True, False))),
        "opacity": draw(st.sampled_from((1.0, 1.0, 0.8, 0.4))),
        "blend_mode": draw(st.sampled_from(features.modes)) if blended else "normal",
        "clipped": features.clipping and draw(st.sampled_from((False, False, True))),
        "mask": draw(st.one_of(st.none(), masks(side))) if features.masks else None,
        "fill_opacity": draw(st.sampled_from((1.0, 0.0, 0.6))) if features.fill_opacity else 1.0,
        "style": tuple(draw(effects(kind, features.space.channels, features.modes)) for kind in kinds),
        "blending": draw(blendings(features)) if draw(st.booleans()) else PLAIN,
    }


@st.composite
def leaves(draw: Any, features: Features, side: int) -> Leaf:
    box, channels = draw(boxes(side)), features.space.channels
    own = draw(pixels(box, channels))
    fill = draw(st.one_of(st.none(), paints(channels))) if features.fills else None
    pen = None
    if features.strokes and draw(st.booleans()):
        covered = draw(planes(box.height, box.width))
        pen = PathStroke(coverage=covered, paint=draw(paints(channels)), inner=draw(st.booleans()))
    return Leaf(
        **draw(_common(features, side)),
        box=box,
        pixels=lambda: own,
        fill=fill,
        stroke=None if pen is None else lambda: pen,
    )


@st.composite
def adjustments(draw: Any, features: Features, side: int) -> Adjustment:
    common = draw(_common(features, side)) | {"style": (), "fill_opacity": 1.0}
    kind = draw(st.sampled_from(("invert", "half", "gamma", "swap")))
    made = {
        "invert": lambda colours: 1 - colours,
        "half": lambda colours: colours * np.float32(0.5),
        "gamma": lambda colours: colours * colours,
        "swap": lambda colours: colours[..., ::-1],
    }
    return Adjustment(**common, kind=kind, apply=made[kind])


@st.composite
def nodes(draw: Any, features: Features, side: int, depth: int = 0) -> Node:
    options = ["leaf"] * 4 + (["group"] if features.groups and depth < 2 else [])
    kind = draw(st.sampled_from(options + (["adjustment"] if features.adjustments else [])))
    if kind == "leaf":
        return draw(leaves(features, side))
    if kind == "adjustment":
        return draw(adjustments(features, side))
    children = draw(st.lists(nodes(features, side, depth + 1), min_size=1, max_size=3))
    common = draw(_common(features, side))
    clip = draw(st.one_of(st.none(), boxes(side))) if features.artboards and depth == 0 else None
    isolated = draw(st.booleans()) or clip is not None or bool(common["style"])
    return Group(**common, children=tuple(children), isolated=isolated, clip=clip)


@st.composite
def documents(draw: Any, features: Features) -> Document:
    side = draw(st.sampled_from((16, 24)))
    stack = draw(st.lists(nodes(features, side), min_size=1, max_size=features.most))
    return Document(side, side, tuple(stack), space=features.space)
