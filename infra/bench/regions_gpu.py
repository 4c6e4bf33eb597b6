"""The benchmark of regions on a GPU: bf16, 1024 px, the real width, as many blocks as fit. Without one: nothing.

The share of the peak is of what a large product of matrices reaches in the same run.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import torch

from infra.bench.regions_measure import seconds
from infra.bench.regions_race import HEAD, Race, race
from infra.bench.regions_work import TASK, Work, backbone
from infra.bench.tables import Section
from model import cost, layouts, presets
from model.attention import Backend
from model.cost import Architecture
from model.transformer import RegionTransformer

LAYERS = (4, 11, 20)
SIDE, TEXT = 64, 256
"""Tokens of a side at 1024 px, and of the text."""
RESERVE = 40 * 2**30
"""Bytes that are left for what a forward pass of 90,000 tokens makes."""
MATRIX = 8192


def sections(repeats: int) -> list[Section]:
    """All tables, none where there is no GPU."""
    if not torch.cuda.is_available():
        return []
    device = torch.device("cuda")
    blocks = fitting(torch.cuda.mem_get_info(device)[0])
    model = backbone("qwen-20b", device, torch.bfloat16, num_layers=blocks)
    peak = matrix_peak(device, torch.bfloat16, MATRIX)
    raced = [race(model, layers, SIDE, TEXT, designs=2, repeats=repeats) for layers in LAYERS]
    name = f"{torch.cuda.get_device_name(device)}, bfloat16, 1024 px, {blocks} blocks of width 3072"
    return [
        (f"forward pass, {name}", (*HEAD, *SHARES), [(*one.row(), *shares(one, peak)) for one in raced]),
        (f"packed micro-batches, {name}", *company(model, SIDE, TEXT)),
    ]


SHARES = ("of the matrix peak, regions", "of the matrix peak, full canvas")


def fitting(free: int) -> int:
    """Blocks of ``qwen-20b`` whose bfloat16 weights leave the reserve free; at least one."""
    a = Architecture.of(presets.config("qwen-20b"))
    block = 2 * (cost.parameters(a) - cost.parameters(replace(a, blocks=a.blocks - 1)))
    return min(a.blocks, max(1, (free - RESERVE) // block))


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """FLOP/s of a square product."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    taken = [seconds(lambda: left @ right, device)[0] for _ in range(10)]
    return 2 * size**3 / median(taken[3:])


def shares(one: Race, peak: float) -> list[str]:
    return [f"{100 * flops / taken / peak:.0f} %" for flops, taken in zip(one.flops, one.seconds, strict=True)]


def company(model: RegionTransformer, side: int, text: int) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Three designs packed: each way to attend against padded and masked attention."""
    drawn = [layouts.draw(number, side, number) for number in (3, 8, 5)]
    work = Work.of(model, [layout.regions(TASK) for layout in drawn], drawn, [text, text // 2, text // 3])
    out, taken = {}, {}
    for backend in (Backend.PADDED, Backend.SEGMENTS, Backend.AUTO):
        model.set_attention(backend)
        out[backend] = work.infer()
        taken[backend] = min(seconds(work.infer, model.device)[0] for _ in range(3))
    expected = out[Backend.PADDED].float()
    scale = float(expected.abs().max())
    rows: list[tuple[str, ...]] = [
        (str(backend), f"{taken[backend]:.4f}", f"{float((found.float() - expected).abs().max()) / scale:.1e}")
        for backend, found in out.items()
    ]
    return ("attention", "s", "largest difference to padded, of the largest value"), rows
