"""A checkpoint: a transformer, its codec and its text encoder, and the folder that holds the three.

transformer/    config.json and safetensors, as diffusers has them
codec/, text/   as the codec and the text encoder write them
acetate.json    what they are; written last, so that a folder without it is none
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from diffusers import ModelMixin
from pydantic import BaseModel, ConfigDict, Field

from model.codecs.base import LayerCodec
from model.errors import CheckpointError, CodecError
from model.folder import check_files, loading, read, whole_folder
from model.settings import POOLED, TransformerSettings, check_part
from model.text import TextEncoder
from model.transformer import RegionTransformer

FORMAT = 1
MANIFEST = "acetate.json"


class Kind(NamedTuple):
    """Where a codec or a text encoder is, imported when one is used, and which of the options its ``load`` takes."""

    module: str
    name: str
    options: tuple[str, ...] = ()

    def found(self) -> Any:
        return getattr(import_module(self.module), self.name)


CODECS = {
    "pca": Kind("model.codecs.pca", "PcaCodec"),
    "gray": Kind("model.codecs.vae", "GrayCodec", ("device", "local_files_only")),
    "rgba": Kind("model.codecs.vae", "RgbaCodec", ("device", "local_files_only")),
    "joint": Kind("model.codecs.joint", "JointCodec", ("device",)),
}
TEXTS = {
    "bytes": Kind("model.text_bytes", "ByteText", ("dtype", "device")),
    "qwen": Kind("model.text_qwen", "QwenText", ("dtype", "device", "local_files_only")),
}
_TRANSFORMER = Kind("model.transformer", "RegionTransformer", ("dtype", "device"))


class Manifest(BaseModel):
    """What ``acetate.json`` says. ``preset``: the name of the settings that the transformer began as.

    ``overflow``: it was trained on layers as far as they reach, else on their part in the picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    codec: Literal["pca", "gray", "rgba", "joint"]
    text: Literal["bytes", "qwen"]
    preset: Annotated[str, Field(max_length=100)] | None = None
    overflow: bool = True


@dataclass(frozen=True)
class Bundle:
    """A transformer, and the codec and the text encoder that it was trained with; ``overflow`` as in ``Manifest``.

    Raises:
        CodecError: the codec makes tokens of another width.
        CheckpointError: the text encoder makes text of another width.
    """

    transformer: RegionTransformer
    codec: LayerCodec
    text: TextEncoder
    preset: str | None = None
    overflow: bool = True

    def __post_init__(self) -> None:
        config = self.transformer.config
        self.codec.check_fits(config.in_channels)
        made = config.patch_size**2 * (config.out_channels or config.in_channels)
        if made != config.in_channels:
            raise CheckpointError(
                f"the transformer takes tokens of {config.in_channels} channels and makes {made}; set out_channels"
            )
        if self.text.width != config.joint_attention_dim:
            raise CheckpointError(
                f"the transformer takes text of width {config.joint_attention_dim}, {type(self.text).__name__} makes "
                f"{self.text.width}; use the text encoder of the checkpoint"
            )

    def save(self, folder: str | Path) -> None:
        """Write a folder that is not there yet, whole or not at all.

        Raises:
            CheckpointError: the folder is there and not empty.
        """
        manifest = Manifest.model_validate(
            {
                "format": FORMAT,
                "codec": _kind(self.codec, CODECS),
                "text": _kind(self.text, TEXTS),
                "preset": self.preset,
                "overflow": self.overflow,
            }
        )
        with whole_folder(Path(folder).absolute()) as temporary:
            self.transformer.save_pretrained(temporary / "transformer")
            _save(self.codec, temporary / "codec")
            _save(self.text, temporary / "text")
            (temporary / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        transformer_device: torch.device | str | None = None,
    ) -> Bundle:
        """Read a folder that ``save`` wrote: safetensors only, and no code is run from it.

        ``dtype``: of the transformer and the text encoder, whatever they are stored in; a codec is float32.
        ``transformer_device``: where it is another than that of the rest; on ``meta`` it has no weights.

        Raises:
            CheckpointError: it is no checkpoint, a damaged one, or of parts that do not fit.
            CodecError: the codec does not fit the transformer.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise CheckpointError(f"{folder} has no {MANIFEST}: it is no checkpoint of this program, or is not whole")
        manifest: Manifest = read(folder / MANIFEST, Manifest)
        torch.empty(0, device=device)  # a device that is not there is no fault of the folder
        options = {"dtype": dtype, "device": device, "local_files_only": True}
        parts = {"codec": CODECS[manifest.codec], "text": TEXTS[manifest.text]}
        for name in ("transformer", *parts):
            if not (folder / name).is_dir():  # for a path that is none, a library would ask a hub
                raise CheckpointError(f"{folder / name} is missing: the checkpoint is not whole; copy it again")
            check_files(folder / name)
        settings = check_part(folder / "transformer", RegionTransformer, TransformerSettings, also=POOLED)
        where = torch.device(device if transformer_device is None else transformer_device)
        if where.type == "meta":
            transformer = RegionTransformer.without_weights(settings)
        else:
            transformer = _load(_TRANSFORMER, folder / "transformer", {**options, "device": where})
        loaded = {name: _load(kind, folder / name, options) for name, kind in parts.items()}
        try:
            return cls(transformer, **loaded, preset=manifest.preset, overflow=manifest.overflow)
        except (CheckpointError, CodecError) as error:
            raise type(error)(f"{folder}: {error}") from None


def _kind(part: object, kinds: dict[str, Kind]) -> str:
    place = (type(part).__module__, type(part).__name__)
    found = [name for name, kind in kinds.items() if (kind.module, kind.name) == place]
    if not found:
        raise CheckpointError(f"{place[1]} is none of the kinds that a checkpoint holds: {', '.join(kinds)}")
    return found[0]


def _save(part: Any, folder: Path) -> None:
    folder.mkdir()
    if isinstance(part, ModelMixin):
        part.save_pretrained(folder)
    else:
        part.save(folder)


def _load(kind: Kind, folder: Path, options: dict[str, Any]) -> Any:
    part = kind.found()
    with loading(f"{folder} is damaged or not that of a {kind.name}"):
        if issubclass(part, ModelMixin):
            made = part.from_pretrained(folder, dtype=options["dtype"], use_safetensors=True, local_files_only=True)
            return made.to(options["device"])
        return part.load(folder, **{name: options[name] for name in kind.options})
