"""What happens to a picture before a codec sees it: clipped, made opaque, brought to the box of a layer.

A picture is straight RGBA, uint8 ``[height, width, 4]``, of any size here; what is transparent comes out black.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from model.codecs.base import LIMITS, fits
from model.errors import CodecError

Colour = tuple[int, int, int]
BoxPx = tuple[float, float, float, float]
"""``x0, y0, x1, y1`` in px, anywhere between them."""


class Fit(StrEnum):
    """How a picture of another shape fills a box.

    ``contain``: all of it is seen, centred, and the rest of the box is transparent. ``cover``: it fills the box, and
    what is over at two sides is cut off. ``stretch``: each side is scaled for itself.
    """

    CONTAIN = "contain"
    COVER = "cover"
    STRETCH = "stretch"


def given_picture(picture: Tensor, corner: tuple[float, float], visible_px: BoxPx, colour: Colour) -> Tensor:
    """The composed picture as image-to-layers is given it, to be encoded: clipped to the visible box, then opaque.

    In this order, and before the encoder, which looks around: the model learns nothing of what no viewer sees.
    ``corner``: x and y of the picture's left top corner, ``visible_px``: the visible box, both in px of the canvas.

    Raises:
        CodecError: as ``clip`` and ``flatten``.
    """
    x, y = corner
    x0, y0, x1, y1 = visible_px
    return flatten(clip(picture, (x0 - x, y0 - y, x1 - x, y1 - y)), colour)


def flatten(picture: Tensor, colour: Colour) -> Tensor:
    """The picture on a solid colour (red, green, blue of 0 to 255): opaque, each channel rounded to the nearest.

    Raises:
        CodecError: it is not a picture, or not a colour.
    """
    check(picture)
    if len(colour) != 3 or not all(isinstance(part, int) and 0 <= part <= 255 for part in colour):
        raise CodecError(f"{colour} is not a colour; give red, green and blue, whole numbers of 0 to 255")
    ground = torch.tensor(colour, dtype=torch.int32, device=picture.device)
    alpha = picture[..., 3:].to(torch.int32)
    mixed = (picture[..., :3] * alpha + ground * (255 - alpha) + 127) // 255
    return torch.cat([mixed.to(torch.uint8), torch.full_like(picture[..., 3:], 255)], dim=-1)


def clip(picture: Tensor, box_px: BoxPx) -> Tensor:
    """The picture with everything outside a box transparent; the box's edges may lie inside pixels.

    A pixel on an edge is at most as opaque as its share inside, to the nearest of 255; its colour is its own. So a
    picture that was clipped before it was resampled, as those of the training stream are, stays as it is, while one
    that was not keeps in its edge what lies less than a pixel outside.

    Raises:
        CodecError: it is not a picture, or nothing of it is inside.
    """
    check(picture)
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = box_px
    if not (all(map(math.isfinite, box_px)) and max(0, x0) < min(width, x1) and max(0, y0) < min(height, y1)):
        raise CodecError(f"box {box_px} shows nothing of a picture of {width} x {height} px; give px of this picture")
    rows, columns = _within(y0, y1, height), _within(x0, x1, width)
    out = torch.zeros(picture.shape, dtype=torch.uint8, device=picture.device)
    inner = out[rows, columns]
    inner.copy_(picture[rows, columns])
    share_H, share_W = _shares(y0, y1, height)[rows], _shares(x0, x1, width)[columns]
    for share, others, lines in ((share_H, share_W, inner), (share_W, share_H, inner.transpose(0, 1))):
        for edge in (share < 1).nonzero().flatten().tolist():  # one at each end at most: all other px are whole
            most = (share[edge] * others).mul(255).round().to(picture)
            lines[edge, :, 3] = torch.minimum(lines[edge, :, 3], most)
    return out.mul_(out[..., 3:] > 0)


def refit(picture: Tensor, size: tuple[int, int], fit: Fit) -> Tensor:
    """A user's picture in a box of ``size`` (height, width) in px, as the reference for a layer.

    Linear interpolation of premultiplied colour, over the area of a pixel where it becomes smaller; a picture of the
    box's own size stays exactly as it is.

    Raises:
        CodecError: it is not a picture, or the size is absurd.
    """
    check(picture)
    _check_size(*size)
    lengths = (picture.shape[0], picture.shape[1])
    scales = [out / length for out, length in zip(size, lengths, strict=True)]
    if fit is Fit.COVER:
        sides = [_middle(length, max(scales), out) for length, out in zip(lengths, size, strict=True)]
        return _resample(picture, *sides)
    inner = size
    if fit is Fit.CONTAIN:
        inner = (_scaled(lengths[0], min(scales), size[0]), _scaled(lengths[1], min(scales), size[1]))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    out = picture.new_zeros(*size, 4)
    whole = [_Side(slice(0, length), scaled, 0, scaled) for length, scaled in zip(lengths, inner, strict=True)]
    out[top : top + inner[0], left : left + inner[1]] = _resample(picture, *whole)
    return out


def with_alpha(picture: Tensor, alpha: Tensor) -> Tensor:
    """The picture with another alpha, uint8 ``[height, width]``: that of the layer for which it is the reference.

    Where it is less than opaque, as beside a picture that is contained, its mean colour shows through.

    Raises:
        CodecError: it is not a picture, shows nothing, or is of another size than the alpha.
    """
    check(picture)
    if alpha.dtype != torch.uint8 or alpha.shape != picture.shape[:2]:
        shapes = f"{alpha.dtype} {list(alpha.shape)} for a picture of {list(picture.shape[:2])}"
        raise CodecError(f"an alpha of {shapes}; bring the picture to the size of the layer first")
    weights = picture[..., 3:].to(torch.int32)
    total = int(weights.sum())
    if total == 0:
        raise CodecError("the picture is transparent throughout; give one that shows something")
    sums = (picture[..., :3] * weights).sum(dim=(0, 1)).tolist()
    red, green, blue = (round(part / total) for part in sums)
    filled = flatten(picture, (red, green, blue))
    return _seen(torch.cat([filled[..., :3], alpha[..., None]], dim=-1))


def check(picture: Tensor) -> None:
    """Refuse what is no picture, or too large a one.

    Raises:
        CodecError: that.
    """
    shape = list(picture.shape)
    if picture.dtype != torch.uint8 or len(shape) != 3 or shape[2] != 4:
        raise CodecError(f"a picture of {picture.dtype} {shape}; give straight RGBA, uint8 [height, width, 4]")
    _check_size(shape[0], shape[1])


def _check_size(height: int, width: int) -> None:
    if not fits(height, width):
        raise CodecError(f"a picture of {width} x {height} px; it may have {LIMITS}: scale it down")


def _within(low: float, high: float, length: int) -> slice:
    """The pixels of a side of which anything lies between two positions."""
    return slice(max(0, math.floor(low)), min(length, math.ceil(high)))


def _shares(low: float, high: float, length: int) -> Tensor:
    """f64 [length]: how much of each pixel of a side lies between two positions."""
    start = torch.arange(length, dtype=torch.float64)
    return ((start + 1).clamp(max=high) - start.clamp(min=low)).clamp(min=0)


def _seen(picture: Tensor) -> Tensor:
    return picture * (picture[..., 3:] > 0)


def _scaled(length: int, scale: float, most: int) -> int:
    return min(most, max(1, round(length * scale)))


class _Side(NamedTuple):
    """One axis of a picture: the px ``taken`` become ``scaled`` px, of which ``kept`` stay, from ``start``."""

    taken: slice
    scaled: int
    start: int
    kept: int


def _middle(length: int, scale: float, size: int) -> _Side:
    """The middle ``size`` px of a side once scaled, of the px that they need and those that a px looks around at."""
    low = max(0.0, (length - size / scale) / 2)
    around = math.ceil(max(1.0, 1 / scale))
    first, last = max(0, math.floor(low) - around), min(length, math.ceil(length - low) + around)
    scaled = max(size, round((last - first) * scale))
    return _Side(slice(first, last), scaled, min(round((low - first) * scale), scaled - size), size)


def _resample(picture: Tensor, rows: _Side, columns: _Side) -> Tensor:
    """One axis after the other, first the one of which less is kept: nothing between is much larger than both ends."""
    plane = picture[rows.taken, columns.taken].permute(2, 0, 1).to(torch.float32)
    plane[:3] *= plane[3:] / 255
    sides = [(1, rows), (2, columns)]
    for axis, side in sorted(sides, key=lambda one: one[1].kept / plane.shape[one[0]]):
        # Always along the last axis: torch 2.13 does not interpolate a column of one pixel, but repeats its first.
        lines = plane.transpose(axis, 2)
        if lines.shape[2] != side.scaled:
            lines = interpolate(lines[None], (lines.shape[1], side.scaled), mode="bilinear", antialias=True)[0]
        plane = lines.narrow(2, side.start, side.kept).transpose(axis, 2)
    colour = plane[:3] * (255 / plane[3:].clamp(min=0.5))
    out = torch.cat([colour, plane[3:]]).round().clamp(0, 255).to(torch.uint8)
    return _seen(out.permute(1, 2, 0).contiguous())
