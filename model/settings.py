"""Bounds on what the settings of a checkpoint may ask for, far over any model that is known.

They are checked before anything is built: a library takes every setting at its word, and some of them (quantizers,
attention from a hub) lead to code that is not ours.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.errors import CheckpointError
from model.folder import check_files, first_fault, read

MAX_WIDTH = 2**14
"""Of a transformer and of a VAE."""

STD_RANGE = (1e-6, 1e6)
"""Of a channel of a token; its square is far from what float32 cannot hold."""

POOLED = ("pooled_projection_dim",)
"""A setting of the first Qwen-Image that no version of its model reads."""

WHERE = ("subfolder", "revision", "local_files_only", "cache_dir", "force_download", "proxies", "token")
"""Options of diffusers' ``from_pretrained`` by which it finds the settings."""

_OF_DIFFUSERS = ("_class_name", "_diffusers_version", "_name_or_path")
_OF_OTHERS = (
    "_attn_implementation_autoset", "add_cross_attention", "bad_words_ids", "begin_suppress_tokens",
    "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id",
    "forced_eos_token_id", "is_decoder", "length_penalty", "max_length", "min_length", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_return_sequences", "output_scores", "prefix", "pruned_heads",
    "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "sep_token_id", "suppress_tokens",
    "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class", "top_k",
    "top_p", "torchscript", "typical_p", "unsloth_fixed", "unsloth_version", "use_bfloat16",
)  # fmt: skip
"""What older ``transformers`` and other tools write into every configuration, and the installed one does not read."""

