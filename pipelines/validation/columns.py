"""The columns the expectations look at: those of the index, and what follows from them, one scalar a sample."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.ledger import Code
from schemas.licence import LicencePolicy

Column = Callable[[pa.Table], Any]
"""From (a part of) the index to one value a row: a pyarrow array or a numpy array."""


def plain(name: str) -> Column:
    """The index's own column ``name``."""
    return lambda index: index.column(name)


def filled(name: str) -> Column:
    """The column ``name`` with blank strings taken for nothing."""

    def column(index: pa.Table) -> Any:
        values = index.column(name)
        return pc.if_else(pc.equal(pc.utf8_trim_whitespace(values), ""), None, values)

    return column


def boxes_outside(index: pa.Table) -> npt.NDArray[np.int64]:
    """How many boxes of each sample are empty or reach out of its canvas."""
    lengths, boxes = _boxes(_whole(index, "boxes"))
    width, height = (np.repeat(_numbers(index, name), lengths) for name in ("width", "height"))
    return _per_row(_outside(boxes, width, height), lengths)


def visible_outside(index: pa.Table) -> npt.NDArray[np.int64]:
    """1 where the visible box is empty or reaches out of the canvas."""
    boxes = pc.list_flatten(_whole(index, "visible")).to_numpy(zero_copy_only=False).reshape(-1, 4)
    return _outside(boxes, _numbers(index, "width"), _numbers(index, "height")).astype(np.int64)


def lists_disagree(index: pa.Table) -> npt.NDArray[np.int64]:
    """1 where ``boxes``, ``kinds``, ``lowerings`` and ``reusable`` do not all have ``layers`` entries."""
    layers = _numbers(index, "layers")
    lengths = [_lengths(_whole(index, name)) for name in ("boxes", "kinds", "lowerings", "reusable")]
    wrong = np.zeros(len(layers), bool)
    for length in lengths:
        wrong |= length != layers
    return wrong.astype(np.int64)


def smallest_member(index: pa.Table) -> npt.NDArray[np.int64]:
    """Bytes of the smallest member of each sample, 0 where it has none."""
    members = _whole(index, "members")
    sizes = pc.struct_field(pc.list_flatten(members), "size").to_numpy(zero_copy_only=False).astype(np.int64)
    lengths = _lengths(members)
    out = np.zeros(len(lengths), np.int64)
    some = lengths > 0
    if some.any():
        out[some] = np.minimum.reduceat(sizes, (np.cumsum(lengths) - lengths)[some])
    return out


def misplaced(index: pa.Table) -> npt.NDArray[np.int64]:
    """1 where the shard's name is not that of the row's split and unit."""
    split, unit = index.column("split").to_pylist(), index.column("unit").to_pylist()
    shards = index.column("shard").to_pylist()
    wrong = [
        not str(shard).startswith(f"shards/{s}-{int(u):06d}-") for shard, s, u in zip(shards, split, unit, strict=True)
    ]
    return np.array(wrong, np.int64)


def overflows(index: pa.Table) -> npt.NDArray[np.int64]:
    """1 where some layer reaches out of the visible box."""
    return (_numbers(index, "overflow_share") > 0).astype(np.int64)


def reusable_share(index: pa.Table) -> npt.NDArray[np.float64]:
    """The share of each sample's layers that carry no backdrop colour."""
    reusable = _whole(index, "reusable")
    lengths = _lengths(reusable)
    flags = pc.list_flatten(reusable).to_numpy(zero_copy_only=False).astype(np.int64)
    return _per_row(flags, lengths) / np.maximum(lengths, 1)


_DERIVED: Mapping[str, Column] = {
    "uri_filled": filled("uri"),
    "licence_filled": filled("licence"),
    "licensor_filled": filled("licensor"),
    "caption_filled": filled("caption_source"),
    "boxes_outside": boxes_outside,
    "visible_outside": visible_outside,
    "lists_disagree": lists_disagree,
    "smallest_member": smallest_member,
    "misplaced": misplaced,
    "overflows": overflows,
    "reusable_share": reusable_share,
}


def column(name: str) -> Column:
    """How to get the column ``name``: derived, or the index's own."""
    return _DERIVED.get(name) or plain(name)


def family_straddles(values: pa.Table) -> Any:
    """1 where a sample's family also lies in another split. ``values`` is the whole dataset's."""
    counts = values.group_by("family").aggregate([("split", "count_distinct")])
    several = counts.filter(pc.greater(counts.column("split_count_distinct"), 1)).column("family")
    return _flag(values.column("family"), several.to_pylist())


def licence_refused(policy: LicencePolicy) -> Column:
    """1 where ``policy`` does not allow the licence, whoever granted it and whenever it ends."""

    def column(values: pa.Table) -> Any:
        distinct = pc.unique(values.column("licence")).to_pylist()
        refused = [each for each in distinct if policy.judge(each, "anyone", None, datetime.date.min)[0] is not Code.OK]
        return _flag(values.column("licence"), refused)

    return column


def licence_ended(today: datetime.date) -> Column:
    """1 where the licence has ended by ``today`` or its end is no date."""
    free = LicencePolicy(allow=("CC0-1.0",))

    def column(values: pa.Table) -> Any:
        distinct = pc.unique(values.column("expires")).to_pylist()
        ended = [each for each in distinct if free.judge("CC0-1.0", "anyone", each, today)[0] is not Code.OK]
        return _flag(values.column("expires"), ended)

    return column


def _flag(values: pa.ChunkedArray, among: list[Any]) -> Any:
    return pc.cast(pc.is_in(values, value_set=pa.array(among, values.type)), pa.int64())


def _whole(index: pa.Table, name: str) -> pa.Array:
    return index.column(name).combine_chunks()


def _numbers(index: pa.Table, name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = index.column(name).to_numpy()
    return values


def _lengths(lists: pa.Array) -> npt.NDArray[np.int64]:
    lengths: npt.NDArray[np.int64] = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64)


def _boxes(lists: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    flat = pc.list_flatten(pc.list_flatten(lists)).to_numpy(zero_copy_only=False)
    return _lengths(lists), flat.reshape(-1, 4)


def _outside(boxes: npt.NDArray[Any], width: npt.NDArray[Any], height: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    x0, y0, x1, y1 = boxes.T
    inside = (x0 >= 0) & (y0 >= 0) & (x0 < x1) & (y0 < y1) & (x1 <= width) & (y1 <= height)
    outside: npt.NDArray[np.bool_] = ~inside
    return outside


def _per_row(values: npt.NDArray[Any], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sums of consecutive runs of ``values``, one a row."""
    ends = np.cumsum(lengths)
    total = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    sums: npt.NDArray[np.int64] = total[ends] - total[ends - lengths]
    return sums
