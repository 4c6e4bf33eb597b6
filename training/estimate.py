"""What training a preset would take, on paper: memory of a GPU by part, tokens of a step, days.

The transformer is made without memory and cut up as FSDP2 would; FLOPs and activations are those of ``model.cost`` on
micro-batches of drawn designs in the default mix of tasks. What the frozen text encoder and codec compute, the network
and the disks are in no number: the efficiency stands for them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from model import cost, layouts, presets
from model.cost import Architecture
from model.errors import ModelError
from model.tasks import FOREGROUND, LAYOUTS
from model.text_bytes import ByteText
from model.transformer import RegionTransformer
from schemas.settings import Section
from training.errors import TrainingError, UsageError
from training.streaming.config import PAPER_MIX

FLOAT32, BFLOAT16 = 4, 2
GATHERED_BLOCKS = 2
"""Blocks that are whole at a time: one that is computed, and the next, which is fetched meanwhile."""
DESIGNS, BATCHES, MOST_PACKED = 512, 64, 20_000
"""Designs that are drawn and packed again and again, into so many micro-batches, or fewer where these are large."""
SECONDS_A_DAY = 86_400

FROZEN_TEXT = {"bytes": 0, "qwen": 7_070_619_136 * BFLOAT16}
"""Bytes on each GPU of a text encoder that is not trained: of Qwen2.5-VL-7B, its language model without the head."""
_VAE = 126_892_531 * FLOAT32
FROZEN_CODEC = {"pca": 0, "gray": _VAE, "rgba": _VAE}
"""Bytes on each GPU of a codec; a PCA's basis is nothing beside the rest."""

Positive = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(ge=1, le=10**9)]


class EstimateConfig(Section):
    """``resolution`` px and foreground ``layers`` of a design, ``text`` tokens of its prompt.

    ``token_budget``: of a micro-batch; ``micro_batches``: of a step over all GPUs, raised to a multiple of their
    number. ``efficiency``: the share of ``peak_flops`` (H100 and H200: 989e12 in bfloat16) that is reached, with what
    ``checkpointing`` computes again counted as work. ``memory`` bytes of a GPU.
    """

    preset: str = "qwen-20b"
    resolution: Annotated[int, Field(ge=16, le=16_384)] = 1024
    layers: Annotated[int, Field(ge=1, le=1000)] = 11
    text: Whole = 256
    token_budget: Annotated[int, Field(ge=1, le=2**24)] = 32_768
    micro_batches: Whole = 64
    steps: Whole = 90_000
    gpus: Annotated[tuple[Whole, ...], Field(min_length=1)] = (8, 64, 512)
    peak_flops: Positive = 989e12
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.4
    memory: Positive = 80e9
    checkpointing: bool = True


@dataclass(frozen=True)
class Row:
    """For a number of ``gpus``: ``parts``: bytes on the GPU that has most; the rest of a step, and of all ``days``."""

    gpus: int
    parts: dict[str, int]
    micro_batches: int
    designs: float
    tokens: float
    seconds: float
    days: float

    @property
    def bytes(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class _Drawn:
    """Of a micro-batch: image tokens and designs on average, FLOPs on average, bytes of activations at most."""

    tokens: float
    designs: float
    flops: float
    activations: int


@dataclass(frozen=True)
class Estimate:
    """``parameters``: how many are trained."""

    config: EstimateConfig
    parameters: int
    rows: list[Row]


def estimate(config: EstimateConfig) -> Estimate:
    """A row for each number of GPUs.

    Raises:
        UsageError: there is no such preset.
    """
    try:
        preset = presets.preset(config.preset)
    except ModelError as error:
        raise UsageError(f"preset: {error}") from None
    transformer, text = _made(config.preset)
    architecture = Architecture.of(transformer.config)
    _check(transformer, architecture)
    drawn = _draw(config, architecture, preset.token_px)
    frozen = FROZEN_TEXT[preset.text] + FROZEN_CODEC[preset.codec]
    rows = [_row(config, gpus, transformer, text, drawn, frozen) for gpus in config.gpus]
    return Estimate(config, _size(transformer) + (_size(text) if text else 0), rows)


def render(found: Estimate) -> str:
    """What is assumed, and a table with a column for each number of GPUs."""
    config, rows = found.config, found.rows
    cells = [["GPUs", *(f"{row.gpus:,}" for row in rows)]]
    for part in rows[0].parts:
        cells.append([f"GB: {part}", *(_number(row.parts[part] / 1e9) for row in rows)])
    cells += [
        ["GB a GPU", *(_number(row.bytes / 1e9) for row in rows)],
        [f"fits in {config.memory / 1e9:g} GB", *("yes" if row.bytes <= config.memory else "no" for row in rows)],
        ["micro-batches a step", *(f"{row.micro_batches:,}" for row in rows)],
        ["designs a step", *(f"{row.designs:,.0f}" for row in rows)],
        ["tokens a step", *(f"{row.tokens:,.0f}" for row in rows)],
        ["seconds a step", *(_number(row.seconds) for row in rows)],
        [f"days, {config.steps:,} steps", *(_number(row.days) for row in rows)],
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(rows) + 1)]
    table = ""
    for name, *values in cells:
        right = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
        table += "  ".join([name.ljust(widths[0]), *right]) + "\n"
    again = "with" if config.checkpointing else "without"
    return (
        f"{config.preset}: {found.parameters:,} trained parameters, bfloat16 over float32, {again} checkpointing\n"
        f"designs of {config.layers} layers at {config.resolution} px, {config.text} text tokens, micro-batches of "
        f"{config.token_budget:,} tokens; {config.efficiency:.0%} of {config.peak_flops / 1e12:,.0f} TFLOP/s\n" + table
    )


