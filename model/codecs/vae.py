"""Codecs of a VAE: Qwen-Image's, Wan's and Qwen-Image-Layered's latents, 2 x 2 of them in a token.

A picture is a video of one frame. Such a VAE looks far around, with convolutions and an attention over the whole
picture: a crop that is encoded alone has other tokens than the same crop of a larger picture (``encode_in_context``).

Shapes: B pictures of one size, H x W px or h x w tokens; z channels of a latent, Z = 2 z of its posterior, T tokens,
C = 4 z channels of a token; X channels that the encoder takes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from model.codecs.base import LayerCodec, exact
from model.codecs.inflate import RGB, RGBA, LayerVae, inflate
from model.errors import CheckpointError, CodecError
from model.folder import loading
from model.settings import VaeSettings, check_part, drop_unknown

PATCH = 2
"""Side of a token in latents (Qwen-Image)."""

BATCH_PX = 1 << 20
"""Pixels that go through the VAE together."""

_OF_OTHERS = (
    "clip_output", "decoder_base_dim", "in_channels", "is_residual", "out_channels", "patch_size",
    "scale_factor_spatial", "scale_factor_temporal", "scaling_factor",
)  # fmt: skip
"""Settings that Wan's VAE has beside Qwen-Image's; where they make it another one, its parameters do not fit.

