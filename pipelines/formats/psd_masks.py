"""The one mask of a layer: its pixel mask and its vector mask with their feathers and densities,
(1 - du(1 - U)) * (1 - dv(1 - V)).

Where a layer has both, channel -3 is the pixel mask and channel -2 Photoshop's rendering of the two; where it has
only a vector mask, channel -2 may be the rendering of that. Neither holds density or feather.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from psd_tools.constants import ChannelID

from pipelines.formats.limits import ReadLimits, unreadable
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_path import beyond, has_path, path_box, path_coverage
from pipelines.formats.psd_pixels import layer_alpha, strict_decompression
from pipelines.formats.psd_vector import is_drawn
from pipelines.formats.tree import Mask
from schemas.geometry import Box, union

_MAX_FEATHER = 250.0
_TAIL = 3.0
"""Standard deviations beyond which a Gaussian is nothing."""


def mask_of(layer: Any, colours: Colours, limits: ReadLimits, content: Box, wanted: Box) -> Mask | None:
    """A layer's or group's mask; None where all shows. ``content`` is the box that a path has to cover; beyond
    ``wanted`` nothing of a mask is kept.
    """
    user, user_is_vector = _user_mask(layer, colours, limits)
    vector = None
    if user_is_vector and user is not None and _complete(layer, user.box, content):
        user, vector = None, user
    elif _needs_path(layer):
        user = None if user_is_vector else user
        vector = _path_mask(layer, content, limits)
    parameters = layer._record.mask_data.parameters if layer._record.mask_data is not None else None
    if parameters is not None:
        user = _eased(user, parameters.user_mask_feather, parameters.user_mask_density, limits)
        vector = _eased(vector, parameters.vector_mask_feather, parameters.vector_mask_density, limits)
    mask = user if vector is None else vector if user is None else _product(user, vector, limits)
    mask = None if mask is None else _within(mask, wanted)
    shows_all = mask is None or (mask.outside == 255 and (mask.box.empty or int(mask.pixels.min()) == 255))
    return None if shows_all else mask


def _within(mask: Mask, wanted: Box) -> Mask:
    """The part of a mask that matters."""
    if wanted.contains(mask.box):
        return mask
    box = mask.box.intersect(wanted)
    if box.empty:
        return Mask(Box(0, 0, 0, 0), np.zeros((0, 0), np.uint8), mask.outside)
    return Mask(box, mask.pixels[box.within(mask.box).slices].copy(), mask.outside)


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
    drawn = is_drawn(layer) and layer.has_pixels()
    if data.flags.mask_disabled or (rendered and (drawn or not _needs_path(layer))):
        return None, False
    box = Box(data.left, data.top, data.right, data.bottom)
    mask = _channel(layer, ChannelID.USER_LAYER_MASK, box, data.background_color, colours, limits)
    if drawn and mask is not None and _repeats_alpha(layer, mask, colours):
        return None, False
    return mask, rendered and mask is not None


def _needs_path(layer: Any) -> bool:
    """Whether the layer has a vector mask that its pixels do not show already."""
    return has_path(layer) and not is_drawn(layer)


def _complete(layer: Any, box: Box, content: Box) -> bool:
    """Whether a rendering on ``box`` holds all of the path that matters; programs may cut it at the document."""
    path = path_box(layer)
    wanted = content if path is None else path.intersect(content)
    return wanted.empty or wanted.intersect(box) == wanted


def _path_mask(layer: Any, content: Box, limits: ReadLimits) -> Mask:
    path = path_box(layer)
    box = content if path is None else path.intersect(content)
    limits.check_layer(f"vector mask of {layer.name}", box.x0, box.y0, box.width, box.height)
    if box.empty:
        return Mask(Box(0, 0, 0, 0), np.zeros((0, 0), np.uint8), beyond(layer))
    return Mask(box, path_coverage(layer, box), beyond(layer))


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


def _eased(mask: Mask | None, feather: float | None, density: int | None, limits: ReadLimits) -> Mask | None:
    if mask is None:
        return None
    if feather is not None and math.isfinite(feather) and feather > 0 and not mask.box.empty:
        mask = _feathered(mask, min(feather, _MAX_FEATHER), limits)
    return _dense(mask, density)


def _feathered(mask: Mask, radius: float, limits: ReadLimits) -> Mask:
    """Blurred by a Gaussian whose standard deviation is the feather (Photoshop's documentation of feathered edges;
    no preview confirms it).
    """
    reach = math.ceil(radius * _TAIL)
    box = Box(mask.box.x0 - reach, mask.box.y0 - reach, mask.box.x1 + reach, mask.box.y1 + reach)
    limits.check_layer("feathered mask", box.x0, box.y0, box.width, box.height)
    wide = _on(mask, box)
    return Mask(box, np.asarray(Image.fromarray(wide).filter(ImageFilter.GaussianBlur(radius))), mask.outside)


def _dense(mask: Mask, density: int | None) -> Mask:
    """A mask at less than full density lets something through everywhere."""
    if density is None or density >= 255:
        return mask
    d = max(0, density) / 255
    pixels = np.rint(255 - d * (255 - mask.pixels.astype(np.float32))).astype(np.uint8)
    return Mask(mask.box, pixels, round(255 - d * (255 - mask.outside)))


def _on(mask: Mask, box: Box) -> npt.NDArray[np.uint8]:
    """The mask on ``box``, uint8 ``[height, width]``."""
    wide = np.full((box.height, box.width), mask.outside, np.uint8)
    part = mask.box.intersect(box)
    if not part.empty:
        wide[part.within(box).slices] = mask.pixels[part.within(mask.box).slices]
    return wide


def _product(first: Mask, second: Mask, limits: ReadLimits) -> Mask:
    """The product of two masks, on the box where they are not constant: that of a mask beyond which nothing shows, or
    of both.
    """
    outside = round(first.outside * second.outside / 255)
    if first.outside == 0 or second.outside == 0:
        box = first.box if first.outside == 0 else second.box
        box = first.box.intersect(second.box) if first.outside == second.outside else box
    else:
        box = union((first.box, second.box))
    limits.check_layer("mask", box.x0, box.y0, box.width, box.height)
    if box.empty:
        return Mask(Box(0, 0, 0, 0), np.zeros((0, 0), np.uint8), outside)
    product = _on(first, box).astype(np.float32) * _on(second, box) / 255
    return Mask(box, np.rint(product).astype(np.uint8), outside)
