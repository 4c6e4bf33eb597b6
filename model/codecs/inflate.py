"""A VAE of Qwen-Image with alpha: 3 or 4 channels in, 3 or 4 out, made from an RGB one without changing what it does.

The rule is that of Qwen-Image-Layered's RGBA-VAE: RGB weights are copied, the weights of alpha begin at 0 and its bias
at 1. Latents and colours stay what they were, and every pixel comes out opaque, until the VAE is trained.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage, QwenImageCausalConv3d
from torch import Tensor

from model.codecs.frame import frame_by_frame
from model.errors import CodecError

RGB, RGBA = 3, 4
"""Channels of a picture."""


class LayerVae(AutoencoderKLQwenImage):  # type: ignore[misc]
    """Qwen-Image's VAE, with its parameter names, whose decoder may make other channels than its encoder takes.

    ``output_channels`` None: as many as ``input_channels``, as in diffusers. ``latents_mean`` and ``latents_std``
    [z_dim] None: Qwen-Image's. The weights of Wan 2.1 have the same names and fit as well. A single frame goes through
    convolutions in two dimensions (``model.codecs.frame``).
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        base_dim: int = 96,
        z_dim: int = 16,
        dim_mult: Sequence[int] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        attn_scales: Sequence[float] = (),
        temperal_downsample: Sequence[bool] = (False, True, True),
        dropout: float = 0.0,
        input_channels: int = RGB,
        latents_mean: Sequence[float] | None = None,
        latents_std: Sequence[float] | None = None,
        output_channels: int | None = None,
    ) -> None:
        statistics = {"latents_mean": latents_mean, "latents_std": latents_std}
        super().__init__(
            base_dim=base_dim,
            z_dim=z_dim,
            dim_mult=list(dim_mult),
            num_res_blocks=num_res_blocks,
            attn_scales=list(attn_scales),
            temperal_downsample=list(temperal_downsample),
            dropout=dropout,
            input_channels=input_channels,
            **{name: list(values) for name, values in statistics.items() if values is not None},
        )
        output_channels = output_channels or input_channels
        self.register_to_config(output_channels=output_channels)  # type: ignore[no-untyped-call]
        if output_channels != input_channels:
            width = self.decoder.conv_out.in_channels
            self.decoder.conv_out = QwenImageCausalConv3d(width, output_channels, 3, padding=1)
        frame_by_frame(self)


def inflate(vae: AutoencoderKLQwenImage, *, encoder: bool = True, decoder: bool = True) -> LayerVae:
    """A copy of an RGB ``vae`` whose encoder takes, and whose decoder makes, RGBA in [-1, 1], where asked.

    Raises:
        CodecError: a side that is to take alpha is not RGB.
    """
    into, out = vae.encoder.conv_in.in_channels, vae.decoder.conv_out.out_channels
    for side, asked, has in (("encoder", encoder, into), ("decoder", decoder, out)):
        if asked and has != RGB:
            raise CodecError(f"the VAE's {side} has {has} channels already, not {RGB}; inflate an RGB VAE")
    state = {name: value.detach().clone() for name, value in vae.state_dict().items()}
    if encoder:
        _append(state, "encoder.conv_in.weight", axis=1, value=0)
    if decoder:
        _append(state, "decoder.conv_out.weight", axis=0, value=0)
        _append(state, "decoder.conv_out.bias", axis=0, value=1)
    known = inspect.signature(LayerVae.__init__).parameters  # the configuration of Wan's has more
    settings = {name: value for name, value in vae.config.items() if name in known}
    channels = {"input_channels": RGBA if encoder else into, "output_channels": RGBA if decoder else out}
    with torch.device("meta"):  # every weight is given: none is drawn
        inflated: LayerVae = LayerVae(**{**settings, **channels})
    inflated.load_state_dict(state, assign=True)
    inflated.train(vae.training)
    return inflated


def _append(state: dict[str, Tensor], name: str, axis: int, value: float) -> None:
    """One more channel along an axis, all of one value."""
    weight = state[name]
    state[name] = torch.cat([weight, torch.full_like(weight.narrow(axis, 0, 1), value)], dim=axis)
