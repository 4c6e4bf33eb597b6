"""Extract: from the source file of a design to its sample without captions, groupings and pairs.

``extract_file`` runs in the limited child process; ``Extractor`` feeds it the rows of a unit. What becomes of a source
depends on its uri and the configuration, so an earlier artefact of the same unit gives its designs back when only other
rows changed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipelines import formats
from pipelines.artefacts import Outcome
from pipelines.dedup import Signature, signature
from pipelines.errors import Rejected
from pipelines.flatten import FlattenConfig, Stack, StackLayer, coverage, flatten, overflow
from pipelines.formats import Fetched, ReadLimits
from pipelines.manifest import resolve
from pipelines.plan import PlanRow
from pipelines.sandbox import ChildError, Sandbox
from pipelines.scratch import working_directory
from schemas import images
from schemas.design import Design, Layer, Licence, Provenance, Size
from schemas.errors import ImageError
from schemas.images import Codec
from schemas.ledger import Code
from schemas.sample import Sample, layer_stem

ATTEMPTS = 2
MAX_RECORD_BYTES = 16 * 2**20
_AGAIN = frozenset({Code.TIMEOUT, Code.CRASHED, Code.OUT_OF_MEMORY})


class ImageConfig(BaseModel):
    """The codec of the image members. ``effort`` trades encoding time for size and never changes a pixel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    codec: Codec = Codec.WEBP
    effort: Annotated[int, Field(ge=0, le=6)] = images.DEFAULT_EFFORT


class ExtractConfig(BaseModel):
    """Everything that decides what extraction makes of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    read: ReadLimits
    extract: FlattenConfig
    image: ImageConfig


def extract_file(fetched: Fetched, config: ExtractConfig) -> tuple[Sample, Signature]:
    """Read, lower, check and encode one design. Runs in the child.

    The record's terms and its place are empty: they are bound to a row when the unit is sharded.

    Raises:
        Rejected: the design cannot or may not become a sample.
    """
    document = formats.read(fetched.path, fetched.format, config.read)
    stack = flatten(document, config.extract)
    colour_mode, depth = document.colour_mode, document.depth
    del document  # its pictures are not needed while ours are encoded
    members: dict[str, bytes] = {}
    try:
        for name, pixels in _pictures(stack):
            members[f"{name}.{config.image.codec}"] = images.encode(pixels, config.image.codec, config.image.effort)
    except ImageError as error:
        raise Rejected(Code.TOO_LARGE, str(error)) from None
    design = Design(
        design_id=fetched.sha256[:32],
        canvas=Size(width=stack.canvas.width, height=stack.canvas.height),
        visible=stack.visible,
        layers=tuple(_layer(i, layer, stack) for i, layer in enumerate(stack.layers)),
        licence=Licence(id="", licensor=""),
        provenance=Provenance(
            uri="",
            format=fetched.format,
            sha256=fetched.sha256,
            bytes=fetched.bytes,
            family="",
            scale=stack.scale,
            colour_mode=colour_mode,
            depth=depth,
            source_layers=stack.source_layers,
        ),
        recomposition=stack.recomposition,
    )
    if len(design.to_json()) > MAX_RECORD_BYTES:
        raise Rejected(Code.TOO_LARGE, f"its record would have more than {MAX_RECORD_BYTES} bytes")
    sample = Sample(design, members)
    return sample, signature(sample, stack.composite, 0, 0)


@dataclass(frozen=True)
class Extractor:
    """Turns admitted rows of a plan into outcomes, in the sandbox. ``base`` is where relative uris start."""

    base: str
    config: ExtractConfig
    sandbox: Sandbox
    options: Mapping[str, Any]

    def rows(self, rows: Iterable[PlanRow]) -> Iterator[tuple[Outcome, Sample | None]]:
        """The outcome of each row, with its sample where it is ok.

        Raises:
            StoreError: the local disk failed, which is no fault of a design.
        """
        for row in rows:
            yield self._extract(row)

    def _extract(self, row: PlanRow) -> tuple[Outcome, Sample | None]:
        """What comes of one row; a timeout, a crash and a want of memory are tried once more before they stand, in a
        fresh child: no design pays for what an earlier one left there.
        """
        started = time.monotonic()
        attempts = 1
        design_id, made, code, message = self._attempt(row)
        while code in _AGAIN and attempts < ATTEMPTS:
            attempts += 1
            design_id, made, code, message = self._attempt(row)
        sample, signed = made or (None, None)
        outcome = Outcome(
            key=row.key,
            design_id=design_id,
            code=code,
            message=one_line(message),
            attempts=attempts,
            seconds=round(time.monotonic() - started, 3),
            signature=signed,
        )
        return outcome, sample

    def _attempt(self, row: PlanRow) -> tuple[str | None, tuple[Sample, Signature] | None, Code, str]:
        """(design id, what was made, code, message)."""
        design_id: str | None = None
        try:
            with working_directory() as folder:
                source = resolve(self.base, row.uri)
                fetch = (source, folder, self.config.read, self.options)
                private = source.startswith("memory://")  # seen by this process alone
                fetched = formats.fetch(*fetch) if private else self.sandbox.run(formats.fetch, *fetch)
                design_id = fetched.sha256[:32]
                return design_id, self.sandbox.run(extract_file, fetched, self.config), Code.OK, ""
        except Rejected as error:
            return design_id, None, error.code, error.message
        except ChildError as error:  # a file that no reader foresaw
            return design_id, None, Code.UNREADABLE, str(error)


def _pictures(stack: Stack) -> Iterable[tuple[str, Any]]:
    yield "composite", stack.composite
    yield "preview", stack.preview
    for index, layer in enumerate(stack.layers):
        yield layer_stem(index), layer.pixels


def _layer(index: int, layer: StackLayer, stack: Stack) -> Layer:
    return Layer(
        index=index,
        name=layer.name,
        kind=layer.kind,
        box=layer.box,
        overflow=overflow(layer.pixels, layer.box, stack.visible),
        opacity=layer.opacity,
        blend_mode=layer.blend_mode,
        effects=layer.effects,
        lowering=layer.lowering,
        lowering_notes=layer.notes,
        reusable=layer.reusable,
        leaves=layer.leaves,
        coverage=coverage(layer.pixels),
        sha256=hashlib.sha256(np.ascontiguousarray(layer.pixels).data).hexdigest(),
        cropped=layer.cropped,
        text=layer.text,
    )


def one_line(text: str) -> str:
    """Text of a file or a library as a message: printable, on one line, at most 500 characters."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:500]
