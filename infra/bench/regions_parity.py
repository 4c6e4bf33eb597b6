"""Is ours diffusers' own forward pass? The same weights and tokens through both, and through ours in other company.

The stock class sees one sample whose images have their own centred grids; ours sees the same images as regions of one
grid, each placed where its centre is the grid's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor

from infra.bench.regions_work import TASK, Work, backbone
from model import layouts
from model.attention import Backend
from model.layouts import Layout
from model.tasks import LAYERED_INPUT, Box, Region

NEW = ("rope_theta", "gate_init", "layer_slots", "channel_std")
"""Settings that the stock class does not know; its angles are of 10,000."""
TEXT = 13


class Parity(NamedTuple):
    """The largest absolute difference between two ways to compute the same thing, whose largest value is ``scale``."""

    what: str
    difference: float
    scale: float


class Case(NamedTuple):
    """``sizes``: heights and widths of the sample's images. ``split``: those after the first are clean, at time 0."""

    what: str
    sizes: Sequence[tuple[int, int]]
    split: bool = False
    layered: bool = False


CASES = (
    Case("diffusers' forward pass: a plain image", [(12, 9)]),
    Case("diffusers' forward pass: several images", [(12, 9), (6, 14), (5, 5)]),
    Case("diffusers' forward pass: several images, zero_cond_t", [(12, 9), (6, 14), (5, 5)], split=True),
    Case("diffusers' forward pass: Layer3D with a condition", [(8, 10)] * 5, layered=True),
)


def measure() -> Iterator[Parity]:
    """All rows, on the CPU."""
    with torch.no_grad():
        for case in CASES:
            yield _compare(case.what, *_stock(case))
        yield from _company()


def _compare(what: str, ours: Tensor, other: Tensor) -> Parity:
    return Parity(what, float((ours - other).abs().max()), float(other.abs().max()))


def _stock(case: Case) -> tuple[Tensor, Tensor]:
    """Our velocity and diffusers', of one sample."""
    options: dict[str, Any] = {"zero_cond_t": case.split, "use_additional_t_cond": case.layered}
    options |= {"use_layer3d_rope": case.layered, "rope_theta": 10_000.0}
    model = backbone("tiny", torch.device("cpu"), torch.float32, **options)
    known = {name: value for name, value in model.config.items() if name not in NEW and not name.startswith("_")}
    stock = QwenImageTransformer2DModel(**known).eval()
    stock.load_state_dict({k: v for k, v in model.state_dict().items() if k in stock.state_dict()}, strict=True)
    layout, boxes = _centred(case.sizes)
    numbers = [*range(len(boxes))]
    if case.layered:
        numbers[-1] = LAYERED_INPUT
    regions = [
        Region(number, box, clean=case.split and place > 0)
        for place, (number, box) in enumerate(zip(numbers, boxes, strict=True))
    ]
    work = Work.of(model, [regions], [layout], [TEXT])
    kind = torch.zeros(1, dtype=torch.long) if case.layered else None
    ours = model(work.tokens, work.text, work.timestep, work.regions, work.packing, kind)
    theirs = stock(
        hidden_states=work.tokens[None],
        encoder_hidden_states=work.text[None],
        timestep=work.timestep,
        img_shapes=[[(1, height, width) for height, width in case.sizes]],
        additional_t_cond=kind,
        return_dict=False,
    )[0][0]
    return ours, theirs


def _centred(sizes: Sequence[tuple[int, int]]) -> tuple[Layout, list[Box]]:
    """A canvas as large as the largest side, and a box for each image with its centre at the canvas'."""
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    boxes: list[Box] = []
    for h, w in sizes:
        x, y = (width - width // 2) - (w - w // 2), (height - height // 2) - (h - h // 2)
        boxes.append((x, y, x + w, y + h))
    whole = (0, 0, width, height)
    return Layout((width, height), whole, (whole,)), boxes


def _company() -> Iterator[Parity]:
    """Three designs together, one by one, beside others, and padded."""
    model = backbone("tiny", torch.device("cpu"), torch.float32)
    drawn, texts = [layouts.draw(number, 12, number) for number in (3, 8, 5)], [5, 9, 14]
    work = Work.of(model, [layout.regions(TASK) for layout in drawn], drawn, texts)
    tokens, text = torch.split(work.tokens, work.regions.lengths), torch.split(work.text, texts)
    alone = []
    for number, layout in enumerate(drawn):
        one = Work.of(model, [layout.regions(TASK)], [layout], [texts[number]])
        timestep = work.timestep[number : number + 1]
        alone.append(replace(one, tokens=tokens[number], text=text[number], timestep=timestep).infer())
    packed = work.infer()
    yield _compare("batched against one by one", packed, torch.cat(alone))
    kept_D = torch.arange(len(drawn)) == 1
    kept_T = kept_D[work.regions.of_tokens(work.regions.design)]
    kept_S = kept_D.repeat_interleave(torch.tensor(texts))
    others = replace(
        work,
        tokens=work.tokens.where(kept_T[:, None], work.tokens.flip(0) * 10),
        text=work.text.where(kept_S[:, None], work.text.flip(0) * 10),
        timestep=work.timestep.where(kept_D, 1 - work.timestep),
    )
    yield _compare("a design beside other neighbours", others.infer()[kept_T], packed[kept_T])
    model.set_attention(Backend.PADDED)
    yield _compare("padded and masked against packed", work.infer(), packed)
