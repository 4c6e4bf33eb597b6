"""Which features of Photoshop a file uses, found from the file itself and not by the reader that is measured.

A feature counts where it can show: on layers that are visible with all their groups. OpenRaster files and layer folders
are described by their tree.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from psd_tools import PSDImage
from psd_tools.api.layers import AdjustmentLayer, Artboard, Group, ShapeLayer, SmartObjectLayer, TypeLayer
from psd_tools.constants import BlendMode, Clipping, ColorMode, Resource, Tag
from psd_tools.psd.descriptor import Descriptor, List

from pipelines.formats import tree

_EFFECTS = {
    b"DrSh": "drop shadow",
    b"IrSh": "inner shadow",
    b"OrGl": "outer glow",
    b"IrGl": "inner glow",
    b"SoFi": "colour overlay",
    b"GrFl": "gradient overlay",
    b"patternFill": "pattern overlay",
    b"FrFX": "stroke effect",
    b"ebbl": "bevel",
    b"ChFX": "satin",
}
_OLD_EFFECTS = {b"dsdw": "DrSh", b"isdw": "IrSh", b"oglw": "OrGl", b"iglw": "IrGl", b"bevl": "ebbl", b"sofi": "SoFi"}
_EFFECT_TAGS = (
    Tag.OBJECT_BASED_EFFECTS_LAYER_INFO,
    Tag.OBJECT_BASED_EFFECTS_LAYER_INFO_V0,
    Tag.OBJECT_BASED_EFFECTS_LAYER_INFO_V1,
)
_OLD_ADJUSTMENTS = {
    Tag.BRIGHTNESS_AND_CONTRAST: "brightness/contrast",
    Tag.COLOR_BALANCE: "color balance",
    Tag.HUE_SATURATION: "hue/saturation",
    Tag.HUE_SATURATION_V4: "hue/saturation",
    Tag.SELECTIVE_COLOR: "selective color",
}
_FAMILIES = {
    "blend: dissolve": "dissolve",
    "blend: darken": "darken multiply color-burn linear-burn darker-color",
    "blend: lighten": "lighten screen color-dodge linear-dodge lighter-color",
    "blend: contrast": "overlay soft-light hard-light vivid-light linear-light pin-light hard-mix",
    "blend: comparative": "difference exclusion subtract divide",
    "blend: component": "hue saturation color luminosity",
}
_FAMILY = {mode: family for family, modes in _FAMILIES.items() for mode in modes.split()}
_FILLS = {
    Tag.SOLID_COLOR_SHEET_SETTING: "solid fill",
    Tag.GRADIENT_FILL_SETTING: "gradient fill",
    Tag.PATTERN_FILL_SETTING: "pattern fill",
}
_ORDINARY = frozenset(
    {"psb", "icc profile", "icc profile, not sRGB", "preview with alpha", "text", "overflow", "group"}
)
"""What says nothing about how layers are drawn: a file with only these counts as plain too."""


def features_of(path: Path, format: str, document: tree.Document | None) -> frozenset[str]:
    """The names of the features of a file; ``document`` is its tree where it could be read."""
    found: set[str] = set()
    if format == "psd":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            psd = PSDImage.open(path)
            found.update(_header(psd))
            found.update(_layers(psd))
    elif document is not None:
        found.update(_tree(document.nodes))
    if document is not None and document.preview is not None and not document.opaque_on_white:
        found.add("preview with alpha")
    if not found - _ORDINARY:
        found.add("none of these")
    return frozenset(found)


def _header(psd: PSDImage) -> Iterator[str]:
    if psd.version == 2:
        yield "psb"
    if psd.depth != 8:
        yield f"{psd.depth} bit"
    if psd.color_mode is not ColorMode.RGB:
        yield f"mode: {psd.color_mode.name.lower()}"
    profile = psd.image_resources.get_data(Resource.ICC_PROFILE)
    if profile:
        yield "icc profile"
        if b"sRGB" not in bytes(profile) and b"s\0R\0G\0B" not in bytes(profile):
            yield "icc profile, not sRGB"


def _layers(parent: Any) -> Iterator[str]:
    base_shows = False
    for layer in parent:
        clipped = layer._record.clipping is Clipping.NON_BASE
        shows = bool(layer.visible) and (base_shows or not clipped)
        if not clipped:
            base_shows = bool(layer.visible)
        if not shows:
            continue
        if clipped:
            yield "clipping"
        yield from _layer(layer)
        if isinstance(layer, Group):
            yield from _group(layer, clipped)
            yield from _layers(layer)


def _group(group: Any, clipped: bool) -> Iterator[str]:
    through = group.blend_mode is BlendMode.PASS_THROUGH
    yield "group"
    if isinstance(group, Artboard):
        yield "artboard"
    if clipped or group.clip_layers:
        yield "clipped group"
    if group.opacity < 255:
        yield "pass-through group with opacity" if through else "group with opacity"
    if not through:
        yield "isolated group"
        if group.blend_mode is not BlendMode.NORMAL:
            yield "group with blend mode"
    if group.has_mask() or group.has_vector_mask():
        yield "group with mask"


def _layer(layer: Any) -> Iterator[str]:
    mode = layer.blend_mode.name.lower().replace("_", "-")
    if mode in _FAMILY:
        yield _FAMILY[mode]
    if not isinstance(layer, Group) and layer.opacity < 255:
        yield "layer opacity"
    yield from _effects(layer)
    yield from _masks(layer)
    yield from _advanced(layer)
    yield from _kind(layer)


def _kind(layer: Any) -> Iterator[str]:
    blocks = layer.tagged_blocks
    if isinstance(layer, AdjustmentLayer):
        yield "adjustment"
        yield f"adjustment: {_words(type(layer).__name__)}"
    elif not isinstance(layer, Group) and not layer.has_pixels():
        for tag, name in _OLD_ADJUSTMENTS.items():
            if tag in blocks:
                yield "adjustment"
                yield f"adjustment: {name} (old)"
    for tag, name in _FILLS.items():
        if tag in blocks:
            yield name
    if isinstance(layer, ShapeLayer):
        yield "shape"
    if isinstance(layer, SmartObjectLayer):
        yield "smart object"
    if isinstance(layer, TypeLayer):
        yield "text"
    stroke = blocks.get_data(Tag.VECTOR_STROKE_DATA)
    if stroke is not None and _true(stroke.get(b"strokeEnabled"), False):
        yield "path stroke"


def _masks(layer: Any) -> Iterator[str]:
    mask = layer.mask
    disabled = mask is not None and bool(getattr(mask, "disabled", False))
    if mask is not None and not disabled:
        yield "mask"
        parameters = mask.parameters
        for name in ("user_mask", "vector_mask") if parameters is not None else ():
            if getattr(parameters, f"{name}_density") not in (None, 255):
                yield "mask density"
            if getattr(parameters, f"{name}_feather"):
                yield "mask feather"
    if layer.has_vector_mask():
        yield "vector mask"


def _advanced(layer: Any) -> Iterator[str]:
    ranges = layer._record.blending_ranges
    pairs = [*(ranges.composite_ranges or ()), *(pair for channel in ranges.channel_ranges or () for pair in channel)]
    if any(tuple(pair) != (0, 65535) for pair in pairs):
        yield "blend-if"
    blocks = layer.tagged_blocks
    if _true(blocks.get_data(Tag.KNOCKOUT_SETTING), False):
        yield "knockout"
    if blocks.get_data(Tag.CHANNEL_BLENDING_RESTRICTIONS_SETTING):
        yield "channel restrictions"
    if int(blocks.get_data(Tag.BLEND_FILL_OPACITY, 255)) < 255:
        yield "fill opacity"
    if not _true(blocks.get_data(Tag.BLEND_CLIPPING_ELEMENTS), True) and layer.has_clip_layers():
        yield "clipped layers not blended as a group"
    if _true(blocks.get_data(Tag.BLEND_INTERIOR_ELEMENTS), False):
        yield "interior effects blended as a group"


def _effects(layer: Any) -> Iterator[str]:
    blocks = layer.tagged_blocks
    styles = [data for tag in _EFFECT_TAGS if isinstance(data := blocks.get_data(tag), Descriptor)]
    found = list(_style(styles[0])) if styles else []
    if not styles and (old := blocks.get_data(Tag.EFFECTS_LAYER)) is not None:
        for key in old:
            kind = _OLD_EFFECTS.get(bytes(getattr(key, "value", key)))
            if kind and getattr(old[key], "enabled", False):
                found += [_EFFECTS[kind.encode()], "effects: lrFX alone"]
    yield from found
    if found:
        yield "effects"
    if any(name.endswith("overlay") for name in found):
        yield "overlay"
    kinds = [name for name in found if name in _EFFECTS.values()]
    if len(kinds) > len(set(kinds)):
        yield "effects: several of one kind"
    if found and isinstance(layer, Group):
        yield "effects on a group"


def _style(style: Descriptor) -> Iterator[str]:
    if not _true(style.get(b"masterFXSwitch"), True):
        return
    for key in style:
        value = style[key]
        for item in value if isinstance(value, List) else (value,):
            if not isinstance(item, Descriptor) or item.classID not in _EFFECTS:
                continue
            if _true(item.get(b"enab"), False) and _true(item.get(b"present"), True):
                yield _EFFECTS[item.classID]
                if b"present" not in item:
                    yield "legacy effects"


def _tree(nodes: tuple[tree.Node, ...]) -> Iterator[str]:
    for node in nodes:
        if not node.visible:
            continue
        if node.blend_mode in _FAMILY:
            yield _FAMILY[node.blend_mode]
        if node.clipped:
            yield "clipping"
        if node.mask is not None:
            yield "mask"
        if isinstance(node, tree.Leaf):
            if node.opacity < 1:
                yield "layer opacity"
            if node.text is not None:
                yield "text"
        if isinstance(node, tree.Group):
            yield "group"
            if node.isolated:
                yield "isolated group"
            if node.opacity < 1:
                yield "group with opacity" if node.isolated else "pass-through group with opacity"
            yield from _tree(node.children)


def _true(value: Any, default: bool) -> bool:
    return default if value is None else bool(getattr(value, "value", value))


def _words(name: str) -> str:
    """``HueSaturation`` as ``hue saturation``."""
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()


def overflows(document: tree.Document) -> bool:
    """Whether a visible layer reaches at least 8 px out of the visible box with at least 5 % of its alpha."""
    visible = document.visible
    for leaf in _leaves(document.nodes):
        box = leaf.box
        by = max(visible.x0 - box.x0, visible.y0 - box.y0, box.x1 - visible.x1, box.y1 - visible.y1)
        if box.empty or by < 8:
            continue
        alpha = np.asarray(leaf.pixels())[..., -1]
        inside = box.intersect(visible)
        shown = 0 if inside.empty else int(alpha[inside.within(box).slices].sum(dtype=np.int64))
        if shown < 0.95 * int(alpha.sum(dtype=np.int64)):
            return True
    return False


def _leaves(nodes: tuple[tree.Node, ...]) -> Iterator[tree.Leaf]:
    for node in nodes:
        if node.visible and isinstance(node, tree.Group):
            yield from _leaves(node.children)
        elif node.visible and isinstance(node, tree.Leaf):
            yield node
