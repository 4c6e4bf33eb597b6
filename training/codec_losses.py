"""What a codec is trained by: how far its pictures are from the true ones, as a sum over the px of each picture.

Shapes: B pictures of one size H x W, straight RGBA float32 in [-1, 1], an alpha of -1 transparent; K parts of the loss.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Protocol, get_args

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, normalize

from model.codecs.base import LayerCodec
from model.codecs.joint import JointCodec
from model.codecs.vae import VaeCodec
from schemas.settings import Section
from training.errors import UsageError
from training.networks import imported

Part = Literal["rgb", "alpha", "composite", "perceptual", "kl"]
PARTS: tuple[Part, ...] = get_args(Part)
"""In the order of the columns of errors."""

LAPLACIAN, ENCODER = "laplacian", "encoder"
LEVELS, SMALLEST = 4, 2
"""Of the pyramid: its bands at most, and px of a side below which there is no other."""

Weight = Annotated[float, Field(ge=0)]


class LossConfig(Section):
    """Weights of the parts of the loss, each a mean over all px of a step; a part of weight 0 is left out.

    ``rgb``: absolute error of straight colour where the truth is visible, mean of its channels: under transparency
    there is no true colour. ``alpha``: absolute error of alpha. ``composite``: absolute error of the picture laid over
    a solid colour that is drawn for it; it counts a colour by its alpha, and wants no particular colour where nothing
    is seen. ``perceptual``: distance of the same two pictures by the ``network``. ``kl``: nats that the posterior of
    the latents has over a standard normal; 0 for an encoder that is frozen.

    ``network``: ``laplacian``: absolute difference of the bands of Laplacian pyramids; ``encoder``: square difference
    of the features, of length 1 at each place, of the blocks of the codec's own encoder as it was at the beginning; or
    ``module:function``, which gives a network of two RGB pictures [B, 3, H, W] in [-1, 1] to a distance each, as LPIPS
    is.
    """

    rgb: Weight = 1.0
    alpha: Weight = 1.0
    composite: Weight = 1.0
    perceptual: Weight = 0.5
    kl: Weight = 1e-6
    network: str = LAPLACIAN

    @property
    def weights(self) -> list[float]:
        """In the order of ``PARTS``."""
        return [getattr(self, part) for part in PARTS]


class Perceptual(Protocol):
    """A distance of RGB pictures in [-1, 1], of which the first are made: one number for each pair."""

    def __call__(self, made_B3HW: Tensor, true_B3HW: Tensor, /) -> Tensor: ...


class Losses:
    """The parts that look at pictures: all but the last. Raises UsageError: there is no such network."""

    def __init__(self, config: LossConfig, codec: LayerCodec, device: torch.device) -> None:
        self.config = config
        self._distance = network(config.network, codec, device) if config.perceptual else None

    def __call__(self, made_B4HW: Tensor, true_B4HW: Tensor, ground_B3: Tensor) -> Tensor:
        """float32 [B, K - 1]: sums over px. ``ground_B3``: the colour that each picture is laid over."""
        error_B4HW = (made_B4HW - true_B4HW).abs()
        seen_BHW = true_B4HW[:, 3] > -1
        made_B3HW, true_B3HW = over(made_B4HW, ground_B3), over(true_B4HW, ground_B3)
        sums = [
            (error_B4HW[:, :3].mean(dim=1) * seen_BHW).sum(dim=(1, 2)),
            error_B4HW[:, 3].sum(dim=(1, 2)),
            (made_B3HW - true_B3HW).abs().mean(dim=1).sum(dim=(1, 2)),
        ]
        distance_B = torch.zeros_like(sums[0])
        if self._distance is not None:
            distance_B = self._distance(made_B3HW, true_B3HW).float().reshape(len(distance_B), -1).mean(dim=1)
        return torch.stack([*sums, distance_B * seen_BHW[0].numel()], dim=1)


def over(rgba_B4HW: Tensor, ground_B3: Tensor) -> Tensor:
    """Pictures over a solid colour each, in [-1, 1]: ``[B, 3, H, W]``."""
    share_B1HW = (rgba_B4HW[:, 3:] + 1) / 2
    return rgba_B4HW[:, :3] * share_B1HW + ground_B3[:, :, None, None] * (1 - share_B1HW)


def network(name: str, codec: LayerCodec, device: torch.device) -> Perceptual:
    """The distance of a setting, see ``LossConfig``.

    Raises:
        UsageError: it names none, or its module is not installed.
    """
    if name == LAPLACIAN:
        return laplacian
    if name == ENCODER:
        return EncoderFeatures(codec).to(device)
    return imported("losses.network", name, f"{LAPLACIAN}, {ENCODER}", device)


def laplacian(made_B3HW: Tensor, true_B3HW: Tensor) -> Tensor:
    """[B]: the mean absolute difference of each band, summed over the bands, from fine to coarse."""
    bands = list(_bands(made_B3HW - true_B3HW))  # a pyramid is linear: that of the difference is the difference
    return torch.stack([band.abs().mean(dim=(1, 2, 3)) for band in bands]).sum(dim=0)


def _bands(x_B3HW: Tensor) -> Iterator[Tensor]:
    for _ in range(LEVELS):
        if min(x_B3HW.shape[2:]) < SMALLEST:
            return
        size = [x_B3HW.shape[2], x_B3HW.shape[3]]
        coarse = avg_pool2d(x_B3HW, 2, ceil_mode=True)
        yield x_B3HW - interpolate(coarse, size, mode="bilinear", align_corners=False)
        x_B3HW = coarse


class EncoderFeatures(nn.Module):
    """Distance by the features of a copy of a codec's encoder, in the manner of LPIPS without its weights."""

    def __init__(self, codec: LayerCodec) -> None:
        """Raises UsageError: the codec has no encoder that is a network."""
        super().__init__()
        vae = codec.encoder if isinstance(codec, JointCodec) else codec
        if not isinstance(vae, VaeCodec):
            raise UsageError(f"losses.network: {type(codec).__name__} has no VAE; give {LAPLACIAN}")
        encoder = vae.vae.encoder
        self._shown = vae.to_encoder
        self.blocks = copy.deepcopy(nn.ModuleList([encoder.conv_in, *encoder.down_blocks])).requires_grad_(False)

    def forward(self, made_B3HW: Tensor, true_B3HW: Tensor) -> Tensor:
        """[B]: mean over the blocks and over the places of each."""
        pairs = zip(self._features(made_B3HW), self._features(true_B3HW), strict=True)
        distances: Sequence[Tensor] = [(a - b).square().sum(dim=1).mean(dim=(1, 2, 3)) for a, b in pairs]
        return torch.stack(list(distances)).mean(dim=0)

    def _features(self, rgb_B3HW: Tensor) -> Iterator[Tensor]:
        opaque = torch.cat([rgb_B3HW, torch.ones_like(rgb_B3HW[:, :1])], dim=1)
        x = self._shown(opaque)[:, :, None]
        for block in self.blocks:
            x = block(x)
            yield normalize(x.float(), dim=1)
