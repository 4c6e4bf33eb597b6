"""A checkpoint: a transformer, its codec and its text encoder, and the folder that holds the three.

transformer/    config.json and safetensors, as diffusers has them
codec/, text/   as the codec and the text encoder write them
acetate.json    what they are; written last, so that a folder without it is none
"""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import torch
from diffusers import ModelMixin
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from safetensors import SafetensorError

from model.codecs.base import LayerCodec
from model.errors import CheckpointError, CodecError
from model.text import TextEncoder
from model.transformer import RegionTransformer

FORMAT = 1
MANIFEST = "acetate.json"
MAX_JSON = 2**20
"""Bytes of a file of settings."""
MAX_WIDTH = 2**14
"""Of a transformer."""


class Kind(NamedTuple):
    """Where a codec or a text encoder is, imported when one is used, and which of the options its ``load`` takes."""

    module: str
    name: str
    options: tuple[str, ...] = ()

    def found(self) -> Any:
        return getattr(import_module(self.module), self.name)


CODECS = {
    "pca": Kind("model.codecs.pca", "PcaCodec"),
    "gray": Kind("model.codecs.vae", "GrayCodec", ("device",)),
    "rgba": Kind("model.codecs.vae", "RgbaCodec", ("device",)),
    "joint": Kind("model.codecs.joint", "JointCodec", ("device",)),
}
TEXTS = {
    "bytes": Kind("model.text_bytes", "ByteText", ("dtype", "device")),
    "qwen": Kind("model.text_qwen", "QwenText", ("dtype", "device", "local_files_only")),
}
_TRANSFORMER = Kind("model.transformer", "RegionTransformer", ("dtype", "device"))


class Manifest(BaseModel):
    """What ``acetate.json`` says. ``preset``: the name of the settings that the transformer began as."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    codec: Literal["pca", "gray", "rgba", "joint"]
    text: Literal["bytes", "qwen"]
    preset: Annotated[str, Field(max_length=100)] | None = None


_Side = Annotated[int, Field(ge=1, le=2**16)]
_Axis = Annotated[int, Field(ge=2, le=1024, multiple_of=2)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TransformerSettings(BaseModel):
    """Bounds on what ``transformer/config.json`` may ask for, far over any model that is known."""

    num_layers: Annotated[int, Field(ge=1, le=512)]
    num_attention_heads: Annotated[int, Field(ge=1, le=256)]
    attention_head_dim: Annotated[int, Field(ge=1, le=1024)]
    in_channels: _Side
    out_channels: _Side | None = None
    patch_size: Annotated[int, Field(ge=1, le=64)]
    joint_attention_dim: _Side
    axes_dims_rope: tuple[_Axis, _Axis, _Axis]
    layer_slots: Annotated[int, Field(ge=0, le=4096)] = 0
    channel_std: Annotated[list[_Positive], Field(max_length=2**16)] | None = None
    rope_theta: _Positive = 10_000.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if sum(self.axes_dims_rope) != self.attention_head_dim:
            raise ValueError(f"axes_dims_rope must add up to attention_head_dim, {self.attention_head_dim}")
        if (width := self.num_attention_heads * self.attention_head_dim) > MAX_WIDTH:
            raise ValueError(f"num_attention_heads of attention_head_dim make a width of {width}, over {MAX_WIDTH}")
        return self


class ByteTextSettings(BaseModel):
    """Bounds on what ``text/config.json`` of the built-in encoder may ask for."""

    width: _Side
    max_bytes: Annotated[int, Field(ge=1, le=2**16)]


@dataclass(frozen=True)
class Bundle:
    """A transformer, and the codec and the text encoder that it was trained with.

    Raises:
        CodecError: the codec makes tokens of another width.
        CheckpointError: the text encoder makes text of another width.
    """

    transformer: RegionTransformer
    codec: LayerCodec
    text: TextEncoder
    preset: str | None = None

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
            }
        )
        with _whole_folder(Path(folder).absolute()) as temporary:
            self.transformer.save_pretrained(temporary / "transformer")
            _save(self.codec, temporary / "codec")
            _save(self.text, temporary / "text")
            (temporary / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(
        cls, folder: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Bundle:
        """Read a folder that ``save`` wrote: safetensors only, and no code is run from it.

        ``dtype``: of the transformer and the text encoder; a codec is float32.

        Raises:
            CheckpointError: it is no checkpoint, a damaged one, or of parts that do not fit.
            CodecError: the codec does not fit the transformer.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise CheckpointError(f"{folder} has no {MANIFEST}: it is no checkpoint of this program, or is not whole")
        manifest: Manifest = _read(folder / MANIFEST, Manifest)
        _check_settings(folder / "transformer" / "config.json", RegionTransformer, TransformerSettings)
        if manifest.text == "bytes":
            _check_settings(folder / "text" / "config.json", TEXTS["bytes"].found(), ByteTextSettings)
        options = {"dtype": dtype, "device": device, "local_files_only": True}
        parts = {"transformer": _TRANSFORMER, "codec": CODECS[manifest.codec], "text": TEXTS[manifest.text]}
        loaded = {name: _load(kind, folder / name, options) for name, kind in parts.items()}
        try:
            return cls(**loaded, preset=manifest.preset)
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
    if not folder.is_dir():  # for a path that is none, a library would ask a hub
        raise CheckpointError(f"{folder} is missing: the checkpoint is not whole; copy it again")
    part = kind.found()
    try:
        if issubclass(part, ModelMixin):
            made = part.from_pretrained(folder, dtype=options["dtype"], use_safetensors=True, local_files_only=True)
            return made.to(options["device"])
        return part.load(folder, **{name: options[name] for name in kind.options})
    except (CheckpointError, CodecError) as error:
        raise CheckpointError(str(error) if str(folder) in str(error) else f"{folder}: {error}") from error
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder} is damaged or not that of a {kind.name}: {reason}") from error


def _read(path: Path, what: Any) -> Any:
    """A file of settings as ``what``."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_JSON + 1)
        if len(data) > MAX_JSON:
            raise CheckpointError(f"{path} has more than {MAX_JSON} bytes; it is no file of settings")
        return TypeAdapter(what).validate_json(data)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); the checkpoint is not whole") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{path}: {name}{': ' if name else ''}{first['msg']}") from None


def _check_settings(path: Path, part: Any, bounds: type[BaseModel]) -> None:
    """Before anything is made of them: settings that ``part`` knows (no quantizer, no adapter) and within bounds."""
    known = inspect.signature(part.__init__).parameters
    strange = sorted(name for name in _read(path, dict[str, Any]) if name not in known and not name.startswith("_"))
    if strange:
        raise CheckpointError(f"{path}: {strange[0][:100]!r} is no setting of {part.__name__}; remove it")
    _read(path, bounds)


@contextlib.contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling that becomes ``folder`` once all in it is on the disk; on an error it is removed."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(f"{folder} is there already; give another name, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        for path in sorted(temporary.rglob("*"), reverse=True):
            _sync(path)
        _sync(temporary)
        temporary.replace(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