_Blocks = Annotated[int, Field(strict=True, ge=1, le=512)]
_Heads = Annotated[int, Field(strict=True, ge=1, le=256)]
_Channels = Annotated[int, Field(strict=True, ge=1, le=1024)]
_Patch = Annotated[int, Field(strict=True, ge=1, le=64)]
_Width = Annotated[int, Field(strict=True, ge=1, le=MAX_WIDTH)]
_Side = Annotated[int, Field(strict=True, ge=1, le=2**16)]
_Index = Annotated[int, Field(strict=True, ge=0, le=2**24)]
_Axis = Annotated[int, Field(strict=True, ge=2, le=1024, multiple_of=2)]
_LayerAxis = Annotated[int, Field(strict=True, ge=0, le=1024, multiple_of=2)]
_Std = Annotated[float, Field(strict=True, ge=STD_RANGE[0], le=STD_RANGE[1], allow_inf_nan=False)]
_Theta = Annotated[float, Field(strict=True, ge=1, le=1e9, allow_inf_nan=False)]
_Factor = Annotated[float, Field(strict=True, gt=0, le=1024, allow_inf_nan=False)]
_Stretch = Literal["default", "mrope", "axial", "linear", "dynamic", "yarn"]
_Switch = Annotated[bool, Field(strict=True)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Rotary(BaseModel):
    num_attention_heads: _Heads = 12
    attention_head_dim: _Channels = 64
    axes_dims_rope: tuple[_Axis, _Axis, _Axis] = (16, 24, 24)
    rope_theta: _Theta = 10_000.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if sum(self.axes_dims_rope) != self.attention_head_dim:
            raise ValueError(f"axes_dims_rope must add up to attention_head_dim, {self.attention_head_dim}")
        if (width := self.num_attention_heads * self.attention_head_dim) > MAX_WIDTH:
            raise ValueError(f"num_attention_heads of attention_head_dim make a width of {width}, over {MAX_WIDTH}")
        return self


class TransformerSettings(_Rotary):
    """Of ``RegionTransformer``, all of whose sizes must be said.

    The layer axis may have 0 dims: ART's ablation of positions in the plane alone, where nothing tells two layers apart
    that lie at one place.
    """

    num_layers: _Blocks
    num_attention_heads: _Heads
    attention_head_dim: _Channels
    in_channels: _Side
    out_channels: _Side | None = None
    patch_size: _Patch
    joint_attention_dim: _Side
    axes_dims_rope: tuple[_LayerAxis, _Axis, _Axis]
    guidance_embeds: _Switch = False
    zero_cond_t: _Switch = False
    use_additional_t_cond: _Switch = False
    use_layer3d_rope: _Switch = False
    gate_init: Annotated[float, Field(strict=True, ge=-1000, le=1000, allow_inf_nan=False)] | None = None
    layer_slots: Annotated[int, Field(strict=True, ge=0, le=4096)] = 0
    channel_std: Annotated[list[_Std], Field(max_length=2**16)] | None = None


class JointSettings(_Rotary):
    """Of the joint decoder."""

    latent_channels: _Channels = 16
    patch_size: _Patch = 2
    latent_px: _Patch = 8
    num_layers: _Blocks = 12
    mlp_ratio: _Patch = 4


class VaeSettings(BaseModel):
    """Of the VAE of Qwen-Image or Wan 2.1."""

    base_dim: _Channels = 96
    z_dim: _Channels = 16
    dim_mult: Annotated[list[_Patch], Field(min_length=1, max_length=8)] = [1, 2, 4, 4]
    num_res_blocks: Annotated[int, Field(strict=True, ge=1, le=32)] = 2
    attn_scales: Annotated[list[_Finite], Field(max_length=32)] = []
    temperal_downsample: Annotated[list[bool], Field(max_length=8)] = [False, True, True]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    input_channels: _Patch = 3
    output_channels: _Patch | None = None
    latents_mean: Annotated[list[_Finite], Field(max_length=1024)] | None = None
    latents_std: Annotated[list[_Finite], Field(max_length=1024)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (width := self.base_dim * max(self.dim_mult)) > MAX_WIDTH:
            raise ValueError(f"base_dim by dim_mult makes a width of {width}, over {MAX_WIDTH}")
        if len(self.temperal_downsample) != len(self.dim_mult) - 1:
            raise ValueError("temperal_downsample must have one less than dim_mult")
        return self


class ByteTextSettings(BaseModel):
    """Of the built-in text encoder; the sizes must be said."""

    width: Annotated[int, Field(strict=True, ge=1, le=4096)]
    max_bytes: Annotated[int, Field(strict=True, ge=1, le=2**16)]


class _Rope(BaseModel):
    """Of the rotary positions of Qwen2.5-VL, plain or stretched over longer texts than it was trained on."""

    model_config = ConfigDict(extra="forbid")

    rope_type: _Stretch | None = None
    type: _Stretch | None = None
    mrope_section: tuple[_Index, _Index, _Index] | None = None
    rope_theta: _Theta | None = None
    factor: _Factor | None = None
    original_max_position_embeddings: _Index | None = None
    attention_factor: _Factor | None = None
    beta_fast: _Factor | None = None
    beta_slow: _Factor | None = None
    partial_rotary_factor: Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)] | None = None


class _Sub(BaseModel):
    """What every part of a configuration of ``transformers`` may say; what it does not know, it refuses.

    No quantizer, no attention or code of a hub. A null says nothing.
    """

    model_config = ConfigDict(extra="forbid")

    architectures: Any = None
    chunk_size_feed_forward: Any = None
    dtype: str | None = None
    hidden_act: Any = None
    id2label: Any = None
    initializer_range: Any = None
    is_encoder_decoder: Any = None
    label2id: Any = None
    model_type: Any = None
    name_or_path: Any = Field(None, alias="_name_or_path")
    output_attentions: _Switch | None = None
    output_hidden_states: _Switch | None = None
    problem_type: Any = None
    return_dict: _Switch | None = None
    rope_parameters: _Rope | None = None
    rope_scaling: _Rope | None = None
    rope_theta: _Theta | None = None
    torch_dtype: str | None = None
    transformers_version: Any = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        """Without what is not read."""
        if not isinstance(given, dict):
            return given
        return {
            name: value
            for name, value in given.items()
            if name in cls.model_fields or not (value is None or name in _OF_OTHERS)
        }


class QwenVisionSettings(_Sub):
    """Of the vision tower, which is loaded although only the language model is used."""

    depth: _Blocks = 32
    hidden_size: _Width = 3584
    intermediate_size: _Side = 3420
    num_heads: _Heads = 16
    in_channels: _Patch = 3
    in_chans: _Patch = 3
    patch_size: _Patch = 14
    spatial_patch_size: _Patch = 14
    spatial_merge_size: _Patch = 2
    temporal_patch_size: _Patch = 2
    tokens_per_second: _Index = 4
    window_size: _Index = 112
    out_hidden_size: _Width = 3584
    fullatt_block_indexes: Annotated[list[_Index], Field(max_length=512)] = []


