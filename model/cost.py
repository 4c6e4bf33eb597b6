"""What a transformer costs on a layout, computed without making it: parameters, FLOPs and activation bytes.

``python -m model.cost PRESET [--layers N | --boxes FILE.json ...]`` prints them for one design or for several packed
together, beside the same designs with full-canvas layers (``python -m model.cost --help``).

A multiply and an add are two FLOPs; matrix products and attention count, as in torch's ``FlopCounterMode``.
Qwen-Image's 60 blocks on n tokens: about ``60 * (24 * 3072 ** 2 * n + 4 * 3072 * n ** 2)``.
Shapes: D designs, T image tokens, S text tokens, C channels of a token, E width of the text, M width of the model,
H heads, K head dim, B rows of modulation.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from model import layouts
from model.errors import LayoutError, ModelError
from model.layouts import Layout
from model.placement import Grid
from model.presets import PRESETS, config, preset
from model.tasks import BACKGROUND, COMPOSED, FOREGROUND, LAYOUTS, Region, Task

Lengths = Sequence[tuple[int, int]]
"""Text and image tokens of each design of a micro-batch, as in ``Packing.lengths``."""

ITEM_BYTES = {"float32": 4, "bfloat16": 2}
TIME_CHANNELS = 256
"""Of the sinusoids of a timestep (diffusers)."""
FLASH_BACKWARD = 2.5
"""Times its forward pass: flash attention computes the scores again before its four products."""
EMPTY_PROMPT = 5
"""Tokens that Qwen-Image's template leaves of an empty prompt: the text of guidance's second pass."""
MAX_RECORD = 64 * 2**20
"""Bytes of a record's file."""

KEPT_OF_A_BLOCK = {
    "inputs of both norms, and what they make of them": 4,
    "inputs of the query, key and value projections, and of the MLP": 2,
    "queries and keys, before and after their norm": 4,
    "queries, keys and values as attention takes them": 3,
    "what attention makes of them": 1,
    "both changes, before their gates": 2,
    "inside the MLP, before and after GELU (4 M each)": 8,
}
"""Values a token, in units of M, that a block keeps for the backward pass."""
KEPT_JOINED = 1
"""The same, where there are several designs: what attention makes of each, joined for the output projections."""
KEPT_MODULATION = 4
"""The same, where tokens have different rows of the modulation: both scales and both gates, gathered for each."""
KEPT_AS_FLOAT32 = 2
"""The same: copies in float32 of queries and keys, which their norm makes where they are of another type."""


@dataclass(frozen=True)
class Architecture:
    """The sizes that costs depend on. ``split``: clean tokens have rows of the modulation of their own."""

    width: int
    heads: int
    blocks: int
    channels: int
    out: int
    text: int
    split: bool
    slots: int
    kinds: int
    preconditioned: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Architecture:
        """From the arguments, or the ``config``, of a ``RegionTransformer``."""
        return cls(
            width=config["num_attention_heads"] * config["attention_head_dim"],
            heads=config["num_attention_heads"],
            blocks=config["num_layers"],
            channels=config["in_channels"],
            out=config["patch_size"] ** 2 * config["out_channels"],
            text=config["joint_attention_dim"],
            split=bool(config.get("zero_cond_t")),
            slots=config.get("layer_slots", 0),
            kinds=2 if config.get("use_additional_t_cond") else 0,
            preconditioned=config.get("channel_std") is not None,
        )

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    def rows(self, designs: int) -> int:
        return designs * (1 + self.split)


def parameters(a: Architecture) -> int:
    """All of them, the new ones included."""
    m = a.width
    modulation = 2 * _linear(m, 6 * m)
    attention = 8 * _linear(m, m) + 4 * a.head_dim
    mlps = 2 * (_linear(m, 4 * m) + _linear(4 * m, m))
    around = _linear(a.channels, m) + a.text + _linear(a.text, m) + _linear(m, 2 * m) + _linear(m, a.out)
    time = _linear(TIME_CHANNELS, m) + _linear(m, m) + a.kinds * m
    return a.blocks * (modulation + attention + mlps) + around + time + m + a.slots * m


def forward(a: Architecture, lengths: Lengths) -> int:
    """FLOPs of a forward pass over packed designs."""
    return _around(a, lengths) + a.blocks * (_products(a, lengths) + _attention(a, lengths))


