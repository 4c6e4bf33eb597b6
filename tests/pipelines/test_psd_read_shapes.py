"""Fills and shapes that a PSD stores as words: the path, its operations, the pen, and which source is taken."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from psd_tools.constants import Tag
from psd_tools.psd.base import IntegerElement

from pipelines.errors import Rejected
from pipelines.formats import Document, Leaf, ReadLimits, read
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_open import opened
from pipelines.formats.psd_path import Component, Contour, has_path, path_coverage
from pipelines.formats.psd_pen import Pen, line_coverage
from pipelines.formats.psd_pixels import layer_alpha
from pipelines.formats.psd_vector import is_drawn, pen_width
from pipelines.formats.style import Solid
from schemas.geometry import Box
from tests.pipelines.psd_records import Spec, path_block, pen, rgba, save, solid

SIZE = (40, 30)
SQUARE = ((10.0, 5.0), (30.0, 5.0), (30.0, 25.0), (10.0, 25.0))


def shape(path: Path, *polygons: object, blocks: dict[Tag, object] | None = None, **setting: object) -> Leaf:
    """The only leaf of a PSD with one shape without pixels."""
    paths = path_block(SIZE, *polygons, **setting)  # type: ignore[arg-type]
    found = {Tag.SOLID_COLOR_SHEET_SETTING: solid(255, 0, 0), Tag.VECTOR_MASK_SETTING1: paths, **(blocks or {})}
    return only(read(save(path / "a.psd", SIZE, [Spec(blocks=found)]), "psd", ReadLimits()))


def only(document: Document) -> Leaf:
    (leaf,) = document.nodes
    assert isinstance(leaf, Leaf)
    return leaf


def on_document(leaf: Leaf, plane: np.ndarray) -> np.ndarray:
    """A plane of the leaf's box on the document, 0 elsewhere."""
    visible, out = Box(0, 0, *SIZE), np.zeros(SIZE[::-1], np.uint8)
    part = leaf.box.intersect(visible)
    out[part.slices] = plane[part.within(leaf.box).slices]
    return out


def area(leaf: Leaf) -> float:
    return float(leaf.pixels()[..., -1].sum() / 255)


def test_a_shape_is_its_paint_in_its_path(tmp_path: Path) -> None:
    leaf = shape(tmp_path, SQUARE)
    assert leaf.fill == Solid((1.0, 0.0, 0.0)) and leaf.stroke is None
    assert leaf.box == Box(10, 5, 30, 25) and area(leaf) == 400


def test_a_shape_goes_on_beyond_the_document(tmp_path: Path) -> None:
    leaf = shape(tmp_path, ((-20.0, -10.0), (60.0, -10.0), (60.0, 50.0), (-20.0, 50.0)))
    assert leaf.box == Box(-20, -10, 60, 50) and area(leaf) == 80 * 60


def test_half_covered_pixels_are_half_there(tmp_path: Path) -> None:
    leaf = shape(tmp_path, ((10.0, 5.0), (30.5, 5.0), (30.5, 25.0), (10.0, 25.0)))
    assert leaf.pixels()[3, -1, -1] in (127, 128)


def test_aligned_rendering_puts_the_edges_on_whole_pixels(tmp_path: Path) -> None:
    polygon = ((10.2, 5.0), (30.4, 5.0), (30.4, 25.0), (10.2, 25.0))
    aligned = shape(tmp_path, polygon, blocks={Tag.USING_ALIGNED_RENDERING: IntegerElement(1)})
    assert area(aligned) == 400 and set(np.unique(aligned.pixels()[..., -1])) == {0, 255}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [((1, 1), 600), ((1, 2), 200), ((1, 3), 200), ((1, 0), 400)],
    ids=["unite", "subtract", "intersect", "exclude"],
)
def test_paths_are_combined_in_order(tmp_path: Path, operations: tuple[int, int], expected: int) -> None:
    right = ((20.0, 5.0), (40.0, 5.0), (40.0, 25.0), (20.0, 25.0))
    assert area(shape(tmp_path, SQUARE, right, operations=operations)) == expected


def test_subpaths_of_one_component_cut_holes(tmp_path: Path) -> None:
    hole = ((15.0, 10.0), (25.0, 10.0), (25.0, 20.0), (15.0, 20.0))
    assert area(shape(tmp_path, SQUARE, hole, operations=(1, -1))) == 300


def test_a_path_that_only_takes_away_leaves_the_rest_of_the_document(tmp_path: Path) -> None:
    leaf = shape(tmp_path, SQUARE, operations=(2,))
    assert leaf.box == Box(0, 0, *SIZE) and area(leaf) == 40 * 30 - 400


def test_a_path_may_be_inverted_or_off(tmp_path: Path) -> None:
    assert area(shape(tmp_path, SQUARE, invert=True)) == 40 * 30 - 400
    assert area(shape(tmp_path, SQUARE, disable=True)) == 40 * 30


def test_a_pen_line_is_centred_inside_or_outside(tmp_path: Path) -> None:
    areas = {}
    for align in ("Center", "Inside", "Outside"):
        leaf = shape(tmp_path, SQUARE, blocks={Tag.VECTOR_STROKE_DATA: pen(4, align)})
        assert leaf.stroke is not None
        line = leaf.stroke()
        assert line is not None and line.paint == Solid((0.0, 0.0, 0.0)) and line.inner == (align == "Inside")
        areas[align] = float(line.coverage.sum() / 255)
    assert areas["Center"] == pytest.approx(24**2 - 16**2 - 8 + 8, abs=4)
    assert areas["Inside"] == pytest.approx(20**2 - 12**2, abs=2)
    assert areas["Outside"] == pytest.approx(28**2 - 20**2, abs=2)


