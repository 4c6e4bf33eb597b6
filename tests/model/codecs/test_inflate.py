"""A VAE with alpha does to colours exactly what the RGB one does that it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLQwenImage
from safetensors.torch import load_file

from model.codecs.inflate import LayerVae, inflate
from model.errors import CodecError

TINY = {"base_dim": 8, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1}


@pytest.fixture(scope="module")
def rgb() -> AutoencoderKLQwenImage:
    torch.manual_seed(0)
    return AutoencoderKLQwenImage(**TINY).eval()


def pictures(channels: int) -> torch.Tensor:
    """[2, channels, 1, 48, 32] in [-1, 1]."""
    return torch.rand(2, channels, 1, 48, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("alpha", ["opaque", "any"])
@torch.no_grad()
def test_latents_and_colours_stay_and_alpha_is_one(rgb: AutoencoderKLQwenImage, alpha: str) -> None:
    rgba = inflate(rgb)
    picture = pictures(4)
    if alpha == "opaque":
        picture[:, 3] = 1
    latents = rgb.encode(picture[:, :3]).latent_dist.parameters
    torch.testing.assert_close(rgba.encode(picture).latent_dist.parameters, latents, rtol=0, atol=1e-5)
    decoded = rgba.decode(latents[:, :16]).sample
    torch.testing.assert_close(decoded[:, :3], rgb.decode(latents[:, :16]).sample, rtol=0, atol=1e-5)
    assert bool((decoded[:, 3] == 1).all())


@pytest.mark.parametrize(("encoder", "decoder"), [(False, True), (True, False), (True, True)])
@torch.no_grad()
def test_one_side_or_both_come_back_from_a_folder(
    rgb: AutoencoderKLQwenImage, tmp_path: Path, encoder: bool, decoder: bool
) -> None:
    made = inflate(rgb, encoder=encoder, decoder=decoder)
    torch.nn.init.normal_(made.decoder.conv_out.weight)
    made.save_pretrained(tmp_path)
    read = LayerVae.from_pretrained(tmp_path, use_safetensors=True)
    assert (read.config.input_channels, read.config.output_channels) == (4 if encoder else 3, 4 if decoder else 3)
    picture = pictures(read.config.input_channels)
    latents = read.encode(picture).latent_dist.mode()
    assert torch.equal(latents, made.encode(picture).latent_dist.mode())
    decoded = read.decode(latents).sample
    assert decoded.shape[1] == read.config.output_channels
    assert torch.equal(decoded, made.decode(latents).sample)
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".json", ".safetensors"]


def test_an_rgba_vae_is_read_by_diffusers_and_read_from_it(rgb: AutoencoderKLQwenImage, tmp_path: Path) -> None:
    inflate(rgb).save_pretrained(tmp_path / "ours")
    stock = AutoencoderKLQwenImage.from_pretrained(tmp_path / "ours", use_safetensors=True)
    stock.save_pretrained(tmp_path / "theirs")
    ours = LayerVae.from_pretrained(tmp_path / "theirs", use_safetensors=True)
    assert ours.config.output_channels == 4
    weights = [load_file(tmp_path / side / "diffusion_pytorch_model.safetensors") for side in ("ours", "theirs")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_statistics_of_the_latents_are_kept(tmp_path: Path) -> None:
    statistics = {"latents_mean": [0.5] * 4, "latents_std": [2.0] * 4}
    made = inflate(AutoencoderKLQwenImage(**TINY, z_dim=4, **statistics), encoder=False)
    made.save_pretrained(tmp_path)
    read = LayerVae.from_pretrained(tmp_path, use_safetensors=True)
    for vae in (made, read):
        assert {name: list(vae.config[name]) for name in statistics} == statistics


def test_the_copy_shares_nothing_and_is_trainable(rgb: AutoencoderKLQwenImage) -> None:
    state = torch.get_rng_state()
    half = AutoencoderKLQwenImage(**TINY).to(torch.bfloat16).train()
    torch.set_rng_state(state)
    made = inflate(half)
    assert made.dtype == torch.bfloat16
    assert made.training
    assert torch.equal(torch.get_rng_state(), state)  # no weight was drawn
    assert all(parameter.requires_grad for parameter in made.parameters())
    theirs = {parameter.data_ptr() for parameter in half.parameters()}
    assert not theirs & {parameter.data_ptr() for parameter in made.parameters()}


@pytest.mark.parametrize("again", ["encoder", "decoder"])
def test_what_has_alpha_is_refused(rgb: AutoencoderKLQwenImage, again: str) -> None:
    rgba = inflate(rgb)
    with pytest.raises(CodecError, match=rf"the VAE's {again} has 4 channels already, not 3; inflate an RGB VAE"):
        inflate(rgba, encoder=again == "encoder", decoder=again == "decoder")
    assert inflate(inflate(rgb, encoder=False), decoder=False).config.input_channels == 4
