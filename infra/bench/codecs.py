"""Which lossless codec and effort for layers? Size and time as ratios to PNG level 6 in the same run.

``python -m infra.bench.codecs [--out FILE.md]`` draws layers of five kinds (photograph, gradient, flat shapes, text,
soft shadow), encodes each with every setting, checks that decoding gives the same bytes back, colour under transparency
included, and prints one row a setting: geometric means over the kinds of size, encode and decode time against PNG 6.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features

from infra.bench.machine import describe
from schemas.compositing import Rgba

SIDE = 1024
REPEATS = 3


def photograph(rng: np.random.Generator) -> Image.Image:
    """Opaque, smooth areas with detail of every size and sensor noise: the hard case."""
    total = np.zeros((SIDE, SIDE, 3), np.float64)
    for octave in range(1, 9):
        coarse = rng.uniform(0, 255, (2**octave, 2**octave, 3)).astype(np.uint8)
        fine = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        total += np.asarray(fine, np.float64) / 2**octave
    total += rng.normal(0, 2, total.shape)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8)).convert("RGBA")


def gradient(rng: np.random.Generator) -> Image.Image:
    """An opaque linear gradient with one level of dither."""
    ends = rng.uniform(0, 255, (2, 3))
    ramp = np.linspace(0, 1, SIDE)[:, None, None] * np.linspace(0.5, 1, SIDE)[None, :, None]
    colour = ends[0] + (ends[1] - ends[0]) * ramp + rng.uniform(-0.5, 0.5, (SIDE, SIDE, 1))
    return Image.fromarray(colour.clip(0, 255).astype(np.uint8)).convert("RGBA")


def shapes(rng: np.random.Generator) -> Image.Image:
    """Flat ellipses and rectangles with smooth edges on transparency."""
    image = Image.new("RGBA", (2 * SIDE, 2 * SIDE))
    draw = ImageDraw.Draw(image)
    for number in range(14):
        x, y = (int(v) for v in rng.integers(0, 2 * SIDE - 400, 2))
        w, h = (int(v) for v in rng.integers(80, 400, 2))
        fill = (*(int(v) for v in rng.integers(0, 256, 3)), 255)
        (draw.ellipse if number % 2 else draw.rectangle)((x, y, x + w, y + h), fill=fill)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def text(rng: np.random.Generator) -> Image.Image:
    """Lines of text in one colour, soft edges in alpha alone."""
    alpha = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(alpha)
    for line in range(12):
        font = ImageFont.load_default(size=int(rng.integers(20, 90)))
        draw.text((10, line * 84), "Every layer tells the truth 0123", font=font, fill=255)
    image = Image.new("RGBA", (SIDE, SIDE), tuple(int(v) for v in rng.integers(0, 256, 3)))
    image.putalpha(alpha)
    return image


def shadow(rng: np.random.Generator) -> Image.Image:
    """A blurred black shape: wide soft alpha."""
    alpha = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(alpha).rounded_rectangle((200, 260, 820, 760), 60, fill=int(rng.integers(120, 220)))
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    image.putalpha(alpha.filter(ImageFilter.GaussianBlur(40)))
    return image


KINDS = (photograph, gradient, shapes, text, shadow)


def _webp(method: int, quality: int) -> Callable[[Image.Image], bytes]:
    return lambda image: _save(image, "WEBP", lossless=True, exact=True, method=method, quality=quality)


def _png(level: int) -> Callable[[Image.Image], bytes]:
    return lambda image: _save(image, "PNG", compress_level=level)


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


SETTINGS: dict[str, Callable[[Image.Image], bytes]] = {
    "png 6": _png(6),
    "png 1": _png(1),
    "png 9": _png(9),
    "webp method 0 quality 0": _webp(0, 0),
    "webp method 0 quality 20": _webp(0, 20),
    "webp method 0 quality 50": _webp(0, 50),
    "webp method 1 quality 20": _webp(1, 20),
    "webp method 1 quality 50": _webp(1, 50),
    "webp method 2 quality 20": _webp(2, 20),
    "webp method 2 quality 50": _webp(2, 50),
    "webp method 4 quality 20": _webp(4, 20),
    "webp method 4 quality 50": _webp(4, 50),
    "webp method 4 quality 75": _webp(4, 75),
}


def _decode(data: bytes) -> Rgba:
    return np.array(Image.open(io.BytesIO(data)).convert("RGBA"))


def measure() -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    """``float64 [settings, kinds, 3]``: bytes, encode seconds and decode seconds, the least of the repeats."""
    rng = np.random.default_rng(0)
    images = [kind(rng) for kind in KINDS]
    out = np.full((len(SETTINGS), len(KINDS), 3), np.inf)
    for _ in range(REPEATS):
        for s, encode in enumerate(SETTINGS.values()):
            for k, image in enumerate(images):
                began = time.perf_counter()
                data = encode(image)
                encoded = time.perf_counter()
                back = _decode(data)
                ended = time.perf_counter()
                if not np.array_equal(back, np.asarray(image)):
                    raise AssertionError(f"{list(SETTINGS)[s]} changed the {KINDS[k].__name__}")
                out[s, k] = np.minimum(out[s, k], (len(data), encoded - began, ended - encoded))
    return out


def table(measured: np.ndarray[tuple[int, int, int], np.dtype[np.float64]]) -> str:
    """The measurements as Markdown, every number a ratio to the first setting."""
    ratios = measured / measured[:1]
    means = np.exp(np.log(ratios).mean(axis=1))
    head = ["setting", "size", "encode time", "decode time", *(f"size: {kind.__name__}" for kind in KINDS)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, mean, each in zip(SETTINGS, means, ratios, strict=True):
        cells = [name, *(f"{value:.2f}" for value in mean), *(f"{value:.2f}" for value in each[:, 0])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.bench.codecs", description="Size and speed of layer codecs.")
    parser.add_argument("--out", type=Path, help="write the table to this Markdown file too")
    arguments = parser.parse_args()
    versions = f"Pillow {PIL.__version__}, libwebp {features.version('webp')}, zlib {features.version('zlib')}"
    what = f"{len(KINDS)} layers of {SIDE} x {SIDE} px RGBA, least of {REPEATS} runs; ratios to PNG 6, less is better"
    head = f"# Layer codecs\n\n{describe()}; {versions}.\n{what}.\nCommand: `python -m infra.bench.codecs`"
    report = f"{head}\n\n{table(measure())}\n"
    print(report)
    if arguments.out:
        arguments.out.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
