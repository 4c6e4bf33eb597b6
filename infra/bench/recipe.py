"""What a tiny model needs to learn: ``python -m infra.bench.recipe [--steps 700] [--seeds 0 1 2] [--out FILE.md]``.

The same blocks, data and steps with other gates of new weights, another base of the rotary positions, and without the
preconditioning of the velocity, for each seed. Image-to-layers on designs of simple shapes, 64 px
visible, tokens of 8 px. The cost is (RGB L1 on ground-truth alpha > 0 + 1 - alpha soft IoU) / 2 by layer, every method
clipped to the layer's own box; beside the models stands the crop of the composite.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from infra.bench.machine import describe
from infra.bench.tables import publish
from model import presets
from model.codecs.pca import PcaCodec
from model.flow import noised, velocity
from model.guidance import Denoiser
from model.regions import Regions
from model.sampling import sample, schedule
from model.tasks import Box, Task, lay_out
from model.text_bytes import ByteText
from model.transformer import RegionTransformer

SIDE, TOKEN, MARGIN, FINE = 64, 8, 2, 4
"""Px of the visible square and of a token, tokens of canvas around it at most, samples of a pixel's side."""
COLOURS = {"red": 0, "yellow": 50, "green": 110, "blue": 220, "purple": 280, "white": None, "black": None}
SHAPES = ("square", "circle", "triangle")
BATCH, RATE, DECAY = 8, 1e-3, 0.995
FIRST_HELD_OUT = 1_000_000

VARIANTS: dict[str, dict[str, Any]] = {
    "gates begin at 1": {"gate_init": 1.0},
    "the same, rotary base 10,000": {"gate_init": 1.0, "rope_theta": 10_000.0},
    "gates begin at 0 (the preset)": {},
    "gates as diffusers draws them": {"gate_init": None},
    "gates begin at 1, no preconditioning": {"gate_init": 1.0, "channel_std": None},
}


@dataclass(frozen=True)
class Shown:
    """A design: ``boxes`` in tokens, the background first, ``pictures`` u8 [h, w, 4] of them, ``given`` u8: the opaque
    picture of the visible square; ``exact``: the boxes of the layers' own pixels, from the corner of their pictures.
    """

    boxes: list[Box]
    pictures: list[Tensor]
    exact: list[tuple[slice, slice]]
    given: Tensor
    canvas: tuple[int, int]
    visible: Box
    prompt: str


def draw(number: int) -> Shown:
    """Design ``number``, always the same: three to eight shapes on a background, some over the edge."""
    rng = np.random.default_rng(number)
    side, margin = SIDE // TOKEN, MARGIN
    canvas = (side + 2 * margin, side + 2 * margin)
    visible = (margin, margin, margin + side, margin + side)
    words, layers = [], [(visible, _background(rng))]
    for _ in range(int(rng.integers(3, 9))):
        box, picture, said = _shape(rng, canvas)
        layers.append((box, picture))
        words.append(said)
    shown = Image.new("RGBA", (canvas[0] * TOKEN, canvas[1] * TOKEN), (255, 255, 255, 255))
    for box, picture in layers:
        shown.alpha_composite(picture, (box[0] * TOKEN, box[1] * TOKEN))
    x0, y0, x1, y1 = (corner * TOKEN for corner in visible)
    given = shown.crop((x0, y0, x1, y1))
    pictures = [torch.from_numpy(np.array(picture)) for _, picture in layers]
    exact = [_bounds(picture) for picture in pictures]
    boxes = [box for box, _ in layers]
    return Shown(boxes, pictures, exact, torch.from_numpy(np.array(given)), canvas, visible, ", ".join(words))


def _background(rng: np.random.Generator) -> Image.Image:
    """A solid colour, or a vertical gradient between two."""
    top = np.array([*_colour(rng)[1], 255.0])
    bottom = np.array([*_colour(rng)[1], 255.0]) if rng.random() < 0.5 else top
    ramp = np.linspace(0, 1, SIDE)[:, None, None]
    picture = np.broadcast_to(top + (bottom - top) * ramp, (SIDE, SIDE, 4))
    return Image.fromarray(picture.astype(np.uint8))


