"""The one mask of a layer: its pixel mask and its vector mask with their densities, (1 - du(1 - U)) * (1 - dv(1 - V)).

Where a layer has both, channel -3 is the pixel mask and channel -2 Photoshop's rendering of the two; where it has
only a vector mask, channel -2 may be the rendering of that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools.api.layers import FillLayer, ShapeLayer
from psd_tools.composite.utils import has_fill
from psd_tools.composite.vector import draw_vector_mask
from psd_tools.constants import ChannelID

from pipelines.formats.limits import ReadLimits, unreadable
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_pixels import layer_alpha, strict_decompression
from pipelines.formats.tree import Mask
from schemas.geometry import Box, union


def mask_of(layer: Any, colours: Colours, limits: ReadLimits, content: Box) -> tuple[Mask | None, list[str]]:
    """A layer's or group's mask, and what of it is not drawn. ``content`` is the box that the mask has to cover."""
    problems: list[str] = []
    user, user_is_vector = _user_mask(layer, colours, limits)
    parameters = layer._record.mask_data.parameters if layer._record.mask_data is not None else None
    if user is not None and parameters is not None and user_is_vector:
        user = _dense(user, parameters.vector_mask_density)
    elif user is not None and parameters is not None:
        user = _dense(user, parameters.user_mask_density)
        if parameters.user_mask_feather:
            problems.append("mask-feather")
    if not _needs_path(layer) or user_is_vector:
        return user, problems
    box = union((content, Box(0, 0, layer._psd.width, layer._psd.height), user.box if user else content))
    limits.check_layer(f"vector mask of {layer.name}", box.x0, box.y0, box.width, box.height)
    with unreadable(f"vector mask of layer {layer.name[:80]!r}"):
        covered = (
            np.rint(draw_vector_mask(layer, (box.x0, box.y0, box.x1, box.y1))[..., 0] * 255)
            .clip(0, 255)
            .astype(np.uint8)
        )
    vector = Mask(box, covered, 255 if layer.vector_mask.initial_fill_rule else 0)
    if parameters is not None:
        vector = _dense(vector, parameters.vector_mask_density)
        if parameters.vector_mask_feather:
            problems.append("vector-mask-feather")
    return (vector if user is None else _product(vector, user)), problems


def _user_mask(layer: Any, colours: Colours, limits: ReadLimits) -> tuple[Mask | None, bool]:
    """The pixel mask, and whether it is a rendering of the vector mask instead."""
    data = layer._record.mask_data
    if data is None:
        return None, False
    present = {int(info.id) for info in layer._record.channel_info}
    if ChannelID.REAL_USER_LAYER_MASK in present and data.real_flags is not None:
        if data.real_flags.mask_disabled:
            return None, False
        box = Box(data.real_left, data.real_top, data.real_right, data.real_bottom)
        return _channel(layer, ChannelID.REAL_USER_LAYER_MASK, box, data.real_background_color, colours, limits), False
    rendered = data.flags.user_mask_from_render and layer.has_vector_mask()
    drawn = isinstance(layer, ShapeLayer | FillLayer) and layer.has_pixels()
    if data.flags.mask_disabled or (rendered and (drawn or not _needs_path(layer))):
        return None, False
    box = Box(data.left, data.top, data.right, data.bottom)
    mask = _channel(layer, ChannelID.USER_LAYER_MASK, box, data.background_color, colours, limits)
    if drawn and mask is not None and _repeats_alpha(layer, mask, colours):
        return None, False
    return mask, rendered and mask is not None


def _needs_path(layer: Any) -> bool:
    """Whether the layer has a vector mask that its pixels do not show already."""
    if not layer.has_vector_mask() or layer.vector_mask is None or layer.vector_mask.disabled:
        return False
    return not (isinstance(layer, ShapeLayer | FillLayer) or has_fill(layer))


def _channel(
    layer: Any, channel: ChannelID, box: Box, outside: int | None, colours: Colours, limits: ReadLimits
) -> Mask | None:
    box = Box(box.x0, box.y0, max(box.x0, box.x1), max(box.y0, box.y1))
    limits.check_layer(f"mask of {layer.name}", box.x0, box.y0, box.width, box.height)
    stored = [
        data for info, data in zip(layer._record.channel_info, layer._channels, strict=False) if info.id == channel
    ]
    if not stored:
        return None
    pixels: npt.NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
    if not box.empty and stored[-1].data:
        with unreadable(f"mask of layer {layer.name[:80]!r}"), strict_decompression():
            raw = stored[-1].get_data(box.width, box.height, colours.depth, colours.version)
            pixels = colours.plane(raw, box.width, box.height, linear=False)
    else:
        box = Box(box.x0, box.y0, box.x0, box.y0)
    return Mask(box, pixels, int(outside or 0))


def _repeats_alpha(layer: Any, mask: Mask, colours: Colours) -> bool:
    """Whether a shape's mask is its alpha once more: applying both would square its edges."""
    record = layer._record
    if tuple(mask.box) != (record.left, record.top, record.right, record.bottom):
        return False
    alpha = layer_alpha(layer, colours)
    return alpha is not None and bool(np.array_equal(alpha, mask.pixels))


def _dense(mask: Mask, density: int | None) -> Mask:
    """A mask at less than full density lets something through everywhere."""
    if density is None or density >= 255:
        return mask
    d = density / 255
    pixels = np.rint(255 - d * (255 - mask.pixels.astype(np.float32))).astype(np.uint8)
    return Mask(mask.box, pixels, round(255 - d * (255 - mask.outside)))


def _product(wide: Mask, mask: Mask) -> Mask:
    """The product of two masks on the box of the first, which holds the second's."""
    other = np.full(wide.pixels.shape, mask.outside, np.uint8)
    if not mask.box.empty:
        other[mask.box.within(wide.box).slices] = mask.pixels
    pixels = np.rint(wide.pixels.astype(np.float32) * other / 255).astype(np.uint8)
    return Mask(wide.box, pixels, round(wide.outside * mask.outside / 255))
