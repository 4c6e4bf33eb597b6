"""Checkpoints: diffusers' into ours, ours into ours and into diffusers', and the 20B model by its names and shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel
from safetensors.torch import load_file, save_file

from model.errors import CheckpointError
from model.presets import config
from model.regions import Regions
from model.tasks import Region
from model.transformer import NEW_PARAMETERS, RegionTransformer
from tests.model.tiny_models import CHANNELS, TEXT, draw, like, ours, run, stock

WEIGHTS = "diffusion_pytorch_model.safetensors"
LOADING: list[dict[str, Any]] = [
    {},
    {"torch_dtype": torch.bfloat16},
    {"low_cpu_mem_usage": False},
    {"low_cpu_mem_usage": False, "torch_dtype": torch.bfloat16},
]
LOADING_IDS = ["default", "bfloat16", "all at once", "all at once, bfloat16"]
REGIONS = Regions.lay_out([[Region(0, (0, 0, 5, 3)), Region(1, (1, 1, 3, 3), True, True)]], [(5, 3)], [(0, 0, 5, 3)])


def velocity(model: RegionTransformer) -> torch.Tensor:
    with torch.no_grad():
        return run(model, draw(REGIONS.tokens, CHANNELS), draw(4, TEXT, seed=1), [0.6], REGIONS, [4])


def same(got: torch.Tensor, wanted: torch.Tensor) -> None:
    """Up to the order of sums, which depends on where in memory a file's parameters lie."""
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", LOADING, ids=LOADING_IDS)
@pytest.mark.parametrize("slots", [0, 5])
def test_a_folder_of_diffusers(options: dict[str, Any], slots: int, tmp_path: Path) -> None:
    public = stock(zero_cond_t=True)
    public.save_pretrained(tmp_path)
    model = RegionTransformer.from_pretrained(tmp_path, layer_slots=slots, **options)
    assert type(model) is RegionTransformer and not model.training
    dtype = options.get("torch_dtype", torch.float32)
    assert {(p.device.type, p.dtype, p.requires_grad) for p in model.parameters()} == {("cpu", dtype, True)}
    state = model.state_dict()
    assert all(torch.equal(state.pop(name), value.to(dtype)) for name, value in public.state_dict().items())
    assert set(state) == {"cond_token_embed", *(["layer_embed"] if slots else [])}
    assert not any(value.any() for value in state.values())
    if dtype is torch.float32:
        same(velocity(model), velocity(like(public)))


@pytest.mark.parametrize("options", LOADING[::2], ids=LOADING_IDS[::2])
def test_ours_again_is_the_same(options: dict[str, Any], tmp_path: Path) -> None:
    settings = {"rope_theta": 100.0, "gate_init": 1.0, "layer_slots": 4, "channel_std": [0.5] * CHANNELS}
    model = ours(zero_cond_t=True, **settings)
    model.save_pretrained(tmp_path)
    again = RegionTransformer.from_pretrained(tmp_path, **options)
    assert {name: again.config[name] for name in settings} == settings and again.config["num_layers"] == 2
    state = model.state_dict()
    assert set(state) == set(again.state_dict())
    assert all(torch.equal(state[name], value) for name, value in again.state_dict().items())
    same(velocity(again), velocity(model))
    for name in ("one", "two"):
        again.save_pretrained(tmp_path / name)
    assert (tmp_path / "one" / WEIGHTS).read_bytes() == (tmp_path / WEIGHTS).read_bytes()


def test_in_several_files(tmp_path: Path) -> None:
    model = ours()
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    same(velocity(RegionTransformer.from_pretrained(tmp_path)), velocity(model))


def test_diffusers_takes_ours_and_leaves_the_new_parameters(tmp_path: Path) -> None:
    """As its own class it opens a folder of ours; of what we add it says that it does not use it."""
    model = ours(layer_slots=4)
    model.save_pretrained(tmp_path)
    public, found = QwenImageTransformer2DModel.from_pretrained(tmp_path, output_loading_info=True)
    assert sorted(found["unexpected_keys"]) == sorted(NEW_PARAMETERS)
    assert not found["missing_keys"] and not found["mismatched_keys"]
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in public.state_dict().items())


# What is refused


@pytest.mark.parametrize("options", LOADING, ids=LOADING_IDS)
def test_a_folder_that_lacks_parameters(options: dict[str, Any], tmp_path: Path) -> None:
    stock().save_pretrained(tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    for number in (0, 1):
        for name in ("to_q.weight", "to_q.bias"):
            del state[f"transformer_blocks.{number}.attn.{name}"]
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError) as caught:
        RegionTransformer.from_pretrained(tmp_path, **options)
    assert str(caught.value) == (
        "the checkpoint lacks transformer_blocks.0.attn.to_q.bias, transformer_blocks.0.attn.to_q.weight, "
        "transformer_blocks.1.attn.to_q.bias and 1 more; it is of another model"
    )


@pytest.mark.parametrize("options", LOADING[::2], ids=LOADING_IDS[::2])
def test_parameters_of_another_shape(options: dict[str, Any], tmp_path: Path) -> None:
    ours(layer_slots=4).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"layer_embed in the checkpoint has shape \[4, 128\], these"):
        RegionTransformer.from_pretrained(tmp_path, layer_slots=6, **options)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    """Whatever is asked for: a pickle runs what its author wrote."""
    stock().save_pretrained(tmp_path, safe_serialization=False)
    assert list(tmp_path.glob("*.bin"))
    for options in ({}, {"use_safetensors": False}, {"use_safetensors": None}):
        with pytest.raises(OSError, match="safetensors"):
            RegionTransformer.from_pretrained(tmp_path, **options)


# The public model


def on_meta(kind: type, settings: dict[str, Any]) -> dict[str, torch.Size]:
    with torch.device("meta"):
        model = kind(**settings)
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def test_the_20b_model_has_the_names_and_shapes_of_diffusers() -> None:
    settings = config("qwen-20b")
    model = on_meta(RegionTransformer, {**settings, "layer_slots": 52})
    public = on_meta(QwenImageTransformer2DModel, settings)
    new = {name: tuple(model.pop(name)) for name in NEW_PARAMETERS}
    assert new == {"cond_token_embed": (3072,), "layer_embed": (52, 3072)}
    assert model == public
    assert round(sum(shape.numel() for shape in model.values()) / 1e9, 2) == 20.43


def test_what_qwen_image_writes_of_itself_is_understood(tmp_path: Path) -> None:
    """Settings that only diffusers knows, and those that it does not write."""
    stock().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    written = json.loads(path.read_text())
    for name in ("zero_cond_t", "use_additional_t_cond", "use_layer3d_rope"):
        written.pop(name)  # as in the first release of Qwen-Image
    path.write_text(json.dumps({**written, "_diffusers_version": "0.35.0.dev0", "guidance_embeds": False}))
    same(velocity(RegionTransformer.from_pretrained(tmp_path)), velocity(like(stock())))
