"""How well does a codec of the model bring layers back? ``python -m infra.bench.layer_codecs [--out FILE.md]``.

Layers of three kinds (flat shapes and text, photographs, soft alpha) and two of whole designs (those of the streaming
benchmark, and the synthetic ones of 64 px), all drawn in memory by number. Each codec is fitted on the numbers from 0
and measured on others. The cost is (RGB L1 on ground-truth alpha > 0 + 1 - alpha soft IoU) / 2, mean over layers; the
composite is that of a design's layers on white. ``--vae FOLDER`` measures a trained VAE beside them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

from infra.bench import stream_designs
from infra.bench.machine import describe
from infra.bench.tables import Section, publish
from model.codecs.base import LayerCodec, cut
from model.codecs.pca import PcaCodec
from pipelines.synth import tiny
from pipelines.synth.render import extent, render
from schemas.compositing import Placed, Rgba, composite_fast
from schemas.geometry import Box, union
from schemas.sample import layer_stem

SIDE, LAYERS, FINE = 128, 5, 4
"""Px of a design of one kind of layers, its layers, samples of a pixel's side in its shapes."""
FIRST_HELD_OUT = 1_000_000
NOISE = (0.05, 0.1, 0.2)
"""Standard deviations of noise on tokens, whose mean square is 1."""

Rng = np.random.Generator


class Kind(NamedTuple):
    """What draws the layers of a design of a number, and how many designs are fitted on and measured."""

    draw: Callable[[int], list[Placed]]
    fitted: int
    measured: int


def _flat(rng: Rng, width: int, height: int) -> Rgba:
    """A solid shape or a word in one colour, its edges soft in alpha alone."""
    alpha = Image.new("L", (width * FINE, height * FINE))
    pen, frame = ImageDraw.Draw(alpha), (0, 0, width * FINE - 1, height * FINE - 1)
    kind = rng.integers(4)
    if kind == 0:
        pen.ellipse(frame, fill=255)
    elif kind == 1:
        pen.rounded_rectangle(frame, int(rng.integers(1, 8 * FINE)), fill=255)
    elif kind == 2:
        pen.polygon([tuple(point) for point in (rng.random((5, 2)) * [frame[2], frame[3]]).tolist()], fill=255)
    else:
        word = str(rng.choice(["Sale", "Open", "Layers", "50%", "Hello"]))
        pen.text((0, 0), word, font=ImageFont.load_default(size=height * FINE * 0.8), fill=255)
    colour = Image.new("RGBA", (width, height), _colour(rng))
    colour.putalpha(alpha.resize((width, height), Image.Resampling.BOX))
    return np.asarray(colour)


