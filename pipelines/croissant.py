"""``croissant.json``: the facts of ``dataset.json`` as JSON-LD, MLCommons Croissant 1.1 (docs.mlcommons.org/croissant).

The tables are files with their hashes; the shards are one file set by their pattern, and the record set
``shards-table`` names each with its size and hash, so that the description stays small for any number of them. Same
dataset, same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from pipelines.storage import Store
from schemas.dataset import SHARD_SCHEMA, Dataset
from schemas.design import canonical_json
from schemas.index import INDEX_SCHEMA
from schemas.ledger import LEDGER_SCHEMA

CROISSANT_JSON = "croissant.json"
_CHUNK = 1 << 20
_PARQUET = "application/x-parquet"
_LEFT_OUT = frozenset({"groupings", "members"})
"""Columns of nested lists and structs, which a Croissant field cannot describe."""

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_DESCRIPTIONS: Mapping[str, str] = {
    "key": "design id: the first 32 hex digits of the sha256 of the source's bytes",
    "shard": "the tar that holds the sample's members, named after the key",
    "split": "split, by hash of the family",
    "unit": "unit of work the sample was made in; one shard a unit",
    "row": "row of the plan and of the ledger",
    "width": "width of the canvas in px",
    "height": "height of the canvas in px",
    "visible": "the part a viewer of the document sees: [x0, y0, x1, y1] on the canvas, half open",
    "layers": "number of layers",
    "boxes": "box of each layer, bottom to top: [x0, y0, x1, y1] on the canvas, half open",
    "kinds": "what each layer was in its document",
    "lowerings": "how each layer became a normal-mode RGBA layer",
    "reusable": "whether each layer is free of baked-in backdrop colour",
    "restyles": "layers that have a condition image in another style",
    "overflow_share": "largest share of a layer's alpha that lies outside the visible box",
    "text_languages": "languages of the text layers",
    "caption_source": "who wrote the captions",
    "licence": "SPDX licence expression",
    "licensor": "who granted the licence",
    "expires": "when the licence ends (ISO date, exclusive)",
    "uri": "where the source was read",
    "format": "format the source was read as",
    "family": "designs of one family lie in one split",
    "recompose_mae": "mean error of the layers' composite against what the document shows, in 1/255",
    "recompose_p99": "99th percentile of that error",
    "phash": "perceptual hash of the visible composite, in hex",
}


def croissant(store: Store, dataset: Dataset) -> bytes:
    """The Croissant description of ``dataset``, whose files are in ``store``.

    Raises:
        FileNotFoundError: a table that ``dataset`` names is not there.
    """
    tables = [
        ("shard", dataset.shards),
        ("index", dataset.index),
        ("ledger", dataset.ledger),
        ("plan", (dataset.plan,)),
    ]
    files = [_file(store, name, kind) for kind, names in tables for name in names]
    sets = [
        _file_set(
            "shards", "application/x-tar", [f"shards/{split}-*.tar" for split in sorted(dataset.splits) or ("",)]
        ),
        *(_file_set(f"{kind}-parts", _PARQUET, names) for kind, names in tables[:3]),
    ]
    records = [
        _record_set("samples", "One record a sample.", INDEX_SCHEMA, "index-parts", "key"),
        _record_set("shards-table", "One record a shard, with its hash.", SHARD_SCHEMA, "shard-parts", "path"),
        _record_set("ledger", "One record an input: what became of it and why.", LEDGER_SCHEMA, "ledger-parts", "row"),
    ]
    return canonical_json(
        {
            "@context": _CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.1",
            "name": "acetate",
            "description": _summary(dataset),
            "version": f"{dataset.generation}.0.0",
            "identifier": dataset.fingerprint,
            "license": [_licence(expression) for expression in sorted(dataset.licences)],
            "distribution": [*files, *sets],
            "recordSet": records,
        }
    )


def _summary(dataset: Dataset) -> str:
    counts = dataset.counts
    splits = ", ".join(f"{name} {number}" for name, number in sorted(dataset.splits.items())) or "none"
    licences = ", ".join(f"{name} {number}" for name, number in sorted(dataset.licences.items())) or "none"
    return (
        f"Layered designs as a WebDataset of RGBA layers. {counts.inputs} inputs: {counts.ok} published, "
        f"{counts.filtered} filtered, {counts.failed} failed. Samples by split: {splits}. By licence: {licences}."
    )


def _licence(expression: str) -> str:
    """SPDX's page of a plain id; an expression or a LicenseRef as it is."""
    plain = not expression.startswith("LicenseRef-") and not set(expression) & set(" ()+:/")
    return f"https://spdx.org/licenses/{expression}" if plain else expression


def _file(store: Store, name: str, kind: str) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with store.open(name) as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": f"{kind} table",
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": _PARQUET,
        "sha256": digest.hexdigest(),
    }


def _file_set(name: str, encoding: str, includes: Iterable[str]) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": encoding, "includes": list(includes)}


def _record_set(name: str, description: str, schema: pa.Schema, files: str, key: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "key": {"@id": f"{name}/{key}"},
        "field": [_field(name, files, column) for column in schema if column.name not in _LEFT_OUT],
    }


def _field(records: str, files: str, column: pa.Field) -> dict[str, Any]:
    out: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{records}/{column.name}",
        "name": column.name,
        "dataType": _data_type(column.type),
        "source": {"fileSet": {"@id": files}, "extract": {"column": column.name}},
    }
    if column.name in _DESCRIPTIONS:
        out["description"] = _DESCRIPTIONS[column.name]
    if shape := _shape(column.type):
        out |= {"isArray": True, "arrayShape": ",".join(str(length) for length in shape)}
    return out


def _data_type(kind: pa.DataType) -> str:
    while _listed(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return f"cr:Int{kind.bit_width}"
    return f"cr:Float{kind.bit_width}" if pa.types.is_floating(kind) else "sc:Text"


def _shape(kind: pa.DataType) -> list[int]:
    """The lengths of nested lists, -1 where they vary; empty for a scalar."""
    out = []
    while _listed(kind):
        out.append(kind.list_size if pa.types.is_fixed_size_list(kind) else -1)
        kind = kind.value_type
    return out


def _listed(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))
