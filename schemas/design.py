"""The record of one design: the ``json`` member of a sample.

The record says everything about a design but its pixels. Boxes are half-open integers on the canvas (geometry.py),
colour is 8-bit sRGB, layers are bottom to top with the background first.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from schemas import SCHEMA_VERSION
from schemas.errors import RecordError
from schemas.geometry import Box, CanvasBox

T = TypeVar("T", bound=BaseModel)

DesignId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
HexColour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-f]{6}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
MIN_TYPE, MAX_TYPE = 0.001, 100_000.0
"""The smallest size of type, and the largest of its sizes and spacings."""
Spacing = Annotated[float, Field(ge=-MAX_TYPE, le=MAX_TYPE)]
Stretch = Annotated[float, Field(ge=0.001, le=1000.0)]
Alignment = Literal["left", "right", "centre", "justify"]


class Record(BaseModel):
    """Base of every part of the record: frozen, and an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Size(Record):
    """Width and height in pixels."""

    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]


class LayerKind(StrEnum):
    """What a layer was in its document."""

    BACKGROUND = "background"
    IMAGE = "image"
    TEXT = "text"
    SHAPE = "shape"
    FILL = "fill"
    GROUP = "group"


class Lowering(StrEnum):
    """How a layer of the document became a normal-mode RGBA layer, cleanest first (DESIGN section 5)."""

    EXACT = "exact"
    PUSHED_DOWN = "pushed_down"
    BAKED = "baked"
    MERGED = "merged"


class Overflow(Record):
    """How far a layer's alpha reaches out of the visible box, in px a side, and as a share of its total alpha."""

    left: Annotated[int, Field(ge=0)] = 0
    top: Annotated[int, Field(ge=0)] = 0
    right: Annotated[int, Field(ge=0)] = 0
    bottom: Annotated[int, Field(ge=0)] = 0
    share: Share = 0.0


class TextRun(Record):
    """A stretch of text with one style.

    ``size``, ``leading`` and ``baseline_shift`` (up) are px with the transform applied, ``tracking`` is 1/1000 em.
    Letters are ``size`` times ``vertical_scale`` high and ``size`` times ``horizontal_scale`` wide. ``weight`` and
    ``italic`` are what is seen; the ``faux`` ones say what of it is not the font's own.
    """

    text: str
    font: str | None = None
    size: Annotated[float, Field(ge=MIN_TYPE, le=MAX_TYPE)] | None = None
    colour: HexColour | None = None
    weight: Annotated[int, Field(ge=1, le=1000)] | None = None
    italic: bool = False
    underline: bool = False
    strikethrough: bool = False
    caps: Literal["normal", "small", "all"] = "normal"
    tracking: Spacing = 0.0
    leading: Spacing | None = None
    faux_bold: bool = False
    faux_italic: bool = False
    baseline: Literal["normal", "super", "sub"] = "normal"
    baseline_shift: Spacing = 0.0
    horizontal_scale: Stretch = 1.0
    vertical_scale: Stretch = 1.0


class Text(Record):
    """The true typography of a text layer: the runs in reading order; their texts joined are the content.

    ``alignment`` is that of most lines and ``alignments`` that of each, where they differ. ``warp`` names the shape
    that a warped text is bent to (``arc``, ``flag``, ...); ``rotation`` is degrees clockwise.
    """

    runs: tuple[TextRun, ...]
    alignment: Alignment | None = None
    alignments: tuple[Alignment, ...] = ()
    direction: Literal["ltr", "rtl", "ttb"] = "ltr"
    language: str | None = None
    warped: bool = False
    warp: str | None = None
    rotation: Annotated[float, Field(ge=-360.0, le=360.0)] = 0.0

    @property
    def content(self) -> str:
        return "".join(run.text for run in self.runs)


class Caption(Record):
    """A caption and who wrote it: ``template``, ``typography``, ``manifest`` or a model's name."""

    text: str
    source: str


class Captions(Record):
    """Global captions of a design: for each language (BCP 47) a short and a long one."""

    short: dict[str, Caption] = {}
    long: dict[str, Caption] = {}


