"""A layer's vector path: where it lies and how much of each pixel is inside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from psd_tools.composite.vector import draw_vector_mask

from pipelines.formats.limits import unreadable
from schemas.geometry import Box

Coverage = npt.NDArray[np.uint8]
_SUBTRACT, _INTERSECT = 2, 3


def has_path(layer: Any) -> bool:
    """Whether a vector mask is switched on."""
    return bool(layer.has_vector_mask() and layer.vector_mask is not None and not layer.vector_mask.disabled)


def beyond(layer: Any) -> int:
    """What a vector mask lets through far away from its paths, 0 or 255."""
    mask = layer.vector_mask
    operations = [path.operation for path in mask.paths if path.operation != -1]
    shows = bool(mask.initial_fill_rule) if not operations else operations[0] == _SUBTRACT
    shows = shows and _INTERSECT not in operations[1:]
    return 255 if shows != bool(mask.inverted) else 0


def path_box(layer: Any) -> Box | None:
    """The whole pixels that a layer's path touches; None where it has none or one without bounds."""
    if not has_path(layer) or not layer.vector_mask.paths:
        return None
    left, top, right, bottom = layer.vector_mask.bbox
    if not all(math.isfinite(side) for side in (left, top, right, bottom)):
        return None
    width, height = layer._psd.width, layer._psd.height
    box = Box(math.floor(left * width), math.floor(top * height), math.ceil(right * width), math.ceil(bottom * height))
    return None if box.empty else box


def path_coverage(layer: Any, box: Box) -> Coverage:
    """How much of each pixel of ``box`` a vector mask shows, uint8 ``[height, width]``."""
    with unreadable(f"path of layer {layer.name[:80]!r}"):
        covered = draw_vector_mask(layer, (box.x0, box.y0, box.x1, box.y1))[..., 0]
        if layer.vector_mask.inverted:
            covered = 1 - covered
        levels: Coverage = np.rint(covered * 255).clip(0, 255).astype(np.uint8)
        return levels
