"""The model that a run begins with: a preset with new weights, a checkpoint, or the public weights of a pipeline."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, ValidationError, field_validator, model_validator
from torch import Tensor

from model import presets, variants
from model.bundle import CODECS, MANIFEST, Bundle
from model.codecs.base import LayerCodec, cut
from model.codecs.pca import Mode, PcaCodec
from model.errors import ModelError
from model.settings import TransformerSettings
from model.tasks import Task
from model.text import TextEncoder
from model.transformer import RegionTransformer
from model.variants import SETTINGS, Variant
from schemas.settings import Section, explain
from training.errors import UsageError
from training.lora import LoraSettings
from training.stream import DesignStream


class CodecConfig(Section):
    """``kind``: ``pca`` is fitted to the layers of ``designs`` designs, in mode ``rgba`` or ``gray``; the others are a
    VAE, loaded from ``path``, where None takes that of the weights. A ``kind`` of None is the preset's.
    """

    kind: Literal["pca", "gray", "rgba", "joint"] | None = None
    path: str | None = None
    designs: Annotated[int, Field(ge=1, le=100_000)] = 300
    mode: Mode = Mode.RGBA
    token_px: Annotated[int, Field(ge=1, le=32)] = 8


class ModelConfig(Section):
    """``preset``: of ``model.presets``. ``settings``: of the transformer, over those of preset and variant.

    ``weights``: where they begin: a checkpoint of this program (a folder), or a pipeline of diffusers (a folder or a
    hub repository, such as Qwen/Qwen-Image); None draws new ones. ``text``: a pipeline with Qwen2.5-VL; None takes the
    text encoder of the weights, or the built-in one.
    """

    preset: str = "tiny"
    variant: Variant = Variant.MRT
    settings: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    codec: CodecConfig = CodecConfig()
    text: str | None = None
    lora: LoraSettings | None = None

    @field_validator("preset")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            presets.preset(value)
        except ModelError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        known = list(inspect.signature(RegionTransformer.__init__).parameters)[1:]
        if self.lora is not None and self.weights is None:
            raise ValueError("lora changes weights that are there, and new ones would stay as drawn: set model.weights")
        for name in self.settings:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
                raise ValueError(f"settings: the transformer has no {name!r}; did you mean {near!r}?")
        if self.weights is None:
            try:
                asked = {**SETTINGS[self.variant], **self.settings}
                TransformerSettings.model_validate(presets.config(self.preset, **asked))
            except ValidationError as error:
                raise ValueError(f"settings: {explain(error, TransformerSettings)}") from None
        return self

    @field_validator("weights", "text")
    @classmethod
    def _local(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            raise ValueError(f"{value.partition('://')[0]}:// is not read here: copy it to a folder of this machine")
        return value

    @property
    def has_codec(self) -> bool:
        """The weights are a checkpoint, which has a codec of its own."""
        return self.weights is not None and (Path(self.weights) / MANIFEST).is_file()


def build(
    config: ModelConfig, codec: LayerCodec | None, seed: int, device: torch.device, *, empty: bool = False
) -> Bundle:
    """The bundle that a run begins with; the same on every rank. ``codec`` None: that of the checkpoint.

    ``device``: of the codec and the text encoder; the transformer is on the CPU. ``empty``: it is on the meta device,
    for the weights of another rank, and takes no memory.

    Raises:
        UsageError: the parts do not fit, or are not there.
    """
    where = torch.device("meta" if empty else "cpu")
    try:
        if config.has_codec:
            return _of_checkpoint(config, device, where)
        if codec is None:
            raise UsageError("a model that is no checkpoint needs a codec: set model.codec.kind")
        if config.weights:
            transformer = variants.pretrained(config.weights, config.variant, empty=empty, **config.settings)
        else:
            transformer = _new(config, codec, seed, where)
        return Bundle(transformer, codec, _text(config, transformer.config.joint_attention_dim, device), config.preset)
    except ModelError as error:
        raise UsageError(f"model: {error}") from error


def open_codec(config: ModelConfig, device: torch.device) -> LayerCodec | None:
    """The codec that the configuration names, unless it is to be fitted or is that of a checkpoint.

    Raises:
        UsageError: it is not there.
    """
    kind = config.codec.kind or presets.preset(config.preset).codec
    if kind == "pca" or config.has_codec:
        return None
    path, subfolder = (config.codec.path, None) if config.codec.path else (config.weights, "vae")
    if path is None:
        raise UsageError(f"the codec {kind!r} is a VAE: set model.codec.path, or model.weights to a pipeline")
    try:
        if kind == "joint":
            codec: LayerCodec = CODECS[kind].found().load(path, device=device)
        else:
            codec = CODECS[kind].found().load(path, subfolder=subfolder, device=device)
        return codec
    except ModelError as error:
        raise UsageError(f"model.codec: {error}") from error


def fit_codec(config: CodecConfig, settings: dict[str, Any], device: torch.device) -> PcaCodec:
    """A PCA codec fitted to layers of the designs of a stream with ``settings``.

    Raises:
        UsageError: there are no designs, or not enough patches.
    """
    stream = DesignStream(**{**settings, "tasks": Task.TEXT_TO_LAYERS, "token_px": config.token_px, "workers": 0})
    pictures = _pictures(stream, config.designs, config.token_px)
    try:
        return PcaCodec.fit((picture.to(device) for picture in pictures), mode=config.mode, token_px=config.token_px)
    except ModelError as error:
        raise UsageError(f"model.codec: {error}; raise model.codec.designs, now {config.designs}") from error


def _pictures(stream: DesignStream, designs: int, token_px: int) -> Iterator[Tensor]:
    """The pictures of all regions of the first micro-batches, until so many designs were seen."""
    seen = 0
    for batch in stream:
        corners = batch["boxes"].tolist()
        sizes = [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in corners]
        yield from cut(batch["pixels"], sizes, token_px)
        seen += len(batch.keys)
        if seen >= designs:
            return


def _of_checkpoint(config: ModelConfig, device: torch.device, where: torch.device) -> Bundle:
    if config.settings or config.text or config.codec.kind or "preset" in config.model_fields_set:
        raise UsageError(
            "model.weights is a checkpoint, which has preset, settings, codec and text of its own: leave them out"
        )
    return Bundle.load(str(config.weights), device=device, transformer_device=where)


def _new(config: ModelConfig, codec: LayerCodec, seed: int, where: torch.device) -> RegionTransformer:
    torch.manual_seed(seed)
    known = {**SETTINGS[config.variant], "channel_std": codec.channel_std, **config.settings}
    with where:
        return presets.transformer(config.preset, **known)


def _text(config: ModelConfig, width: int, device: torch.device) -> TextEncoder:
    path = config.text or config.weights
    if presets.preset(config.preset).text == "qwen" or config.text:
        if path is None:
            raise UsageError("this preset reads text with Qwen2.5-VL: set model.text to a pipeline that has it")
        from model.text_qwen import QwenText

        return QwenText.load(path, device=device)
    from model.text_bytes import ByteText

    encoder: TextEncoder = ByteText(width=width)
    return encoder
