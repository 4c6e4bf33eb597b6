"""Typesetting and fonts: what is recorded is what was set, and every glyph of the copy exists."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.synth import words
from pipelines.synth.dice import Dice
from pipelines.synth.fonts import FAMILIES, draw_pairing, load
from pipelines.synth.shaping import visual
from pipelines.synth.text import Style, fit, typeset

LANGUAGES = sorted(words._table()["languages"])
SANS = FAMILIES["Source Sans Pro"]


def copy_in(language: str) -> str:
    table = words._table()
    lines = [text for line in table["copy"][language] for key, text in line.items() if key != "theme"]
    for part in ("labels", "dishes", "quotes", "roles"):
        lines += table[part].get(language, [])
    marks = "“&-–%0123456789" if language == "en" else ""
    return "".join(lines + words.names(language)) + marks


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_family_that_may_set_a_language_has_its_glyphs(language: str) -> None:
    families = {}
    for key in range(60):
        pairing = draw_pairing(Dice(key), "en").for_language(language)
        families |= {pairing.display.name: pairing.display, pairing.body.name: pairing.body}
    text = visual(copy_in(language)) if language in ("ar", "he") else copy_in(language)
    for family in families.values():
        font = load(family.face(400, False), 24)
        missing = bytes(font.getmask("\uffff"))
        wanted = {c for c in text if not c.isspace()}
        assert {c for c in wanted if bytes(font.getmask(c)) == missing} == set(), family.name


def test_runs_keep_their_colours_and_are_recorded() -> None:
    red, blue = Style(SANS, 30, (255, 0, 0), 700), Style(SANS, 30, (0, 0, 255), italic=True)
    setting = typeset([("Red ", red), ("blue", blue)])
    colours = {tuple(int(v) for v in c) for c in setting.pixels[setting.pixels[..., 3] > 0][:, :3]}
    assert colours == {(255, 0, 0), (0, 0, 255)}
    columns = np.flatnonzero((setting.pixels[..., 3] > 0).any(axis=0))
    assert tuple(setting.pixels[:, columns[0]][setting.pixels[:, columns[0], 3] > 0][0, :3]) == (255, 0, 0)
    first, second = setting.text.runs
    assert (first.text, first.colour, first.weight, first.italic) == ("Red ", "#ff0000", 700, False)
    assert (second.text, second.colour, second.italic) == ("blue", "#0000ff", True)
    assert setting.text.content == "Red blue"


def test_lines_break_and_stay_within_the_width() -> None:
    style = Style(SANS, 20, (0, 0, 0))
    one = typeset([("a long line of plain words", style)])
    narrow = typeset([("a long line of plain words", style)], width=90)
    assert narrow.height >= 3 * one.height
    assert narrow.pixels.shape[1] <= 92
    japanese = Style(FAMILIES["Noto Sans CJK JP"], 20, (0, 0, 0))
    assert typeset([("静けさにも色がある。", japanese)], width=65, language="ja").height > 3 * 20


def test_right_to_left_lines_start_at_the_right() -> None:
    style = Style(FAMILIES["Noto Sans Hebrew"], 20, (0, 0, 0))
    setting = typeset([("שלום", style)], width=300, language="he")
    assert setting.dx + setting.pixels.shape[1] > 290
    assert setting.text.direction == "rtl"
    assert setting.text.alignment == "right"


def test_fit_fills_the_width() -> None:
    style = fit("Headline", Style(SANS, 10, (0, 0, 0)), 400, most=500)
    assert 390 <= style.width("Headline") <= 402
    assert fit("Headline", style, 400, most=30).size == 30


def test_arabic_letters_join_and_numbers_keep_their_direction() -> None:
    assert visual("بيت") == "\ufe96\ufef4\ufe91"  # final teh, medial yeh, initial beh, from left to right
    assert visual("لا") == "\ufefb"  # the ligature
    assert visual("שלום 50%") == "50% םולש"
    assert visual("(19:30)") == "(19:30)"
