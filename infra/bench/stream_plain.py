"""The pipeline that somebody would write plainly on stock webdataset: decode all, resize all, pad to a batch.

``packed`` of our stream does the same work: text-to-layers at RESOLUTION px. ``STEPS`` take the plain pipeline towards
ours one reason at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from infra.bench.stream_peers import Gated, Sample, Spec, shards
from schemas.sample import layer_stem
from training.streaming.pictures import decode

RESOLUTION = 512
STEPS = ("plain", "plain, needed members", "plain, needed members, our decoder")
"""The second composes the composite of resized layers; the third decodes as our stream does."""

Decoded = dict[str, Any]


def plain(spec: Spec) -> Iterator[list[Sample]]:
    """Batches ``uint8 [designs, pictures, height, width, 4]``: the composite first, then the layers."""
    import webdataset as wds

    urls = shards(spec)
    few = spec.work != STEPS[0]
    dataset = wds.WebDataset(urls, shardshuffle=len(urls), seed=0, select_files=_needed if few else None)
    dataset = dataset.shuffle(max(2, spec.held)).decode(our_decoder if spec.work == STEPS[2] else "pilrgba")
    dataset = dataset.map(functools.partial(resized, composed=few)).batched(spec.batch, collation_fn=padded)
    loader = wds.WebLoader(Gated(dataset, spec.storage), batch_size=None, num_workers=spec.workers)
    return ([(key, [one]) for key, one in zip(keys, batch, strict=True)] for keys, batch in loader)


def _needed(name: str) -> bool:
    return "composite" not in name and "preview" not in name


def our_decoder(name: str, data: bytes) -> Any:
    """A decoder for webdataset: WebP pictures by ours, what else there is by its own."""
    if not name.endswith(".webp"):
        return None
    bits = int.from_bytes(data[21:25], "little")
    pixels, _ = decode(data, ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
    return Image.fromarray(pixels, "RGBA")


def resized(sample: Decoded, composed: bool) -> tuple[str, list[Image.Image]]:
    """The key, the composite and the layers at the scale at which the visible box has RESOLUTION squared px."""
    record = sample["json"]
    pictures = {name.partition(".")[0]: item for name, item in sample.items() if isinstance(item, Image.Image)}
    x0, y0, x1, y1 = record["visible"]
    scale = RESOLUTION / ((x1 - x0) * (y1 - y0)) ** 0.5
    small = {stem: item.resize(_size(item, scale), Image.Resampling.BOX) for stem, item in pictures.items()}
    layers = [small[layer_stem(layer["index"])] for layer in record["layers"]]
    whole = _composite(record, layers, scale) if composed else small["composite"]
    return sample["__key__"], [whole, *layers]


def _size(image: Image.Image, scale: float) -> tuple[int, int]:
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _composite(record: Decoded, layers: list[Image.Image], scale: float) -> Image.Image:
    canvas = record["canvas"]
    out = Image.new("RGBA", (round(canvas["width"] * scale) + 1, round(canvas["height"] * scale) + 1))
    for layer, image in zip(record["layers"], layers, strict=True):
        out.alpha_composite(image, dest=(int(layer["box"][0] * scale), int(layer["box"][1] * scale)))
    return out


def padded(samples: list[tuple[str, list[Image.Image]]]) -> tuple[list[str], torch.Tensor]:
    """Keys, and all pictures in one tensor, padded to the most pictures and the largest sides."""
    pictures = [image for _, images in samples for image in images]
    height, width = max(image.height for image in pictures), max(image.width for image in pictures)
    most = max(len(images) for _, images in samples)
    out = torch.zeros((len(samples), most, height, width, 4), dtype=torch.uint8)
    for place, (_, images) in zip(out, samples, strict=True):
        for target, image in zip(place, images, strict=False):
            target[: image.height, : image.width] = torch.from_numpy(np.array(image))
    return [key for key, _ in samples], out
