"""Extract: from the source file of a design to its sample without captions, groupings and pairs.

``extract_file`` runs in the limited child process; ``extract_unit`` is the stage. What a design's outcome depends on
is its row of the plan and the configuration, so an earlier artefact of the same unit gives its designs back when only
other rows changed.
"""

from __future__ import annotations

import errno
import hashlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipelines import formats
from pipelines.artefacts import Outcome
from pipelines.dedup import Signature, signature
from pipelines.errors import Rejected, StoreError
from pipelines.flatten import FlattenConfig, Stack, StackLayer, coverage, flatten, overflow
from pipelines.formats import Fetched, ReadLimits
from pipelines.manifest import resolve
from pipelines.plan import PlanRow
from pipelines.sandbox import Sandbox
from schemas import images
from schemas.design import Design, Layer, Licence, Provenance, Size
from schemas.errors import ImageError
from schemas.images import Codec
from schemas.ledger import Code, LedgerRow
from schemas.sample import Sample, layer_stem

STAGE = "extract"
ATTEMPTS = 2
_AGAIN = frozenset({Code.TIMEOUT, Code.CRASHED})


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


def extract_file(fetched: Fetched, row: PlanRow, config: ExtractConfig) -> tuple[Sample, Signature]:
    """Read, lower, check and encode one design. Runs in the child.

    Raises:
        Rejected: the design cannot or may not become a sample.
    """
    document = formats.read(fetched.path, fetched.format, config.read)
    stack = flatten(document, config.extract)
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
        licence=Licence(id=row.licence or "", licensor=row.licensor or "", expires=row.expires),
        provenance=Provenance(
            uri=row.uri,
            format=fetched.format,
            sha256=fetched.sha256,
            bytes=fetched.bytes,
            family=row.family,
            tags=row.tags,
            scale=stack.scale,
            colour_mode=document.colour_mode,
            depth=document.depth,
            source_layers=stack.source_layers,
        ),
        recomposition=stack.recomposition,
    )
    sample = Sample(design, members)
    return sample, signature(sample, stack.composite, row.row, row.unit)


def extract_rows(
    rows: Iterable[PlanRow], base: str, config: ExtractConfig, sandbox: Sandbox, options: Mapping[str, Any]
) -> Iterator[tuple[Outcome, Sample | None]]:
    """The outcome of each row, with its sample where it is ok.

    Raises:
        StoreError: the local disk or the source store failed, which is no fault of a design.
    """
    for row in rows:
        if row.code is not Code.OK:
            yield Outcome(key=row.key, ledger=_entry(row, "plan", row.code, row.message)), None
            continue
        started = time.monotonic()
        design_id: str | None = None
        attempts = 0
        made: tuple[Sample, Signature] | None = None
        code, message = Code.OK, ""
        while made is None and attempts < ATTEMPTS:
            attempts += 1
            try:
                with tempfile.TemporaryDirectory(prefix="acetate-") as folder:
                    fetched = _fetch(resolve(base, row.uri), Path(folder), config, options)
                    design_id = fetched.sha256[:32]
                    made = sandbox.run(extract_file, fetched, row, config)
            except Rejected as error:
                code, message = error.code, error.message
                if error.code not in _AGAIN:
                    break
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - the child met a file that no reader foresaw: a row, not a traceback
                code, message = Code.UNREADABLE, f"{type(error).__name__}: {error}"
                break
        seconds = time.monotonic() - started
        if made is not None:
            code, message = Code.OK, ""
        ledger = _entry(row, STAGE, code, message, design_id, attempts, seconds)
        sample, signed = made or (None, None)
        yield Outcome(key=row.key, ledger=ledger, signature=signed), sample


def _fetch(uri: str, folder: Path, config: ExtractConfig, options: Mapping[str, Any]) -> Fetched:
    try:
        return formats.fetch(uri, folder, config.read, options)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"no room for a working copy of {uri}: {error.strerror}") from error
        raise Rejected(Code.UNREADABLE, f"cannot read {uri}: {error}") from None


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


def _entry(
    row: PlanRow,
    stage: str,
    code: Code,
    message: str,
    design_id: str | None = None,
    attempts: int = 0,
    seconds: float = 0.0,
) -> LedgerRow:
    return LedgerRow(
        row=row.row,
        uri=row.uri,
        design_id=design_id,
        unit=row.unit,
        stage=stage,
        code=code,
        message=" ".join(message.split())[:500],
        attempts=attempts,
        seconds=round(seconds, 3),
    )
