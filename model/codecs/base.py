"""What a codec is: it owns the size, the width and the normalisation of a token.

Shapes: T tokens of t x t px, C channels of a token, R pictures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from model.errors import CodecError
from model.regions import Regions
from model.tasks import Box

MAX_PICTURE = 16_384
"""Px of a side of a picture: more is refused before anything is made of it."""

MAX_PIXELS = 1 << 26
"""Of a picture: more is refused before it is made or put into floats, which take 16 bytes a pixel."""

LIMITS = f"1 to {MAX_PICTURE} px a side and at most {MAX_PIXELS:,} in all"


class LayerCodec(ABC):
    """Pictures of layers to tokens and back. ``token_px`` t and ``token_dim`` C are the codec's to say.

    ``channel_std`` [C]: standard deviation of each channel of the tokens of layers, by which the transformer may
    precondition its velocity.
    """

    token_px: int
    token_dim: int

    @property
    @abstractmethod
    def channel_std(self) -> list[float]: ...

    @abstractmethod
    def encode(self, pictures: Sequence[Tensor]) -> Tensor:
        """Straight RGBA u8 ``[h t, w t, 4]`` each, to normalised tokens ``[T, C]``: one after another, row-major.

        Raises:
            CodecError: a picture is not of whole tokens, or too large.
        """

    @abstractmethod
    def decode(self, tokens_TC: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Tokens of pictures of ``sizes`` (h, w), in tokens, to straight RGBA u8 ``[h t, w t, 4]`` each.

        Raises:
            CodecError: there are not as many tokens as the sizes say, or they are of another width, or a picture is
                too large.
        """

    def decode_regions(self, tokens_TC: Tensor, regions: Regions) -> list[Tensor]:
        """As ``decode``, the picture of each region, none of which is a condition.

        Each is decoded alone, unless the codec looks at the other layers of its design.
        """
        return self.decode(tokens_TC, regions.sizes)

    def check_pictures(self, pictures: Sequence[Tensor]) -> None:
        for number, picture in enumerate(pictures):
            check_picture(picture, self.token_px, f"picture {number}")

    def check_tokens(self, tokens_TC: Tensor, sizes: Sequence[tuple[int, int]]) -> None:
        check_sizes(sizes, self.token_px)
        have, wanted = list(tokens_TC.shape), [sum(height * width for height, width in sizes), self.token_dim]
        if have != wanted:
            raise CodecError(f"tokens {have} for pictures of {wanted}; use the codec of the checkpoint")

    def check_fits(self, channels: int) -> None:
        """Refuse a transformer whose tokens have another number of channels."""
        if channels != self.token_dim:
            raise CodecError(
                f"the transformer takes tokens of {channels} channels, {type(self).__name__} makes {self.token_dim}; "
                "use the codec of the checkpoint"
            )


def exact(device: torch.device) -> AbstractContextManager[None]:
    """Without the autocast that a trainer may be in: it would make other tokens and pictures than generation does."""
    return torch.autocast(device.type, enabled=False)


def fits(height: int, width: int) -> bool:
    """Whether a picture of so many px is within ``LIMITS``."""
    return 0 < height <= MAX_PICTURE and 0 < width <= MAX_PICTURE and height * width <= MAX_PIXELS


def check_sizes(sizes: Sequence[tuple[int, int]], token_px: int) -> None:
    """Refuse pictures to be made, of ``sizes`` (h, w) in tokens, that are empty or too large.

    Raises:
        CodecError: one is.
    """
    for number, (height, width) in enumerate(sizes):
        if min(height, width) < 1:
            raise CodecError(f"picture {number} has {[height, width]} tokens; leave empty pictures out")
        if not fits(height * token_px, width * token_px):
            raise CodecError(
                f"picture {number} of {[height, width]} tokens of {token_px} px is too large; it may have {LIMITS}: "
                "make it smaller"
            )


def check_picture(picture: Tensor, token_px: int, name: str) -> None:
    """Refuse what is no straight RGBA u8 of whole tokens, or too large; ``name`` is how the error calls it.

    Raises:
        CodecError: that.
    """
    shape = list(picture.shape)
    whole = all(side > 0 and side % token_px == 0 for side in shape[:2])
    if picture.dtype != torch.uint8 or len(shape) != 3 or shape[2] != 4 or not whole:
        raise CodecError(
            f"{name} is {picture.dtype} {shape}, not uint8 RGBA of whole tokens of {token_px} px; pad it outward"
        )
    if not fits(shape[0], shape[1]):
        raise CodecError(f"{name} is of {shape[1]} x {shape[0]} px; it may have {LIMITS}: scale it down")


def cut(pixels_P4: Tensor, sizes: Sequence[tuple[int, int]], token_px: int) -> list[Tensor]:
    """The pictures of a packed micro-batch, as views: of its pixels u8 [P, 4], by their sizes (h, w) in tokens."""
    shapes = [(height * token_px, width * token_px) for height, width in sizes]
    pieces = torch.split(pixels_P4, [height * width for height, width in shapes])
    return [piece.view(*shape, 4) for piece, shape in zip(pieces, shapes, strict=True)]


def encode_in_context(
    codec: LayerCodec,
    pictures: Sequence[Tensor],
    boxes: Sequence[Box],
    canvases: Sequence[tuple[int, int]],
    margin: int | None,
) -> Tensor:
    """Encode each picture with ``margin`` transparent tokens around it, or its whole canvas (None), and keep its own.

    ART encodes whole padded layers and crops the tokens; a codec that looks over the edge of a picture (attention,
    convolution) gives other tokens for a crop that is encoded alone. ``boxes`` and ``canvases`` (width and height) in
    tokens; the margin ends where the canvas does.

    Raises:
        CodecError: a picture is not of whole tokens, or does not fill its box, or a box is not inside its canvas, or a
            picture is too large, with its margin.
    """
    codec.check_pictures(pictures)
    t, out = codec.token_px, []
    for number, (picture, box, canvas) in enumerate(zip(pictures, boxes, canvases, strict=True)):
        outer = _around(box, canvas, margin)
        x, y = box[0] - outer[0], box[1] - outer[1]
        width, height = outer[2] - outer[0], outer[3] - outer[1]
        if list(picture.shape[:2]) != [(box[3] - box[1]) * t, (box[2] - box[0]) * t]:
            raise CodecError(f"picture {number} of {list(picture.shape[:2])} px does not fill {box} in {t} px tokens")
        if min(x, y, outer[2] - box[2], outer[3] - box[3]) < 0:
            raise CodecError(f"picture {number} in {box} is not inside its canvas of {canvas} tokens")
        if not fits(height * t, width * t):
            wide_px = f"{width * t} x {height * t} px"
            raise CodecError(f"picture {number} has {wide_px} with its margin; {LIMITS} fit: give it a smaller one")
        wide = picture.new_zeros(height * t, width * t, 4)
        wide[y * t : y * t + picture.shape[0], x * t : x * t + picture.shape[1]] = picture
        tokens_hwC = codec.encode([wide]).view(height, width, codec.token_dim)
        out.append(tokens_hwC[y : y + box[3] - box[1], x : x + box[2] - box[0]].flatten(0, 1))
    return torch.cat(out) if out else codec.encode([])


def _around(box: Box, canvas: tuple[int, int], margin: int | None) -> Box:
    if margin is None:
        return 0, 0, *canvas
    x0, y0, x1, y1 = box
    return max(0, x0 - margin), max(0, y0 - margin), min(canvas[0], x1 + margin), min(canvas[1], y1 + margin)
