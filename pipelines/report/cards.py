"""One design of the gallery: its record, cut to what a page can hold, and the paths of its pictures."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from pipelines.errors import StoreError
from pipelines.report.pictures import Pictures, Scaling, find, read
from pipelines.report.tables import Entry
from schemas.design import Design
from schemas.errors import SchemaError
from schemas.geometry import Box
from schemas.sample import RECORD, layer_stem, restyle_stem

THUMB_SIDE = 360
MAX_TEXT = 2000
MAX_ITEMS = 200


def card(pictures: Pictures, entry: Entry, image_side: int) -> dict[str, Any]:
    """What the page needs of one design, as JSON. A design that cannot be read has ``error`` in place of ``record``."""
    base: dict[str, Any] = {"id": entry.key, "split": entry.split, "shard": entry.shard}
    try:
        design = Design.from_json(read(pictures.store, entry, find(entry, RECORD)))
        return base | {
            "title": title(design.provenance.uri),
            "caption": next((caption.text for _, caption in sorted(design.captions.short.items())), ""),
            "link": is_link(design.provenance.uri),
            "width": design.visible.width,
            "height": design.visible.height,
            "layer_count": len(design.layers),
            "overflow": max(layer.overflow.share for layer in design.layers),
            "baked": sum(not layer.reusable for layer in design.layers),
            "record": clip(design.model_dump(mode="json", by_alias=True)),
            **_pictures(pictures, entry, design, image_side),
        }
    except (SchemaError, StoreError, FileNotFoundError) as error:
        return base | {"title": entry.key, "error": clip(str(error))}


def title(uri: str) -> str:
    """The last part of a uri, readable."""
    path = urlsplit(uri).path if "://" in uri else uri
    return (unquote(path.rstrip("/").rsplit("/", 1)[-1]) or uri)[:MAX_TEXT]


def is_link(uri: str) -> bool:
    """Whether a uri may be a link: only a plain web address may."""
    return uri.startswith(("https://", "http://"))


def clip(value: Any) -> Any:
    """A JSON value with its strings and lists cut, so that a hostile record cannot swell the page."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…"
    if isinstance(value, dict):
        return {key: clip(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clip(item) for item in value[:MAX_ITEMS]]
    return value


def _pictures(pictures: Pictures, entry: Entry, design: Design, side: int) -> dict[str, Any]:
    """Layers and restyles at the scale of the canvas; the visible box as composed and as the document had it."""
    canvas = (design.canvas.width, design.canvas.height)
    scaling = Scaling(factor=side / max(canvas))
    compared = Scaling(side=side, quality=95)  # the page shows their difference enlarged
    return {
        "layers": [
            pictures.put(entry, layer_stem(layer.index), scaling, _size(layer.box))
            for layer in design.layers[:MAX_ITEMS]
        ],
        "restyles": [
            pictures.put(entry, restyle_stem(pair.layer), scaling, _size(design.layers[pair.layer].box))
            for pair in design.restyles[:MAX_ITEMS]
        ],
        "thumb": pictures.put(entry, "composite", Scaling(side=THUMB_SIDE), canvas, design.visible),
        "recomposite": pictures.put(entry, "composite", compared, canvas, design.visible),
        "preview": pictures.put(entry, "preview", compared),
    }


def _size(box: Box) -> tuple[int, int]:
    return box.width, box.height
