"""The three models over the same blocks: MRT's regions, ART's in the picture, Qwen-Image-Layered's full-canvas layers.

Shapes: D designs, R regions, T image tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from model.errors import LayoutError
from model.folder import loading
from model.layouts import full_canvas
from model.placement import EPSILON
from model.regions import Regions
from model.sampling import layered_shift, schedule
from model.settings import WHERE, TransformerSettings, check_part
from model.tasks import FOREGROUND
from model.transformer import RegionTransformer

ART_SLOTS = 52
"""Layer numbers that ART has: 50 foregrounds over the background and the composed picture."""


class Variant(StrEnum):
    """Whose model it is. The first is the default."""

    MRT = "mrt"
    ART = "art"
    LAYERED = "layered"


SETTINGS: dict[Variant, dict[str, Any]] = {
    Variant.MRT: {"zero_cond_t": True},
    Variant.ART: {"zero_cond_t": False, "layer_slots": ART_SLOTS},
    Variant.LAYERED: {"zero_cond_t": False, "use_layer3d_rope": True, "use_additional_t_cond": True},
}
"""What a variant sets in the configuration of a ``RegionTransformer``."""


def pretrained(path: Any, variant: Variant, *, empty: bool = False, **options: Any) -> RegionTransformer:
    """The transformer of a pipeline's folder or hub repository, as diffusers lays it out, set up as a variant.

    ``path``: Qwen/Qwen-Image, or Qwen/Qwen-Image-Layered to go on from where that was released. ``options``: of
    ``from_pretrained``. What a variant has beside the weights begins at 0, which changes nothing: with Qwen-Image's
    weights each draws the pictures of Qwen-Image until it is trained. ``empty``: it is on the meta device, without
    weights, which are not looked at.

    Raises:
        CheckpointError: there is no such transformer, it is damaged, or the weights are not those of the variant.
    """
    settings = {"subfolder": "transformer", **SETTINGS[variant], **options}
    where = {name: settings[name] for name in WHERE if name in settings}
    with loading(f"no transformer of Qwen-Image at {path}"):
        found = check_part(path, RegionTransformer, TransformerSettings, drops=True, **where)
        if empty:
            changes = {name: value for name, value in settings.items() if name not in where}
            model: RegionTransformer = RegionTransformer.without_weights({**found, **changes})
        else:
            model = RegionTransformer.from_pretrained(path, **settings)
    return model


def regions_of(
    tensors: Mapping[str, Tensor], token_px: int, keys: Sequence[str] = (), centred_on: str = "visible"
) -> Regions:
    """The regions of a micro-batch: MRT's, and where the others begin.

    ``tensors``: ``boxes`` [R, 4], ``layer``, ``design``, ``clean`` and ``condition`` [R], ``canvas`` [D, 2], all as
    ``Regions.of`` takes them, and ``visible`` f64 [D, 4] in px of the canvas.

    Raises:
        LayoutError: as ``Regions.of``.
    """
    names = ("boxes", "layer", "design", "clean", "condition", "canvas")
    visible = visible_tokens(tensors["visible"], token_px)
    return Regions.of(**{name: tensors[name] for name in names}, visible=visible, keys=keys, centred_on=centred_on)


def visible_tokens(visible_D4: Tensor, token_px: int) -> Tensor:
    """The tokens [D, 4] that the visible boxes f64 in px touch, as they were placed.

    Float32 cannot tell a side on the grid from one just past it, and so has a token less now and then.
    """
    tokens = visible_D4.double() / token_px
    return torch.cat([(tokens[:, :2] + EPSILON).floor(), (tokens[:, 2:] - EPSILON).ceil()], dim=1).long()


@dataclass(frozen=True, eq=False)
class Clipped:
    """Regions inside the picture. ``kept`` bool [T]: which of the tokens that the regions had before they still have.

    ``dropped``: design and layer number of each that lay outside.
    """

    regions: Regions
    kept: Tensor
    dropped: tuple[tuple[str, int], ...]


def clip_to_visible(regions: Regions, visible_D4: Tensor) -> Clipped:
    """ART's regions: the picture is the canvas, boxes are clipped to it, foregrounds numbered without gaps.

    ``regions``: of text-to-layers, centred on the ``visible`` boxes [D, 4] (tokens), bottom to top. The tokens of a
    layer that is encoded whole and then clipped (ART, section 3) are ``tokens[kept]``.

    Raises:
        LayoutError: a region is given, or a design has none inside its picture.
    """
    if regions.clean.any():
        key = regions.keys[int(regions.design[int(regions.clean.int().argmax())])]
        raise LayoutError(f"design {key}: ART makes all layers from text; give it the regions of text-to-layers", key)
    low, high = visible_D4[regions.design, :2], visible_D4[regions.design, 2:]
    boxes = torch.cat([regions.boxes[:, :2].maximum(low), regions.boxes[:, 2:].minimum(high)], dim=1)
    kept_R = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    size_D2 = visible_D4[:, 2:] - visible_D4[:, :2]
    out = Regions.of(
        boxes=(boxes - torch.cat([low, low], dim=1))[kept_R],
        layer=_renumbered(regions.layer[kept_R], regions.design[kept_R]),
        design=regions.design[kept_R],
        clean=regions.clean[kept_R],
        condition=regions.condition[kept_R],
        canvas=size_D2,
        visible=torch.cat([torch.zeros_like(size_D2), size_D2], dim=1),
        keys=regions.keys,
    )
    at_T2 = regions.positions_T3[:, [2, 1]] + regions.of_tokens(regions.centre[regions.design])
    kept_T = ((at_T2 >= regions.of_tokens(low)) & (at_T2 < regions.of_tokens(high))).all(dim=1)
    gone = zip(regions.design[~kept_R].tolist(), regions.layer[~kept_R].tolist(), strict=True)
    return Clipped(out, kept_T, tuple((regions.keys[design], layer) for design, layer in gone))


def _renumbered(layer: Tensor, design: Tensor) -> Tensor:
    """Layer numbers [R] with those of the foregrounds of each design one after another."""
    out, seen = [], Counter[int]()
    for number, of in zip(layer.tolist(), design.tolist(), strict=True):
        out.append(FOREGROUND + seen[of] if number >= FOREGROUND else number)
        seen[of] += number >= FOREGROUND
    return torch.tensor(out, dtype=layer.dtype, device=layer.device)


def layered_regions(layers: Sequence[int], sizes: Sequence[tuple[int, int]], keys: Sequence[str] = ()) -> Regions:
    """The regions of D pictures of ``sizes`` (h, w) tokens, each taken apart into its number of ``layers``.

    Their text begins past the grid and past the layers, as Layer3D positions have it.

    Raises:
        LayoutError: a picture has no token or no layer, or is beyond what the model knows.
    """
    names = tuple(keys) or tuple(f"number {number}" for number in range(len(sizes)))
    for count, key in zip(layers, names, strict=True):
        if count < 1:
            raise LayoutError(f"design {key}: {count} layers; ask for at least one", key)
    canvases = [(width, height) for height, width in sizes]
    designs = [full_canvas(count, size) for count, size in zip(layers, sizes, strict=True)]
    return Regions.lay_out(designs, canvases, [(0, 0, *canvas) for canvas in canvases], names)


def layered_schedule(steps: int, picture_tokens: int, terminal: float | None = None) -> Tensor:
    """Sigmas [steps + 1] of Qwen-Image-Layered for a picture of so many tokens.

    ``terminal``: the last sigma over 0, to which all are stretched (``shift_terminal`` in a checkpoint's
    ``scheduler_config.json``).
    """
    return schedule(steps, layered_shift(picture_tokens), terminal)