class Layer(Record):
    """One RGBA layer. Its pixels are the member ``layer_{index:02d}`` of the sample, of the size of ``box``."""

    index: Annotated[int, Field(ge=0)]
    name: str
    kind: LayerKind
    box: CanvasBox
    overflow: Overflow = Overflow()
    opacity: Share = 1.0
    blend_mode: str = "normal"
    effects: tuple[str, ...] = ()
    lowering: Lowering = Lowering.EXACT
    lowering_notes: tuple[str, ...] = ()
    reusable: bool = True
    leaves: Annotated[int, Field(ge=1)] = 1
    coverage: Share
    sha256: Sha256
    cropped: bool = False
    caption: Caption | None = None
    text: Text | None = None


class Grouping(Record):
    """A partition of the layer indices that recomposes: parts bottom to top, indices ascending in each part."""

    seed: int
    parts: tuple[tuple[int, ...], ...]


class RestylePair(Record):
    """A condition image with another style for one layer: the member ``restyle_{layer:02d}`` of the sample."""

    layer: Annotated[int, Field(ge=0)]
    method: str
    donor: DesignId | None = None
    donor_layer: int | None = None
    scores: dict[str, float] = {}


class Licence(Record):
    """The terms of a design: an SPDX expression, who granted it and until when (ISO date, exclusive)."""

    id: str
    licensor: str
    expires: str | None = None


class Provenance(Record):
    """Where a design came from: the manifest's uri, the format it was read as, hash and size of its source bytes."""

    uri: str
    format: str
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]
    family: str
    tags: tuple[str, ...] = ()
    scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    colour_mode: str = "RGB"
    depth: int = 8
    source_layers: Annotated[int, Field(ge=0)] = 0


class Recomposition(Record):
    """The composite against what the document showed: errors in 1/255, over white and black where it has alpha."""

    reference: Literal["preview", "render"]
    mae: Annotated[float, Field(ge=0)]
    p99: Annotated[float, Field(ge=0)]


class Design(Record):
    """The record of one design. See DESIGN section 3.1."""

    schema_version: Literal[1] = Field(default=SCHEMA_VERSION, alias="schema")
    design_id: DesignId
    canvas: Size
    visible: CanvasBox
    layers: tuple[Layer, ...]
    captions: Captions = Captions()
    groupings: tuple[Grouping, ...] = ()
    restyles: tuple[RestylePair, ...] = ()
    licence: Licence
    provenance: Provenance
    recomposition: Recomposition

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    @model_validator(mode="after")
    def _consistent(self) -> Design:
        canvas = Box(0, 0, self.canvas.width, self.canvas.height)
        if not canvas.contains(self.visible):
            raise ValueError(f"visible box {list(self.visible)} is not on the canvas")
        if not self.layers:
            raise ValueError("a design has at least one layer")
        for position, layer in enumerate(self.layers):
            if layer.index != position:
                raise ValueError(f"layer {position} has index {layer.index}")
            if not canvas.contains(layer.box):
                raise ValueError(f"layer {position}: box {list(layer.box)} is not on the canvas")
        for grouping in self.groupings:
            if sorted(i for part in grouping.parts for i in part) != list(range(len(self.layers))):
                raise ValueError(f"grouping with seed {grouping.seed} is no partition of the layers")
        for pair in self.restyles:
            if pair.layer >= len(self.layers):
                raise ValueError(f"restyle pair names layer {pair.layer} of {len(self.layers)}")
        return self

    def to_json(self) -> bytes:
        """The record as canonical UTF-8 JSON: same record, same bytes."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_json(cls, data: bytes | str) -> Design:
        """Parse and check a record.

        Raises:
            RecordError: it is not JSON or does not validate; the message names the field.
        """
        return parse_record(cls, data)


def parse_record(model: type[T], data: bytes | str) -> T:
    """Validate JSON as ``model``, with pydantic's report cut to one line.

    Raises:
        RecordError: it is not JSON or does not validate.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or model.__name__
        raise RecordError(f"{model.__name__}: {where}: {first['msg']}") from None


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces in UTF-8: the form that is hashed and stored."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
