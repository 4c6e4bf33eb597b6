"""Colourful layered designs for looking at a report, and a dataset that holds them with every kind of ledger row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from pipelines.storage import Store
from schemas import images
from schemas.compositing import Rgba
from schemas.dataset import DATASET_JSON, Dataset
from schemas.design import (
    Caption,
    Captions,
    Grouping,
    LayerKind,
    Licence,
    Lowering,
    Recomposition,
    RestylePair,
    Text,
    TextRun,
)
from schemas.ledger import Code
from schemas.sample import Sample, restyle_stem
from tests.builders import LayerSpec, layer, make_sample
from tests.pipelines.dataset_builder import Entry, publish

HOSTILE = "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
_WORDS = ("Summer Fair", "Night Market", "Quiet Forms", "Open Studio", "River Walk", "Grand Opening", "Tea & Paper")


def poster(seed: int, **fields: Any) -> Sample:
    """A poster of 6 to 11 layers: a graded background, glows, cards and ribbons that overflow, two lines of text."""
    rng = np.random.default_rng(seed)
    width, height = ((600, 800), (800, 450), (640, 640), (390, 780))[seed % 4]
    margin = 60 if seed % 3 else 0
    hue = float(rng.uniform())
    specs = [layer(_graded(width, height, hue), (margin, margin), name="Background")]
    for number in range(int(rng.integers(3, 9))):
        specs.append(_shape(rng, number, hue, (width + margin, height + margin)))
    headline = _WORDS[seed % len(_WORDS)]
    specs.append(_line(headline, width // 9, (margin + width // 14, margin + height // 9), "#ffffff", bold=True))
    specs.append(_line("Doors open at eight", width // 24, (margin + width // 14, margin + height // 3), "#fff4d6"))
    visible = (margin, margin, margin + width, margin + height)
    canvas = (width + 2 * margin, height + 2 * margin)
    count = len(specs)
    defaults: dict[str, Any] = {
        "uri": f"https://example.org/designs/poster%20{seed:03d}.psd",
        "family": f"campaign-{seed // 2}",
        "captions": Captions(
            short={"en": Caption(text=f"A poster that says {headline}", source="template")},
            long={
                "en": Caption(text=f"Soft shapes float behind the words {headline}.", source="template"),
                "zh": Caption(text="柔和的形状漂浮在文字后面。", source="template"),
            },
        ),
        "groupings": (
            Grouping(seed=1, parts=((0, 1), (2, 3), *((i,) for i in range(4, count)))),
            Grouping(seed=2, parts=(*((i,) for i in range(count - 3)), tuple(range(count - 3, count)))),
        ),
        "restyles": (RestylePair(layer=2, method="palette", donor="0" * 32, donor_layer=1, scores={"shift": 0.412}),),
        "recomposition": Recomposition(
            reference="preview", mae=float(rng.uniform(0, 0.6)), p99=float(rng.uniform(0, 5))
        ),
    }
    sample = make_sample(specs, visible=visible, canvas=canvas, codec=images.Codec.WEBP, **{**defaults, **fields})
    restyled = specs[2].pixels.copy()
    restyled[..., :3] = restyled[..., 2::-1]
    return Sample(sample.design, {**sample.members, f"{restyle_stem(2)}.webp": images.encode(restyled)})


@lru_cache
def posters(count: int) -> tuple[Sample, ...]:
    """The first posters, drawn once."""
    return tuple(poster(seed) for seed in range(count))


def report_dataset(root: Path, designs: Sequence[Sample], failures: int = 3, **changes: Any) -> tuple[Store, Dataset]:
    """``designs`` published in three splits with filtered and failed inputs and expectation results."""
    splits = ("train", "train", "train", "val", "test")
    entries = [Entry(sample, split=splits[i % 5], unit=i % 2) for i, sample in enumerate(designs)]
    for number in range(failures):
        entries.append(
            Entry(None, Code.UNREADABLE, uri=f"s3://inbox/broken-{number:05d}.psd", message="not a PSD: bad signature")
        )
        entries.append(Entry(None, Code.LICENCE_NOT_ALLOWED, message="the policy does not allow GPL-3.0-only"))
    entries.append(Entry(None, Code.TIMEOUT, uri="javascript:alert(1)//x.psd", message=HOSTILE))
    entries.append(Entry(None, Code.RECOMPOSE_MISMATCH, message="mean error 4.21 over 1.0: layer 'Glow' draws a bevel"))
    store = publish(root, entries, **changes)
    dataset = Dataset.from_json(store.read(DATASET_JSON))
    ids = [sample.design.design_id for sample in designs]
    results = [
        {"name": "ids are unique", "passed": True, "critical": True, "checked": len(ids), "failed_ids": [],
         "detail": ""},
        {"name": "recomposition error is low", "passed": False, "critical": False, "checked": len(ids),
         "failed_ids": [*ids[:1], "f" * 32], "detail": "recompose_mae at most 0.5"},
    ]  # fmt: skip
    store.write(f"manifest/expectations-{dataset.generation:06d}-0123abcd.json", json.dumps(results).encode())
    return store, dataset


def hostile(seed: int) -> Sample:
    """A poster whose every text tries to break out of the page."""
    sample = poster(
        seed,
        uri=f"javascript:alert(1)//{HOSTILE}",
        family=HOSTILE,
        captions=Captions(short={"en": Caption(text=HOSTILE, source=HOSTILE)}),
        licence=Licence(id="CC0-1.0", licensor=HOSTILE),
    )
    text = Text(runs=(TextRun(text=HOSTILE, font=HOSTILE, size=12.0, colour="#102030"),), language="en")
    layers = tuple(
        one.model_copy(update={"name": HOSTILE, "lowering_notes": (HOSTILE,), "effects": (HOSTILE,), "text": text})
        for one in sample.design.layers
    )
    return Sample(sample.design.model_copy(update={"layers": layers}), sample.members)


def _graded(width: int, height: int, hue: float) -> Rgba:
    top, bottom = np.array(_colour(hue, 0.55)), np.array(_colour(hue + 0.12, 0.3))
    y = np.linspace(0, 1, height)[:, None, None]
    rows = np.broadcast_to(top + (bottom - top) * y, (height, width, 3))
    return np.dstack([rows, np.full((height, width), 255)]).astype(np.uint8)


def _shape(rng: np.random.Generator, number: int, hue: float, room: tuple[int, int]) -> LayerSpec:
    width, height = (int(n) for n in rng.integers(90, 330, 2))
    at = (int(rng.integers(0, max(1, room[0] - width))), int(rng.integers(0, max(1, room[1] - height))))
    colour = _colour(hue + float(rng.uniform(0.25, 0.75)), float(rng.uniform(0.5, 0.8)))
    image = Image.new("RGBA", (width, height), (*colour, 0))
    draw = ImageDraw.Draw(image)
    if number % 3 == 0:
        draw.ellipse((12, 12, width - 12, height - 12), fill=(*colour, 235))
        image.putalpha(image.getchannel("A").filter(ImageFilter.GaussianBlur(8)))
        return layer(np.array(image), at, name="Glow", kind=LayerKind.SHAPE, effects=("outer glow",), leaves=2)
    if number % 3 == 1:
        draw.rounded_rectangle((0, 0, width - 1, height - 1), 26, fill=(*colour, 200))
        return layer(
            np.array(image), at, name="Card", kind=LayerKind.SHAPE, blend_mode="multiply", lowering=Lowering.BAKED,
            lowering_notes=("multiply by a colour: the backdrop is baked in",), reusable=False, opacity=0.8,
        )  # fmt: skip
    draw.polygon([(0, height // 3), (width - 1, 0), (width - 1, height * 2 // 3), (0, height - 1)], fill=(*colour, 255))
    return layer(np.array(image), at, name="Ribbon", kind=LayerKind.IMAGE, lowering=Lowering.PUSHED_DOWN)


def _line(words: str, size: int, at: tuple[int, int], colour: str, *, bold: bool = False) -> LayerSpec:
    font = ImageFont.load_default(size)
    left, top, right, bottom = (int(n) for n in font.getbbox(words, stroke_width=1 if bold else 0))
    image = Image.new(
        "RGBA", (right - left + 4, bottom - top + 4), (*Image.new("RGB", (1, 1), colour).getpixel((0, 0)), 0)
    )
    ImageDraw.Draw(image).text((2 - left, 2 - top), words, fill=colour, font=font, stroke_width=1 if bold else 0)
    run = TextRun(text=words, font="Aileron-Regular", size=float(size), colour=colour, weight=700 if bold else 400)
    text = Text(runs=(run,), alignment="left", language="en")
    caption = Caption(text=f'text "{words}"', source="typography")
    return layer(np.array(image), at, name=words, kind=LayerKind.TEXT, text=text, caption=caption)


def _colour(hue: float, lightness: float) -> tuple[int, int, int]:
    red, green, blue = (0.5 + 0.5 * np.cos(2 * np.pi * (hue + shift)) for shift in (0, 1 / 3, 2 / 3))
    return tuple(int(255 * (lightness * 0.45 + 0.55 * c)) for c in (red, green, blue))  # type: ignore[return-value]
