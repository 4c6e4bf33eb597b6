"""Single rows of the public ``cyberagent/crello`` parquet files (version 5), taken out and written as a one-row Arrow
file.

Class labels become their names (the names are in the parquet's schema metadata, as the ``datasets`` library writes
it), so that a row stands for itself. Only the row group that holds the row is read, a row at a time and
with its dictionaries left in place: two kilobytes of parquet can name one picture a million times.
"""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import Rejected
from pipelines.formats.limits import ReadLimits, first_line, unreadable
from schemas.design import canonical_json
from schemas.ledger import Code

NUMBERS = pa.list_(pa.float64())
ROW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("title", pa.string()),
        pa.field("canvas_width", pa.int64()),
        pa.field("canvas_height", pa.int64()),
        pa.field("preview", pa.binary()),
        pa.field("type", pa.list_(pa.string())),
        pa.field("left", NUMBERS),
        pa.field("top", NUMBERS),
        pa.field("width", NUMBERS),
        pa.field("height", NUMBERS),
        pa.field("angle", NUMBERS),
        pa.field("opacity", NUMBERS),
        pa.field("image", pa.list_(pa.binary())),
        pa.field("text", pa.list_(pa.string())),
        pa.field("font", pa.list_(pa.string())),
        pa.field("font_size", NUMBERS),
        pa.field("text_align", pa.list_(pa.string())),
        pa.field("line_height", NUMBERS),
        pa.field("letter_spacing", NUMBERS),
        pa.field("capitalize", pa.list_(pa.bool_())),
        pa.field("font_bold", pa.list_(pa.list_(pa.bool_()))),
        pa.field("font_italic", pa.list_(pa.list_(pa.bool_()))),
        pa.field("text_color", pa.list_(pa.list_(pa.string()))),
    ]
)
"""What is kept of a row. Boxes are in canvas px, ``angle`` in degrees clockwise, ``opacity`` 0..1, lists are per
element.
"""
_VALUE = 64
REQUIRED = ("canvas_width", "canvas_height", "type", "left", "top", "width", "height", "image")


def count(fs: Any, path: str) -> int:
    """Rows of a parquet file; 0 where it is no Crello file."""
    try:
        with fs.open(path, "rb") as stream, pq.ParquetFile(stream) as file:
            names = set(file.schema_arrow.names)
            return int(file.metadata.num_rows) if names.issuperset(REQUIRED) else 0
    except (pa.ArrowException, OSError, ValueError):
        return 0


def fetch(fs: Any, path: str, row: int, into: Path, limits: ReadLimits) -> tuple[Path, str, int]:
    """Write row ``row`` to ``into``; returns its path, the hash of its canonical encoding, and that encoding's size.

    The encoding is canonical JSON of the row with every picture replaced by the hash of its bytes; the size counts the
    pictures too.

    Raises:
        Rejected: NOT_FOUND (no such row), UNSUPPORTED (not Crello's columns), TOO_LARGE, UNREADABLE.
    """
    with fs.open(path, "rb") as stream:
        try:
            values = _row(stream, row, limits)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Rejected(Code.UNREADABLE, f"not a readable parquet file: {first_line(error)}") from error
    with unreadable("not a Crello row"):
        table = pa.Table.from_pylist([values], schema=ROW_SCHEMA)
        encoding = canonical_json(_hashed(table.to_pylist()[0]))
    size = len(encoding) + sum(len(picture) for picture in [*(values["image"] or ()), values["preview"]] if picture)
    limits.check_bytes(size)
    local = into / "row.arrow"
    with pa.OSFile(str(local), "wb") as sink, pa.ipc.new_file(sink, ROW_SCHEMA) as writer:
        writer.write_table(table)
    return local, hashlib.sha256(encoding).hexdigest(), size


def _row(stream: Any, row: int, limits: ReadLimits) -> dict[str, Any]:
    with pq.ParquetFile(stream) as plain:
        schema = plain.schema_arrow
        columns = (plain.schema.column(i) for i in range(len(plain.schema)))
        binary = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    with pq.ParquetFile(stream, read_dictionary=binary) as file:
        missing = [name for name in REQUIRED if name not in schema.names]
        if missing:
            raise Rejected(Code.UNSUPPORTED, f"no Crello parquet: it lacks the columns {', '.join(missing)}")
        start = 0
        for group in range(file.metadata.num_row_groups):
            part = file.metadata.row_group(group)
            if row < start + part.num_rows:
                limits.check_bytes(part.total_byte_size, "the parquet row group")
                return _in_group(file, group, row - start, _labels(schema), limits)
            start += part.num_rows
        raise Rejected(Code.NOT_FOUND, f"the parquet file has {start} rows, no row {row}")


def _in_group(file: Any, group: int, row: int, labels: dict[str, list[str]], limits: ReadLimits) -> dict[str, Any]:
    """The row of a row group, as far as ROW_SCHEMA knows it, its size checked before there are Python objects."""
    columns = [name for name in ROW_SCHEMA.names if name in file.schema_arrow.names]
    batches = file.iter_batches(batch_size=1, row_groups=[group], columns=columns, use_threads=False)
    batch = next(islice(batches, row, None), None)
    if batch is None:
        raise ValueError("a row group is shorter than its metadata says")
    for column in batch.columns:
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            limits.check_layers(len(column.flatten()))
    limits.check_bytes(sum(_expanded(column) for column in batch.columns), "the row")
    values = batch.to_pylist()[0]
    return {name: _plain(values.get(name), labels.get(name)) for name in ROW_SCHEMA.names}


def _expanded(array: Any) -> int:
    """Bytes of an array's values with every reference into a dictionary followed, and a few for each value."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return _VALUE * len(array) + (pc.sum(lengths.cast(pa.int64())).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(_expanded(field) for field in array.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _VALUE * len(array) + _expanded(array.flatten())
    return int(array.nbytes) + _VALUE * len(array)


def _plain(value: Any, names: list[str] | None) -> Any:
    """Pictures as bytes, class labels as names, everything else as it is."""
    if isinstance(value, dict):
        return value.get("bytes")
    if isinstance(value, list):
        return [_plain(item, names) for item in value]
    if names is not None and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    return value


def _labels(schema: Any) -> dict[str, list[str]]:
    """The names of every class label column, from the metadata of the ``datasets`` library."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    found = {}
    for name, feature in features.items() if isinstance(features, dict) else ():
        while isinstance(feature, list | dict) and "names" not in feature:
            feature = feature[0] if isinstance(feature, list) and feature else _inner(feature)  # noqa: PLW2901
        if isinstance(feature, dict) and isinstance(feature["names"], list):
            found[name] = [str(label) for label in feature["names"]]
    return found


def _inner(feature: Any) -> Any:
    return feature.get("feature") if isinstance(feature, dict) else None


def _hashed(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, list):
        return [_hashed(item) for item in value]
    if isinstance(value, dict):
        return {name: _hashed(item) for name, item in value.items()}
    return value
