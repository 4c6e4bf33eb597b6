"""A network of the user's own, named in a configuration as ``module:function``."""

from __future__ import annotations

import importlib

import torch
from torch import nn

from training.errors import UsageError


def imported(key: str, name: str, others: str, device: torch.device | str) -> nn.Module:
    """What the function gives, frozen and on ``device``. ``key``: of the setting; ``others``: what else it may be.

    Raises:
        UsageError: there is no such function, its module is not installed, or it gives no network.
    """
    module, _, function = name.partition(":")
    remedy = f"give {others} or an importable module:function that returns a torch.nn.Module"
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # the last of a name that begins with a dot
        raise UsageError(f"{key}: no network {name!r} ({error}); {remedy}") from None
    made = found() if callable(found) and not isinstance(found, nn.Module) else found
    if not isinstance(made, nn.Module):
        raise UsageError(f"{key}: {name!r} gave a {type(made).__name__}; {remedy}")
    return made.to(device).eval().requires_grad_(False)
