"""Which decoder a stream uses, by name."""

from __future__ import annotations

import importlib
from typing import cast

from training.errors import UsageError
from training.streaming.config import PlanConfig
from training.streaming.jobs import Decoder

BUILT_IN = {"pixels": "training.streaming.pixels:PixelDecoder", "latents": "training.streaming.latents:LatentDecoder"}


def make_decoder(name: str, config: PlanConfig, seed: int, withdrawn: frozenset[str], *, threads: int = 1) -> Decoder:
    """The decoder ``name``: "pixels", "latents" or "module:Class", made of (config, seed, withdrawn).

    ``threads`` are for the built-in ones.

    Raises:
        UsageError: there is no such decoder, or a package that it needs is missing.
    """
    module, _, attribute = BUILT_IN.get(name, name).partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
        if not (isinstance(made, type) and hasattr(made, "members") and hasattr(made, "decode")):
            raise ValueError(f"{attribute!r} of {module!r} is no class of decoders")
    except (ImportError, AttributeError, ValueError) as error:
        if name in BUILT_IN and isinstance(error, ModuleNotFoundError):
            raise UsageError(f"decoder {name!r} needs {error.name}; install the extra `train`") from None
        names = ", ".join(BUILT_IN)
        raise UsageError(f"no decoder {name!r} ({error}); give one of {names}, or module:Class") from None
    extra = {"threads": threads} if name in BUILT_IN else {}
    return cast(Decoder, made(config, seed, withdrawn, **extra))