def _number(value: float) -> str:
    """Two places, or two digits where these would say nothing."""
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.2g}"


def _made(name: str) -> tuple[RegionTransformer, nn.Module | None]:
    """The transformer of a preset, and its text encoder where that is trained too; neither has memory."""
    with torch.device("meta"):
        transformer = presets.transformer(name)
        text = ByteText(transformer.config.joint_attention_dim) if presets.preset(name).text == "bytes" else None
    return transformer, text


def _check(transformer: nn.Module, architecture: Architecture) -> None:
    made = sum(parameter.numel() for parameter in transformer.parameters())
    if made != cost.parameters(architecture):
        raise TrainingError(f"the model has {made:,} parameters, model.cost says {cost.parameters(architecture):,}")


def _draw(config: EstimateConfig, architecture: Architecture, token_px: int) -> _Drawn:
    batches, again = list(_batches(config, config.resolution // token_px)), config.checkpointing
    lengths = [[(config.text, image) for image in batch] for batch in batches]
    flops = [cost.forward(architecture, one) + cost.backward(architecture, one, again) for one in lengths]
    return _Drawn(
        tokens=sum(map(sum, batches)) / len(batches),
        designs=sum(map(len, batches)) / len(batches),
        flops=sum(flops) / len(batches),
        activations=max(cost.activations(architecture, one, BFLOAT16, again) for one in lengths),
    )


def _batches(config: EstimateConfig, side: int) -> Iterator[list[int]]:
    """Image tokens of the designs of each micro-batch, in the order in which they are drawn."""
    at = random.Random(0)
    designs = cycle([_design(config, side, at, number) for number in range(DESIGNS)])
    tokens, packed = next(designs), 0
    for _ in range(BATCHES):
        batch: list[int] = []
        room = config.token_budget
        while not batch or tokens <= room:
            batch.append(tokens)
            room -= tokens
            tokens = next(designs)
        yield batch
        packed += len(batch)
        if packed > MOST_PACKED:
            return


def _design(config: EstimateConfig, side: int, at: random.Random, number: int) -> int:
    """Image tokens of a drawn design; layers-to-layers makes some of its foregrounds."""
    (task,) = at.choices(list(PAPER_MIX), list(PAPER_MIX.values()))
    chosen: list[int] = []
    if LAYOUTS[task].others_clean:
        foregrounds = range(FOREGROUND, FOREGROUND + config.layers)
        chosen = at.sample(foregrounds, at.randint(1, config.layers))
    return sum(region.tokens for region in layouts.draw(config.layers, side, number).regions(task, chosen))


def _row(
    config: EstimateConfig, gpus: int, transformer: nn.Module, text: nn.Module | None, drawn: _Drawn, frozen: int
) -> Row:
    trained = [*transformer.parameters(), *(text.parameters() if text else ())]
    shard = sum(_share(parameter, gpus) for parameter in trained)
    blocks: list[nn.Module] = list(transformer.get_submodule("transformer_blocks").children())
    block = _size(blocks[0])
    around = _size(transformer) - block * len(blocks)
    parts = {
        "weights": shard * FLOAT32,
        "gradients": shard * FLOAT32,
        "Adam's two means": 2 * shard * FLOAT32,
        "average of the weights": shard * FLOAT32,
        "gathered weights": (min(GATHERED_BLOCKS, len(blocks)) * block + around) * BFLOAT16,
        "gradients before they are shared": block * (BFLOAT16 + FLOAT32),
        "activations": drawn.activations,
        "frozen text encoder and codec": frozen,
    }
    rounds = -(-config.micro_batches // gpus)
    seconds = rounds * drawn.flops / (config.peak_flops * config.efficiency)
    return Row(
        gpus=gpus,
        parts=parts,
        micro_batches=rounds * gpus,
        designs=rounds * gpus * drawn.designs,
        tokens=rounds * gpus * drawn.tokens,
        seconds=seconds,
        days=config.steps * seconds / SECONDS_A_DAY,
    )


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _share(parameter: Tensor, gpus: int) -> int:
    """Values of the first rank: FSDP2 cuts along the first axis into pieces of equal length, the last ones shorter."""
    length = parameter.shape[0]
    return -(-length // gpus) * (parameter.numel() // length)
