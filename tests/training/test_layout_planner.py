"""Layouts that are retrieved from a dataset by its captions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.storage import Store
from tests.pipelines.dataset_builder import make_sample
from training.errors import UsageError
from training.generation.layout import Canvas, LayoutPlan
from training.layout import Bm25, Retrieval, RetrievalConfig, stretched, words
from training.streaming.source import Source


def layout(seed: int) -> LayoutPlan:
    return LayoutPlan.of_design(make_sample(seed, side=48 + 8 * (seed % 4), layers=2 + seed % 4).design)


@pytest.mark.parametrize("number", [7, 30])
def test_the_design_that_the_prompt_names_is_taken(designs: Store, number: int) -> None:
    planner = Retrieval.open(Source(str(designs.root)), RetrievalConfig())
    wanted = layout(number)
    assert planner.plan(f"a DESIGN like {number}", wanted.canvas) == wanted


def test_a_seed_picks_among_the_best(designs: Store) -> None:
    source = Source(str(designs.root))
    plans = [
        Retrieval.open(source, RetrievalConfig(best=8, seed=seed)).plan("design", Canvas(width=300, height=200))
        for seed in (0, 0, 1, 2, 3, 4)
    ]
    assert plans[0] == plans[1]
    assert len({plan.model_dump_json() for plan in plans}) > 1


def test_a_split_without_designs_is_the_users_mistake(designs: Store) -> None:
    with pytest.raises(UsageError, match="has no layout: give another split"):
        Retrieval.open(Source(str(designs.root)), RetrievalConfig(split="none"))


def test_rare_words_of_any_script_count_more() -> None:
    scores = Bm25(["a red poster", "a blue poster", "плакат Весна"]).scores("ВЕСНА, red a poster")
    assert scores.argmax() == 0
    assert 0 < scores[1] < scores[2] < scores[0]
    assert not Bm25(["", "red"]).scores("nothing shared").any()
    assert words("Été, 春!") == ["été", "春"]


@given(width=st.integers(1, 4000), height=st.integers(1, 4000), seed=st.integers(0, 7))
def test_a_stretched_layout_is_one_and_keeps_its_proportions(width: int, height: int, seed: int) -> None:
    before = layout(seed)
    after = stretched(before, Canvas(width=width, height=height))
    assert (after.canvas.width, after.canvas.height) == (width, height)
    for old, new in zip(before.layers, after.layers, strict=True):
        assert abs(new.box.x0 / width - old.box.x0 / before.canvas.width) <= 1 / width
        assert abs(new.box.y1 / height - old.box.y1 / before.canvas.height) <= 1 / height
    assert stretched(before, before.canvas) == before
