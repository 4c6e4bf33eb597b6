"""A layer's style from its effect descriptors: which effects are on, in the order in which they are painted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from psd_tools.constants import Tag
from psd_tools.psd.descriptor import Descriptor, List

from pipelines.formats import psd_effects_legacy as legacy
from pipelines.formats import psd_effects_read as read
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_descriptors import MAX_ITEMS, flag
from pipelines.formats.psd_effects_read import Light, Source
from pipelines.formats.style import AnyEffect

__all__ = ["Light", "style_of"]
_TAGS = (
    Tag.OBJECT_BASED_EFFECTS_LAYER_INFO_V0,
    Tag.OBJECT_BASED_EFFECTS_LAYER_INFO_V1,
    Tag.OBJECT_BASED_EFFECTS_LAYER_INFO,
)
"""``lmfx`` holds every instance of an effect; ``lfx2`` beside it only the first ones, for older programs."""
MAX_EFFECTS = 64
"""Of a layer, as many are drawn; Photoshop has at most ten of a kind."""


@dataclass(frozen=True)
class _Kind:
    name: str
    read: Callable[[Descriptor, Source], AnyEffect | None]


_KINDS: Mapping[bytes, _Kind] = {
    b"DrSh": _Kind("drop-shadow", read.drop_shadow),
    b"OrGl": _Kind("outer-glow", read.outer_glow),
    b"patternFill": _Kind("pattern-overlay", read.pattern_overlay),
    b"GrFl": _Kind("gradient-overlay", read.gradient_overlay),
    b"SoFi": _Kind("color-overlay", read.color_overlay),
    b"ChFX": _Kind("satin", read.satin),
    b"IrGl": _Kind("inner-glow", read.inner_glow),
    b"IrSh": _Kind("inner-shadow", read.inner_shadow),
    b"FrFX": _Kind("stroke", read.stroke),
    b"ebbl": _Kind("bevel-emboss", read.bevel),
}
"""By class, in the order in which they are painted."""
_ORDER = {kind: place for place, kind in enumerate(_KINDS)}
Style = tuple[tuple[AnyEffect, ...], tuple[str, ...], tuple[str, ...]]


def style_of(layer: Any, colours: Colours, light: Light) -> Style:
    """A layer's style: its visible effects, bottom to top as they are painted; their names, each once; and what of
    them cannot be drawn.
    """
    source = Source(layer, colours, light)
    if not any(tag in layer.tagged_blocks for tag in _TAGS):
        return legacy.style_of(layer.tagged_blocks.get_data(Tag.EFFECTS_LAYER), source)
    style: list[AnyEffect] = []
    names: list[str] = []
    visible = list(islice(_visible(layer), MAX_EFFECTS + 1))
    if len(visible) > MAX_EFFECTS:
        source.problems.append(f"effects beyond the first {MAX_EFFECTS}")
    for key, item in sorted(visible[:MAX_EFFECTS], key=lambda found: _ORDER.get(found[0], len(_ORDER))):
        kind = _KINDS.get(key)
        if kind is None:
            name = key.decode("ascii", "replace").strip()
            source.problems.append(f"effect {name}")
            names.append(name)
            continue
        names.append(kind.name)
        effect = kind.read(item, source)
        if effect is not None:
            style.append(effect)
    return tuple(style), tuple(dict.fromkeys(names)), tuple(dict.fromkeys(source.problems))


def _visible(layer: Any) -> Iterator[tuple[bytes, Descriptor]]:
    """The class and descriptor of each effect that is switched on, of several alike the undermost first.

    One without the key ``present`` counts as present: programs before Photoshop CC 2015 did not write it.
    """
    blocks = (layer.tagged_blocks.get_data(tag) for tag in _TAGS)
    data = next((found for found in blocks if isinstance(found, Descriptor)), None)
    if data is None or not flag(data, b"masterFXSwitch", True):
        return
    lists = [list(data[key])[:MAX_ITEMS] for key in data if isinstance(data[key], List)]
    listed = [item for items in lists for item in reversed(items) if isinstance(item, Descriptor)]
    several = {item.classID for item in listed}
    single = [data[key] for key in data if isinstance(data[key], Descriptor)]
    for item in [item for item in single if item.classID not in several] + listed:  # else the first of a list once more
        if flag(item, b"present", True) and flag(item, b"enab", False):
            yield bytes(getattr(item.classID, "value", item.classID)), item
