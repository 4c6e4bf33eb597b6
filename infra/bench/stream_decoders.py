"""What is done with a sample's members: the same functions for every contestant, and our stream's decoders of them.

``WORK`` names the functions, which turn members by name into arrays, in the order of the members' names.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from infra.bench.stream_gate import PARENT, wait_at_gate
from schemas.sample import RECORD, layer_stem
from training.streaming.config import PlanConfig, Task
from training.streaming.jobs import Allocate, Bytes, Decoded, Job, Loaded
from training.streaming.latents import LATENTS, LatentDecoder
from training.streaming.pictures import decode
from training.streaming.pixels import PixelDecoder

Members = Mapping[str, Bytes]
Array = npt.NDArray[np.uint8]

_WORD = 8


def pictures(members: Members) -> list[Array]:
    """Every picture in full, ``uint8 [height, width, 4]``, as our stream decodes one."""
    return [by_opencv(members[name], size) for name, size in sizes(members)]


def pictures_by_pillow(members: Members) -> list[Array]:
    """As ``pictures``, by Pillow."""
    return [by_pillow(members[name], size) for name, size in sizes(members)]


def by_opencv(data: Bytes, size: tuple[int, int], out: Array | None = None) -> Array:
    return decode(data, size, out)[0]


def by_pillow(data: Bytes, size: tuple[int, int], out: Array | None = None) -> Array:
    image = Image.open(io.BytesIO(data))
    if image.size != size:
        raise ValueError(f"a picture of {image.size} px is not the one of {size} px")
    pixels = image.convert("RGBA")
    if out is None:
        return np.array(pixels)
    out[...] = np.asarray(pixels)
    return out


def sizes(members: Members) -> list[tuple[str, tuple[int, int]]]:
    """The picture members by name, with their width and height by the record. Previews are as large as the visible box
    here.
    """
    record = json.loads(bytes(members[RECORD]))
    boxes = {layer_stem(layer["index"]): layer["box"] for layer in record["layers"]} | {"preview": record["visible"]}
    found = {stem: (x1 - x0, y1 - y0) for stem, (x0, y0, x1, y1) in boxes.items()}
    found["composite"] = (record["canvas"]["width"], record["canvas"]["height"])
    return [(name, found[name.partition(".")[0]]) for name in sorted(members) if name != RECORD]


def latents(members: Members) -> list[Any]:
    """The latents as a tensor, as the documentation of safetensors reads them from bytes."""
    from safetensors.torch import load

    return list(load(bytes(members[LATENTS])).values())


WORK: dict[str, Callable[[Members], list[Any]]] = {
    "cv2": pictures,
    "Pillow": pictures_by_pillow,
    "latents": latents,
}


def wait_as_worker() -> None:
    """In a worker process of our stream, wait at the gate. The reader in its parent waits by itself."""
    if os.getpid() != int(os.environ.get(PARENT, os.getpid())):
        wait_at_gate()


class Pixels(PixelDecoder):
    """Our stream's own decoder of pixels."""

    def __init__(self, config: PlanConfig, seed: int, withdrawn: frozenset[str]) -> None:
        super().__init__(config, seed, withdrawn)
        wait_as_worker()


class Latents(LatentDecoder):
    """Our stream's own decoder of latents."""

    def __init__(self, config: PlanConfig, seed: int, withdrawn: frozenset[str]) -> None:
        super().__init__(config, seed, withdrawn)
        wait_as_worker()


class _Whole:
    """Decodes every member in full: ``pixels`` (one picture after another, each at a multiple of 8 bytes), ``sizes``
    (height and width of each) and ``counts`` (pictures of each design).
    """

    decoder: Callable[[Bytes, tuple[int, int], Array], object]

    def __init__(self, config: PlanConfig, seed: int, withdrawn: frozenset[str]) -> None:
        del config, seed, withdrawn
        wait_as_worker()

    def members(self, names: Sequence[str], task: Task) -> list[str]:
        return list(names)

    def decode(self, job: Job, loaded: Sequence[Loaded], allocate: Allocate) -> Decoded:
        found = [(one.members, sizes(one.members)) for one in loaded]
        flat = [(members[name], size) for members, named in found for name, size in named]
        places = np.cumsum([0, *(padded(4 * width * height) for _, (width, height) in flat)])
        wanted = {
            "pixels": ((int(places[-1]),), np.uint8),
            "sizes": ((len(flat), 2), np.int32),
            "counts": ((len(found),), np.int32),
        }
        arrays = allocate(wanted)
        arrays["counts"][:] = [len(named) for _, named in found]
        arrays["sizes"][:] = [size[::-1] for _, size in flat]
        for at, (data, (width, height)) in zip(places, flat, strict=False):
            out = arrays["pixels"][at : at + 4 * width * height].reshape(height, width, 4)
            self.decoder(data, (width, height), out)
        keys = tuple(one.item.key for one in loaded)
        return Decoded(keys, tuple(one.item.task for one in loaded), ("",) * len(keys), arrays)


def padded(size: int) -> int:
    """The next multiple of 8."""
    return -(-size // _WORD) * _WORD


class ByOpenCV(_Whole):
    """What ``pictures`` does, for our stream."""

    decoder = staticmethod(by_opencv)


class ByPillow(_Whole):
    """What ``pictures_by_pillow`` does, for our stream."""

    decoder = staticmethod(by_pillow)
