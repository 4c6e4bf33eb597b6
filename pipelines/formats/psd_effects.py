"""The names of a layer's effects, as far as they would show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psd_tools.constants import Tag
from psd_tools.psd.descriptor import Descriptor, List

_TAGS = (
    Tag.OBJECT_BASED_EFFECTS_LAYER_INFO,
    Tag.OBJECT_BASED_EFFECTS_LAYER_INFO_V0,
    Tag.OBJECT_BASED_EFFECTS_LAYER_INFO_V1,
)
_NAMES = {
    b"DrSh": "drop-shadow",
    b"IrSh": "inner-shadow",
    b"OrGl": "outer-glow",
    b"IrGl": "inner-glow",
    b"SoFi": "color-overlay",
    b"GrFl": "gradient-overlay",
    b"patternFill": "pattern-overlay",
    b"FrFX": "stroke",
    b"ebbl": "bevel-emboss",
    b"ChFX": "satin",
}
_LEGACY = {
    b"dsdw": "drop-shadow",
    b"isdw": "inner-shadow",
    b"oglw": "outer-glow",
    b"iglw": "inner-glow",
    b"bevl": "bevel-emboss",
    b"sofi": "color-overlay",
}


def descriptors(layer: Any) -> Iterator[Descriptor]:
    """The descriptors of the effects that are switched on. One without the key ``present`` counts as present: programs
    before Photoshop CC 2015 did not write it."""
    data = next((found for tag in _TAGS if isinstance(found := layer.tagged_blocks.get_data(tag), Descriptor)), None)
    if data is None or not _on(data, b"masterFXSwitch", True):
        return
    for key in data:
        value = data[key]
        for item in value if isinstance(value, List) else (value,):
            if isinstance(item, Descriptor) and _on(item, b"present", True) and _on(item, b"enab", False):
                yield item


def effects_of(layer: Any) -> tuple[str, ...]:
    """The names of a layer's visible effects, each once; unknown ones by their class."""
    names = [_NAMES.get(item.classID, item.classID.decode("ascii", "replace").strip()) for item in descriptors(layer)]
    if not any(tag in layer.tagged_blocks for tag in _TAGS):
        names = list(_legacy(layer))
    return tuple(dict.fromkeys(names))


def _legacy(layer: Any) -> Iterator[str]:
    """Effects of Photoshop 5 and 6 files, which have no descriptor."""
    data = layer.tagged_blocks.get_data(Tag.EFFECTS_LAYER)
    if data is None:
        return
    for key in data:
        name = _LEGACY.get(bytes(getattr(key, "value", key)))
        if name and getattr(data[key], "enabled", False):
            yield name


def _on(descriptor: Descriptor, key: bytes, default: bool) -> bool:
    value = descriptor.get(key)
    return default if value is None else bool(getattr(value, "value", value))
