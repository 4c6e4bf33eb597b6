"""Bounds on settings: known models are far inside, and what is outside is told before anything is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from transformers import Qwen2_5_VLConfig

from model.codecs.inflate import LayerVae
from model.codecs.vae import RgbaCodec
from model.errors import CheckpointError
from model.presets import PRESETS
from model.settings import (
    ByteTextSettings,
    JointSettings,
    QwenSettings,
    TransformerSettings,
    VaeSettings,
    check_part,
    check_settings,
)
from model.text_bytes import ByteText
from model.transformer import RegionTransformer
from tests.model.tiny_models import TINY, stock

QWEN_7B = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"], "attention_dropout": 0.0, "bos_token_id": 151643,
    "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 3584, "image_token_id": 151655,
    "initializer_range": 0.02, "intermediate_size": 18944, "max_position_embeddings": 128000,
    "max_window_layers": 28, "model_type": "qwen2_5_vl", "num_attention_heads": 28, "num_hidden_layers": 28,
    "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
    "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"},
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.53.1", "use_cache": True,
    "use_sliding_window": False, "video_token_id": 151656, "vision_end_token_id": 151653,
    "vision_start_token_id": 151652, "vision_token_id": 151654, "vocab_size": 152064,
    "vision_config": {
        "depth": 32, "fullatt_block_indexes": [7, 15, 23, 31], "hidden_act": "silu", "hidden_size": 1280,
        "in_channels": 3, "in_chans": 3, "initializer_range": 0.02, "intermediate_size": 3420,
        "model_type": "qwen2_5_vl", "num_heads": 16, "out_hidden_size": 3584, "patch_size": 14,
        "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2, "tokens_per_second": 2,
        "torch_dtype": "bfloat16", "window_size": 112,
    },
}  # fmt: skip
"""The settings of Qwen2.5-VL 7B as they were published; those of Qwen-Image repeat them in ``text_config``."""


def test_known_models_are_within_bounds() -> None:
    language = {name: value for name, value in QWEN_7B.items() if name not in ("vision_config", "model_type")}
    again = {**QWEN_7B, "text_config": {**language, "model_type": "qwen2_5_vl_text", "layer_types": ["full"] * 28}}
    for settings in (QWEN_7B, again, Qwen2_5_VLConfig(text_config=language).to_dict(), Qwen2_5_VLConfig().to_dict()):
        check_settings(settings, QwenSettings, "Qwen")
    for preset in PRESETS.values():
        check_settings(preset.settings, TransformerSettings, "a preset")
    check_settings({"base_dim": 160, "z_dim": 48, "dim_mult": [1, 2, 4, 8]}, VaeSettings, "Wan")
    check_settings({"width": 256, "max_bytes": 1024}, ByteTextSettings, "small")
    check_settings({}, JointSettings, "ART")
    long = {"type": "yarn", "mrope_section": [16, 24, 24], "factor": 4, "original_max_position_embeddings": 32768}
    check_settings({**QWEN_7B, "rope_scaling": long}, QwenSettings, "Qwen over long texts")


INERT = {
    "torchscript": False, "use_bfloat16": False, "pruned_heads": {}, "tie_encoder_decoder": False, "is_decoder": False,
    "add_cross_attention": False, "tf_legacy_loss": False, "tokenizer_class": None, "unsloth_version": "2025.3.9",
    "_attn_implementation_autoset": True, "unsloth_fixed": True, "quantization_config": None, "max_length": 20,
    "temperature": 1.0, "prefix": None, "never_heard_of": None,
}  # fmt: skip


def test_what_other_programs_write_and_nobody_reads_is_no_fault() -> None:
    vision = {**QWEN_7B["vision_config"], **INERT}  # type: ignore[dict-item]
    check_settings({**QWEN_7B, **INERT, "text_config": INERT, "vision_config": vision}, QwenSettings, "Qwen")


@pytest.mark.parametrize(
    ("bounds", "settings", "message"),
    [
        (VaeSettings, {"base_dim": 10**9}, "base_dim: Input should be less"),
        (VaeSettings, {"z_dim": 10**9}, "z_dim: Input should be less"),
        (VaeSettings, {"dim_mult": [1] * 100}, "dim_mult: List should have at most 8"),
        (VaeSettings, {"dim_mult": []}, "dim_mult: List should have at least 1"),
        (VaeSettings, {"base_dim": 1024, "dim_mult": [1, 2, 64, 1]}, "a width of 65536, over 16384"),
        (VaeSettings, {"temperal_downsample": [True]}, "temperal_downsample must have one less"),
        (VaeSettings, {"num_res_blocks": 10**6}, "num_res_blocks: Input should be less"),
        (VaeSettings, {"attn_scales": [1.0] * 1000}, "attn_scales: List"),
        (VaeSettings, {"latents_std": ["1"] * 2000}, "latents_std: List"),
        (JointSettings, {"num_layers": 10**9}, "num_layers: Input should be less"),
        (JointSettings, {"latent_px": 10**6}, "latent_px: Input should be less"),
        (JointSettings, {"mlp_ratio": 10**6}, "mlp_ratio: Input should be less"),
        (JointSettings, {"attention_head_dim": 32}, "must add up to"),
        (QwenSettings, {"num_hidden_layers": 10**12}, "num_hidden_layers: Input should be less"),
        (QwenSettings, {"text_config": {"hidden_size": 10**9}}, "text_config.hidden_size: Input should be less"),
        (QwenSettings, {"text_config": {"vocab_size": 2**40}}, "text_config.vocab_size: Input should be less"),
        (QwenSettings, {"vision_config": {"depth": 10**9}}, "vision_config.depth: Input should be less"),
        (QwenSettings, {"vision_config": {"patch_size": 10**9}}, "vision_config.patch_size: Input should be less"),
        (QwenSettings, {"quantization_config": {"quant_method": "gptq"}}, "quantization_config: Extra inputs"),
        (QwenSettings, {"attn_implementation": "some/kernel"}, "attn_implementation: Extra inputs"),
        (QwenSettings, {"_attn_implementation": "some/kernel"}, "_attn_implementation: Extra inputs"),
        (QwenSettings, {"text_config": {"auto_map": {}}}, "text_config.auto_map: Extra inputs"),
        (QwenSettings, {"configuration_files": ["config.1.0.json"]}, "configuration_files: Extra inputs"),
        (QwenSettings, {"model_type": "bert"}, "model_type: Input should be 'qwen2_5_vl'"),
        (QwenSettings, {"rope_theta": float("nan")}, "rope_theta: Input should be a finite number"),
        (QwenSettings, {"rope_scaling": {"rope_theta": -1.0}}, "rope_scaling.rope_theta: Input should be greater"),
        (QwenSettings, {"rope_scaling": {"factor": 1e300}}, "rope_scaling.factor: Input should be less"),
        (QwenSettings, {"rope_scaling": {"factor": float("nan")}}, "rope_scaling.factor: Input should be"),
        (QwenSettings, {"rope_scaling": {"mrope_section": [1, 1]}}, "rope_scaling.mrope_section"),
        (QwenSettings, {"rope_scaling": {"short_factor": [1.0] * 9}}, "rope_scaling.short_factor: Extra inputs"),
        (QwenSettings, {"text_config": {"rope_parameters": {"rope_type": "x"}}}, "rope_parameters.rope_type: Input"),
        (QwenSettings, {"rms_norm_eps": 1e-300}, "rms_norm_eps: Input should be greater"),
        (QwenSettings, {"output_hidden_states": [1, 2]}, "output_hidden_states: Input should be a valid boolean"),
        (TransformerSettings, {"axes_dims_rope": (16, 0, 16)}, "axes_dims_rope.1: Input should be greater"),
        (TransformerSettings, {"axes_dims_rope": (1, 15, 16)}, "axes_dims_rope.0: Input should be a multiple of 2"),
        (JointSettings, {"axes_dims_rope": (0, 32, 32)}, "axes_dims_rope.0: Input should be greater"),
        (TransformerSettings, {"rope_theta": 1e-300}, "rope_theta: Input should be greater"),
        (TransformerSettings, {"rope_theta": 1e300}, "rope_theta: Input should be less"),
        (TransformerSettings, {"rope_theta": "100"}, "rope_theta: Input should be a valid number"),
        (TransformerSettings, {"channel_std": [1e-300] * 16}, "channel_std.0: Input should be greater"),
        (TransformerSettings, {"channel_std": [1e300] * 16}, "channel_std.0: Input should be less"),
        (TransformerSettings, {"channel_std": ["1"] * 16}, "channel_std.0: Input should be a valid number"),
        (TransformerSettings, {"gate_init": float("nan")}, "gate_init: Input should be a finite number"),
        (TransformerSettings, {"gate_init": "x"}, "gate_init: Input should be a valid number"),
        (TransformerSettings, {"zero_cond_t": "no"}, "zero_cond_t: Input should be a valid boolean"),
    ],
)
def test_what_is_far_over_any_known_model_is_refused(
    bounds: type[BaseModel], settings: dict[str, Any], message: str
) -> None:
    needed = {QwenSettings: {"model_type": "qwen2_5_vl"}, TransformerSettings: TINY}
    given = {**needed.get(bounds, {}), **settings}
    with pytest.raises(CheckpointError, match=message) as caught:
        check_settings(given, bounds, "checkpoint/config.json")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("checkpoint/config.json: ")


# Folders of diffusers' kind


def change(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


@pytest.mark.parametrize(
    "name", ["_use_default_values", "_ignore_files", "quantization_config", "pooled_projection_dim"]
)
def test_a_setting_that_the_part_does_not_have_is_refused(tmp_path: Path, name: str) -> None:
    """Those that begin with an underscore too: one of them has diffusers pass over the settings that it names."""
    ByteText(width=8).save_pretrained(tmp_path)
    change(tmp_path, **{name: ["width"]})
    with pytest.raises(CheckpointError, match=f"'{name}' is no setting of this part"):
        ByteText.from_pretrained(tmp_path)


def test_a_null_says_nothing_and_is_not_written_again(tmp_path: Path) -> None:
    ByteText(width=8).save_pretrained(tmp_path)
    change(tmp_path, quantization_config=None, never_heard_of=None)
    ByteText.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert "quantization_config" not in again and "never_heard_of" not in again


def test_of_another_program_s_settings_the_unknown_are_dropped_but_no_quantizer(tmp_path: Path) -> None:
    stock().save_pretrained(tmp_path)
    change(tmp_path, pooled_projection_dim=768, of_tomorrow=[1], quantization_config=None)
    check_part(tmp_path, RegionTransformer, TransformerSettings, drops=True)
    RegionTransformer.from_pretrained(tmp_path).save_pretrained(tmp_path / "ours")
    check_part(tmp_path / "ours", RegionTransformer, TransformerSettings)
    for name in ("quantization_config", "_use_default_values"):
        change(tmp_path, **{name: {"rope_theta": 1}})
        with pytest.raises(CheckpointError, match=f"'{name}' is no setting of this part"):
            check_part(tmp_path, RegionTransformer, TransformerSettings, drops=True)
        change(tmp_path, **{name: None})


def test_a_vae_may_have_settings_of_others(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1, "temperal_downsample": [False]}
    statistics = {"latents_mean": [0.1] * 4, "latents_std": [0.5] * 4}
    LayerVae(**sizes, **statistics, input_channels=4).save_pretrained(tmp_path / "vae")
    change(tmp_path / "vae", scaling_factor=1.0, quantization_config=None)
    codec = RgbaCodec.load(tmp_path, subfolder="vae")
    codec.save(tmp_path / "ours")
    again = RgbaCodec.load(tmp_path / "ours")
    assert "scaling_factor" not in again.vae.config and "quantization_config" not in again.vae.config
    change(tmp_path / "vae", quantization_config={})
    with pytest.raises(CheckpointError, match="'quantization_config' is no setting"):
        RgbaCodec.load(tmp_path, subfolder="vae")
