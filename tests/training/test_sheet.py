"""Sheets: what stands where, that they are bounded, and that every task has one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import NoReturn

import numpy as np
import pytest
import torch
from PIL import Image

from model.tasks import Task
from schemas.compositing import Placed, Rgba
from schemas.geometry import Box
from tests.training.example_batches import codec, micro_batch
from tests.training.small_learner import small_learner
from training import sheet as sheets
from training.errors import UsageError
from training.examples import Example, ExampleConfig, prepare
from training.learner import Learner
from training.sampled import Sampler
from training.sheet import CELL, GAP, LARGE, LINE, MARGIN, MAX_LAYERS, MAX_ROWS, NAMES, Row, Version, rows_of, sheet

CANVAS, VISIBLE = Box(0, 0, 60, 40), Box(0, 0, 40, 40)
RED, GREEN, BLUE, CLEAR = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)
TOP = MARGIN + LINE
"""Where the first row begins."""
LAYERS = MARGIN + 3 * (LARGE + GAP) + NAMES


def solid(colour: Sequence[int], box: Box) -> Rgba:
    return np.full((box.height, box.width, 4), colour, np.uint8)


def layer(colour: Sequence[int], box: Box = CANVAS) -> Placed:
    return solid(colour, box), box


def row(layers: int = 2, *, given: Rgba | None = None, prompt: str = "a prompt") -> Row:
    """Red in truth, green of the model; the second layer is blue on the right, outside of the visible box."""
    out = Box(45, 5, 60, 35)

    def version(colour: Sequence[int]) -> Version:
        placed = [layer(colour, VISIBLE), layer(BLUE, out), *[layer(CLEAR)] * layers][:layers]
        return Version(solid(colour, VISIBLE), tuple(placed))

    return Row(
        "0123456789abcdef", prompt, CANVAS, VISIBLE, tuple(range(1, layers + 1)), given, version(RED), version(GREEN)
    )


def at(picture: Image.Image, x: float, y: float) -> tuple[int, ...]:
    found = picture.getpixel((round(x), round(y)))
    assert isinstance(found, tuple)
    return found


def test_truth_stands_left_of_the_model_and_above_it() -> None:
    picture = sheet([row(given=solid(BLUE, VISIBLE))])
    middle = TOP + LARGE / 2
    assert at(picture, MARGIN + LARGE / 2, middle) == BLUE[:3]
    assert at(picture, MARGIN + LARGE + GAP + LARGE / 2, middle) == RED[:3]
    assert at(picture, MARGIN + 2 * (LARGE + GAP) + LARGE / 2, middle) == GREEN[:3]
    inside = LAYERS + CELL / 3
    assert at(picture, inside, TOP + CELL / 2) == RED[:3]
    assert at(picture, inside, TOP + CELL + GAP + CELL / 2) == GREEN[:3]


def test_a_layer_lies_where_it_belongs_with_the_visible_box_framed() -> None:
    picture = sheet([row()])
    left, top = LAYERS + CELL + GAP, TOP + (CELL - CELL * 40 / 60) / 2
    assert at(picture, left + 52 * 2, top + 20 * 2) == BLUE[:3]
    assert at(picture, left + 20 * 2, top) == (230, 30, 100)
    chequers = {at(picture, left + 10 * 2 + x, top + 20 * 2) for x in range(12)}
    assert chequers == {(255, 255, 255), (222, 222, 222)}


def test_what_is_half_transparent_shows_the_chequerboard_half() -> None:
    half = Version(solid((255, 0, 0, 128), VISIBLE), ())
    picture = sheet([Row("key", "", VISIBLE, VISIBLE, (), None, half, half)])
    tones = {at(picture, MARGIN + LARGE + GAP + 50 + x, TOP + 100) for x in range(12)}
    assert len(tones) == 2 and all(red > 235 and 108 <= green <= 129 for red, green, _ in tones)


def test_a_text_stands_where_no_picture_is_given() -> None:
    area = (MARGIN, TOP, MARGIN + LARGE, TOP + LARGE)
    written = sheet([row(prompt="words " * 200)]).crop(area).convert("L")
    ink = np.asarray(written) < 128
    assert ink.any(axis=1)[-2 * LINE :].any() and not ink[:, -1].any()
    assert not (np.asarray(sheet([row(prompt="two")]).crop(area).convert("L")) < 128)[LINE:].any()


@pytest.mark.parametrize(
    "prompt", ["", "x" * 100_000, "日本語のポスター", "a\nb\0c\u202e", "\U0010ffff", " lead", "a " * 400]
)
def test_any_prompt_can_be_written(prompt: str) -> None:
    for given in (None, solid(BLUE, VISIBLE)):
        assert sheet([row(prompt=prompt, given=given)]).mode == "RGB"


def test_a_sheet_is_bounded() -> None:
    many = sheet([row(MAX_LAYERS + 30)] * (MAX_ROWS + 5))
    most = sheet([row(MAX_LAYERS)] * MAX_ROWS)
    assert many.size == most.size and many.width * many.height < 15_000_000
    assert sheet([]).size > (0, 0)


def test_a_wide_design_fits_its_cell() -> None:
    wide = Box(0, 0, 4000, 3)
    version = Version(solid(RED, wide), (layer(RED, wide),))
    assert sheet([Row("key", "", wide, wide, (1,), solid(RED, wide), version, version)]).mode == "RGB"


def test_without_the_font_package_there_is_another_font(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    sheets._font.cache_clear()
    monkeypatch.setattr(metadata, "distribution", missing)
    try:
        assert sheet([row()]).mode == "RGB"
    finally:
        sheets._font.cache_clear()


def example(*designs: tuple[int, Task]) -> Example:
    return prepare(micro_batch(designs), codec(), ExampleConfig(), seed=0, device="cpu", evaluation=True)


@pytest.fixture(scope="module")
def learner() -> Learner:
    torch.set_num_threads(1)
    return small_learner()


@pytest.mark.parametrize("task", list(Task))
def test_every_task_has_a_sheet(learner: Learner, task: Task) -> None:
    some = [example((0, task), (1, task)), example((2, task))]
    three, two = (sheets.sheet_of(learner, some, Sampler(steps=1), designs) for designs in (9, 2))
    assert three.width == two.width and three.height - two.height == LARGE + LINE + 2 * GAP


def test_the_truth_is_shown_as_the_codec_gives_it_back(learner: Learner) -> None:
    some = example((0, Task.IMAGE_TO_LAYERS), (1, Task.IMAGE_TO_LAYERS))
    pictures = sheets.decoded(learner, some, some.tokens)
    for found in rows_of(some, learner.codec.token_px, pictures, pictures):
        assert found.numbers == (1, 2, 3, 4, 5, 6) and found.visible == Box(8, 4, 31, 28)
        assert found.canvas == Box(0, 0, 40, 32)
        assert found.given is not None and found.given.shape == found.truth.whole.shape == (24, 23, 4)
        assert np.array_equal(found.truth.whole, found.model.whole)


@pytest.mark.parametrize(
    ("task", "numbers", "given"),
    [
        (Task.TEXT_TO_LAYERS, (1, 2, 3, 4, 5, 6), False),
        (Task.ADD_LAYER, (2, 5), True),
        (Task.RESTYLE, (2, 5), True),
        (Task.TEXT_TO_RGBA, (), False),
    ],
)
def test_the_layers_that_were_to_be_made_are_shown(
    learner: Learner, task: Task, numbers: tuple[int, ...], given: bool
) -> None:
    some = example((0, task))
    pictures = sheets.decoded(learner, some, some.tokens)
    [found] = rows_of(some, learner.codec.token_px, pictures, pictures)
    assert found.numbers == numbers and len(found.truth.layers) == len(numbers)
    assert (found.given is not None) == given and found.truth.whole.any()


def test_tasks_do_not_mix(learner: Learner) -> None:
    mixed = example((0, Task.RESTYLE), (1, Task.ADD_LAYER))
    with pytest.raises(UsageError, match="one task is sampled at a time"):
        sheets.sheet_of(learner, [mixed], Sampler(steps=1))
