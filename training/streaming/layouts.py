"""The layouts of many designs as flat arrays, straight from the columns of the index and checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from model.errors import LayoutError
from model.placement import Int64, Integers, check_boxes
from schemas.design import LayerKind
from training.errors import DamageError

LAYOUT_COLUMNS = ("width", "height", "visible", "boxes", "kinds", "groupings", "restyles")
"""Of the index: what ``read_layouts`` needs."""


@dataclass(frozen=True)
class Layouts:
    """The layouts of N designs with B layers; boxes in source px.

    ``sizes`` i64 [N, 2], ``visible`` i64 [N, 4], ``boxes`` i32 [B, 4]; ``offsets`` i64 [N + 1] of each design's boxes;
    ``backed`` bool [N]: has a background; ``paired`` i64 [P]: the places in ``boxes`` of foreground layers with a
    restyle pair; ``groupings``: the partitions, as lists of parts, which are lists of layer indices.
    """

    sizes: Int64
    visible: Int64
    boxes: Integers
    offsets: Int64
    backed: npt.NDArray[np.bool_]
    paired: Int64
    groupings: pa.ListArray

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def foregrounds(self) -> Int64:
        """Foreground layers of each design, i64 [N]."""
        return np.diff(self.offsets) - self.backed

    @property
    def restyles(self) -> Int64:
        """Foreground layers with a restyle pair of each design, i64 [N]."""
        return np.bincount(self.design_of(self.paired), minlength=len(self))

    @property
    def partitions(self) -> Int64:
        """Stored partitions of each design, i64 [N]."""
        return _lengths(self.groupings)

    def design_of(self, boxes: Int64) -> Int64:
        """The design i64 [M] of the boxes at the places [M]."""
        return np.searchsorted(self.offsets, boxes, side="right") - 1

    def merge(self, designs: Int64, partitions: npt.NDArray[np.integer]) -> tuple[Integers, Int64]:
        """Boxes [M, 4] around the parts of one partition of each of ``designs``, and the design i64 [M] of each.

        Raises:
            DamageError: a design lacks the partition.
        """
        groupings, offsets = _unnest(self.groupings.take(pa.array(designs)))
        if (partitions >= np.diff(offsets)).any():
            raise DamageError("the index lacks a grouping that was drawn from it")
        parts, of_designs = _unnest(groupings.take(pa.array(offsets[:-1] + partitions)))
        layers, of_parts = _unnest(parts)
        owner = designs.repeat(np.diff(of_designs))
        places = _places(_numbers(layers), owner.repeat(np.diff(of_parts)), self.offsets)
        filled = np.diff(of_parts) > 0
        starts = of_parts[:-1][filled]
        low, high = np.split(self.boxes.take(places, axis=0).T, 2)
        boxes = [np.minimum.reduceat(low, starts, axis=1), np.maximum.reduceat(high, starts, axis=1)]
        return np.vstack(boxes).T, owner[filled]


def read_layouts(table: pa.Table | pa.RecordBatch) -> Layouts:
    """Unpack the LAYOUT_COLUMNS of a bounded piece of the index. A null list counts as empty.

    Raises:
        DamageError: a number is null, a box is null, empty or not on its canvas, a canvas is absurd, a design has no
            layer, a restyle pair is of a layer that is not there, or a grouping is no partition of its design's layers.
    """
    column = {name: _array(table, name) for name in LAYOUT_COLUMNS}
    sizes = np.stack([_numbers(column["width"]), _numbers(column["height"])], axis=1).astype(np.int64)
    visible = _numbers(column["visible"].flatten()).reshape(-1, 4).astype(np.int64)
    nested, offsets = _unnest(column["boxes"])
    boxes = _numbers(nested.flatten()).reshape(-1, 4)
    if len(visible) != len(sizes) or len(boxes) != offsets[-1]:
        raise DamageError("the index has a box that is null")
    if (np.diff(offsets) < 1).any() or (_lengths(column["kinds"]) < 1).any():
        raise DamageError("the index has a design without layers")
    with as_damage():
        check_boxes(boxes, offsets[:-1], sizes)
    backed = pc.equal(pc.list_element(column["kinds"], 0), str(LayerKind.BACKGROUND)).fill_null(False)
    backed = backed.to_numpy(zero_copy_only=False)
    paired = _paired(column["restyles"], offsets, backed)
    _check_groupings(column["groupings"], offsets)
    return Layouts(sizes, visible, boxes, offsets, backed, paired, column["groupings"])


@contextmanager
def as_damage(key: str | None = None) -> Iterator[None]:
    """What cannot be laid out was not what the index or the record promised: a LayoutError becomes a DamageError of the
    design ``key``, where it is known.
    """
    try:
        yield
    except LayoutError as error:
        raise DamageError(f"design {key}: {error}" if key else str(error), key) from None


def _paired(restyles: pa.ListArray, offsets: Int64, backed: npt.NDArray[np.bool_]) -> Int64:
    layers, of_designs = _unnest(restyles)
    owner = np.arange(len(backed)).repeat(np.diff(of_designs))
    mask = _mask(_places(_numbers(layers), owner, offsets), int(offsets[-1]))
    mask[offsets[:-1][backed]] = False
    return np.flatnonzero(mask)


def _check_groupings(groupings: pa.ListArray, offsets: Int64) -> None:
    """All of them, drawn or not: a run does not end in a later epoch for what could be known in the first."""
    partitions, of_designs = _unnest(groupings)
    parts, of_partitions = _unnest(partitions)
    layers, of_parts = _unnest(parts)
    counts = np.diff(offsets).repeat(np.diff(of_designs))
    slots = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=slots[1:])
    each = np.diff(of_parts[of_partitions])
    if (each != counts).any():
        raise DamageError("the index has a grouping that is no partition of its design's layers")
    places = _places(_numbers(layers), np.arange(len(counts)).repeat(each), slots)
    if not _mask(places, int(slots[-1])).all():
        raise DamageError("the index has a grouping that is no partition of its design's layers")


def _places(layers: Integers, owner: Int64, offsets: Int64) -> Int64:
    """Where the layers [M] of the designs ``owner`` [M] lie among all boxes."""
    if (layers < 0).any() or (layers >= offsets[owner + 1] - offsets[owner]).any():
        raise DamageError("the index names a layer that its design does not have")
    return offsets[owner] + layers


def _mask(places: Int64, size: int) -> npt.NDArray[np.bool_]:
    out = np.zeros(size, np.bool_)
    out[places] = True
    return out


def _array(table: pa.Table | pa.RecordBatch, name: str) -> pa.Array:
    column = table.column(name)
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _lengths(lists: pa.ListArray) -> Int64:
    return np.asarray(pc.list_value_length(lists).fill_null(0), np.int64)


def _unnest(lists: pa.ListArray) -> tuple[pa.Array, Int64]:
    """The values of all lists one after another, and the offsets i64 [N + 1] of each list's."""
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum(_lengths(lists), out=offsets[1:])
    return lists.flatten(), offsets


def _numbers(array: pa.Array) -> Integers:
    if array.null_count:
        raise DamageError("the index has a number that is null")
    values: Integers = array.to_numpy()
    return values
