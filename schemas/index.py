"""The index: one row a sample, enough to plan an epoch and to read any member with one ranged, checked read."""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa
from pydantic import Field

from schemas.design import Design, DesignId, Record, Sha256

_BOX = pa.list_(pa.int32(), 4)


class Member(Record):
    """Where a member of a sample lies in its shard: byte ``offset`` of its data (past the tar header), and its size."""

    name: str
    offset: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256


class Location(Record):
    """A sample in its shard."""

    key: DesignId
    shard: str
    members: tuple[Member, ...]


INDEX_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("unit", pa.int64(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("visible", _BOX, nullable=False),
        pa.field("layers", pa.int32(), nullable=False),
        pa.field("boxes", pa.list_(_BOX), nullable=False),
        pa.field("kinds", pa.list_(pa.string()), nullable=False),
        pa.field("lowerings", pa.list_(pa.string()), nullable=False),
        pa.field("reusable", pa.list_(pa.bool_()), nullable=False),
        pa.field("groupings", pa.list_(pa.list_(pa.list_(pa.int32()))), nullable=False),
        pa.field("restyles", pa.list_(pa.int32()), nullable=False),
        pa.field("overflow_share", pa.float64(), nullable=False),
        pa.field("text_languages", pa.list_(pa.string()), nullable=False),
        pa.field("caption_source", pa.string()),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("licensor", pa.string(), nullable=False),
        pa.field("expires", pa.string()),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("recompose_mae", pa.float64(), nullable=False),
        pa.field("recompose_p99", pa.float64(), nullable=False),
        pa.field("phash", pa.string(), nullable=False),
        pa.field(
            "members",
            pa.list_(
                pa.struct(
                    [
                        pa.field("name", pa.string(), nullable=False),
                        pa.field("offset", pa.int64(), nullable=False),
                        pa.field("size", pa.int64(), nullable=False),
                        pa.field("sha256", pa.string(), nullable=False),
                    ]
                )
            ),
            nullable=False,
        ),
    ]
)


def index_row(design: Design, location: Location, *, split: str, unit: int, row: int, phash: str) -> dict[str, object]:
    """The index row of one published sample. ``phash`` is the hex perceptual hash of its visible composite."""
    sources = {caption.source for caption in (*design.captions.short.values(), *design.captions.long.values())}
    return {
        "key": location.key,
        "shard": location.shard,
        "split": split,
        "unit": unit,
        "row": row,
        "width": design.canvas.width,
        "height": design.canvas.height,
        "visible": list(design.visible),
        "layers": len(design.layers),
        "boxes": [list(layer.box) for layer in design.layers],
        "kinds": [str(layer.kind) for layer in design.layers],
        "lowerings": [str(layer.lowering) for layer in design.layers],
        "reusable": [layer.reusable for layer in design.layers],
        "groupings": [[list(part) for part in grouping.parts] for grouping in design.groupings],
        "restyles": [pair.layer for pair in design.restyles],
        "overflow_share": max(layer.overflow.share for layer in design.layers),
        "text_languages": sorted(
            {layer.text.language for layer in design.layers if layer.text and layer.text.language}
        ),
        "caption_source": "+".join(sorted(sources)) or None,
        "licence": design.licence.id,
        "licensor": design.licence.licensor,
        "expires": design.licence.expires,
        "uri": design.provenance.uri,
        "format": design.provenance.format,
        "family": design.provenance.family,
        "recompose_mae": design.recomposition.mae,
        "recompose_p99": design.recomposition.p99,
        "phash": phash,
        "members": [member.model_dump() for member in location.members],
    }