def test_a_shape_without_fill_is_its_pen_line(tmp_path: Path) -> None:
    leaf = shape(tmp_path, SQUARE, blocks={Tag.VECTOR_STROKE_DATA: pen(4, "Inside", filled=False)})
    assert leaf.fill is None and leaf.stroke is not None and area(leaf) == 0
    line = leaf.stroke()
    assert line is not None and not line.inner and int(line.coverage.max()) == 255


def test_an_open_path_has_ends(tmp_path: Path) -> None:
    areas = {}
    for cap in ("Butt", "Round", "Square"):
        stroke = {Tag.VECTOR_STROKE_DATA: pen(6, filled=False, cap=cap)}
        leaf = shape(tmp_path, ((10.0, 15.0), (30.0, 15.0)), blocks=stroke, closed=False)
        assert leaf.stroke is not None
        line = leaf.stroke()
        assert line is not None
        areas[cap] = float(line.coverage.sum() / 255)
    assert areas["Butt"] == pytest.approx(120, abs=1)
    assert areas["Round"] == pytest.approx(120 + np.pi * 9, abs=1)
    assert areas["Square"] == pytest.approx(156, abs=1)


@pytest.mark.parametrize(("join", "tip"), [("miter", 255), ("round", 40), ("bevel", 0)])
def test_corners_are_joined_as_the_pen_says(join: str, tip: int) -> None:
    corner = Contour(np.array([[5.0, 25.0], [5.0, 5.0], [25.0, 5.0]]), closed=False)
    box = Box(0, 0, 30, 30)
    covered = line_coverage((Component(1, (corner,)),), Pen(6.0, join=join), box, np.zeros((30, 30), np.float32))
    assert covered[2, 2] * 255 == pytest.approx(tip, abs=45)
    assert covered[4, 4] == 1


def test_dashes_leave_gaps() -> None:
    line = Contour(np.array([[0.0, 5.0], [30.0, 5.0]]), closed=False)
    empty = np.zeros((10, 30), np.float32)
    covered = line_coverage((Component(1, (line,)),), Pen(2.0, dashes=(4.0, 6.0)), Box(0, 0, 30, 10), empty)
    assert [covered[5, x] for x in (2, 7, 12, 17, 22)] == [1, 0, 1, 0, 1]


def test_a_line_along_united_paths_leaves_out_what_is_buried(tmp_path: Path) -> None:
    right = ((20.0, 10.0), (38.0, 10.0), (38.0, 20.0), (20.0, 20.0))
    leaf = shape(tmp_path, SQUARE, right, blocks={Tag.VECTOR_STROKE_DATA: pen(2)})
    assert leaf.stroke is not None
    line = leaf.stroke()
    assert line is not None
    drawn = on_document(leaf, line.coverage)
    assert drawn[15, 20] == 0 and drawn[15, 30] == 0  # edges of each inside the other
    assert drawn[15, 38] == 255 and drawn[5, 20] == 255


def test_a_path_with_too_many_points_is_refused(tmp_path: Path) -> None:
    zigzag = [(float(x % 40), float(x % 29)) for x in range(10_000)]
    leaf = shape(tmp_path, zigzag, bend=1000.0)
    with pytest.raises(Rejected):
        leaf.pixels()


def test_stored_pixels_are_taken_where_they_are_complete(tmp_path: Path) -> None:
    blocks = {Tag.SOLID_COLOR_SHEET_SETTING: solid(255, 0, 0), Tag.VECTOR_MASK_SETTING1: path_block(SIZE, SQUARE)}
    box = Box(10, 5, 30, 25)
    leaf = only(
        read(
            save(tmp_path / "a.psd", SIZE, [Spec(box=box, planes=rgba(box, (0, 9, 0)), blocks=blocks)]),
            "psd",
            ReadLimits(),
        )
    )
    assert leaf.fill is None and leaf.pixels()[0, 0].tolist() == [0, 9, 0, 255]


def test_pixels_cut_at_the_document_are_drawn_again(tmp_path: Path) -> None:
    wide = ((-20.0, 5.0), (30.0, 5.0), (30.0, 25.0), (-20.0, 25.0))
    blocks = {Tag.SOLID_COLOR_SHEET_SETTING: solid(255, 0, 0), Tag.VECTOR_MASK_SETTING1: path_block(SIZE, wide)}
    box = Box(0, 5, 30, 25)
    leaf = only(
        read(
            save(tmp_path / "a.psd", SIZE, [Spec(box=box, planes=rgba(box, (0, 9, 0)), blocks=blocks)]),
            "psd",
            ReadLimits(),
        )
    )
    assert leaf.fill is not None and leaf.box == Box(-20, 5, 30, 25) and area(leaf) == 50 * 20


def test_drawn_paths_are_what_photoshop_stored(corpus: Path) -> None:
    """Of the shapes of the corpus with pixels, a path and no pen, most are drawn within two levels."""
    errors = []
    with (corpus / "manifest.csv").open() as manifest:
        rows = [row for row in csv.DictReader(manifest) if "vmasks=" in row["notes"] and int(row["bytes"]) < 1 << 20]
    for row in rows:
        psd = opened(corpus / row["path"], ReadLimits())
        colours = Colours.of(psd)
        for layer in psd.descendants():
            if layer.is_group() or not is_drawn(layer) or not has_path(layer) or pen_width(layer):
                continue
            record = layer._record
            box = Box(record.left, record.top, record.right, record.bottom)
            alpha = None if box.empty or not layer.has_pixels() else layer_alpha(layer, colours)
            if alpha is not None and int(alpha.max()) == 255:
                drawn = path_coverage(layer, box).astype(np.int16)
                errors.append(float(np.abs(drawn - alpha).mean()))
    assert len(errors) > 100
    assert np.mean([error < 2 for error in errors]) > 0.95
