"""Bounds on settings: known models are far inside, and what is outside is told before anything is built."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from transformers import Qwen2_5_VLConfig

from model.errors import CheckpointError
from model.presets import PRESETS
from model.settings import (
    ByteTextSettings,
    JointSettings,
    QwenSettings,
    TransformerSettings,
    VaeSettings,
    check_settings,
)

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
        (QwenSettings, {"text_config": {"rope_scaling": {"rope_theta": float("nan")}}}, "rope_theta: Input should be"),
        (QwenSettings, {"rope_scaling": {"type": "yarn", "factor": 1e300}}, "factor: Input should be less"),
        (QwenSettings, {**QWEN_7B, "rope_scaling": {"mrope_section": [1, 1, 1]}}, "add up to half of the 128 dims"),
        (QwenSettings, {"text_config": {"return_dict": False}}, "text_config.return_dict: Input should be True"),
    ],
)
def test_what_is_far_over_any_known_model_is_refused(
    bounds: type[BaseModel], settings: dict[str, Any], message: str
) -> None:
    given = {"model_type": "qwen2_5_vl", **settings} if bounds is QwenSettings else settings
    with pytest.raises(CheckpointError, match=message) as caught:
        check_settings(given, bounds, "checkpoint/config.json")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("checkpoint/config.json: ")


def test_what_has_no_effect_is_no_fault() -> None:
    inert = {"torchscript": False, "pruned_heads": {}, "tie_encoder_decoder": False, "quantization_config": None}
    check_settings({**QWEN_7B, **inert, "text_config": {"use_bfloat16": False}}, QwenSettings, "Qwen")
    check_settings({"scaling_factor": 1.0, "quantization_config": None}, VaeSettings, "VAE", VaeSettings.model_fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_use_default_values": ["channel_std"]}, "'_use_default_values' is no setting"),
        ({"channel_std": [1e-300] * 64}, "channel_std.0: Input should be greater"),
        ({"rope_theta": 1e-300}, "rope_theta: Input should be greater"),
        ({"gate_init": float("nan")}, "gate_init: Input should be"),
    ],
)
def test_settings_of_a_transformer_that_make_no_velocity(change: dict[str, Any], message: str) -> None:
    settings = {**PRESETS["tiny"].settings, **change}
    known = {*TransformerSettings.model_fields, "zero_cond_t"}
    with pytest.raises(CheckpointError, match=message):
        check_settings(settings, TransformerSettings, "tiny", known)