def _photograph(rng: Rng, width: int, height: int) -> Rgba:
    """Noise of every size below a few px a cell, on a gradient, with a sensor's noise; cut out as a photograph is."""
    size = max(width, height)
    total = np.linspace(0, 1, size)[:, None, None] * rng.uniform(-90, 90, 3) + rng.uniform(60, 195, 3)
    for octave in range(1, 7):
        coarse = rng.normal(0, 90, (2**octave, 2**octave, 3)) / 2 ** (octave / 2)
        planes = [Image.fromarray(coarse[..., c].astype(np.float32)).resize((size, size), 3) for c in range(3)]
        total = total + np.stack([np.asarray(plane) for plane in planes], axis=-1)
    total += rng.normal(0, 2, total.shape)
    image = Image.fromarray(total[:height, :width].clip(0, 255).astype(np.uint8)).convert("RGBA")
    if rng.random() < 0.7:
        alpha = Image.new("L", (width * FINE, height * FINE))
        frame = (0, 0, width * FINE - 1, height * FINE - 1)
        ImageDraw.Draw(alpha).rounded_rectangle(frame, int(rng.integers(2, width * FINE // 2)), fill=255)
        image.putalpha(alpha.resize((width, height), Image.Resampling.BOX))
    return np.asarray(image)


def _soft(rng: Rng, width: int, height: int) -> Rgba:
    """A glow of one colour, or a gradient of colour that fades along a direction."""
    if rng.random() < 0.6:
        alpha = Image.new("L", (width, height))
        rim = min(width, height) // 4
        ImageDraw.Draw(alpha).ellipse((rim, rim, width - rim, height - rim), fill=int(rng.integers(120, 256)))
        image = Image.new("RGBA", (width, height), _colour(rng))
        image.putalpha(alpha.filter(ImageFilter.GaussianBlur(rim / 2)))
        return np.asarray(image)
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    share = ((np.cos(angle) * x + np.sin(angle) * y) / 2 + 0.5).clip(0, 1)[..., None]
    ends = rng.uniform(0, 255, (2, 3))
    alpha_hw1 = (share * rng.uniform(0.8, 1.6) - rng.uniform(0, 0.4)).clip(0, 1) * 255
    return np.concatenate([ends[0] + (ends[1] - ends[0]) * share, alpha_hw1], axis=-1).round().astype(np.uint8)


def _colour(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
    return red, green, blue


def _of(layer: Callable[[Rng, int, int], Rgba]) -> Callable[[int], list[Placed]]:
    """Designs of layers of one kind."""

    def draw(number: int) -> list[Placed]:
        rng = np.random.default_rng(number)
        out = []
        for _ in range(LAYERS):
            width, height = (int(v) for v in rng.integers(16, 81, 2))
            x, y = int(rng.integers(SIDE - width + 1)), int(rng.integers(SIDE - height + 1))
            out.append((layer(rng, width, height), Box(x, y, x + width, y + height)))
        return out

    return draw


def _streamed(number: int) -> list[Placed]:
    drawn = stream_designs.draw(number, 256, 8)
    return [(drawn.pictures[layer_stem(layer.index)], layer.box) for layer in drawn.design.layers]


def _synthetic(number: int) -> list[Placed]:
    nodes = tiny.design(0, number).nodes
    return [(render([node], box), box) for node in nodes for box in [extent([node])]]


KINDS = {
    "flat": Kind(_of(_flat), 150, 60),
    "photographs": Kind(_of(_photograph), 100, 40),
    "soft alpha": Kind(_of(_soft), 150, 60),
    "designs of 256 px": Kind(_streamed, 30, 15),
    "synthetic designs of 64 px": Kind(_synthetic, 250, 80),
}


@dataclass(frozen=True)
class Design:
    """Layers brought outward to whole tokens: pictures u8 [h t, w t, 4] and their boxes, from the canvas's corner."""

    pictures: list[Tensor]
    boxes: list[Box]
    canvas: Box

    @classmethod
    def of(cls, layers: Sequence[Placed], token_px: int) -> Design:
        pictures, boxes = [], []
        for pixels, box in layers:
            outer = Box(
                box.x0 // token_px * token_px,
                box.y0 // token_px * token_px,
                -(-box.x1 // token_px) * token_px,
                -(-box.y1 // token_px) * token_px,
            )
            picture = np.zeros((outer.height, outer.width, 4), np.uint8)
            picture[box.within(outer).slices] = pixels
            pictures.append(torch.from_numpy(picture))
            boxes.append(outer)
        whole = union(boxes)
        return cls(pictures, [box.within(whole) for box in boxes], Box(0, 0, whole.width, whole.height))

    def composite(self, pictures: Sequence[Tensor]) -> Rgba:
        white = np.full((self.canvas.height, self.canvas.width, 4), 255, np.uint8)
        layers = [(picture.numpy(), box) for picture, box in zip(pictures, self.boxes, strict=True)]
        return composite_fast([(white, self.canvas), *layers], self.canvas)


class Score(NamedTuple):
    """Means over layers; ``error``: mean square of composites, values of [0, 1]; milliseconds a design."""

    l1: float
    iou: float
    error: float
    encode_ms: float
    decode_ms: float

    @property
    def cost(self) -> float:
        return (self.l1 + 1 - self.iou) / 2

    def cells(self) -> list[str]:
        psnr = -10 * math.log10(max(self.error, 1e-10))
        shown = [f"{self.l1:.4f}", f"{self.iou:.4f}", f"{self.cost:.4f}", f"{psnr:.1f}"]
        return [*shown, f"{self.encode_ms:.1f}", f"{self.decode_ms:.1f}"]


def measure(codec: LayerCodec, designs: Sequence[Sequence[Placed]], noise: float = 0.0) -> Score:
    """Each design through the codec, one after another; with ``noise`` added to its tokens."""
    random = torch.Generator().manual_seed(0)
    layers, errors, seconds = [], [], np.zeros(2)
    for design in (Design.of(drawn, codec.token_px) for drawn in designs):
        t = codec.token_px
        began = time.perf_counter()
        tokens = codec.encode(design.pictures)
        encoded = time.perf_counter()
        tokens = tokens + noise * torch.randn(tokens.shape, generator=random)
        ready = time.perf_counter()
        back = codec.decode(tokens, [(p.shape[0] // t, p.shape[1] // t) for p in design.pictures])
        seconds += (encoded - began, time.perf_counter() - ready)
        layers += [_layer(*pair) for pair in zip(design.pictures, back, strict=True) if pair[0][..., 3].any()]
        shown = [design.composite(pictures)[..., :3] / 255 for pictures in (design.pictures, back)]
        errors.append(np.square(shown[0] - shown[1]).mean())
    l1, iou = np.mean(layers, axis=0)
    encode_ms, decode_ms = seconds / len(designs) * 1000
    return Score(float(l1), float(iou), float(np.mean(errors)), float(encode_ms), float(decode_ms))


def _layer(truth: Tensor, back: Tensor) -> tuple[float, float]:
    """RGB L1 on ground-truth alpha > 0, and soft IoU of alpha."""
    seen = truth[..., 3] > 0
    a, b = truth.float() / 255, back.float() / 255
    l1 = (a - b)[seen][:, :3].abs().mean()
    iou = torch.minimum(a[..., 3], b[..., 3]).sum() / torch.maximum(a[..., 3], b[..., 3]).sum()
    return float(l1), float(iou)


class Premultiplied(LayerCodec):
    """Principal components of premultiplied colour, for comparison: no bleeding, colour divided by alpha at the end."""

    token_px, token_dim = 8, 64

    def __init__(self, pictures: Sequence[Tensor]) -> None:
        rows_TV = self._rows(pictures).double()
        self._mean_V = rows_TV.mean(dim=0)
        variance_V, vectors_VV = torch.linalg.eigh(torch.cov(rows_TV.T, correction=0))
        self._std_C, self._basis_VC = (
            variance_V[-self.token_dim :].clamp(min=0).sqrt(),
            vectors_VV[:, -self.token_dim :],
        )

    @property
    def channel_std(self) -> list[float]:
        return [float(std) for std in self._std_C]

    def encode(self, pictures: Sequence[Tensor]) -> Tensor:
        return torch.mm(self._rows(pictures) - self._mean_V.float(), self._basis_VC.float())

    def decode(self, tokens_TC: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        t = self.token_px
        patches_TP4 = (tokens_TC @ self._basis_VC.float().T + self._mean_V.float()).view(-1, t * t, 4)
        alpha_TP1 = patches_TP4[..., 3:]
        straight = torch.cat([patches_TP4[..., :3] / alpha_TP1.clamp(min=1 / 255), alpha_TP1], dim=-1)
        pixels_P4 = straight.mul(255).round().clamp(0, 255).to(torch.uint8).view(-1, 4)
        tiles = cut(pixels_P4, [(1, 1)] * len(tokens_TC), t)
        out = []
        for height, width in sizes:
            rows = [torch.cat(tiles[row * width : (row + 1) * width], dim=1) for row in range(height)]
            out.append(torch.cat(rows))
            tiles = tiles[height * width :]
        return out

    def _rows(self, pictures: Sequence[Tensor]) -> Tensor:
        t = self.token_px
        tiles = [
            picture.unfold(0, t, t).unfold(1, t, t).permute(0, 1, 3, 4, 2).reshape(-1, t * t, 4) for picture in pictures
        ]
        unit_TP4 = torch.cat(tiles).float() / 255
        return torch.cat([unit_TP4[..., :3] * unit_TP4[..., 3:], unit_TP4[..., 3:]], dim=-1).flatten(1)


def codecs_of(fitted: Sequence[Sequence[Placed]]) -> dict[str, LayerCodec]:
    """The codecs by name, fitted on these designs."""
    pictures = [picture for drawn in fitted for picture in Design.of(drawn, 8).pictures]
    return {
        "components, premultiplied": Premultiplied(pictures),
        "components, straight, alpha x1": PcaCodec.fit(pictures, alpha_weight=1),
        "components, straight, alpha x2": PcaCodec.fit(pictures),
        "components, straight, alpha x3": PcaCodec.fit(pictures, alpha_weight=3),
        "components, on gray": PcaCodec.fit(pictures, mode="gray"),
    }


def trained(folder: Path) -> LayerCodec:
    """The VAE of a folder, as the codec that its encoder is of."""
    from model.codecs.vae import GrayCodec, RgbaCodec  # late: diffusers takes seconds to import

    channels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["input_channels"]
    return (RgbaCodec if channels == 4 else GrayCodec).load(folder)


def rows_of(vae: LayerCodec | None) -> tuple[list[Section], list[list[str]]]:
    """A section of scores for each kind, and rows of noise: one fit over all kinds, and one on the kind alone."""
    fits = {name: [kind.draw(n) for n in range(kind.fitted)] for name, kind in KINDS.items()}
    held = {name: [kind.draw(FIRST_HELD_OUT + n) for n in range(kind.measured)] for name, kind in KINDS.items()}
    everything = [drawn for designs in fits.values() for drawn in designs]
    shared = codecs_of(everything)
    if vae:
        shared["VAE"] = vae
    head = ("codec", "RGB L1", "alpha IoU", "cost", "composite PSNR dB", "encode ms a design", "decode ms a design")
    sections: list[Section] = []
    for name, designs in held.items():
        own = PcaCodec.fit(picture for drawn in fits[name] for picture in Design.of(drawn, 8).pictures)
        scored = {**shared, "components, straight, alpha x2, fitted on this kind alone": own}
        tokens = (
            sum(p.shape[0] * p.shape[1] for drawn in designs for p in Design.of(drawn, 8).pictures) / 64 / len(designs)
        )
        sections.append(
            (
                f"{name}, {tokens:.0f} tokens a design",
                head,
                [[title, *measure(codec, designs).cells()] for title, codec in scored.items()],
            )
        )
    pictures = [picture for drawn in everything for picture in Design.of(drawn, 8).pictures]
    some = [drawn for designs in held.values() for drawn in designs[:15]]
    noisy = []
    for power in (0.0, 0.5, 1.0):
        codec = PcaCodec.fit(pictures, power=power)
        std = codec.channel_std
        costs = [f"{measure(codec, some, noise).cost:.4f}" for noise in (0.0, *NOISE)]
        noisy.append([str(power), f"{std[0]:.3f}", f"{std[len(std) // 2]:.3f}", f"{std[-1]:.3f}", *costs])
    return sections, noisy


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.bench.layer_codecs", description=__doc__.partition("\n")[0])
    parser.add_argument("--vae", type=Path, metavar="FOLDER", help="a trained VAE with RGBA decoder to measure too")
    parser.add_argument("--out", type=Path, help="write the tables to this Markdown file too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sections, noisy = rows_of(trained(arguments.vae) if arguments.vae else None)
    noise = ("power", "std of channel 1", "of the middle one", "of the last", "cost", *(f"noise {n}" for n in NOISE))
    preamble = (
        f"{describe()}, one thread; torch {torch.__version__}.\n"
        "Tokens of 8 px, 64 channels; every codec is fitted on designs of all kinds together, unless it says so, "
        "and\nmeasured on others. The power of the normalisation changes no score, only what noise on tokens does: the "
        "last table,\nof 15 designs of each kind, with the costs at three standard deviations of it.\n"
        "Command: `python -m infra.bench.layer_codecs`\n"
    )
    publish(
        "Codecs of the model", preamble, [*sections, ("Normalisation by std ** power", noise, noisy)], arguments.out
    )


if __name__ == "__main__":
    main()