def backward(a: Architecture, lengths: Lengths, checkpointing: bool = False) -> int:
    """FLOPs of the backward pass: two products for each of the forward pass, but none for the gradient of data, nor for
    what the last block makes of the text, which nobody reads. ``checkpointing``: and the blocks' forward pass again.
    """
    m, (text, image), designs = a.width, _tokens(lengths), len(lengths)
    data = 2 * image * a.channels * m + 2 * a.rows(designs) * TIME_CHANNELS * m
    unread = (4 + 32) * m**2 * text
    blocks = a.blocks * (2 * _products(a, lengths) + round(FLASH_BACKWARD * _attention(a, lengths))) - unread
    again = a.blocks * (_products(a, lengths) + _attention(a, lengths)) if checkpointing else 0
    return 2 * _around(a, lengths) - data + blocks + again


def activations(a: Architecture, lengths: Lengths, item_bytes: int, checkpointing: bool = False) -> int:
    """Bytes that the forward pass of training keeps for the backward pass, parameters and the loss apart.

    Storages that autograd holds, each once. With ``checkpointing`` a block keeps its inputs alone, and makes the rest
    of one block again, which is counted: the most that is there at once.
    """
    text, image = _tokens(lengths)
    several = len(lengths) > 1
    rows = a.split or several
    block = (text + image) * _kept_by_block(a, item_bytes, rows, several)
    inputs = (text + image) * a.width * item_bytes
    blocks = (a.blocks - 1) * inputs + block if checkpointing else a.blocks * block
    rotations = (text + image) * a.head_dim * 4
    return blocks + rotations + text * 2 * a.text * item_bytes + image * _kept_around(a, item_bytes, rows)


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _tokens(lengths: Lengths) -> tuple[int, int]:
    return sum(text for text, _ in lengths), sum(image for _, image in lengths)


def _around(a: Architecture, lengths: Lengths) -> int:
    """Products outside of the blocks: into the model, of the timesteps, and out of it."""
    m, (text, image), rows = a.width, _tokens(lengths), a.rows(len(lengths))
    time = rows * (TIME_CHANNELS * m + m**2 + 2 * m**2)
    return 2 * (image * (a.channels + a.out) * m + text * a.text * m + time)


def _products(a: Architecture, lengths: Lengths) -> int:
    """Of a block's linear layers: 12 M^2 weights for each token, and for each row the two modulations."""
    return 24 * a.width**2 * (sum(_tokens(lengths)) + a.rows(len(lengths)))


def _attention(a: Architecture, lengths: Lengths) -> int:
    return sum(4 * a.width * (text + image) ** 2 for text, image in lengths)


def _kept_by_block(a: Architecture, item_bytes: int, rows: bool, several: bool) -> int:
    """Bytes a token: the values above, mean and deviation of two norms, and three float32 values a head."""
    values = sum(KEPT_OF_A_BLOCK.values()) + KEPT_MODULATION * rows + KEPT_JOINED * several
    copies = KEPT_AS_FLOAT32 * a.width * 4 if item_bytes != 4 else 0
    return (values * a.width + 4) * item_bytes + copies + 3 * a.heads * 4


