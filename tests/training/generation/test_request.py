"""A request that cannot be made is refused when it is written, in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.tasks import Task
from schemas.compositing import Rgba
from training.errors import UsageError
from training.generation.layout import LayoutPlan
from training.generation.request import MAX_PROMPT, Request

BOXES = ([4, 0, 36, 30], [0, 0, 10, 5], [20, 20, 23, 29])


def plan() -> LayoutPlan:
    layers = [{"box": box, "kind": kind} for box, kind in zip(BOXES, ("background", "image", "text"), strict=True)]
    return LayoutPlan.model_validate(
        {"canvas": {"width": 40, "height": 30}, "visible": [4, 0, 36, 30], "layers": layers}
    )


def picture(number: int) -> Rgba:
    x0, y0, x1, y1 = BOXES[number]
    return np.zeros((y1 - y0, x1 - x0, 4), np.uint8)


GIVEN = {0: picture(0), 1: picture(1)}
GOOD: dict[Task, dict[str, Any]] = {
    Task.TEXT_TO_LAYERS: {"prompt": "a bird"},
    Task.IMAGE_TO_LAYERS: {"picture": picture(0)},
    Task.ADD_LAYER: {"given": GIVEN, "chosen": (2,)},
    Task.RESTYLE: {"given": GIVEN, "chosen": (2,), "references": {2: picture(2)}},
}


@pytest.mark.parametrize("task", list(GOOD))
def test_what_a_task_needs_is_enough(task: Task) -> None:
    assert Request("k", task, plan(), **GOOD[task]).seed == 0


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        (Task.TEXT_TO_LAYERS, {"prompt": "x" * (MAX_PROMPT + 1)}, "20,001 characters; shorten it to 20,000"),
        (Task.TEXT_TO_LAYERS, {"picture": picture(0)}, "text-to-layers has no use for a picture: leave it out"),
        (Task.TEXT_TO_LAYERS, {"given": {9: picture(0)}}, "has no use for a given layer"),
        (Task.IMAGE_TO_LAYERS, {"chosen": (1,)}, "has no use for a chosen layer"),
        (Task.ADD_LAYER, {"references": {2: picture(2)}}, "has no use for a reference"),
        (Task.IMAGE_TO_LAYERS, {"picture": None}, "takes a picture apart: give one"),
        (Task.IMAGE_TO_LAYERS, {"picture": picture(1)}, "the picture is 10 x 5 px, its box 32 x 30 px; scale one"),
        (Task.IMAGE_TO_LAYERS, {"picture": picture(0)[..., :3]}, r"uint8 \[30, 32, 3\]; give RGBA as uint8"),
        (Task.IMAGE_TO_LAYERS, {"picture": picture(0)[0, :, 0]}, r"uint8 \[32\]; give RGBA as uint8"),
        (Task.IMAGE_TO_LAYERS, {"picture": picture(0).astype(np.float32)}, "float32 .*; give RGBA as uint8"),
        (Task.ADD_LAYER, {"chosen": ()}, "needs the layers to make: choose some of 0 to 2"),
        (Task.ADD_LAYER, {"chosen": (3,)}, "there is no layer 3; layers are 0 to 2"),
        (Task.ADD_LAYER, {"chosen": (-1,)}, "there is no layer -1"),
        (Task.ADD_LAYER, {"chosen": (0,)}, "layer 0 is the background, which stays"),
        (Task.ADD_LAYER, {"given": {0: picture(0)}}, "layer 1 is neither given nor chosen"),
        (Task.ADD_LAYER, {"given": {**GIVEN, 7: picture(1)}}, "there is no layer 7"),
        (Task.ADD_LAYER, {"given": {0: picture(0), 1: picture(2)}}, "layer 1 is 3 x 9 px, its box 10 x 5 px"),
        (Task.RESTYLE, {"references": {}}, "restyle needs a picture for layer 2"),
        (Task.RESTYLE, {"references": {2: picture(1)}}, "reference 2 is 10 x 5 px, its box 3 x 9 px"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(task: Task, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Request("bird", task, plan(), **{**GOOD[task], **changes})
    assert str(caught.value).startswith("bird: ") and "\n" not in str(caught.value)
