"""The gallery's pictures: members of a sample scaled down and stored as WebP under names that follow their content."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from pipelines.report.tables import Entry
from pipelines.storage import Store
from schemas import images
from schemas.compositing import Rgba
from schemas.errors import SampleError
from schemas.geometry import Box
from schemas.images import WEBP_MAX_SIDE, Codec
from schemas.index import Member

ASSETS = "report/assets"
_VERSION = 1  # of what ``_encode`` makes: pictures with another version get other names


@dataclass(frozen=True)
class Scaling:
    """How a picture shrinks: by ``factor``, or until its long side is at most ``side`` px; ``quality`` is WebP's."""

    factor: float = 1.0
    side: int = WEBP_MAX_SIDE
    quality: int = 86

    def of(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of a picture of ``size`` (width, height) after scaling, at least 1 px a side."""
        factor = min(self.factor, self.side / max(size), 1.0)
        return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


@dataclass
class Pictures:
    """Writes pictures into the store, each once. ``present``: names that are there; ``used``: names asked for."""

    store: Store
    present: Collection[str]
    used: list[str] = field(default_factory=list)

    def put(
        self,
        entry: Entry,
        stem: str,
        scaling: Scaling,
        size: tuple[int, int] | None = None,
        crop: Box | None = None,
    ) -> str:
        """Member ``stem``, of ``size`` (width, height) where that is known, cropped and scaled; its path from the page.

        Raises:
            SampleError, ImageError: the member is missing or damaged.
            StoreError, FileNotFoundError: the shard cannot be read.
        """
        member = find(entry, stem)
        content = f"{_VERSION} {member.sha256} {list(crop) if crop else None} {scaling}"
        name = f"{ASSETS}/{entry.key}/{stem}-{hashlib.sha256(content.encode()).hexdigest()[:12]}.webp"
        self.used.append(name)
        if name not in self.present:
            pixels = images.decode(read(self.store, entry, member), size=size)
            self.store.write(name, _encode(pixels[crop.slices] if crop else pixels, scaling))
        return name.removeprefix("report/")


def find(entry: Entry, stem: str) -> Member:
    """The member ``stem`` of a design, whatever its codec. Raises SampleError: there is none."""
    names = {f"{stem}.{codec}" for codec in Codec} | {stem}
    for member in entry.members:
        if member.name in names:
            return member
    raise SampleError(f"{entry.key}: no member {stem!r}")


def read(store: Store, entry: Entry, member: Member) -> bytes:
    """One ranged, checked read. Raises SampleError: the bytes are not those the index names."""
    data = store.read_range(entry.shard, member.offset, member.size)
    if hashlib.sha256(data).hexdigest() != member.sha256:
        raise SampleError(f"{entry.key}: {member.name} is not what the index says; run acetate validate")
    return data


def _encode(pixels: Rgba, scaling: Scaling) -> bytes:
    """WebP with exact alpha; Pillow resizes RGBA by premultiplied colour."""
    image = Image.fromarray(np.ascontiguousarray(pixels), "RGBA")
    target = scaling.of(image.size)
    if image.size != target:
        image = image.resize(target, Image.Resampling.HAMMING, reducing_gap=3.0)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=scaling.quality, alpha_quality=100, method=4)
    return out.getvalue()
