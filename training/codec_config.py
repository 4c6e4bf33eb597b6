"""The configuration of the training of a codec, and the codec that it begins with."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator

from model.codecs.base import LayerCodec
from model.codecs.inflate import RGBA, LayerVae
from model.codecs.joint import JointCodec, JointDecoder
from model.codecs.vae import BATCH_PX, PATCH, GrayCodec, RgbaCodec, VaeCodec
from model.errors import ModelError
from model.settings import JointSettings, VaeSettings, check_settings
from schemas.settings import Section, load_settings
from training.average import AverageConfig
from training.codec_losses import LossConfig
from training.config import KeptConfig
from training.errors import UsageError
from training.optimiser import OptimiserConfig

log = logging.getLogger(__name__)

JOINT_PARTS = ("encoder", "decoder")
"""The folders of a joint codec that was saved."""


class CodecSource(Section):
    """Which codec is trained, and what it begins with.

    ``kind``: ``rgba``: encoder and decoder of Qwen-Image-Layered's VAE; ``gray``: the RGBA decoder behind an RGB
    encoder that stays as it is; ``joint``: ART's decoder of all layers of a design behind such an encoder.

    ``path``: a folder or a hub repository with the VAE of Qwen-Image, Qwen-Image-Layered or Wan 2.1, in ``subfolder``
    of it where that is said, or a codec that was trained here; an RGB one is inflated. ``vae``: settings of a new VAE
    instead, such as base_dim, dim_mult and z_dim. ``decoder``: settings of a new joint decoder, over those of ART.
    ``batch_px``: pictures of one size go through a VAE together up to so many px, which bounds the memory of a step.
    """

    kind: Literal["rgba", "gray", "joint"] = "rgba"
    path: str | None = None
    subfolder: str | None = None
    vae: dict[str, Any] = Field(default_factory=dict)
    decoder: dict[str, Any] = Field(default_factory=dict)
    batch_px: Annotated[int, Field(ge=1)] = BATCH_PX

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if bool(self.path) == bool(self.vae):
            raise ValueError("give either path, of the VAE to begin with, or vae, the settings of a new one")
        if self.decoder and self.kind != "joint":
            raise ValueError(f"decoder has the settings of a joint decoder, and kind is {self.kind}; leave it out")
        return self


class CodecOptimiser(OptimiserConfig):
    """As ever, but nothing decays unless asked: pictures give the weights of a video VAE over frames that came before
    no gradient, so that decay would wear them away.
    """

    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class CodecValidationConfig(Section):
    """The first ``designs`` of the ``split``, or some more: micro-batches are taken whole. ``seed``: of its order."""

    designs: Annotated[int, Field(ge=1)] = 64
    split: Annotated[str, Field(min_length=1)] = "validation"
    seed: int = 0


class CodecTrainConfig(KeptConfig):
    """Everything the training of a codec can be told; ``run`` and ``data`` are as for a model.

    ``opaque``: share of the pictures that are laid over the solid colour drawn for them and learned as an RGB picture,
    whose alpha is 1. ``statistics``: designs of training by which the mean and the standard deviation of the latents
    are measured in the end and stored with an ``rgba`` codec; 0 keeps those that it began with.
    """

    codec: CodecSource
    losses: LossConfig = LossConfig()
    opaque: Annotated[float, Field(ge=0, le=1)] = 0.1
    statistics: Annotated[int, Field(ge=0)] = 0
    optimiser: CodecOptimiser = CodecOptimiser()
    average: AverageConfig = AverageConfig()
    validation: CodecValidationConfig = CodecValidationConfig()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "tasks" in self.data.model_fields_set:
            raise ValueError("data.tasks: a codec learns the layers of designs, whatever the task; leave it out")
        if self.statistics and self.codec.kind != "rgba":
            raise ValueError(f"statistics: the encoder of a {self.codec.kind} codec is frozen; leave it out")
        if self.run.checkpointing and self.codec.kind != "joint":
            raise ValueError("run.checkpointing: a VAE cannot; lower codec.batch_px to save memory")
        if self.run.export_dtype != "float32":
            raise ValueError("run.export_dtype: a codec is written in float32; leave it out")
        return self

    def written(self) -> dict[str, Any]:
        """As ever, without tasks, which may not be said."""
        tree = super().written()
        del tree["data"]["tasks"]
        return tree


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> CodecTrainConfig:
    """Read a YAML file and lay ``overrides`` (dotted keys) over it.

    Raises:
        UsageError: no such file, no YAML mapping, an unknown key (the nearest known one is named), a value that does
            not fit.
    """
    return load_settings(CodecTrainConfig, path, overrides, UsageError)


def open_codec(config: CodecSource, seed: int, device: torch.device) -> LayerCodec:
    """The codec that training begins with, the same on every rank and after every start.

    Raises:
        UsageError: it is not there, is another kind of codec, or has settings out of bounds.
    """
    torch.manual_seed(seed)
    try:
        if config.kind == "joint":
            return _joint(config, device)
        kind = RgbaCodec if config.kind == "rgba" else GrayCodec
        return _vae(kind, config, device)
    except ModelError as error:
        raise UsageError(f"codec: {error}") from error


def _vae(kind: type[VaeCodec], config: CodecSource, device: torch.device) -> VaeCodec:
    if config.path is not None:
        codec = kind.load(config.path, subfolder=config.subfolder, device=device, batch_px=config.batch_px)
    else:
        codec = kind(_new_vae(config.vae, kind.input_channels).to(device), config.batch_px)
        if kind is GrayCodec:
            log.warning("the encoder is new and stays as it was drawn: set codec.path to one that has learned")
    codec.vae.eval()
    return codec


def _joint(config: CodecSource, device: torch.device) -> JointCodec:
    if config.path is not None and all((Path(config.path) / part).is_dir() for part in JOINT_PARTS):
        if config.decoder:
            raise UsageError(f"{config.path} has a joint decoder already: leave codec.decoder out")
        return JointCodec.load(config.path, device=device)
    encoder = _vae(GrayCodec, config, device)
    of_encoder = {
        "latent_channels": encoder.vae.config["z_dim"],
        "patch_size": PATCH,
        "latent_px": encoder.vae.spatial_compression_ratio,
    }
    settings = {**config.decoder, **of_encoder}
    check_settings(settings, JointSettings, "codec.decoder", _known(JointDecoder))
    return JointCodec(encoder, JointDecoder(**settings).to(device))


def _new_vae(settings: Mapping[str, Any], input_channels: int) -> LayerVae:
    """A VAE that makes RGBA; its latents are not normalised where the settings do not say how."""
    latents = settings.get("z_dim", 16)
    channels = latents if isinstance(latents, int) else 0
    statistics = {"latents_mean": [0.0] * channels, "latents_std": [1.0] * channels}
    check_settings(settings, VaeSettings, "codec.vae", _known(LayerVae) - {"input_channels", "output_channels"})
    vae: LayerVae = LayerVae(**{**statistics, **settings, "input_channels": input_channels, "output_channels": RGBA})
    return vae


def _known(part: Any) -> set[str]:
    return set(inspect.signature(part.__init__).parameters) - {"self"}