class QwenTextSettings(_Sub):
    """Of the language model."""

    vocab_size: Annotated[int, Field(strict=True, ge=1, le=2**20)] = 152_064
    hidden_size: _Width = 8192
    intermediate_size: Annotated[int, Field(strict=True, ge=1, le=2**17)] = 29_568
    num_hidden_layers: _Blocks = 80
    num_attention_heads: _Heads = 64
    num_key_value_heads: _Heads | None = 8
    max_position_embeddings: _Index = 32_768
    max_window_layers: _Index | None = None
    sliding_window: _Index | None = None
    use_sliding_window: Any = None
    layer_types: Annotated[list[str], Field(max_length=512)] | None = None
    rms_norm_eps: Annotated[float, Field(ge=1e-12, le=1, allow_inf_nan=False)] = 1e-5
    attention_dropout: Any = None
    use_cache: Any = None
    tie_word_embeddings: Any = None
    bos_token_id: Any = None
    eos_token_id: Any = None
    pad_token_id: Any = None
    image_token_id: Any = None
    video_token_id: Any = None
    vision_token_id: Any = None
    vision_start_token_id: Any = None
    vision_end_token_id: Any = None


class QwenSettings(QwenTextSettings):
    """Of Qwen2.5-VL: the language model's may stand in ``text_config`` or, as in the first checkpoints, beside it."""

    model_type: Literal["qwen2_5_vl"]
    text_config: QwenTextSettings | None = None
    vision_config: QwenVisionSettings | None = None


def check_settings(
    settings: Mapping[str, Any], bounds: type[BaseModel], where: str | Path, known: Collection[str] | None = None
) -> None:
    """Settings that are within ``bounds`` and, unless they are null, have names that are ``known``.

    Raises:
        CheckpointError: others; it names ``where`` they are.
    """
    said = [name for name, value in settings.items() if value is not None]
    strange = sorted(name for name in said if known is not None and name not in known)
    if strange:
        raise CheckpointError(f"{where}: {strange[0][:100]!r} is no setting of this part; remove it")
    try:
        bounds.model_validate(settings)
    except ValidationError as error:
        raise CheckpointError(f"{where}: {first_fault(error)}") from None


def check_part(
    path: str | Path,
    part: Any,
    bounds: type[BaseModel],
    *,
    subfolder: str | None = None,
    also: Collection[str] = (),
    drops: bool = False,
    **where: Any,
) -> Mapping[str, Any]:
    """Before a ``part`` of diffusers' kind is loaded from a folder or a hub repository: its files and its settings,
    which it gives.

    ``also``: settings that it does not know and that do no harm. ``drops``: it may be of a newer or another program,
    all of whose settings that the part does not know are dropped, but no quantizer. ``where``: others of ``WHERE``.

    Raises:
        CheckpointError: they are not to be trusted. OSError: a hub has no such settings.
    """
    if Path(path).is_dir():
        folder = Path(path) / (subfolder or "")
        check_files(folder)
        settings: Mapping[str, Any] = read(folder / "config.json", dict[str, Any])
    else:
        settings = part.load_config(path, subfolder=subfolder, **where)
    known = {*_own(part), *also}
    if drops:
        known.update(name for name in settings if name[:1] != "_" and name != "quantization_config")
    check_settings(settings, bounds, f"{path}/{subfolder}" if subfolder else path, known)
    return settings


def drop_unknown(model: Any) -> None:
    """Of what diffusers keeps of the settings that a ``model`` was loaded with, what it would write but never read."""
    own = {*_own(type(model)), "_use_default_values"}
    model._internal_dict = type(model.config)({name: value for name, value in model.config.items() if name in own})


def _own(part: Any) -> list[str]:
    return [*list(inspect.signature(part.__init__).parameters)[1:], *_OF_DIFFUSERS]
