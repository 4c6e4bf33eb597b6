"""The joint decoder: every pixel in its place, no design sees another, and every layer sees the others of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import QwenImagePipeline
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from model.codecs.base import MAX_PICTURE, LayerCodec
from model.codecs.inflate import LayerVae
from model.codecs.joint import JointCodec, JointDecoder, latent_positions
from model.codecs.pca import PcaCodec
from model.codecs.vae import GrayCodec
from model.errors import CheckpointError, CodecError, LayoutError
from model.regions import Regions
from model.tasks import Task, lay_out

CANVASES = [(4, 3), (5, 5), (2, 2)]
VISIBLE = [(0, 0, 4, 3), (1, 0, 4, 5), (0, 0, 2, 2)]
BOXES = [[(0, 0, 4, 3), (1, 1, 4, 3)], [(0, 0, 5, 5), (3, 0, 4, 5), (0, 2, 2, 3)], [(1, 0, 2, 2)]]


def regions_of(numbers: Sequence[int], task: Task = Task.TEXT_TO_LAYERS) -> Regions:
    parts = [(BOXES[n], CANVASES[n], VISIBLE[n]) for n in numbers]
    designs = [lay_out(task, *part, chosen={1}) for part in parts]
    return Regions.lay_out(designs, [CANVASES[n] for n in numbers], [VISIBLE[n] for n in numbers])


def tiny(seed: int = 0, **settings: int) -> JointDecoder:
    torch.manual_seed(seed)
    small = {"latent_channels": 3, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8, "latent_px": 4}
    return JointDecoder(**{**small, "axes_dims_rope": (2, 2, 4), **settings})  # type: ignore[arg-type]


def tokens_of(regions: Regions, seed: int = 1, channels: int = 12) -> Tensor:
    return torch.randn(regions.tokens, channels, generator=torch.Generator().manual_seed(seed))


class Unshuffled(LayerCodec):
    """Pixels as channels of latents, packed by diffusers' Qwen-Image pipeline: nothing is lost."""

    token_px, token_dim = 8, 256

    @property
    def channel_std(self) -> list[float]:
        return [1.0] * 256

    def encode(self, pictures: Sequence[Tensor]) -> Tensor:
        return torch.cat([self._pack(picture) for picture in pictures])

    def _pack(self, picture: Tensor) -> Tensor:
        # The channels of a latent in the order of its tile: y, x, RGBA.
        latents = pixel_unshuffle(picture.permute(2, 0, 1).float() / 127.5 - 1, 4).unflatten(0, (4, 16))
        latents = latents.transpose(0, 1).flatten(0, 1)
        height, width = latents.shape[1:]
        packed: Tensor = QwenImagePipeline._pack_latents(latents, 1, 64, height, width)
        return packed[0]

    def decode(self, tokens_TC: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        raise NotImplementedError


def identity() -> JointDecoder:
    """A decoder whose network changes nothing, so that only the order of pixels is left."""
    out = tiny(latent_channels=64, num_layers=0, num_attention_heads=8)
    for layer in (out.proj_in, out.proj_out):
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    out.norm_out = nn.Identity()
    return out


def pictures_of(regions: Regions, token_px: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(2)
    shapes = [(height * token_px, width * token_px, 4) for height, width in regions.sizes]
    return [torch.randint(1, 256, shape, generator=rng, dtype=torch.uint8) for shape in shapes]


def test_pixels_come_back_to_their_places() -> None:
    regions, decoder = regions_of([0, 1, 2]), identity()
    pictures = pictures_of(regions, 8)
    pixels = decoder(Unshuffled().encode(pictures), regions)
    packed = torch.cat([picture.reshape(-1, 4) for picture in pictures])
    torch.testing.assert_close(pixels, packed.float() / 127.5 - 1)
    again = JointCodec(Unshuffled(), decoder).decode_regions(Unshuffled().encode(pictures), regions)
    assert all(torch.equal(one, other) for one, other in zip(again, pictures, strict=True))


def test_a_codec_decodes_pictures_that_belong_to_no_design() -> None:
    regions, codec = regions_of([0, 1]), JointCodec(Unshuffled(), identity())
    pictures = pictures_of(regions, 8)
    decoded = codec.decode(codec.encode(pictures), regions.sizes)
    assert all(torch.equal(one, other) for one, other in zip(decoded, pictures, strict=True))
    assert codec.decode(torch.empty(0, 256), []) == []
    assert codec.channel_std == [1.0] * 256


def test_pictures_that_are_decoded_alone_do_not_see_each_other() -> None:
    decoder = tiny(latent_channels=64)
    codec = JointCodec(Unshuffled(), decoder)
    sizes = [(2, 3), (1, 1), (2, 3)]
    tokens = tokens_of(regions_of([2]), channels=256)[:1].repeat(13, 1)
    together = codec.decode(tokens, sizes)
    alone = codec.decode(tokens[:6], sizes[:1])
    assert torch.equal(together[0], alone[0])
    assert torch.equal(together[0], together[2])


def test_what_is_transparent_is_black_and_values_stay_in_range() -> None:
    regions, decoder = regions_of([2]), identity()
    tokens = torch.full((regions.tokens, 256), 3.0)
    assert all((picture == 255).all() for picture in decoder.decode_regions(tokens, regions))
    pictures = [torch.full_like(picture, 200) for picture in pictures_of(regions, 8)]
    pictures[0][0, :3, 3] = 0
    decoded = decoder.decode_regions(Unshuffled().encode(pictures), regions)
    assert (decoded[0][0, :3] == 0).all()
    assert torch.equal(decoded[0][1:], pictures[0][1:])


def test_the_default_is_a_vit_b() -> None:
    with torch.device("meta"):
        decoder = JointDecoder()
    assert decoder.num_parameters() == 85_265_920
    assert f"{decoder.num_parameters():,}" in (JointDecoder.__doc__ or "")
    assert (decoder.token_px, decoder.token_dim) == (16, 64)


@pytest.mark.parametrize("odd", [False, True])
def test_latents_stand_in_the_tokens_that_hold_them(odd: bool) -> None:
    regions = regions_of([1 if odd else 2])
    coarse = regions.positions_T3
    fine = latent_positions(coarse, 2).view(-1, 4, 3)
    assert torch.equal(fine[:, :, 1:].div(2, rounding_mode="floor"), coarse[:, None, 1:].expand(-1, 4, -1))
    assert torch.equal(fine[:, :, 0], coarse[:, :1].expand(-1, 4))
    assert (fine[:, :, 1:] - 2 * coarse[:, None, 1:]).tolist() == [[[0, 0], [0, 1], [1, 0], [1, 1]]] * len(coarse)
    # On the grid of latents that is centred for itself they are the same, or all moved by one, where tokens are odd.
    doubled = Regions.of(
        boxes=regions.boxes * 2,
        layer=regions.layer,
        design=regions.design,
        clean=regions.clean,
        condition=regions.condition,
        canvas=torch.tensor([CANVASES[1 if odd else 2]]) * 2,
        visible=torch.tensor([VISIBLE[1 if odd else 2]]) * 2,
    )
    own = {tuple(place) for place in doubled.positions_T3.tolist()}
    assert {tuple(place) for place in (fine.flatten(0, 1) + torch.tensor([0, odd, odd])).tolist()} == own


@torch.no_grad()
def test_a_design_is_decoded_beside_others_as_alone() -> None:
    decoder, together = tiny(), regions_of([0, 1, 2])
    tokens = tokens_of(together)
    packed = decoder(tokens, together).split([length * 64 for length in together.lengths])
    for number, part in enumerate(tokens.split(together.lengths)):
        torch.testing.assert_close(packed[number], decoder(part, regions_of([number])), atol=1e-5, rtol=0)


@torch.no_grad()
def test_designs_may_come_in_any_order() -> None:
    decoder, forward, backward = tiny(), regions_of([0, 1, 2]), regions_of([2, 1, 0])
    parts = tokens_of(forward).split(forward.lengths)
    one = decoder(torch.cat(parts), forward).split([length * 64 for length in forward.lengths])
    other = decoder(torch.cat(parts[::-1]), backward).split([length * 64 for length in backward.lengths])
    for here, there in zip(one, other[::-1], strict=True):
        torch.testing.assert_close(here, there, atol=1e-5, rtol=0)


@torch.no_grad()
def test_layers_see_each_other_and_where_they_are() -> None:
    decoder, regions = tiny(), regions_of([0])
    tokens = tokens_of(regions)
    before = decoder(tokens, regions)
    changed = tokens.clone()
    changed[-regions.counts[-1] :] += 1
    kept = regions.counts[0] * 64
    assert (decoder(changed, regions)[:kept] - before[:kept]).abs().max() > 1e-4
    turned = replace(regions, layer=torch.tensor([0, 2, 1]))
    assert (decoder(tokens, turned) - before).abs().max() > 1e-4
    moved = replace(regions, layer=regions.layer + 3, centre=regions.centre + 7)
    torch.testing.assert_close(decoder(tokens, moved), before, atol=1e-5, rtol=0)


def test_checkpointing_changes_no_gradient_and_all_parameters_have_one() -> None:
    decoder, regions = tiny(), regions_of([0, 2])
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            decoder.enable_gradient_checkpointing()
        tokens = tokens_of(regions).requires_grad_()
        decoder.zero_grad()
        decoder(tokens, regions).abs().mean().backward()
        named = {name: parameter.grad.clone() for name, parameter in decoder.named_parameters()}
        found.append({"tokens": tokens.grad, **named})
    for name, gradient in found[0].items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(gradient, found[1][name])


def test_it_learns_the_alpha_that_a_gray_encoder_hides() -> None:
    regions = regions_of([0])
    pictures = pictures_of(regions, 8)
    for number, picture in enumerate(pictures):
        picture[:] = torch.tensor([40 * number, 200, 90, 255])
    pictures[-1][:, :9] = 0
    encoder = PcaCodec.fit([*pictures, *pictures_of(regions_of([0, 1, 2]), 16)], mode="gray")
    decoder = tiny(latent_channels=64, patch_size=1, latent_px=8, num_attention_heads=4)
    tokens = encoder.encode(pictures)
    wanted = torch.cat([picture.reshape(-1, 4) for picture in pictures]).float() / 127.5 - 1
    optimizer = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (decoder(tokens, regions) - wanted).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5
    decoded = JointCodec(encoder, decoder).decode_regions(tokens, regions)
    seen = [(one[..., 3] > 127) == (other[..., 3] > 127) for one, other in zip(decoded, pictures, strict=True)]
    assert all(one.float().mean() > 0.95 for one in seen)


def test_bfloat16_decodes_what_float32_does() -> None:
    decoder, regions = tiny(), regions_of([0, 1])
    tokens = tokens_of(regions)
    exact = decoder.decode_regions(tokens, regions)
    rough = decoder.to(torch.bfloat16).decode_regions(tokens, regions)
    for one, other in zip(exact, rough, strict=True):
        assert (one[..., 3].float() - other[..., 3].float()).abs().max() < 8


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_autocast_of_a_trainer_changes_nothing(device: str) -> None:
    codec, regions = JointCodec(Unshuffled(), tiny(latent_channels=64).to(device)), regions_of([0, 1])
    tokens = tokens_of(regions, channels=256).to(device)
    plain = codec.decode_regions(tokens, regions) + codec.decode(tokens, regions.sizes)
    with torch.autocast(device, torch.bfloat16):
        cast = codec.decode_regions(tokens, regions) + codec.decode(tokens, regions.sizes)
    assert all(torch.equal(one, other) for one, other in zip(plain, cast, strict=True))


def test_an_encoder_makes_the_same_tokens_under_autocast() -> None:
    torch.manual_seed(0)
    encoder = GrayCodec(LayerVae(base_dim=8, num_res_blocks=1, output_channels=4).eval())
    codec, pictures = JointCodec(encoder, JointDecoder(num_layers=1)), pictures_of(regions_of([2]), 16)
    tokens = codec.encode(pictures)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codec.encode(pictures), tokens)


def test_a_saved_decoder_decodes_the_same(tmp_path: Path) -> None:
    decoder, regions = tiny(), regions_of([0, 1])
    decoder.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    loaded = JointDecoder.from_pretrained(tmp_path)
    assert loaded.config["num_layers"] == 2
    tokens = tokens_of(regions)
    assert torch.equal(loaded(tokens, regions), decoder(tokens, regions))


def test_a_checkpoint_that_lacks_something_is_refused(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({name: value for name, value in load_file(weights).items() if name != "norm_out.bias"}, weights)
    with pytest.raises(CheckpointError, match=r"lacks norm_out\.bias"):
        JointDecoder.from_pretrained(tmp_path)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(OSError, match="safetensors"):
        JointDecoder.from_pretrained(tmp_path, use_safetensors=False)


def test_a_huge_region_is_refused_before_it_is_made() -> None:
    canvas = (MAX_PICTURE // 8, MAX_PICTURE // 8)
    box = (0, 0, *canvas)
    regions = Regions.lay_out([lay_out(Task.TEXT_TO_LAYERS, [box], canvas, box, chosen=())], [canvas], [box])
    with pytest.raises(CodecError, match=r"picture 0 of .* is too large"):
        tiny().decode_regions(torch.empty(1, 12), regions)


def test_errors_name_the_remedy() -> None:
    decoder, regions = tiny(), regions_of([0])
    with pytest.raises(CodecError, match="use the decoder of the checkpoint"):
        decoder(tokens_of(regions)[1:], regions)
    with pytest.raises(CodecError, match="use the decoder of the checkpoint"):
        decoder.decode_regions(tokens_of(regions, channels=64), regions)
    with pytest.raises(LayoutError, match="no region to decode; pass over"):
        decoder(torch.empty(0, 12), Regions.lay_out([], [], []))
    two, broken = regions_of([2, 0]), tokens_of(regions_of([2, 0]))
    broken[-1, 0] = math.nan
    with pytest.raises(CodecError, match="design number 1 decodes to NaN"):
        decoder.decode_regions(broken, two)
    restyled = regions_of([2, 0], Task.RESTYLE)
    with pytest.raises(LayoutError, match="leave it out") as caught:
        decoder(tokens_of(restyled), restyled)
    assert caught.value.key == "number 0"
    decoder(tokens_of(restyled)[~restyled.of_tokens(restyled.condition)], restyled.select(~restyled.condition))
    with pytest.raises(CodecError, match="use those trained together"):
        JointCodec(Unshuffled(), decoder)
    with pytest.raises(CodecError, match="use the codec of the checkpoint"):
        JointCodec(Unshuffled(), identity()).decode(torch.empty(3, 256), [])
    with pytest.raises(CodecError, match="add to attention_head_dim 8"):
        tiny(attention_head_dim=8, axes_dims_rope=(2, 2, 2))  # type: ignore[arg-type]
