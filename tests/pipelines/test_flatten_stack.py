"""From lowered layers to a stack: scale, canvas and its cap, cleaning, merging, and the recomposition check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.errors import Rejected
from pipelines.flatten import FlattenConfig, StackLayer, coverage, flatten, lower, overflow, render_tree
from pipelines.flatten.canvas import capped
from pipelines.flatten.check import worst_region
from pipelines.flatten.clean import at_most
from pipelines.flatten.planes import composite_banded
from pipelines.formats.tree import Document, Group, Leaf, Mask
from schemas.compositing import composite
from schemas.design import LayerKind, Lowering, Text, TextRun
from schemas.geometry import Box
from schemas.ledger import Code

ANY = FlattenConfig(min_layers=1, min_side=1)


def leaf(colour, box, **fields):
    where = Box(*box)
    pixels = np.empty((where.height, where.width, 4), np.uint8)
    pixels[:] = (*colour, 255)[:4]
    return Leaf(**{"name": "leaf", **fields}, box=where, pixels=lambda: pixels)


def document(*nodes, width=100, height=50, **fields):
    return Document(width, height, nodes, **fields)


def test_the_canvas_is_the_union_and_starts_at_zero():
    stack = lower(document(leaf((9, 9, 9), (-10, -5, 120, 40)), leaf((99, 9, 9), (50, 20, 60, 80))), ANY)
    assert stack.canvas == Box(0, 0, 130, 85)
    assert stack.visible == Box(10, 5, 110, 55)
    assert [layer.box for layer in stack.layers] == [Box(0, 0, 130, 45), Box(60, 25, 70, 85)]
    assert stack.composite.shape == (85, 130, 4)
    assert not any(layer.cropped for layer in stack.layers)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Box(-10, 0, 110, 50), Box(-10, 0, 110, 50)),
        (Box(-500, 0, 100, 50), Box(-200, 0, 100, 50)),
        (Box(-500, 0, 600, 50), Box(-100, 0, 200, 50)),
        (Box(-500, 0, 130, 50), Box(-170, 0, 130, 50)),
        (Box(20, -999, 30, 75), Box(0, -75, 100, 75)),
    ],
)
def test_the_cap_cuts_both_sides_fairly(content, expected):
    assert capped(Box(0, 0, 100, 50), content, 3.0) == expected


def test_a_layer_beyond_the_cap_is_cropped_and_says_so():
    giant = leaf((9, 9, 9), (-1000, -1000, 1000, 1000), name="giant")
    stack = lower(document(giant, leaf((99, 9, 9), (0, 0, 9, 9))), ANY)
    assert (stack.canvas.width, stack.canvas.height) == (300, 150)
    assert [layer.cropped for layer in stack.layers] == [True, False]
    assert stack.layers[0].box == stack.canvas


def test_what_is_cut_without_alpha_is_no_crop():
    pixels = np.zeros((2000, 2000, 4), np.uint8)
    pixels[1000:1010, 1000:1010] = 255
    wide = Leaf("wide", box=Box(-1000, -1000, 1000, 1000), pixels=lambda: pixels)
    made = lower(document(wide), ANY).layers[0]
    assert made.box == Box(0, 0, 10, 10)
    assert not made.cropped


def test_overflow_and_coverage_numbers():
    pixels = np.zeros((10, 20, 4), np.uint8)
    pixels[2:8, :, 3] = 200
    found = overflow(pixels, Box(0, 0, 20, 10), Box(5, 4, 15, 30))
    assert (found.left, found.top, found.right, found.bottom) == (5, 2, 5, 0)
    assert found.share == pytest.approx(1 - (10 * 4) / (20 * 6))
    assert overflow(pixels, Box(5, 5, 25, 15), Box(0, 0, 30, 30)).share == 0
    assert coverage(pixels) == pytest.approx(0.6 * 200 / 255)


def test_cleaning_drops_what_does_not_show():
    nodes = (
        leaf((1, 1, 1), (0, 0, 50, 50), name="under the photo"),
        leaf((200, 200, 0), (-20, 0, 100, 50), name="photo"),
        leaf((9, 9, 9, 0), (0, 0, 50, 50), name="empty"),
        leaf((9, 9, 9), (-50, 0, -10, 50), name="outside"),
        leaf((9, 9, 9), (0, 0, 50, 50), name="hidden", visible=False),
        leaf((9, 9, 9), (0, 0, 50, 50), name="zero", opacity=0.0),
        leaf((9, 9, 9), (0, 0, 50, 50), name="shown"),
    )
    stack = lower(document(*nodes), ANY)
    assert [layer.name for layer in stack.layers] == ["photo", "shown"]
    assert stack.source_layers == 7


def test_layers_are_trimmed_to_their_alpha():
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[10:20, 5:30] = 255
    stack = lower(document(Leaf("a", box=Box(3, 3, 43, 43), pixels=lambda: pixels)), ANY)
    assert stack.layers[0].box == Box(8, 13, 33, 23)


@pytest.mark.parametrize(("box", "kind"), [((0, 0, 100, 50), "background"), ((0, 0, 100, 48), "shape")])
def test_only_a_covering_bottom_layer_is_the_background(box, kind):
    nodes = (leaf((1, 1, 1), box, kind=LayerKind.SHAPE), leaf((9, 9, 9), (0, 0, 9, 9), kind=LayerKind.BACKGROUND))
    assert [layer.kind for layer in lower(document(*nodes), ANY).layers] == [kind, "image"]


def test_merging_takes_neighbours_that_do_not_overlap_first():
    back = leaf((0, 0, 90), (0, 0, 100, 50), name="back")
    dots = [leaf((200, i, 0), (10 * i, 5, 10 * i + 8, 20), name=f"dot {i}") for i in range(6)]
    over = leaf((0, 200, 0, 128), (0, 0, 60, 40), name="over")
    doc = document(back, *dots, over)
    full, few = lower(doc, ANY), lower(doc, replace_config(max_layers=3))
    assert [layer.leaves for layer in few.layers] == [1, 6, 1]
    assert few.layers[1].lowering is Lowering.MERGED
    assert few.layers[1].box == Box(0, 5, 58, 20)
    assert few.layers[0].kind is LayerKind.BACKGROUND
    assert (full.composite == few.composite).all()


def test_merging_prefers_a_wide_pair_that_does_not_overlap_to_a_small_one_that_does():
    nodes = (
        leaf((200, 0, 0), (0, 0, 9, 9), name="a"),
        leaf((0, 200, 0, 99), (2, 2, 9, 9), name="b"),
        leaf((0, 0, 200), (60, 10, 90, 40), name="c"),
    )
    assert [layer.name for layer in lower(document(*nodes), replace_config(max_layers=2)).layers] == ["a", "b + c"]


def test_merging_overlapping_layers_keeps_the_composite():
    rng = np.random.default_rng(1)
    layers = []
    for index in range(9):
        x, y = (int(value) for value in rng.integers(0, 30, 2))
        pixels = rng.integers(0, 256, (20, 20, 4)).astype(np.uint8)
        layers.append(StackLayer(pixels, Box(x, y, x + 20, y + 20), f"{index}", LayerKind.IMAGE))
    canvas = Box(0, 0, 50, 50)
    before = composite([layer.placed for layer in layers], canvas).astype(float)
    for count in (5, 2, 1):
        few = at_most(layers, count)
        after = composite([layer.placed for layer in few], canvas).astype(float)
        assert len(few) == count
        assert sum(layer.leaves for layer in few) == 9
        assert np.abs(after - before)[..., 3].max() <= 2
        solid = [p[..., :3] * p[..., 3:] / 255 for p in (before, after)]
        assert np.abs(solid[0] - solid[1]).max() <= 3


def test_text_is_merged_last():
    words = Text(runs=(TextRun(text="Hi"),))
    nodes = (
        leaf((9, 9, 9), (0, 0, 10, 10), name="a"),
        leaf((9, 9, 9), (11, 0, 12, 1), name="text", kind=LayerKind.TEXT, text=words),
        leaf((90, 9, 9), (0, 0, 100, 50), name="b"),
        leaf((9, 9, 90), (0, 0, 100, 50), name="c", opacity=0.5),
    )
    few = lower(document(nodes[2], nodes[1], nodes[3], nodes[0]), replace_config(max_layers=3)).layers
    assert [layer.name for layer in few] == ["b", "text", "c + a"]
    assert few[1].text == words


def test_many_merged_layers_round_once():
    """A hundred faint layers: rounding at each of 99 merges would drift by several levels."""
    rng = np.random.default_rng(3)
    layers = []
    for index in range(100):
        pixels = rng.integers(0, 256, (30, 30, 4)).astype(np.uint8)
        pixels[..., 3] = rng.integers(1, 12, (30, 30))
        layers.append(StackLayer(pixels, Box(0, 0, 30, 30), f"{index}", LayerKind.IMAGE))
    (one,) = at_most(layers, 1)
    assert (one.pixels == composite([layer.placed for layer in layers], Box(0, 0, 30, 30))).all()
    assert one.notes == ("100 layers merged to keep within the layer limit",)


def test_the_composite_in_squares_is_the_composite():
    rng = np.random.default_rng(4)
    placed = []
    for _ in range(4):
        x, y, width, height = (int(value) for value in rng.integers(-20, 400, 4))
        width, height = abs(width) + 1, abs(height) + 1
        placed.append((rng.integers(0, 256, (height, width, 4)).astype(np.uint8), Box(x, y, x + width, y + height)))
    canvas = Box(-30, -10, 700, 600)
    assert (composite_banded(placed, canvas) == composite(placed, canvas)).all()


def replace_config(**changes):
    return ANY.model_copy(update=changes)


def test_a_large_document_is_scaled_with_all_that_has_pixels():
    ramp = np.linspace(0, 255, 400).astype(np.uint8)
    photo = np.dstack([np.tile(ramp, (200, 1))] * 3 + [np.full((200, 400), 255, np.uint8)])
    run = TextRun(text="Hi", size=40.0, leading=48.0)
    mask = Mask(Box(-80, 0, 400, 100), np.full((100, 480), 255, np.uint8), 0)
    nodes = (
        Leaf("photo", box=Box(0, 0, 400, 200), pixels=lambda: photo),
        leaf((200, 0, 0), (-41, 10, 333, 150), mask=mask, opacity=0.5),
        leaf((0, 0, 0), (13, 13, 97, 55), kind=LayerKind.TEXT, text=Text(runs=(run,))),
    )
    plain = document(*nodes, width=400, height=200)
    doc = replace(plain, preview=render_tree(plain))
    stack = flatten(doc, FlattenConfig(max_side=100, min_side=32))
    assert stack.scale == 0.25
    assert (stack.visible.width, stack.visible.height) == (100, 50)
    assert stack.preview.shape == (50, 100, 4)
    assert stack.recomposition.reference == "preview"
    assert stack.layers[1].box == Box(0, 2, 95, 25)
    assert stack.visible.x0 == 11
    assert stack.layers[2].text is not None
    assert (stack.layers[2].text.runs[0].size, stack.layers[2].text.runs[0].leading) == (10.0, 12.0)
    assert stack.recomposition.mae < 1


def test_an_odd_scale_keeps_places():
    dot = leaf((255, 0, 0), (306, 101, 406, 201), name="dot")
    doc = document(leaf((255, 255, 255), (0, 0, 1001, 333)), dot, width=1001, height=333)
    made = lower(doc, replace_config(max_side=256)).layers[1]
    alpha = made.pixels[..., 3].astype(float) / 255
    assert alpha.sum() == pytest.approx(100 * 100 * (256 / 1001) * (85 / 333), rel=0.01)
    xs = (np.arange(made.box.x0, made.box.x1) + 0.5) * 1001 / 256
    assert (alpha.sum(0) @ xs) / alpha.sum() == pytest.approx(356, abs=0.3)


def test_the_preview_is_at_most_1024_px():
    stack = lower(document(leaf((1, 2, 3), (0, 0, 3000, 30)), width=3000, height=30), ANY)
    assert stack.preview.shape == (10, 1024, 4)
    assert stack.visible.width == 3000


def _two(**fields):
    return document(leaf((9, 9, 9), (0, 0, 100, 50)), leaf((200, 9, 9), (0, 0, 9, 9), **fields))


def _flat(value):
    return np.full((50, 100, 4), value, np.uint8)


def test_a_mismatch_names_the_features_that_were_not_drawn():
    doc = replace(_two(undrawn=("drop shadow",), blend_mode="dissolve"), preview=_flat(255))
    with pytest.raises(Rejected) as caught:
        flatten(doc, ANY.model_copy(update={"min_side": 8}))
    assert caught.value.code is Code.RECOMPOSE_MISMATCH
    assert "drop shadow, blend mode dissolve" in caught.value.message
    assert "(limits 1, 25, 32)" in caught.value.message


def test_features_of_hidden_layers_are_not_blamed():
    hidden = leaf((1, 1, 1), (0, 0, 9, 9), visible=False, undrawn=("bevel",))
    group = Group("off", visible=False, children=(leaf((1, 1, 1), (0, 0, 9, 9), undrawn=("satin",)),))
    doc = replace(_two(), preview=_flat(255))
    doc = replace(doc, nodes=(*doc.nodes, hidden, group))
    with pytest.raises(Rejected, match="at fault may be layer"):
        flatten(doc, ANY)


def test_an_undrawn_feature_without_effect_is_forgiven():
    doc = _two(undrawn=("drop shadow",))
    assert flatten(replace(doc, preview=render_tree(doc)), ANY).recomposition.mae == 0


def test_a_small_wrong_region_is_found_by_p99():
    shown = render_tree(_two())
    shown[:10, :6, :3] = 255
    doc = replace(_two(), preview=shown)
    with pytest.raises(Rejected) as caught:
        flatten(doc, FlattenConfig(min_side=8, max_mae=100, max_region=255))
    assert caught.value.code is Code.RECOMPOSE_MISMATCH


def test_the_reference_is_the_preview_else_a_render_else_the_tree():
    doc = _two()
    other = replace(doc, render=lambda: render_tree(doc))
    assert flatten(doc, ANY).recomposition.reference == "render"
    assert flatten(other, ANY).recomposition.mae == 0
    wrong = replace(doc, render=lambda: _flat(255))
    with pytest.raises(Rejected):
        flatten(wrong, ANY)
    assert flatten(replace(wrong, preview=render_tree(doc)), ANY).recomposition.reference == "preview"
    assert flatten(replace(doc, render=lambda: None), ANY).recomposition.mae == 0


def test_an_opaque_preview_of_a_translucent_document_was_matted_on_white():
    doc = document(leaf((200, 0, 0, 128), (0, 0, 100, 50)), leaf((0, 0, 99, 128), (0, 0, 9, 9)))
    shown = render_tree(doc).astype(float)
    white = shown[..., :3] * shown[..., 3:] / 255 + 255 - shown[..., 3:]
    preview = np.dstack([white, np.full((50, 100), 255)]).round().astype(np.uint8)
    assert flatten(replace(doc, preview=preview, opaque_on_white=True), ANY).recomposition.mae < 0.5
    with pytest.raises(Rejected, match="mean error 6"):
        flatten(replace(doc, preview=preview), ANY)


@pytest.mark.parametrize("size", [(1024, 1024), (1000, 999), (90, 60)])
@pytest.mark.parametrize("corner", ["start", "middle", "end"])
def test_a_missing_element_is_found_however_small_its_share_is(size, corner):
    width, height = size
    doc = document(leaf((255, 255, 255), (0, 0, width, height)), width=width, height=height)
    shown = render_tree(doc)
    where = {"start": 0, "middle": 0.5, "end": 1}[corner]
    x, y = int((width - 80) * where), int((height - 50) * where)
    shown[y : y + 50, x : x + 80, :3] = 0
    loose = replace_config(max_mae=255, max_p99=255)
    with pytest.raises(Rejected, match="worst 32 px square"):
        flatten(replace(doc, preview=shown), loose)
    assert flatten(doc, loose).region == 0


def test_a_picture_smaller_than_the_square_counts_as_one():
    error = np.zeros((20, 64), np.float32)
    error[:, 32:] = 9
    assert worst_region(error)[0] == 9
    assert worst_region(np.full((5, 7), 3, np.float32)) == (3, Box(0, 0, 7, 5))
    odd = np.zeros((40, 40), np.float32)
    odd[-1, -1] = 32 * 32
    assert worst_region(odd)[0] == 1


@pytest.mark.parametrize("fields", [{"undrawn": ("drop-shadow",)}, {"blend_mode": "dissolve"}])
def test_a_render_proves_nothing_about_what_it_cannot_draw(fields):
    doc = _two(**fields)
    for unproven in (doc, replace(doc, render=lambda: render_tree(doc))):
        with pytest.raises(Rejected, match=r"no preview to trust, and not drawn: (drop-shadow|blend mode dissolve)"):
            flatten(unproven, ANY)
    assert flatten(replace(doc, preview=render_tree(doc)), ANY)
    assert flatten(_two(**fields, visible=False), ANY)


def test_the_scaled_size_is_judged_too():
    nodes = [leaf((1, 1, 1), (0, 0, 9, 9))] * 2
    with pytest.raises(Rejected, match="20000 x 64 px, scaled to 4096 x 13 px"):
        flatten(document(*nodes, width=20000, height=64), FlattenConfig())


@pytest.mark.parametrize(
    ("doc", "code"),
    [
        (document(width=0, height=0), Code.TOO_SMALL),
        (document(leaf((1, 1, 1), (0, 0, 9, 9)), width=900, height=63), Code.TOO_SMALL),
        (document(width=100, height=100), Code.TOO_FEW_LAYERS),
        (document(leaf((1, 1, 1), (0, 0, 9, 9)), width=100, height=100), Code.TOO_FEW_LAYERS),
        (document(*[leaf((1, 1, 1), (200, 0, 299, 9))] * 3, width=100, height=100), Code.TOO_FEW_LAYERS),
    ],
)
def test_what_can_be_no_sample_is_refused(doc, code):
    with pytest.raises(Rejected) as caught:
        flatten(doc, FlattenConfig())
    assert caught.value.code is code


def test_size_is_judged_before_any_pixel_is_read():
    def never():
        raise AssertionError("read")

    unread = Leaf("a", box=Box(0, 0, 9, 9), pixels=never)
    with pytest.raises(Rejected, match="short side"):
        flatten(document(unread, unread, width=10, height=10), FlattenConfig())
