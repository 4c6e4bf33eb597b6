"""The lowered stack means what the tree means: held to the float render of random trees, and by hand if exact."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.flatten import FlattenConfig, backdrop, lower, render_tree
from pipelines.flatten.blend import MODES
from pipelines.formats.tree import Document, Group, Leaf, Mask
from schemas.compositing import composite
from schemas.design import LayerKind, Lowering
from schemas.geometry import Box

SIDE = 24
ANY = FlattenConfig(min_layers=1, min_side=1)


def leaf(colour, box=(0, 0, SIDE, SIDE), **fields):
    """A leaf of one colour (RGB or RGBA)."""
    where = Box(*box)
    pixels = np.empty((where.height, where.width, 4), np.uint8)
    pixels[:] = (*colour, 255)[:4]
    return Leaf(**{"name": "leaf", **fields}, box=where, pixels=lambda: pixels)


def document(*nodes, **fields):
    return Document(SIDE, SIDE, nodes, **fields)


def shown(stack):
    return stack.composite[stack.visible.slices]


def error(stack, doc):
    """Mean and largest difference to the float render, in levels, over white and black."""
    ours, truth = shown(stack).astype(float), render_tree(doc).astype(float)
    sides = []
    for solid in (0, 255):
        a, b = (p[..., :3] * p[..., 3:] / 255 + solid * (1 - p[..., 3:] / 255) for p in (ours, truth))
        sides.append(np.abs(a - b))
    return np.mean(sides), np.max(sides)


def _mask(rng):
    if rng.random() < 0.7:
        return None
    box = _box(rng)
    hard = rng.random() < 0.4
    values = (
        rng.integers(0, 2, (box.height, box.width)) * 255 if hard else rng.integers(0, 256, (box.height, box.width))
    )
    return Mask(box, values.astype(np.uint8), int(rng.choice([0, 255, 90])))


def _box(rng):
    x0, y0 = rng.integers(-8, SIDE - 4, 2)
    width, height = rng.integers(2, SIDE + 10, 2)
    return Box(int(x0), int(y0), int(x0 + width), int(y0 + height))


def _common(rng, modes, name):
    return {
        "name": name,
        "visible": bool(rng.random() > 0.1),
        "opacity": float(rng.choice([1.0, 1.0, rng.random()])),
        "blend_mode": str(rng.choice(modes)) if rng.random() < 0.5 else "normal",
        "clipped": bool(rng.random() < 0.3),
        "mask": _mask(rng),
    }


def _leaf(rng, modes):
    box = _box(rng)
    smooth = np.linspace(rng.random(3), rng.random(3), box.height)[:, None] * np.ones((1, box.width, 1))
    pixels = np.empty((box.height, box.width, 4), np.uint8)
    pixels[..., :3] = smooth * 255 if rng.random() < 0.5 else rng.integers(0, 256, pixels[..., :3].shape)
    if rng.random() < 0.2:
        pixels[..., :3] = pixels[..., :1]
    soft = rng.integers(0, 256, (box.height, box.width))
    pixels[..., 3] = 255 if rng.random() < 0.5 else soft
    return Leaf(**_common(rng, modes, f"leaf {rng.integers(99)}"), box=box, pixels=lambda: pixels)


def _tree(rng, modes, depth=0):
    nodes = []
    for _ in range(int(rng.integers(1, 5))):
        if depth < 3 and rng.random() < 0.35:
            inner = {"children": _tree(rng, modes, depth + 1), "isolated": bool(rng.random() < 0.5)}
            nodes.append(Group(**_common(rng, modes, "group"), **inner))
        else:
            nodes.append(_leaf(rng, modes))
    return tuple(nodes)


@pytest.mark.parametrize("seed", range(60))
def test_normal_trees_are_exact_and_clean(seed):
    doc = document(*_tree(np.random.default_rng(seed), ["normal"]))
    stack = lower(doc, ANY)
    mean, worst = error(stack, doc)
    assert mean < 0.6
    assert worst <= 4
    assert all(layer.lowering is Lowering.EXACT and layer.reusable for layer in stack.layers)


@pytest.mark.parametrize("seed", range(90))
def test_blended_trees_recompose(seed):
    smooth = sorted(set(MODES) - {"hard-mix", "vivid-light", "color-burn", "color-dodge", "divide"})
    doc = document(*_tree(np.random.default_rng(1000 + seed), smooth))
    mean, worst = error(lower(doc, ANY), doc)
    assert mean < 1.0
    assert worst < 26


@pytest.mark.parametrize("mode", sorted(MODES))
def test_each_mode_over_an_opaque_backdrop(mode):
    rng = np.random.default_rng(7)
    back, front = rng.integers(0, 256, (2, SIDE, SIDE, 4)).astype(np.uint8)
    back[..., 3] = 255
    full = Box(0, 0, SIDE, SIDE)
    doc = document(
        Leaf("back", box=full, pixels=lambda: back),
        Leaf("front", blend_mode=mode, box=full, opacity=0.8, pixels=lambda: front),
    )
    stack = lower(doc, ANY)
    assert error(stack, doc)[0] < 0.6
    assert stack.layers[1].lowering is Lowering.BAKED
    assert not stack.layers[1].reusable
    assert mode in stack.layers[1].notes[-1]


def test_group_opacity_of_overlapping_children_by_hand():
    red, blue = leaf((200, 0, 0)), leaf((0, 0, 100), (0, 0, SIDE, 12))
    stack = lower(document(Group("g", opacity=0.5, children=(red, blue))), ANY)
    assert shown(stack)[0, 0].tolist() == [0, 0, 100, 128]
    assert shown(stack)[20, 0].tolist() == [200, 0, 0, 128]
    assert stack.layers[1].pixels[0, 0, 3] == 128
    assert "opacity 50% of group 'g'" in stack.layers[0].notes


def test_what_lies_hidden_in_a_masked_group_survives():
    hard = np.zeros((SIDE, SIDE), np.uint8)
    hard[:, :12] = 255
    mask = Mask(Box(0, 0, SIDE, SIDE), hard)
    group = Group("g", mask=mask, children=(leaf((200, 0, 0)), leaf((0, 0, 100), (0, 0, SIDE, 6))))
    stack = lower(document(group), ANY)
    assert stack.layers[0].box == Box(0, 0, 12, SIDE)
    assert (stack.layers[0].pixels[..., 3] == 255).all()


def test_a_plain_group_is_spliced():
    inner = Group("g", children=(leaf((1, 2, 3)), leaf((4, 5, 6, 128), (2, 2, 8, 8))))
    stack = lower(document(leaf((9, 9, 9, 200)), inner), ANY)
    assert [layer.notes for layer in stack.layers] == [(), ()]
    assert len(stack.layers) == 2


def test_clipped_layers_stay_inside_the_base_and_its_alpha():
    base = leaf((10, 20, 30, 128), (4, 4, 12, 12), name="base")
    top = leaf((250, 0, 0), clipped=True, name="top")
    stack = lower(document(base, top), ANY)
    assert [layer.name for layer in stack.layers] == ["top"]
    assert stack.layers[0].box == Box(4, 4, 12, 12)
    assert shown(stack)[5, 5].tolist() == [250, 0, 0, 128]
    assert stack.layers[0].notes == ("clipped to 'base'",)


def test_what_is_clipped_to_a_hidden_layer_is_hidden():
    nodes = (leaf((1, 1, 1)), leaf((9, 9, 9), visible=False), leaf((250, 0, 0), clipped=True))
    assert len(lower(document(*nodes), ANY).layers) == 1


def test_an_empty_clipped_layer_leaves_a_group_pass_through():
    inner = leaf((200, 100, 50), blend_mode="difference")
    nodes = (leaf((90, 180, 200)), Group("g", children=(inner,)), Leaf("empty", clipped=True))
    assert shown(lower(document(*nodes), ANY))[0, 0].tolist() == [110, 80, 150, 255]


def test_gray_multiply_is_black_with_alpha_and_reusable():
    shadow = leaf((64, 64, 64, 128), (2, 2, 30, 10), blend_mode="multiply", name="shadow")
    doc = document(leaf((200, 100, 50)), shadow)
    stack = lower(doc, ANY)
    made = stack.layers[1]
    assert (made.pixels[..., :3] == 0).all()
    assert made.pixels[0, 0].tolist() == [0, 0, 0, round(128 * (1 - 64 / 255))]
    assert made.reusable
    assert made.lowering is Lowering.EXACT
    assert made.box == Box(2, 2, 30, 10)
    assert error(stack, doc)[1] <= 1


def test_gray_screen_is_white_with_alpha():
    doc = document(leaf((200, 100, 50)), leaf((64, 64, 64), (2, 2, 9, 9), blend_mode="screen"))
    stack = lower(doc, ANY)
    assert stack.layers[1].pixels[0, 0].tolist() == [255, 255, 255, 64]
    assert stack.layers[1].reusable
    assert error(stack, doc)[1] <= 1


def test_gray_multiply_over_a_translucent_backdrop_is_baked():
    doc = document(leaf((200, 100, 50, 100)), leaf((64, 64, 64), (2, 2, 9, 9), blend_mode="multiply"))
    stack = lower(doc, ANY)
    assert stack.layers[1].lowering is Lowering.BAKED
    assert error(stack, doc)[1] <= 2


@pytest.mark.parametrize("where", ["nothing below", "no effect"])
def test_a_mode_that_changes_nothing_leaves_the_layer_clean(where):
    below = leaf((255, 255, 255), (0, 0, 4, 4)) if where == "nothing below" else leaf((255, 255, 255))
    doc = document(below, leaf((200, 10, 10), (6, 6, 12, 12), blend_mode="multiply"))
    made = lower(doc, ANY).layers[1]
    assert made.pixels[0, 0].tolist() == [200, 10, 10, 255]
    assert made.reusable
    assert made.lowering is Lowering.EXACT
    assert made.blend_mode == "multiply"


def test_the_neutral_part_of_a_blended_layer_leaves_no_alpha():
    pixels = np.full((SIDE, SIDE, 4), 255, np.uint8)
    pixels[4:8, 4:8, :3] = (200, 30, 30)
    front = Leaf("stamp", blend_mode="multiply", box=Box(0, 0, SIDE, SIDE), pixels=lambda: pixels)
    doc = document(leaf((90, 180, 200)), front)
    stack = lower(doc, ANY)
    assert stack.layers[1].box == Box(4, 4, 8, 8)
    assert error(stack, doc)[1] <= 1


def test_a_neutral_layer_over_a_translucent_backdrop_still_paints():
    doc = document(leaf((90, 180, 200, 100)), leaf((255, 255, 255, 200), (4, 4, 8, 8), blend_mode="color-burn"))
    stack = lower(doc, ANY)
    assert len(stack.layers) == 2
    assert error(stack, doc)[1] <= 2


def test_a_group_that_multiplies_keeps_its_layers_and_one_that_overlays_is_merged():
    for mode, count in (("multiply", 3), ("overlay", 2)):
        children = (leaf((200, 10, 10), (2, 2, 12, 12)), leaf((10, 200, 10, 90), (6, 6, 20, 20)))
        doc = document(leaf((90, 180, 200)), Group("wash", blend_mode=mode, children=children))
        stack = lower(doc, ANY)
        assert len(stack.layers) == count
        assert error(stack, doc)[1] <= 2
        assert sum(layer.leaves for layer in stack.layers) == 3
    assert stack.layers[1].lowering is Lowering.MERGED
    assert stack.layers[1].kind is LayerKind.GROUP


@pytest.mark.parametrize("mode", ["multiply", "screen", "exclusion"])
def test_the_neutral_colour_hides_what_lies_below_it_in_the_same_group(mode):
    neutral, other = ((255, 255, 255), (0, 0, 0)) if mode == "multiply" else ((0, 0, 0), (255, 255, 255))
    inside = (leaf(other, (2, 2, 16, 16)), leaf(neutral, (6, 6, 20, 20)))
    doc = document(leaf((90, 180, 200)), Group("wash", blend_mode=mode, isolated=True, children=inside))
    stack = lower(doc, ANY)
    assert shown(stack)[8, 8].tolist() == [90, 180, 200, 255]
    assert shown(stack)[3, 3].tolist() != [90, 180, 200, 255]
    assert error(stack, doc)[1] <= 1


def _paints(monkeypatch, *nodes):
    """How often a layer is painted into a tile of a backdrop while the nodes are lowered."""
    painted = []
    paint = backdrop._paint
    monkeypatch.setattr(backdrop, "_paint", lambda *args: painted.append(paint(*args)))
    lower(document(leaf((90, 180, 200)), *nodes), ANY)
    return len(painted)


def _blends(count, **fields):
    return [leaf((200, 60, 5 * i, 200), blend_mode="soft-light", **fields) for i in range(count)]


def test_layers_that_blend_cost_one_painting_each(monkeypatch):
    assert _paints(monkeypatch, *_blends(20)) == 20
    assert _paints(monkeypatch, *_blends(20, clipped=True)) == 20
    assert _paints(monkeypatch, *[Group("g", children=(one,)) for one in _blends(20)]) == 20
    nested = ()
    for one in _blends(20):
        nested = (Group("g", children=nested), one)
    assert _paints(monkeypatch, *nested) == 20
    faded = [Group("g", opacity=0.5, children=tuple(_blends(2))) for _ in range(10)]
    assert _paints(monkeypatch, *faded) <= 40


def test_a_backdrop_may_forget_tiles(monkeypatch):
    rng = np.random.default_rng(11)
    doc = document(*_tree(rng, sorted(set(MODES))))
    kept = lower(doc, ANY)
    monkeypatch.setattr(backdrop, "KEPT", 0)
    assert (lower(doc, ANY).composite == kept.composite).all()


def test_blending_reaches_over_tiles(monkeypatch):
    monkeypatch.setattr(backdrop, "SIDE", 7)
    for seed in range(1000, 1020):
        smooth = sorted(set(MODES) - {"hard-mix", "vivid-light", "color-burn", "color-dodge", "divide"})
        doc = document(*_tree(np.random.default_rng(seed), smooth))
        assert error(lower(doc, ANY), doc)[0] < 1.0


def test_what_was_not_drawn_is_noted():
    shadowed = leaf((9, 9, 9), (0, 0, 9, 9), effects=("drop-shadow",), undrawn=("drop-shadow", "x" * 500))
    group = Group("g" * 500, undrawn=("stroke",), children=(shadowed,))
    (made,) = lower(document(group), ANY).layers
    assert made.effects == ("drop-shadow",)
    assert made.notes[0] == "drop-shadow not drawn"
    assert made.notes[2] == f"stroke of group {'g' * 59 + '…'!r} not drawn"
    assert max(map(len, made.notes)) < 120


def test_notes_are_bounded_however_deep_a_layer_lies():
    node = leaf((9, 9, 9))
    for depth in range(40):
        node = Group(f"{depth % 30}", opacity=0.99, children=(node,))
    (made,) = lower(document(node), ANY).layers
    assert len(made.notes) == 16
    assert made.notes[-1] == "more notes left out"


def test_overflow_that_a_group_mask_takes_away_is_noted():
    mask = Mask(Box(0, 0, SIDE, SIDE), np.full((SIDE, SIDE), 255, np.uint8))
    over, within = leaf((9, 9, 9), (-4, 0, 9, 9), name="over"), leaf((99, 9, 9), (2, 2, 9, 9), name="within")
    made = lower(document(Group("Artboard 1", mask=mask, children=(over, within))), ANY).layers
    assert [layer.name for layer in made] == ["over", "within"]
    assert made[0].box == Box(0, 0, 9, 9)
    assert "clipped by 'Artboard 1'" in made[0].notes
    assert not any("clipped by" in note for note in made[1].notes)
    assert not made[0].cropped


def test_an_unknown_mode_is_drawn_as_normal_and_says_so():
    stack = lower(document(leaf((1, 1, 1)), leaf((200, 0, 0, 99), blend_mode="dissolve")), ANY)
    assert stack.layers[1].notes == ("dissolve drawn as normal",)


def test_composite_of_the_stack_is_the_definition():
    doc = document(*_tree(np.random.default_rng(5), ["normal"]))
    stack = lower(doc, ANY)
    assert (stack.composite == composite([layer.placed for layer in stack.layers], stack.canvas)).all()


def test_hidden_layers_are_never_read():
    def never():
        raise AssertionError("read")

    hidden = Leaf("hidden", visible=False, box=Box(0, 0, 9, 9), pixels=never)
    far = Leaf("far", box=Box(5000, 0, 5009, 9), pixels=never)
    group = Group("off", visible=False, children=(Leaf("inside", box=Box(0, 0, 9, 9), pixels=never),))
    assert len(lower(document(leaf((1, 1, 1)), hidden, far, group), ANY).layers) == 1
