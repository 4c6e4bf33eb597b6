"""What a computation really costs: FLOPs as torch counts them, bytes that autograd keeps, memory of the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

_ATEN = torch.ops.aten


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))  # type: ignore[no-untyped-call]


def flops(run: Callable[[], object]) -> int:
    """FLOPs of the matrix products and the attention of ``run``; torch does not count attention on CPUs by itself."""
    more = {
        _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
        _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=more) as counter:
        run()
    return int(counter.get_total_flops())


def kept_bytes(run: Callable[[], Tensor], parameters: Iterable[Tensor]) -> int:
    """Bytes of the storages that autograd keeps for the backward pass of ``run()``, each once, parameters left out."""
    known = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in known:
            kept.setdefault(place, tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def seconds(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Wall clock of ``run``, until the device is done, and CPU time of this process: others do not count in it."""
    _wait(device)
    began, worked = time.perf_counter(), time.process_time()
    run()
    _wait(device)
    return time.perf_counter() - began, time.process_time() - worked


def growth(run: Callable[[], object]) -> int:
    """Bytes by which the resident memory of this process grows at most during ``run``; Linux alone tells."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS:")
    run()
    return _status("VmHWM:") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
