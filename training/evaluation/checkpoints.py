"""A checkpoint on any fsspec URL: fetched, looked at before its weights are read, and loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import torch

from model.bundle import MANIFEST, Bundle, Manifest
from model.errors import ModelError
from model.folder import loading, read
from model.settings import TransformerSettings, check_part
from model.tasks import Task
from model.transformer import RegionTransformer
from model.variants import Variant
from training.errors import TrainingError, UsageError
from training.evaluation.runs import variant_of
from training.examples import TASKS_OF
from training.learner import Learner
from training.models import CodecConfig, ModelConfig, build, open_codec
from training.streaming.source import Source

PIPELINE = "model_index.json"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
"""How a hub names one."""


def fetched(url: str, options: Mapping[str, Any], folder: Path) -> Path:
    """The folder of a checkpoint on this host: itself where it is local, else a copy in ``folder``.

    Raises:
        UsageError: there is no checkpoint. TrainingError: it cannot be read.
    """
    local = Source(url, options).local
    if local is not None:
        if not (local / MANIFEST).is_file():
            raise UsageError(f"{url} has no {MANIFEST}: give the folder of a checkpoint that training exported")
        return local
    try:
        store, path = fsspec.core.url_to_fs(url, **options)
        if not store.exists(f"{path.rstrip('/')}/{MANIFEST}"):
            raise UsageError(f"{url} has no {MANIFEST}: give the folder of a checkpoint that training exported")
        folder.mkdir(parents=True)
        store.get(path.rstrip("/") + "/", f"{folder}/", recursive=True)
    except TrainingError:
        raise
    except Exception as error:  # every store has exceptions of its own; this is the one place they are mapped
        raise TrainingError(f"cannot read {url}: {str(error).partition(chr(10))[0] or type(error).__name__}") from error
    return folder


def check(folder: Path, tasks: Sequence[Task]) -> dict[str, str]:
    """What a checkpoint says it is: ``variant``, ``codec``, ``text``, ``preset`` and, where it has none, ``overflow``.

    Reads settings alone.

    Raises:
        UsageError: it is damaged, or its model does not know one of the tasks.
    """
    try:
        manifest: Manifest = read(folder / MANIFEST, Manifest)
        variant = variant_of(read(folder / "transformer" / "config.json", dict[str, Any]))
    except ModelError as error:
        raise UsageError(str(error)) from None
    for task in tasks:
        if task not in TASKS_OF[variant]:
            known = ", ".join(TASKS_OF[variant])
            raise UsageError(f"{folder} is a model of the variant {variant}, which knows {known}, not {task}")
    said = {"variant": str(variant), "codec": manifest.codec, "text": manifest.text}
    said |= {} if manifest.overflow else {"overflow": "off"}
    return {**said, **({"preset": manifest.preset} if manifest.preset else {})}


def load(folder: Path, device: torch.device) -> Learner:
    """Raises UsageError: it is damaged, or of parts that do not fit."""
    try:
        return Learner(Bundle.load(folder, device=device)).eval()
    except ModelError as error:
        raise UsageError(str(error)) from None


def check_layered(path: str) -> None:
    """Refuse what is neither a checkpoint, nor a pipeline's folder, nor the name of a repository.

    Raises:
        UsageError: that.
    """
    folder = Path(path)
    known = any((folder / name).is_file() for name in (MANIFEST, PIPELINE))
    if "://" not in path and not known and (folder.exists() or not REPOSITORY.fullmatch(path)):
        raise UsageError(
            f"layered: {path} has neither {MANIFEST} nor {PIPELINE}: give a checkpoint, the folder of a pipeline, or a "
            "repository such as Qwen/Qwen-Image-Layered"
        )


def layered(path: str, options: Mapping[str, Any], folder: Path, device: torch.device) -> Learner:
    """Qwen-Image-Layered: a checkpoint of that variant, or a pipeline of diffusers (a folder or a hub repository).

    Raises:
        UsageError: it is neither. TrainingError: it cannot be read.
    """
    if "://" in path or (Path(path) / MANIFEST).is_file():
        place = fetched(path, options, folder)
        found = check(place, [Task.IMAGE_TO_LAYERS])["variant"]
        if found != Variant.LAYERED:
            raise UsageError(f"layered: {path} is a model of the variant {found}, not {Variant.LAYERED}")
        return load(place, device)
    try:
        with loading(f"no transformer of Qwen-Image at {path}"):
            settings = check_part(path, RegionTransformer, TransformerSettings, subfolder="transformer", drops=True)
    except ModelError as error:
        raise UsageError(f"layered: {error}") from None
    if variant_of(settings) is not Variant.LAYERED:
        raise UsageError(f"layered: {path} has the weights that it began with: give Qwen/Qwen-Image-Layered")
    config = ModelConfig(
        preset="qwen-20b", variant=Variant.LAYERED, weights=path, codec=CodecConfig(kind="rgba"), text=path
    )
    bundle = build(config, open_codec(config, device), 0, device)
    bundle.transformer.to(device)
    return Learner(bundle).eval()