The last is of VAEs whose latents are normalised by one number; these have one for each channel.
"""


class VaeCodec(LayerCodec):
    """Pictures through a VAE to tokens, in the order of Qwen-Image's ``_pack_latents``, and back to RGBA.

    ``vae`` may lie on any device in any dtype; tokens and pictures come out beside it. ``batch_px``: pictures of one
    size go through it together up to so many pixels, a larger one alone. ``input_channels``: of its encoder.
    """

    input_channels: ClassVar[int]

    def __init__(self, vae: LayerVae, batch_px: int = BATCH_PX) -> None:
        """Raises CodecError: the VAE takes or makes other channels, or its statistics are not those of its latents."""
        config, wanted = vae.config, [self.input_channels, RGBA]
        channels, latents = [config["input_channels"], config["output_channels"]], config["z_dim"]
        if channels != wanted:
            raise CodecError(
                f"the VAE takes and makes {channels} channels, {type(self).__name__} needs {wanted}; inflate an RGB "
                "VAE, or use the codec that this one was made for"
            )
        self._mean_z, self._std_z = torch.tensor(config["latents_mean"]), torch.tensor(config["latents_std"])
        shaped = self._mean_z.shape == self._std_z.shape == (latents,)
        if not (
            shaped and bool(self._mean_z.isfinite().all() & self._std_z.isfinite().all() & (self._std_z > 0).all())
        ):
            raise CodecError(
                f"latents_mean and latents_std of the VAE are not {latents} finite numbers each, std over 0"
            )
        self.vae, self.batch_px = vae, batch_px
        self.token_px: int = PATCH * vae.spatial_compression_ratio
        self.token_dim: int = PATCH**2 * latents

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        subfolder: str | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        batch_px: int = BATCH_PX,
        local_files_only: bool = False,
    ) -> Self:
        """Load what ``save`` wrote, or a VAE of Qwen-Image, Qwen-Image-Layered or Wan 2.1 in diffusers' layout.

        ``path``: a folder or a hub repository, ``subfolder``: of it ("vae" in those of pipelines). An RGB VAE is
        inflated: what it decodes is opaque until it is trained. Safetensors only.

        Raises:
            CheckpointError: there is no such VAE.
            CodecError: it takes or makes the channels of another codec.
        """
        vae = _read(path, subfolder, dtype, local_files_only)
        if (vae.config["input_channels"], vae.config["output_channels"]) == (RGB, RGB):
            vae = inflate(vae, encoder=cls.input_channels == RGBA)
        vae.to(device)  # type: ignore[arg-type]
        return cls(vae, batch_px)

    def save(self, folder: Path) -> None:
        """Write the VAE in diffusers' layout, as safetensors."""
        self.vae.save_pretrained(folder, safe_serialization=True)

    @property
    def channel_std(self) -> list[float]:
        """Ones: the statistics of the VAE have normalised its latents."""
        return [1.0] * self.token_dim

    @torch.no_grad()
    def encode(self, pictures: Sequence[Tensor]) -> Tensor:
        """As ``LayerCodec.encode``; the tokens of the posterior's mode, so always the same, in float32."""
        self.check_pictures(pictures)
        none_0C = torch.empty(0, self.token_dim, device=self.vae.device)
        out = [none_0C] * len(pictures)
        for batch in by_size([(len(picture), picture.shape[1]) for picture in pictures], self.batch_px):
            pixels_BHW4 = torch.stack([pictures[number] for number in batch]).to(self.vae.device)
            rgba_B4HW = pixels_BHW4.permute(0, 3, 1, 2).float() / 127.5 - 1
            with exact(self.vae.device):
                tokens_BhwC = self.encode_float(rgba_B4HW)
            for number, tokens_hwC in zip(batch, tokens_BhwC, strict=True):
                out[number] = tokens_hwC.flatten(0, 1)
        return torch.cat([none_0C, *out])

    @torch.no_grad()
    def decode(self, tokens_TC: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """As ``LayerCodec.decode``; what is transparent is black, and what is NaN or infinite an error."""
        self.check_tokens(tokens_TC, sizes)
        pieces = torch.split(tokens_TC, [height * width for height, width in sizes])
        out = list(pieces)
        for batch in by_size(sizes, self.batch_px // self.token_px**2):
            tokens_BhwC = torch.stack([pieces[number].reshape(*sizes[number], -1) for number in batch])
            with exact(self.vae.device):
                rgba_B4HW = self.decode_float(tokens_BhwC.to(self.vae.device))
            if not bool(rgba_B4HW.isfinite().all()):
                many = f"{len(batch)} pictures of {sizes[batch[0]]} tokens"
                raise CodecError(f"among {many} one decodes to NaN or infinity; use a VAE in bfloat16 or float32")
            pixels_BHW4 = (rgba_B4HW.clamp(-1, 1) + 1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
            for number, pixels_HW4 in zip(batch, pixels_BHW4, strict=True):
                out[number] = pixels_HW4 * (pixels_HW4[..., 3:] > 0)
        return out

    def encode_float(self, rgba_B4HW: Tensor) -> Tensor:
        """Straight RGBA in [-1, 1] to normalised float32 tokens ``[B, h, w, C]`` of the mode, with gradient."""
        return self.pack(self.posterior(rgba_B4HW).mode())

    def decode_float(self, tokens_BhwC: Tensor) -> Tensor:
        """Normalised tokens to straight RGBA float32 ``[B, 4, H, W]``, with gradient.

        Not clamped to [-1, 1]: beyond it a pixel would have no gradient that brings it back.
        """
        latents_BzHW = self._unpack(tokens_BhwC).to(self.vae.dtype)
        rgba_B4HW: Tensor = self.vae.decoder(self.vae.post_quant_conv(latents_BzHW[:, :, None]))[:, :, 0]
        return rgba_B4HW.float()

    def posterior(self, rgba_B4HW: Tensor) -> DiagonalGaussianDistribution:
        """The distribution of the latents ``[B, z, H / 8, W / 8]``, float32, before normalisation, with gradient."""
        frame_BX1HW = self.to_encoder(rgba_B4HW).to(self.vae.dtype)[:, :, None]
        # The parts of the VAE, not its encode and decode: those keep a copy of what enters each convolution for a frame
        # that never comes, and clamp what they decode.
        parameters_BZHW = self.vae.quant_conv(self.vae.encoder(frame_BX1HW))[:, :, 0]
        return DiagonalGaussianDistribution(parameters_BZHW.float())

    def pack(self, latents_BzHW: Tensor) -> Tensor:
        """Latents of the VAE, normalised, 2 x 2 of them a token: ``[B, h, w, C]``, channels in the order (z, 2, 2)."""
        mean, std = self._statistics(latents_BzHW)
        batch, channels, height, width = latents_BzHW.shape
        tiles = ((latents_BzHW - mean) / std).view(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
        return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3)

    @staticmethod
    @abstractmethod
    def to_encoder(rgba_B4HW: Tensor) -> Tensor:
        """What the encoder is shown of straight RGBA in [-1, 1]: ``[B, X, H, W]``."""

    def _unpack(self, tokens_BhwC: Tensor) -> Tensor:
        batch, height, width, _ = tokens_BhwC.shape
        tiles = tokens_BhwC.float().reshape(batch, height, width, -1, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5)
        latents_BzHW = tiles.flatten(4, 5).flatten(2, 3)
        mean, std = self._statistics(latents_BzHW)
        return latents_BzHW * std + mean

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self._mean_z.to(like.device)[:, None, None], self._std_z.to(like.device)[:, None, None]


class GrayCodec(VaeCodec):
    """MRT's and ART's: an RGB encoder, shown a layer on gray, and a decoder that was taught to make RGBA of it.

    What is transparent is gray before it is encoded, so a layer of that gray is hard to tell from none (MRT, appendix).
    """

    input_channels = RGB

    @staticmethod
    def to_encoder(rgba_B4HW: Tensor) -> Tensor:
        """RGB by (alpha + 1) / 2: all in [-1, 1], where gray is 0."""
        return (0.5 * rgba_B4HW[:, 3:] + 0.5) * rgba_B4HW[:, :3]


class RgbaCodec(VaeCodec):
    """Qwen-Image-Layered's: RGBA in and out."""

    input_channels = RGBA

    @staticmethod
    def to_encoder(rgba_B4HW: Tensor) -> Tensor:
        return rgba_B4HW


def by_size(sizes: Sequence[tuple[int, int]], limit: int) -> Iterator[list[int]]:
    """The numbers of pictures of ``sizes`` (height, width) in lists of one size, in which they can be stacked.

    Those of a list have at most ``limit`` in area together, in the unit of the sizes; a larger one is alone.
    """
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, size in enumerate(sizes):
        alike[size].append(number)
    for (height, width), numbers in alike.items():
        count = max(1, limit // (height * width))
        yield from (numbers[first : first + count] for first in range(0, len(numbers), count))


def _read(path: str | Path, subfolder: str | None, dtype: torch.dtype, local_files_only: bool) -> LayerVae:
    where: dict[str, Any] = {"subfolder": subfolder, "local_files_only": local_files_only}
    with loading(f"no VAE of Qwen-Image or Wan 2.1 at {path}"):
        check_part(path, LayerVae, VaeSettings, also=_OF_OTHERS, **where)
        vae: LayerVae
        vae, info = LayerVae.from_pretrained(
            path, torch_dtype=dtype, use_safetensors=True, output_loading_info=True, **where
        )
        for verb in ("missing", "unexpected"):
            if names := sorted(info[f"{verb}_keys"]):
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                raise CheckpointError(f"{verb} {names[0]}{more}")
    drop_unknown(vae)
    return vae
