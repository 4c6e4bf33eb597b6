"""The codecs of a VAE: whose pipelines they follow, which pictures they take, and what a folder may hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, AutoencoderKLWan, QwenImageLayeredPipeline
from torch import Tensor

from model.codecs.inflate import LayerVae, inflate
from model.codecs.vae import GrayCodec, RgbaCodec, VaeCodec
from model.errors import CheckpointError, CodecError

TINY = {"base_dim": 8, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1}
CODECS = [GrayCodec, RgbaCodec]


def rgb_vae() -> AutoencoderKLQwenImage:
    torch.manual_seed(0)
    return AutoencoderKLQwenImage(**TINY).eval()


def make(kind: type[VaeCodec], batch_px: int = 1 << 20) -> VaeCodec:
    """A codec whose new channels do something, as after training."""
    vae = inflate(rgb_vae(), encoder=kind is RgbaCodec)
    with torch.no_grad():
        vae.decoder.conv_out.weight.normal_(std=0.3)
        vae.decoder.conv_out.bias[3] = 0
        if kind is RgbaCodec:
            vae.encoder.conv_in.weight[:, 3].normal_(std=0.3)
    return kind(vae, batch_px)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (height, width, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def plane(pixels: Tensor) -> Tensor:
    """[1, 4, H, W] in [-1, 1]."""
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


def assert_same(tokens: Tensor, wanted: Tensor) -> None:
    """But for the rounding of a convolution in two dimensions or in three."""
    torch.testing.assert_close(tokens, wanted, rtol=0, atol=1e-5)


def assert_same_pixels(pixels: Tensor, wanted: Tensor) -> None:
    assert (pixels.int() - wanted.int()).abs().max() <= 1


def normalised(vae: AutoencoderKLQwenImage | AutoencoderKLWan, frame: Tensor) -> Tensor:
    """The tokens that diffusers' pipelines make of [1, C, H, W]: mode, normalisation, packing."""
    latents = vae.encode(frame[:, :, None]).latent_dist.mode()
    mean, std = (torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    latents = ((latents - mean) / std).permute(0, 2, 1, 3, 4)
    height, width = latents.shape[3:]
    packed: Tensor = QwenImageLayeredPipeline._pack_latents(latents, 1, latents.shape[2], height, width, 1)
    return packed[0]


@torch.no_grad()
def test_rgba_tokens_are_those_of_the_pipeline_and_decode_as_there() -> None:
    codec = make(RgbaCodec)
    pixels = picture(48, 32)
    tokens = codec.encode([pixels])
    assert (codec.token_px, codec.token_dim, codec.channel_std) == (16, 64, [1.0] * 64)
    assert tokens.dtype == torch.float32
    assert_same(tokens, normalised(codec.vae, plane(pixels)))

    config = codec.vae.config
    latents = QwenImageLayeredPipeline._unpack_latents(tokens[None], 48, 32, 0, 8)
    mean, std = (torch.tensor(config[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    decoded = codec.vae.decode(latents * std + mean).sample[0, :, 0]
    wanted = (decoded * 127.5 + 127.5).round().to(torch.uint8).permute(1, 2, 0)
    (out,) = codec.decode(tokens, [(3, 2)])
    assert_same_pixels(out[..., 3], wanted[..., 3])
    assert 0.2 < (out[..., 3] == 0).float().mean() < 0.8
    seen = out[..., 3] > 0
    assert_same_pixels(out[seen], wanted[seen])
    assert not out[~seen].any()


@torch.no_grad()
def test_gray_tokens_are_those_of_the_picture_on_gray() -> None:
    codec = make(GrayCodec)
    pixels = picture(32, 32)
    pixels[:16, :, 3] = 0
    pixels[16:, :, 3] = 255
    tokens = codec.encode([pixels])
    on_gray = plane(pixels)[:, :3]
    on_gray[:, :, :16] = 0
    assert_same(tokens, normalised(rgb_vae(), on_gray))
    recoloured = pixels.clone()
    recoloured[:16, :, :3] = 77
    assert torch.equal(codec.encode([recoloured]), tokens)
    half = GrayCodec.to_encoder(torch.tensor([1.0, -0.5, 0.25, 0.0]).view(1, 4, 1, 1))
    assert half.flatten().tolist() == [0.5, -0.25, 0.125]


@pytest.mark.parametrize("kind", CODECS)
def test_batches_of_equal_size_change_nothing_but_how_many_go_together(
    kind: type[VaeCodec], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [(32, 16), (16, 16), (32, 16), (16, 32), (32, 16), (16, 16)]
    pictures = [picture(*shape, seed) for seed, shape in enumerate(shapes)]
    sizes = [(height // 16, width // 16) for height, width in shapes]
    codec = make(kind, batch_px=2 * 32 * 16)
    together: list[int] = []
    encoder, decoder = codec.vae.encoder.forward, codec.vae.decoder.forward
    monkeypatch.setattr(codec.vae.encoder, "forward", lambda x: (together.append(len(x)), encoder(x))[1])
    monkeypatch.setattr(codec.vae.decoder, "forward", lambda x: (together.append(len(x)), decoder(x))[1])

    tokens = codec.encode(pictures)
    assert together == [2, 1, 2, 1]
    alone = torch.cat([codec.encode([one]) for one in pictures])
    torch.testing.assert_close(tokens, alone, rtol=1e-4, atol=1e-5)
    together.clear()
    decoded = codec.decode(tokens, sizes)
    assert together == [2, 1, 2, 1]
    assert [tuple(out.shape) for out in decoded] == [(*shape, 4) for shape in shapes]
    starts = [0, 2, 3, 5, 7, 9]
    for out, start, (height, width) in zip(decoded, starts, sizes, strict=True):
        (one,) = codec.decode(tokens[start : start + height * width], [(height, width)])
        assert (out.int() - one.int()).abs().float().mean() < 0.1
    small = make(kind, batch_px=1)  # a larger picture still goes, alone
    torch.testing.assert_close(small.encode(pictures), tokens, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", CODECS)
def test_nothing_is_made_of_no_pictures(kind: type[VaeCodec]) -> None:
    codec = make(kind)
    tokens = codec.encode([])
    assert tuple(tokens.shape) == (0, 64)
    assert codec.decode(tokens, []) == []


@pytest.mark.parametrize("kind", CODECS)
def test_training_has_the_same_values_and_gradients_everywhere(kind: type[VaeCodec]) -> None:
    codec = make(kind)
    pixels = picture(32, 16)
    rgba = plane(pixels).requires_grad_()
    tokens = codec.encode_float(rgba)
    assert_same(tokens.detach()[0].flatten(0, 1), codec.encode([pixels]))
    with torch.no_grad():
        codec.vae.decoder.conv_out.bias += 2  # far beyond white and opaque
    decoded = codec.decode_float(tokens)
    assert decoded.shape == rgba.shape
    assert bool((decoded > 1).any())
    decoded.clamp(min=1).sum().backward()  # of what a clamp to [-1, 1] would give nothing
    assert rgba.grad is not None
    assert bool(rgba.grad.any())
    assert all(parameter.grad is not None for parameter in codec.vae.decoder.conv_out.parameters())
    assert not codec.encode([pixels]).requires_grad
    (out,) = codec.decode(tokens.flatten(0, 2), [(2, 1)])
    assert not out.requires_grad
    assert_same_pixels(out[..., 3], (decoded.detach()[0, 3].clamp(-1, 1) * 127.5 + 127.5).round())


def test_the_posterior_is_one_of_each_picture() -> None:
    codec = make(RgbaCodec)
    rgba = torch.cat([plane(picture(32, 16)), plane(picture(32, 16, 1))])
    posterior = codec.posterior(rgba)
    assert tuple(posterior.kl().shape) == (2,)
    drawn = codec.pack(posterior.sample(torch.Generator().manual_seed(0)))
    assert drawn.shape == codec.encode_float(rgba).shape == (2, 2, 1, 64)


@pytest.mark.parametrize("kind", CODECS)
def test_a_vae_of_16_bits_takes_and_gives_the_same_types(kind: type[VaeCodec]) -> None:
    codec = make(kind)
    pixels = picture(32, 32)
    exact, (wanted,) = codec.encode([pixels]), codec.decode(codec.encode([pixels]), [(2, 2)])
    codec.vae.to(torch.bfloat16)
    tokens = codec.encode([pixels])
    assert tokens.dtype == torch.float32
    torch.testing.assert_close(tokens, exact, rtol=0, atol=0.05)
    (out,) = codec.decode(tokens.to(torch.bfloat16), [(2, 2)])
    assert out.dtype == torch.uint8
    assert (out[..., 3].int() - wanted[..., 3].int()).abs().float().mean() < 5


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("kind", CODECS)
def test_the_autocast_of_a_trainer_changes_nothing(kind: type[VaeCodec], device: str) -> None:
    codec, pixels = make(kind), picture(32, 32)
    codec.vae.to(device)
    tokens = codec.encode([pixels])
    (decoded,) = codec.decode(tokens, [(2, 2)])
    with torch.autocast(device, torch.bfloat16):
        assert torch.equal(codec.encode([pixels]), tokens)
        assert torch.equal(codec.decode(tokens, [(2, 2)])[0], decoded)


def test_values_that_are_no_numbers_are_refused() -> None:
    codec = make(RgbaCodec)
    with pytest.raises(CodecError, match=r"among 1 pictures of \(1, 1\) tokens one decodes to NaN or infinity"):
        codec.decode(torch.full((1, 64), float("nan")), [(1, 1)])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((20, 16, 4), torch.uint8), ((16, 16, 3), torch.uint8), ((16, 16, 4), torch.float32), ((0, 16, 4), torch.uint8)],
)
def test_pictures_that_are_not_of_whole_tokens_are_refused(shape: Sequence[int], dtype: torch.dtype) -> None:
    with pytest.raises(CodecError, match=r"picture 1 is .* not uint8 RGBA of whole tokens of 16 px"):
        make(GrayCodec).encode([picture(16, 16), torch.zeros(*shape, dtype=dtype)])


@pytest.mark.parametrize(("kind", "other"), [(GrayCodec, RgbaCodec), (RgbaCodec, GrayCodec)])
def test_a_codec_comes_back_from_a_folder_but_not_as_the_other(
    kind: type[VaeCodec], other: type[VaeCodec], tmp_path: Path
) -> None:
    codec = make(kind)
    codec.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    read = kind.load(tmp_path)
    pixels = picture(32, 16)
    tokens = codec.encode([pixels])
    assert torch.equal(read.encode([pixels]), tokens)
    assert torch.equal(read.decode(tokens, [(2, 1)])[0], codec.decode(tokens, [(2, 1)])[0])
    assert kind.load(tmp_path, dtype=torch.bfloat16).vae.dtype == torch.bfloat16
    with pytest.raises(CodecError, match=rf"{other.__name__} needs .*; inflate an RGB VAE, or use the codec"):
        other.load(tmp_path)


@pytest.mark.parametrize("kind", CODECS)
def test_an_rgb_vae_of_a_pipeline_is_inflated(kind: type[VaeCodec], tmp_path: Path) -> None:
    rgb_vae().save_pretrained(tmp_path / "vae")
    codec = kind.load(tmp_path, subfolder="vae")
    pixels = picture(32, 32)
    pixels[..., 3] = 255
    tokens = codec.encode([pixels])
    with torch.no_grad():
        assert_same(tokens, normalised(rgb_vae(), plane(pixels)[:, :3]))
    assert bool((codec.decode(tokens, [(2, 2)])[0][..., 3] == 255).all())


def test_an_rgba_vae_of_a_pipeline_is_taken_as_it_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stock = AutoencoderKLQwenImage(**TINY, input_channels=4).eval()
    stock.save_pretrained(tmp_path)
    pixels = picture(32, 32)
    with torch.no_grad():
        assert_same(RgbaCodec.load(tmp_path).encode([pixels]), normalised(stock, plane(pixels)))


def test_wan_s_vae_is_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wan = AutoencoderKLWan(**TINY).eval()
    wan.save_pretrained(tmp_path)
    codec = GrayCodec.load(tmp_path)
    pixels = picture(32, 32)
    pixels[..., 3] = 255
    tokens = codec.encode([pixels])
    with torch.no_grad():
        torch.testing.assert_close(tokens, normalised(wan, plane(pixels)[:, :3]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"is_residual": True}, {"patch_size": 2, "in_channels": 12, "out_channels": 12}], ids=str
)
def test_other_vaes_of_wan_are_refused(tmp_path: Path, settings: dict[str, int]) -> None:
    AutoencoderKLWan(**TINY, **settings).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"no VAE of Qwen-Image or Wan 2.1 at ") as caught:
        GrayCodec.load(tmp_path)
    assert "\n" not in str(caught.value)


def damage(folder: Path, how: str) -> None:
    weights, config = folder / "diffusion_pytorch_model.safetensors", folder / "config.json"
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "pickle":
        torch.save(rgb_vae().state_dict(), folder / "diffusion_pytorch_model.bin")
        weights.unlink()
    elif how == "no config":
        config.unlink()
    else:
        config.write_text(json.dumps({**json.loads(config.read_text()), **json.loads(how)}))


@pytest.mark.parametrize(
    "how", ["cut", "pickle", "no config", '{"base_dim": 16}', '{"dim_mult": "wide"}', '{"num_res_blocks": 2}']
)
def test_a_damaged_folder_is_refused_in_one_line(tmp_path: Path, how: str) -> None:
    rgb_vae().save_pretrained(tmp_path)
    damage(tmp_path, how)
    with pytest.raises(CheckpointError, match=rf"no VAE of Qwen-Image or Wan 2.1 at {tmp_path}: .") as caught:
        GrayCodec.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "std", [[1.0] * 15, [1.0] * 15 + [0.0], [1.0] * 15 + [torch.inf]], ids=["too few", "zero", "inf"]
)
def test_statistics_that_are_not_of_the_latents_are_refused(std: list[float]) -> None:
    with pytest.raises(CodecError, match=r"latents_mean and latents_std of the VAE are not 16 finite numbers"):
        RgbaCodec(LayerVae(**TINY, input_channels=4, latents_std=std))
