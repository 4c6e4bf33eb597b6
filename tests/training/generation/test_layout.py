"""Layouts that nobody has checked: what is one, and in one line why something is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.design import LayerKind
from tests.pipelines.dataset_builder import make_sample
from training.errors import UsageError
from training.generation.layout import MAX_JSON, LayoutPlan

CANVAS = {"width": 40, "height": 30}
WHOLE = [0, 0, 40, 30]


def layout(*layers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"canvas": CANVAS, "layers": list(layers) or [{"box": WHOLE}], **fields}


def test_what_is_left_out_is_plain() -> None:
    plan = LayoutPlan.from_json(json.dumps(layout({"box": [1, 2, 3, 4]})))
    [layer] = plan.layers
    assert tuple(plan.visible) == (0, 0, 40, 30) and tuple(layer.box) == (1, 2, 3, 4)
    assert (layer.name, layer.kind, layer.caption, layer.group, layer.visible) == ("", "image", "", None, True)
    assert not plan.backed


def test_a_layout_comes_back_as_it_was_written() -> None:
    layers = {"box": WHOLE, "kind": "background"}, {"box": [5, 5, 9, 9], "group": "birds", "visible": False}
    plan = LayoutPlan.from_json(json.dumps(layout(*layers, visible=[3, 0, 40, 20])))
    assert plan.backed
    assert LayoutPlan.from_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (layout({"box": [-1, 0, 5, 5]}), "a box must be .x0, y0, x1, y1."),
        (layout({"box": [4, 0, 4, 5]}), "a box must be"),
        (layout({"box": [0, 0, 5]}), "layers.0.box"),
        (layout({"box": [0, 0, 5.5, 5]}), "layers.0.box.x1: Input should be a valid integer"),
        (layout({"box": [0, 0, 41, 5]}), "layer 0: its box .* reaches out of the canvas of 40 x 30 px; enlarge"),
        (layout(visible=[0, 0, 40, 31]), "the visible box .* reaches out of the canvas"),
        (layout({"box": WHOLE}, {"box": WHOLE, "kind": "background"}), "layer 1 is a background; only the first"),
        (layout({"box": WHOLE, "captoin": ""}), "unknown key 'layers.0.captoin'; did you mean 'layers.caption'"),
        (layout({"box": WHOLE, "caption": "x" * 2001}), "at most 2000 characters"),
        (layout({"box": WHOLE, "name": "x" * 256}), "at most 255 characters"),
        (layout(*[{"box": WHOLE}] * 101), "at most 100 items"),
        (layout(layers=[]), "at least 1 item"),
        (layout(canvas={"width": 40}), "canvas.height: Field required"),
        (layout(canvas={"width": 16_385, "height": 1}), "less than or equal to 16384"),
        (layout(canvas={"width": float("nan"), "height": 1}), "canvas.width: Input should be a finite number"),
        (layout(canvas=None), "canvas: Input should be an object"),
    ],
)
def test_a_wrong_layout_says_what_is_wrong(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        LayoutPlan.from_json(json.dumps(tree), "mine.json")
    assert str(caught.value).startswith("mine.json: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        "null",
        "[1]",
        "[" * 100_000,
        '{"a":' * 5_000,
        '{"canvas": {"width": 1',
        '{"layers": "\\ud800"}',
    ],
)
def test_what_is_no_layout_at_all_is_refused(data: bytes | str) -> None:
    with pytest.raises(UsageError, match=r"the layout: .*(JSON|object)"):
        LayoutPlan.from_json(data)


def test_too_much_is_refused_before_it_is_read() -> None:
    with pytest.raises(UsageError, match="has 1,048,577 bytes; a layout has at most 1,048,576"):
        LayoutPlan.from_json(" " * (MAX_JSON + 1))


def test_pictures_of_all_layers_have_a_bound_together() -> None:
    large = {"width": 16_384, "height": 16_384}
    whole = {"box": [0, 0, 16_384, 16_384]}
    assert LayoutPlan.from_json(json.dumps(layout(whole, canvas=large))).canvas.width == 16_384
    with pytest.raises(UsageError, match="have 805,306,368 px together, over 536,870,912; scale the design down"):
        LayoutPlan.from_json(json.dumps(layout(whole, whole, canvas=large)))


def test_a_record_gives_its_layout() -> None:
    design = make_sample(3, side=64, layers=4).design
    plan = LayoutPlan.from_json(design.to_json())
    assert plan == LayoutPlan.of_design(design)
    assert (plan.canvas.width, plan.canvas.height, plan.visible) == (80, 64, design.visible)
    for planned, layer in zip(plan.layers, design.layers, strict=True):
        assert (planned.box, planned.kind, planned.name) == (layer.box, layer.kind, layer.name)
        assert layer.caption is not None and planned.caption == layer.caption.text
    assert plan.backed and plan.layers[-1].kind is LayerKind.TEXT


def test_a_text_without_a_caption_is_described_by_its_words() -> None:
    design = make_sample(3, layers=4).design
    bare = tuple(layer.model_copy(update={"caption": None}) for layer in design.layers)
    plan = LayoutPlan.of_design(design.model_copy(update={"layers": bare}))
    assert [layer.caption for layer in plan.layers] == ["", "", "", "Hello <b>"]


def test_a_record_that_is_too_large_is_refused() -> None:
    tree = json.loads(make_sample(3).design.to_json())
    tree["canvas"] = {"width": 20_000, "height": 64}
    with pytest.raises(UsageError, match=r"^r\.json: width: Input should be less than or equal to 16384$"):
        LayoutPlan.from_json(json.dumps(tree), "r.json")