def _shape(rng: np.random.Generator, canvas: tuple[int, int]) -> tuple[Box, Image.Image, str]:
    name, rgb = _colour(rng)
    kind = str(rng.choice(SHAPES))
    width, height = (int(v) for v in rng.integers(10, 40, 2))
    edge = MARGIN * TOKEN
    x = int(rng.integers(edge - 10, edge + SIDE - 10))
    y = int(rng.integers(edge - 10, edge + SIDE - 10))
    x1, y1 = min(x + width, canvas[0] * TOKEN), min(y + height, canvas[1] * TOKEN)
    box = (x // TOKEN, y // TOKEN, -(-x1 // TOKEN), -(-y1 // TOKEN))
    size = ((box[2] - box[0]) * TOKEN, (box[3] - box[1]) * TOKEN)
    alpha = Image.new("L", (size[0] * FINE, size[1] * FINE), 0)
    left, top = (x - box[0] * TOKEN) * FINE, (y - box[1] * TOKEN) * FINE
    frame = (left, top, left + width * FINE - 1, top + height * FINE - 1)
    pen, opacity = ImageDraw.Draw(alpha), int(rng.integers(128, 256)) if rng.random() < 0.3 else 255
    if kind == "circle":
        pen.ellipse(frame, fill=opacity)
    elif kind == "square":
        pen.rectangle(frame, fill=opacity)
    else:
        pen.polygon([(frame[0], frame[3]), (frame[2], frame[3]), ((frame[0] + frame[2]) // 2, frame[1])], fill=opacity)
    picture = Image.new("RGBA", size, (*rgb, 255))
    picture.putalpha(alpha.resize(size, Image.Resampling.BOX))
    return box, picture, f"{name} {kind}"


def _colour(rng: np.random.Generator) -> tuple[str, tuple[int, int, int]]:
    name = str(rng.choice(list(COLOURS)))
    hue = COLOURS[name]
    if hue is None:
        value = 235 if name == "white" else 25
        return name, (value, value, value)
    shade = Image.new("HSV", (1, 1), (int(hue / 360 * 255), int(rng.integers(150, 256)), int(rng.integers(150, 256))))
    red, green, blue = np.asarray(shade.convert("RGB"))[0, 0].tolist()
    return name, (red, green, blue)


def _bounds(picture: Tensor) -> tuple[slice, slice]:
    ys, xs = torch.nonzero(picture[..., 3], as_tuple=True)
    if len(ys) == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(ys.min()), int(ys.max()) + 1), slice(int(xs.min()), int(xs.max()) + 1)


@dataclass(frozen=True)
class Batch:
    regions: Regions
    clean: Tensor
    prompts: list[str]


def batch_of(designs: Sequence[Shown], codec: PcaCodec) -> Batch:
    laid = [lay_out(Task.IMAGE_TO_LAYERS, d.boxes, d.canvas, d.visible) for d in designs]
    regions = Regions.lay_out(laid, [d.canvas for d in designs], [d.visible for d in designs])
    clean = codec.encode([picture for d in designs for picture in (d.given, *d.pictures)])
    return Batch(regions, clean, [d.prompt for d in designs])


def train(model: RegionTransformer, text: ByteText, codec: PcaCodec, steps: int, seed: int) -> RegionTransformer:
    """Train, and return the running average of the weights."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [*model.parameters(), *text.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.01, betas=(0.9, 0.99))
    average = copy.deepcopy(model)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50)
        batch = batch_of([draw(step * BATCH + i) for i in range(BATCH)], codec)
        loss = loss_of(model, text, batch, generator)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        with torch.no_grad():
            for kept, new in zip(average.parameters(), model.parameters(), strict=True):
                kept.lerp_(new, 1 - min(DECAY, (step + 1) / (step + 10)))
    return average


def loss_of(model: RegionTransformer, text: ByteText, batch: Batch, generator: torch.Generator) -> Tensor:
    """Mean square error of the velocity of noised tokens, sigma of a design shifted by 3."""
    regions = batch.regions
    u = torch.rand(len(regions.keys), generator=generator)
    sigma_D = 3 * u / (1 + 2 * u)
    noise = torch.randn(batch.clean.shape, generator=generator)
    sigma_T = sigma_D[regions.of_tokens(regions.design)] * regions.target_T
    said = text.encode(batch.prompts)
    out = model(noised(batch.clean, noise, sigma_T), said.values, sigma_D, regions, model.pack(regions, said.lengths))
    loss: Tensor = (out - velocity(batch.clean, noise))[regions.target_T].square().mean()
    return loss


@torch.no_grad()
def cost_of(model: RegionTransformer, text: ByteText, codec: PcaCodec, designs: Sequence[Shown], steps: int) -> float:
    """Mean cost of the layers of ``designs``, sampled in ``steps``."""
    batch = batch_of(designs, codec)
    noise = torch.randn(batch.clean.shape, generator=torch.Generator().manual_seed(1))
    start = torch.where(batch.regions.target_T[:, None], noise, batch.clean)
    denoise = Denoiser(model, Task.IMAGE_TO_LAYERS, batch.regions, text.encode(batch.prompts))
    tokens = sample(denoise, start, batch.regions.target_T, schedule(steps, 3.0))
    pictures = iter(codec.decode(tokens, batch.regions.sizes))
    costs = []
    for design in designs:
        next(pictures)
        costs += [_cost(next(pictures), true, box) for true, box in zip(design.pictures, design.exact, strict=True)]
    return float(np.mean(costs))


def crop_cost(designs: Sequence[Shown]) -> float:
    """The cost of taking for each layer what the given picture shows at its place, opaque."""
    costs = []
    for design in designs:
        whole = torch.zeros(design.canvas[1] * TOKEN, design.canvas[0] * TOKEN, 4, dtype=torch.uint8)
        x0, y0, x1, y1 = (corner * TOKEN for corner in design.visible)
        whole[y0:y1, x0:x1] = design.given
        for box, true, exact in zip(design.boxes, design.pictures, design.exact, strict=True):
            x0, y0, x1, y1 = (corner * TOKEN for corner in box)
            costs.append(_cost(whole[y0:y1, x0:x1], true, exact))
    return float(np.mean(costs))


def _cost(made: Tensor, true: Tensor, exact: tuple[slice, slice]) -> float:
    made, true = made[exact].float() / 255, true[exact].float() / 255
    solid, alpha, ours = true[..., 3] > 0, true[..., 3], made[..., 3]
    if not solid.any():
        return 0.0
    error = (made[..., :3] - true[..., :3]).abs().mean(dim=-1)[solid].mean()
    iou = torch.minimum(alpha, ours).sum() / torch.maximum(alpha, ours).sum()
    return float((error + 1 - iou) / 2)


def rows(steps: int, seeds: Sequence[int], held_out: int) -> Iterator[tuple[str, ...]]:
    designs = [draw(FIRST_HELD_OUT + i) for i in range(held_out)]
    codec = PcaCodec.fit(picture for i in range(300) for picture in draw(2 * FIRST_HELD_OUT + i).pictures)
    yield "crop of the composite", *[""] * len(seeds), f"{crop_cost(designs):.3f}", ""
    for name, change in VARIANTS.items():
        costs = [_costs(change, codec, steps, seed, designs) for seed in seeds]
        means = [f"{np.mean(column):.3f}" for column in zip(*costs, strict=True)]
        print(name, means, flush=True)
        yield name, *[" / ".join(f"{cost:.3f}" for cost in some) for some in costs], *means


def _costs(
    change: dict[str, Any], codec: PcaCodec, steps: int, seed: int, designs: Sequence[Shown]
) -> tuple[float, ...]:
    """At 1 and at 8 steps of the sampler."""
    torch.manual_seed(seed)
    model = presets.transformer("tiny", **{"channel_std": codec.channel_std, **change})
    text = ByteText(width=model.config.joint_attention_dim)
    trained = train(model, text, codec, steps, seed)
    return tuple(cost_of(trained, text, codec, designs, n) for n in (1, 8))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m infra.bench.recipe", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--steps", type=int, default=700, help="steps of training of each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--designs", type=int, default=64, help="held-out designs")
    parser.add_argument("--out", type=Path, help="write the table to this Markdown file too")
    arguments = parser.parse_args()
    seeds = [f"seed {seed}: 1 / 8 steps" for seed in arguments.seeds]
    head = ("layer cost", *seeds, "mean at 1 step", "mean at 8 steps")
    table = list(rows(arguments.steps, arguments.seeds, arguments.designs))
    said = f"{describe()}; torch {torch.__version__}. Trained for {arguments.steps} steps of {BATCH} designs.\n"
    publish("The recipe of a tiny model", said, [("image-to-layers, 64 px", head, table)], arguments.out)


if __name__ == "__main__":
    main()
