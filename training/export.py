"""A trained model as a folder that ``model.bundle`` and diffusers load: whole weights, adapters folded in."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import ModelMixin
from torch import Tensor
from torch.distributed.tensor import DTensor

from model.bundle import MANIFEST, Bundle
from model.text import TextEncoder
from training.learner import Learner
from training.lora import merged
from training.outputs import Output
from training.parallel import World, together, total
from training.streaming.source import MissingError

EXPORTED = "exported.json"
"""In the folder of a model: its place in its run."""

LIMIT = 2**16

Model = TypeVar("Model", bound=ModelMixin)


def export(
    learner: Learner,
    output: Output,
    name: str,
    world: World,
    place: Mapping[str, int | str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> str:
    """Write the model with the weights that it has now to the folder ``name``, replacing what was there; its URL.

    All ranks do it together, the first one writes. A folder that is written only in part has no manifest. ``place``:
    of the run and what else tells models apart, for ``is_exported``. ``dtype``: of what was trained; codec and frozen
    text are written as they are.

    Raises:
        TrainingError: the store refuses.
    """
    first = world.rank == 0
    weights = merged(learner, first, dtype)
    text = {} if learner.trained_text is None else _whole(learner.trained_text, first, dtype)
    together(lambda: _write(_plain(learner, weights, text), output, name, place) if first else None, world)
    return output.source.url_of(name)


def is_exported(output: Output, name: str, world: World, place: Mapping[str, int | str]) -> bool:
    """The folder ``name`` holds the whole model of this place of the run; as the first rank finds it, on every rank.

    Raises:
        TrainingError: the store does not answer.
    """
    found = together(lambda: world.rank == 0 and _place(output, name) == place, world)
    return bool(total(torch.tensor([int(found)]), world).item())


def _place(output: Output, name: str) -> Any:
    if MANIFEST not in output.sizes(name):
        return None
    try:
        return json.loads(output.source.read(f"{name}/{EXPORTED}", LIMIT))
    except (MissingError, ValueError):
        return None


def _plain(learner: Learner, weights: dict[str, Tensor], text: dict[str, Tensor]) -> Bundle:
    """The bundle as if it had never been sharded or adapted."""
    bundle = replace(learner.bundle, transformer=_filled(learner.transformer, weights))
    encoder = learner.trained_text
    if not isinstance(encoder, ModelMixin):
        return bundle
    filled: TextEncoder = _filled(encoder, text)
    return replace(bundle, text=filled)


def _filled(like: Model, weights: dict[str, Tensor]) -> Model:
    """A model of the same settings with other weights. FSDP has put another class over that of ``like``."""
    kind: Any = next(kind for kind in type(like).__mro__ if kind.__module__.startswith("model."))
    with torch.device("meta"):
        made: Model = kind.from_config(dict(like.config))
    made.load_state_dict(weights, assign=True)
    return made


def _whole(module: torch.nn.Module, keep: bool, dtype: torch.dtype) -> dict[str, Tensor]:
    out = {}
    for name, value in module.state_dict().items():
        plain = value.full_tensor() if isinstance(value, DTensor) else value
        if keep:
            out[name] = plain.detach().to("cpu", dtype, copy=True)
    return out


def _write(bundle: Bundle, output: Output, name: str, place: Mapping[str, int | str] | None) -> None:
    with tempfile.TemporaryDirectory(prefix="acetate-export-") as temporary:
        folder = Path(temporary) / "model"
        bundle.save(folder)
        output.remove(f"{name}/{MANIFEST}")
        output.remove(name)
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
        for path in [*paths, folder / MANIFEST]:
            with path.open("rb") as source, output.stream(f"{name}/{path.relative_to(folder).as_posix()}") as target:
                shutil.copyfileobj(source, target, 2**24)
        if place is not None:
            output.write(f"{name}/{EXPORTED}", json.dumps(dict(place)).encode() + b"\n")
