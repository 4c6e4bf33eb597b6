"""What a small file may cost to read: profiles, paths, masks, artboards, descriptors and engine data are bounded."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psd_tools.constants import Tag
from psd_tools.psd import bin_utils, tagged_blocks
from psd_tools.psd.descriptor import Descriptor, DescriptorBlock, Double, Integer
from psd_tools.psd.layer_and_mask import MaskData

from pipelines.errors import Rejected
from pipelines.extract import ExtractConfig, Extractor, ImageConfig
from pipelines.flatten import FlattenConfig
from pipelines.flatten.own import own_pixels
from pipelines.formats import Group, Leaf, ReadLimits, icc, psd_open, psd_path, psd_pen, read
from pipelines.formats.psd_effects import MAX_EFFECTS
from pipelines.formats.psd_engine_data import parsed
from pipelines.formats.psd_path import Component, Contour, covered_by
from pipelines.formats.psd_pen import Pen, line_coverage
from pipelines.formats.style import Gradient
from pipelines.plan import PlanRow
from schemas.geometry import Box
from schemas.ledger import Code
from tests.pipelines.psd_records import Spec, path_block, pen, rgba, save, solid
from tests.pipelines.psd_styles import effect, listed, styled

SIZE = (40, 30)
VISIBLE = Box(0, 0, *SIZE)
FAR = ((-3000.0, -3000.0), (3000.0, -3000.0), (3000.0, 3000.0), (-3000.0, 3000.0))
Touched = list[int]


def square(x: float, y: float, side: float) -> Contour:
    return Contour(np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]]), closed=True)


def refused(call: Callable[[], object]) -> Rejected:
    with pytest.raises(Rejected) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("build", [icc.transform, icc.inverse])
def test_a_profile_too_large_is_refused_and_not_kept(build: Callable[[bytes, str], Any]) -> None:
    error = refused(lambda: build(bytes(icc.MAX_BYTES + 1), "RGB"))
    assert error.code is Code.TOO_LARGE and str(icc.MAX_BYTES) in error.message
    assert build(bytes(icc.MAX_BYTES), "RGB") is None  # of no use, but of a size to look at


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> Touched:
    """The pixels that each call of the scanline fill is for."""
    found: Touched = []
    own = psd_path.fill_coverage

    def counted(polylines: list[Any], width: int, height: int) -> Any:
        found.append(width * height)
        return own(polylines, width, height)

    monkeypatch.setattr(psd_path, "fill_coverage", counted)
    return found


@pytest.mark.parametrize("operation", [0, 1, 2, 3])
def test_a_path_costs_its_own_pixels_and_covers_the_same(touched: Touched, operation: int) -> None:
    box = Box(-3, -2, 120, 110)
    paths = (Component(1, (square(0.5, 0.25, 60),)), Component(operation, (square(50.25, 40.5, 9), square(52, 43, 4))))
    found = covered_by(paths, box, starts_full=False)
    assert touched == [61 * 61, 10 * 10]
    origin = np.array([box.x0, box.y0])
    first, second = (
        psd_path.fill_coverage([c.points - origin for c in path.contours], box.width, box.height) for path in paths
    )
    joined = (first + second - 2 * first * second, first + second - first * second, np.maximum(0, first - second))
    np.testing.assert_allclose(found, (*joined, first * second)[operation], atol=1e-6)


def test_a_line_cut_where_paths_overlap_is_that_around_both() -> None:
    paths = (Component(1, (square(5, 5, 20),)), Component(1, (square(15, 12, 20),)))
    box = Box(0, 0, 45, 40)
    covered = line_coverage(paths, Pen(2.0), box, covered_by(paths, box, starts_full=False))
    assert covered[18, 20] == 0 and covered[20, 5] == 1 and covered[20, 34] == 1
    assert covered.sum() == pytest.approx(2 * (80 + 80 - 2 * 10 - 2 * 13), abs=8)


def test_all_work_of_a_path_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psd_pen, "_MAX_WORK", 10_000_000)
    away = Contour(np.array([[5000.0, 5000.0], [9000.0, 5000.0]]), closed=False)
    empty = np.zeros((30, 40), np.float32)
    assert not line_coverage((Component(1, (away,)),), Pen(2.0, dashes=(8.0, 8.0)), VISIBLE, empty).any()
    with pytest.raises(ValueError, match="too much work"):
        line_coverage((Component(1, (away,) * 20),), Pen(2.0, dashes=(8.0, 8.0)), VISIBLE, empty)
    with pytest.raises(ValueError, match="too much work"):
        line_coverage((Component(1, (away,) * 20),) * 2, Pen(2.0), VISIBLE, empty)


def test_dashes_follow_the_path() -> None:
    corner = Contour(np.array([[5.0, 5.0], [15.0, 5.0], [15.0, 25.0]]), closed=False)
    empty = np.zeros((30, 40), np.float32)
    covered = line_coverage((Component(1, (corner,)),), Pen(2.0, dashes=(6.0, 6.0)), VISIBLE, empty)
    assert [covered[5, x] for x in (6, 9, 12)] == [1, 1, 0] and [covered[y, 15] for y in (8, 14, 16, 20)] == [
        1,
        0,
        0,
        1,
    ]


def test_a_shape_far_off_the_canvas_is_cut_and_its_gradient_is_not(tmp_path: Path) -> None:
    blocks = {
        Tag.SOLID_COLOR_SHEET_SETTING: solid(255, 0, 0),
        Tag.VECTOR_MASK_SETTING1: path_block(SIZE, FAR),
        Tag.VECTOR_STROKE_DATA: pen(4),
    }
    (leaf,) = read(save(tmp_path / "a.psd", SIZE, [Spec(blocks=blocks)]), "psd", ReadLimits()).nodes
    assert isinstance(leaf, Leaf) and leaf.stroke is not None
    assert leaf.box.contains(Box(-80, -60, 120, 90)) and leaf.box.area < 500 * 500
    assert leaf.pixels().shape == (leaf.box.height, leaf.box.width, 4) and int(leaf.pixels()[..., 3].min()) == 255
    assert leaf.laid == Box(-3000, -3000, 3000, 3000)
    line = leaf.stroke()
    assert line is not None and line.laid is not None and line.laid.contains(leaf.laid)
    ramp = np.linspace([0, 0, 0, 1], [1, 1, 1, 1], 256, dtype=np.float32)
    drawn = own_pixels(replace(leaf, fill=Gradient(ramp), stroke=None), VISIBLE, 3)
    assert int(drawn[..., :3].min()) > 110 and int(drawn[..., :3].max()) < 145  # the middle of the whole shape


def board(*sides: float) -> DescriptorBlock:
    data = DescriptorBlock(classID=b"artboard")  # type: ignore[call-arg]
    rectangle = Descriptor(classID=b"classFloatRect")
    for key, value in zip((b"Left", b"Top ", b"Rght", b"Btom"), sides, strict=True):
        rectangle[key] = Double(value)
    data[b"artboardRect"], data[b"artboardBackgroundType"] = rectangle, Integer(1)
    return data


def test_an_artboard_far_off_the_canvas_has_a_ground_where_it_matters(tmp_path: Path) -> None:
    from tests.pipelines.test_psd_read import grouped

    layers = grouped("board", [], blocks={Tag.ARTBOARD_DATA1: board(-7000, -7000, 7000, 7000)})
    (found,) = read(save(tmp_path / "a.psd", SIZE, layers), "psd", ReadLimits()).nodes
    assert isinstance(found, Group) and found.clip == Box(-7000, -7000, 7000, 7000)
    (ground,) = found.children
    assert isinstance(ground, Leaf) and ground.box.area < 500 * 500
    assert ground.pixels().shape[:2] == (ground.box.height, ground.box.width)


def test_an_artboard_without_end_has_a_short_message(tmp_path: Path) -> None:
    from tests.pipelines.test_psd_read import grouped

    layers = grouped("board", [], blocks={Tag.ARTBOARD_DATA1: board(-1e300, 0, 1e300, 30)})
    error = refused(lambda: read(save(tmp_path / "a.psd", SIZE, layers), "psd", ReadLimits()))
    assert error.code is Code.TOO_LARGE and len(error.message) < 120


def masked(side: int) -> Spec:
    plane = np.arange(side * side, dtype=np.uint64).reshape(side, side).astype(np.uint8)
    planes = {**rgba(Box(0, 0, 10, 10), (1, 2, 3)), -2: plane}
    return Spec("m", Box(0, 0, 10, 10), planes, mask=MaskData(0, 0, side, side, 255))


def test_masks_are_kept_where_they_matter(tmp_path: Path) -> None:
    path = save(tmp_path / "a.psd", SIZE, [masked(700)])
    (leaf,) = read(path, "psd", ReadLimits()).nodes
    assert leaf.mask is not None and leaf.mask.box.contains(Box(0, 0, 10, 10)) and leaf.mask.box.area < 200 * 200
    assert leaf.mask.pixels.shape == (leaf.mask.box.height, leaf.mask.box.width) and leaf.mask.outside == 255
    assert leaf.mask.pixels[0, 5] == 5 and leaf.mask.pixels.base is None


def test_the_masks_of_a_document_have_a_limit_together(tmp_path: Path) -> None:
    path = save(tmp_path / "a.psd", SIZE, [masked(60)] * 6)
    limits = ReadLimits(max_layer_pixels=4000)
    error = refused(lambda: read(path, "psd", limits))
    assert error.code is Code.TOO_LARGE and "masks" in error.message
    assert read(save(tmp_path / "b.psd", SIZE, [masked(60)] * 4), "psd", limits)


def test_text_of_engine_data_costs_its_own_size() -> None:
    data = b"<< /A (" + b"a\\(" * 300_000 + b") >>"
    parsed(data[:40] + b") >>")
    tracemalloc.start()
    try:
        found = parsed(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(next(iter(found.values()))) == 900_000 and peak < 8 * len(data)


def test_the_limit_of_objects_follows_the_layers_and_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert psd_open.max_objects(ReadLimits()) >= 3_000_000
    monkeypatch.setattr(psd_open, "_OBJECTS", 5)
    monkeypatch.setattr(psd_open, "_OBJECTS_A_LAYER", 2)
    blocks = {Tag.SOLID_COLOR_SHEET_SETTING: solid(255, 0, 0), Tag.VECTOR_STROKE_DATA: pen(4)}
    path = save(tmp_path / "a.psd", SIZE, [Spec(blocks=blocks)])
    error = refused(lambda: read(path, "psd", ReadLimits(max_layers=4)))
    assert error.code is Code.TOO_LARGE and "max_layers allows 8 objects" in error.message


def test_a_layer_has_a_limit_of_effects_over_all_lists() -> None:
    shadows: dict[str, Any] = {f"list{i}": listed(*[effect(b"DrSh")] * 30) for i in range(4)}
    style, names, problems = styled(**shadows)
    assert len(style) == MAX_EFFECTS and names == ("drop-shadow",)
    assert any("effects beyond" in problem for problem in problems)


def test_documents_may_be_opened_in_threads(tmp_path: Path) -> None:
    path = save(tmp_path / "a.psd", SIZE, [Spec(f"l{i}", VISIBLE, rgba(VISIBLE, (1, 2, 3))) for i in range(8)])
    before = vars(tagged_blocks)["EngineData"], bin_utils._format_objects, dict(tagged_blocks.TYPES)
    threads = [
        threading.Thread(target=lambda: [psd_open.opened(path, ReadLimits()) for _ in range(5)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (vars(tagged_blocks)["EngineData"], bin_utils._format_objects, dict(tagged_blocks.TYPES)) == before


class Starved:
    """A sandbox whose child has too little memory left the first time."""

    def __init__(self) -> None:
        self.calls = 0

    def run(self, *_: object) -> object:
        self.calls += 1
        raise Rejected(Code.OUT_OF_MEMORY if self.calls == 1 else Code.UNREADABLE, "said so")


def test_a_want_of_memory_is_tried_once_more() -> None:
    config = ExtractConfig(read=ReadLimits(), extract=FlattenConfig(), image=ImageConfig())
    sandbox: Any = Starved()
    words: dict[str, Any] = dict.fromkeys(("licence", "licensor", "expires", "caption"))
    row = PlanRow(row=0, unit=0, split="train", uri="a.psd", family="", **words)
    ((outcome, _),) = Extractor("", config, sandbox, {}).rows([row])
    assert (outcome.attempts, outcome.code) == (2, Code.UNREADABLE)