def _kept_around(a: Architecture, item_bytes: int, rows: bool) -> int:
    """Bytes an image token: the tokens themselves, and around the last norm its input, result, scale and what is
    projected; the factor of the preconditioning; the rows and regions as 64-bit numbers.
    """
    factor = a.out * 4 if a.preconditioned else 0
    return (a.channels + (3 + rows) * a.width + 2) * item_bytes + factor + 8 * (1 + rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 2 where the user is mistaken."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        sys.stdout.write(_report(asked))
    except (ModelError, OSError) as error:
        parser.error(str(error))
    return 0


class _Parser(argparse.ArgumentParser):
    """Mistakes in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m model.cost", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("preset", help=", ".join(PRESETS))
    parser.add_argument("--resolution", type=_count, default=1024, help="px of a side of a square visible box")
    parser.add_argument("--layers", type=_count, default=11, help="foregrounds of a drawn design")
    parser.add_argument("--seed", type=int, default=0, help="of a drawn design")
    parser.add_argument("--boxes", type=Path, nargs="+", metavar="FILE", help="JSON records, packed together")
    parser.add_argument("--task", type=_task, default=Task.IMAGE_TO_LAYERS, help=", ".join(Task))
    parser.add_argument("--chosen", type=_count, nargs="+", default=[], help="layers to add or to restyle")
    parser.add_argument("--text", type=_count, default=256, help="text tokens of a design")
    parser.add_argument("--steps", type=_count, default=8, help="of the sampler")
    parser.add_argument("--guidance", action="store_true", help="a second pass a step, with an empty prompt")
    parser.add_argument("--dtype", choices=ITEM_BYTES, default="bfloat16", help="of parameters and activations")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 99999")
    return int(text)


def _task(text: str) -> Task:
    if text not in list(Task):
        raise argparse.ArgumentTypeError(f"there is no task {text!r}; choose from {', '.join(Task)}")
    return Task(text)


def _report(asked: argparse.Namespace) -> str:
    found = preset(asked.preset)
    a, item = Architecture.of(config(asked.preset)), ITEM_BYTES[asked.dtype]
    side = asked.resolution // found.token_px
    if not side:
        raise LayoutError(f"{asked.resolution} px is less than a token of {found.token_px} px; raise --resolution")
    if asked.boxes:
        designs, what = [_read(path, Grid(asked.resolution, found.token_px)) for path in asked.boxes], "from records"
    else:
        designs, what = [layouts.draw(asked.layers, side, asked.seed)], f"drawn with seed {asked.seed}"
    foregrounds = [len(design.boxes) - 1 for design in designs]
    if asked.chosen and not LAYOUTS[asked.task].others_clean:
        raise LayoutError(f"{asked.task} chooses no layers; leave --chosen out")
    regions = [design.regions(asked.task, asked.chosen) for design in designs]
    full = [design.full_canvas() for design in designs]
    count = parameters(a)
    head = (
        f"{asked.preset}: {found.about}\n"
        f"{count:,} parameters, {count * item / 1e9:.2f} GB in {asked.dtype}\n"
        f"{asked.task}; designs: {len(designs)} {what}, foregrounds: {_list(foregrounds)}; "
        f"{asked.resolution} px, tokens of {found.token_px} px\n"
    )
    columns = [_column(a, asked, regions, item, FOREGROUND), _column(a, asked, full, item, BACKGROUND)]
    return head + _table(*columns)


def _read(path: Path, grid: Grid) -> Layout:
    if path.stat().st_size > MAX_RECORD:
        raise LayoutError(f"{path} has over {MAX_RECORD} bytes; give the record of one design")
    try:
        return layouts.of_record(json.loads(path.read_bytes()), grid)
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{path} is not JSON: {error}") from error
    except LayoutError as error:
        raise LayoutError(f"{path}: {error}", error.key) from error


def _list(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8])
    return shown if len(numbers) <= 8 else f"{shown}, ... ({sum(numbers)} together)"


def _column(
    a: Architecture, asked: argparse.Namespace, designs: Sequence[list[Region]], item: int, foreground: int
) -> dict[str, int]:
    """Every row of the table for one way to lay the designs out, in which ``foreground`` numbers the first of them."""
    kinds = {"composed": 0, "background": 0, "foregrounds": 0, "conditions": 0}
    for region in chain.from_iterable(designs):
        kinds[_kind(region, foreground)] += region.tokens
    lengths = [(asked.text, sum(region.tokens for region in regions)) for regions in designs]
    bare = [(EMPTY_PROMPT, image) for _, image in lengths]
    once, back = forward(a, lengths), backward(a, lengths)
    guided = forward(a, bare) if asked.guidance else 0
    steps = f"{asked.steps} steps{' with guidance' if asked.guidance else ''}"
    return {
        **{f"tokens: {kind}": tokens for kind, tokens in kinds.items()},
        "tokens: image": sum(kinds.values()),
        "tokens: text": sum(text for text, _ in lengths),
        "FLOPs: forward": once,
        "FLOPs: forward and backward": once + back,
        "FLOPs: the same, checkpointing": once + backward(a, lengths, checkpointing=True),
        f"FLOPs: a picture, {steps}": asked.steps * (once + guided),
        f"activation bytes, {asked.dtype}": activations(a, lengths, item),
        "activation bytes, checkpointing": activations(a, lengths, item, checkpointing=True),
    }


def _kind(region: Region, foreground: int) -> str:
    if region.condition or region.layer < COMPOSED:
        return "conditions"
    if region.layer >= foreground:
        return "foregrounds"
    return "composed" if region.layer == COMPOSED else "background"


def _table(regions: Mapping[str, int], full: Mapping[str, int]) -> str:
    rows = [("", "regions", "full canvas", "times")]
    for name, value in regions.items():
        other = full[name]
        times = f"{other / value:.2f}" if value and other else ""
        rows.append((name, _number(value), _number(other), times))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    out = ""
    for name, *cells in rows:
        line = [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]
        out += "  ".join(line).rstrip() + "\n"
    return out


def _number(value: int) -> str:
    """Exact where it is short, else with a unit."""
    for unit, size in (("P", 10**15), ("T", 10**12), ("G", 10**9), ("M", 10**6)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:,}"


if __name__ == "__main__":
    raise SystemExit(main())
