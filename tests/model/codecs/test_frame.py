"""One frame in two dimensions: what the VAE of diffusers makes of it in three, forwards and backwards."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from diffusers import AutoencoderKLQwenImage
from torch import Tensor, nn

from model.codecs.frame import FrameConv, frame_by_frame
from model.codecs.inflate import LayerVae


@pytest.fixture
def stock() -> AutoencoderKLQwenImage:
    torch.manual_seed(0)
    return AutoencoderKLQwenImage(base_dim=8, num_res_blocks=1).eval()


def through(vae: nn.Module, frame_BXLHW: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The latents, the picture that is made of them, and the gradients of what both say together."""
    parameters = vae.quant_conv(vae.encoder(frame_BXLHW))
    decoded = vae.decoder(vae.post_quant_conv(parameters[:, : vae.config["z_dim"]]))
    ((decoded - frame_BXLHW).square().mean() + parameters.square().mean()).backward()
    gradients = {name: one.grad for name, one in vae.named_parameters() if one.grad is not None}
    return parameters.detach(), decoded.detach(), gradients


def test_a_frame_has_the_values_and_gradients_of_diffusers(
    stock: AutoencoderKLQwenImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, frame = deepcopy(stock), torch.rand(2, 3, 1, 32, 24) * 2 - 1
    frame_by_frame(fast)
    wanted = through(stock, frame)
    monkeypatch.setattr(nn.Conv3d, "forward", None)  # no convolution is in three dimensions any longer
    found = through(fast, frame)
    torch.testing.assert_close(found[:2], wanted[:2], rtol=0, atol=1e-5)
    assert found[2].keys() == wanted[2].keys()
    for name, gradient in wanted[2].items():
        torch.testing.assert_close(found[2][name], gradient, rtol=1e-4, atol=1e-5, msg=name)


@torch.no_grad()
def test_more_frames_are_as_they_were(stock: AutoencoderKLQwenImage) -> None:
    fast, video = deepcopy(stock), torch.rand(1, 3, 5, 16, 16) * 2 - 1
    frame_by_frame(fast)
    latents = stock.encode(video).latent_dist.mode()
    torch.testing.assert_close(fast.encode(video).latent_dist.mode(), latents, rtol=0, atol=1e-5)
    torch.testing.assert_close(fast.decode(latents).sample, stock.decode(latents).sample, rtol=0, atol=1e-5)


def test_the_vae_of_layers_takes_frames_so_and_its_parameters_have_the_names_of_diffusers(
    stock: AutoencoderKLQwenImage,
) -> None:
    vae = LayerVae(base_dim=8, num_res_blocks=1, output_channels=4)
    assert vae.state_dict().keys() == stock.state_dict().keys()
    convolutions = [module for module in vae.modules() if isinstance(module, nn.Conv3d)]
    assert convolutions
    assert all(isinstance(module, FrameConv) for module in convolutions)
