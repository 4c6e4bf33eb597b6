"""Prompts that do not fit: every tag is kept, captions are shortened fairly, and no length costs more than a bound."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.prompts import LONGEST_TOKEN, captions_of, fair_cap, fit
from schemas.design import Design
from tests.training.design_strategies import designs
from training.streaming.config import Task
from training.streaming.layout import foregrounds, prompt

words = st.text(st.sampled_from("ab <>/é漢"), max_size=60).map(lambda text: re.sub("</?layer>", "", text).strip())


def characters(text: str) -> list[int]:
    """A token for each character, which says where a cut fell."""
    return [ord(character) for character in text]


def text_of(tokens: list[int]) -> str:
    return "".join(map(chr, tokens))


def layered(captions: list[str]) -> str:
    return " ".join(f"<layer> {caption} </layer>" for caption in captions)


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 200))
def test_the_cap_is_the_largest_that_fits(lengths: list[int], room: int) -> None:
    cap = fair_cap(lengths, room)
    assert sum(min(length, cap) for length in lengths) <= room
    if any(length > cap for length in lengths):
        assert sum(min(length, cap + 1) for length in lengths) > room


@given(st.text(max_size=80), st.integers(1, 100))
def test_a_plain_prompt_is_cut_at_its_end(text: str, limit: int) -> None:
    if not captions_of(text):
        assert text_of(fit(text, characters, limit)) == text.encode("utf-8", "replace").decode()[:limit]


def shortened(captions: list[str], most: int) -> str:
    return " ".join(f"<layer>{f' {caption}'[:most]} </layer>" for caption in captions)


@given(st.lists(words, min_size=1, max_size=6), st.integers(1, 300))
def test_captions_of_layers_keep_their_tags_and_are_shortened_fairly(captions: list[str], limit: int) -> None:
    kept, most = list(captions), 0
    while kept and len(shortened(kept, 0)) > limit:
        kept.pop()
    while most <= 60 and len(shortened(kept, most + 1)) <= limit:
        most += 1
    whole = layered(captions)
    assert text_of(fit(whole, characters, limit)) == (whole if len(whole) <= limit else shortened(kept, most))


def test_short_captions_are_left_alone_and_long_ones_end_alike() -> None:
    kept = text_of(fit(layered(["a cat", "b" * 90, "c" * 70]), characters, 120))
    cat, b, c = captions_of(kept)
    assert (cat, len(b), len(c)) == ("a cat", 31, 31)
    assert len(kept) in (119, 120)


def test_layers_without_room_for_their_tags_are_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            kept = text_of(fit(layered(["cat"] * 40), characters, 303))
    assert captions_of(kept) == [""] * 17
    assert [record.getMessage() for record in caplog.records] == [
        "303 text tokens name 17 layers at most: the rest is left out; add fewer at once"
    ]
    assert fit(layered(["cat"]), characters, 10) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a sign that says <layer>",
        "<layer> a <layer> b </layer>",
        "</layer> a <layer>",
        "two cats: <layer> a </layer>",
        "<layer> a </layer> and <layer> b </layer>",
    ],
)
def test_a_prompt_that_is_not_of_layers_alone_is_plain(text: str) -> None:
    assert captions_of(text) == []


@given(designs())
def test_the_prompts_of_training_are_of_layers(design: Design) -> None:
    subset = frozenset(foregrounds(design))
    captions = captions_of(prompt(design, Task.ADD_LAYER, subset, np.random.default_rng(0)))
    assert len(captions) == len(subset)


@pytest.mark.parametrize("text", ["x" * 10_000_000, layered(["y" * 100_000] * 100), layered(["z"] * 300_000)])
def test_a_prompt_of_any_length_costs_a_bounded_amount_of_tokenising(text: str) -> None:
    limit, seen = 1024, []

    def counting(piece: str) -> list[int]:
        seen.append(len(piece))
        return characters(piece)

    assert len(fit(text, counting, limit)) in range(limit - 20, limit + 1)
    assert sum(seen) < 2 * LONGEST_TOKEN * limit + 10_000


def test_surrogates_become_question_marks() -> None:
    assert text_of(fit("a\ud800b", characters, 9)) == "a?b"
    assert text_of(fit(layered(["\ud800" * 99]), characters, 30)) == f"<layer> {'?' * 13} </layer>"
