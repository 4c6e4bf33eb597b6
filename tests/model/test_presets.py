"""Presets are data that the transformer takes as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLQwenImage

from model import presets
from model.errors import ModelError
from model.presets import PRESETS
from model.transformer import RegionTransformer


def on_meta(name: str, **overrides: Any) -> RegionTransformer:
    with torch.device("meta"):
        return presets.transformer(name, **overrides)


@pytest.mark.parametrize("name", PRESETS)
def test_the_transformer_has_the_settings_of_its_preset(name: str) -> None:
    model = on_meta(name)
    for key, value in presets.config(name).items():
        assert model.config[key] == value, key
    width = model.config.num_attention_heads * model.config.attention_head_dim
    assert sum(model.config.axes_dims_rope) == model.config.attention_head_dim
    assert model.img_in.weight.shape == (width, 64)
    assert model.proj_out.out_features == model.config.in_channels


def test_the_largest_has_20_billion_parameters_and_the_names_of_the_public_weights() -> None:
    model = on_meta("qwen-20b")
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(20.43e9, rel=1e-4)
    assert "transformer_blocks.59.attn.norm_added_k.weight" in dict(model.named_parameters())


def test_overrides_replace_settings_and_leave_the_preset_alone() -> None:
    model = on_meta("tiny", num_layers=1, channel_std=[0.5] * 64)
    assert len(model.transformer_blocks) == 1 and model.config.channel_std == [0.5] * 64
    assert presets.config("tiny")["num_layers"] == 4
    with pytest.raises(TypeError):
        PRESETS["tiny"].settings["num_layers"] = 1  # type: ignore[index]


def test_the_seed_of_torch_decides_the_weights() -> None:
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(presets.transformer("tiny", num_layers=1).img_in.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_gates_of_new_small_models_are_shut() -> None:
    modulation = presets.transformer("tiny", num_layers=1).transformer_blocks[0].img_mod[1]
    assert not modulation.bias.any() and not modulation.weight.any()


@pytest.mark.parametrize("call", [presets.preset, presets.config, presets.transformer])
def test_an_unknown_name_is_answered_with_the_known_ones(call: Any) -> None:
    with pytest.raises(ModelError, match="no preset 'tinny'; choose from tiny, small, qwen-20b"):
        call("tinny")


def test_tokens_of_the_largest_are_as_large_as_its_vae_and_patches_make_them() -> None:
    with torch.device("meta"):
        vae = AutoencoderKLQwenImage()
    found = presets.preset("qwen-20b")
    assert found.token_px == 2 ** len(vae.config.temperal_downsample) * found.settings["patch_size"]
    assert found.settings["in_channels"] == vae.config.z_dim * found.settings["patch_size"] ** 2
