"""A YAML file as settings: what is laid over it, and a mistake in one line with the nearest key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from schemas.errors import SettingsError
from schemas.settings import Section, known_keys, load_settings, parse_assignments


class Inner(Section):
    rate: float = 0.5
    names: list[str] = Field(default_factory=list)


class Item(Section):
    size: int
    label: str = ""


class Outer(Section):
    inner: Inner = Inner()
    items: list[Item] = Field(default_factory=list)
    path: str | None = None
    count: int = 1


def load(tmp_path: Path, text: str, **overrides: Any) -> Outer:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(Outer, path, {name.replace("__", "."): value for name, value in overrides.items()})


def test_what_is_laid_over_a_file_wins(tmp_path: Path) -> None:
    found = load(tmp_path, "inner: {rate: 1, names: [a]}\npath: b\n", inner__rate=2, count=3)
    assert found == Outer(inner=Inner(rate=2, names=["a"]), path="b", count=3)


@pytest.mark.parametrize("text", ["", "# nothing\n", "inner:\n  # rate: 1\n", "path:\n", "path: null\ninner: {}\n"])
def test_what_says_nothing_is_the_default(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Outer()


def test_without_a_file() -> None:
    assert load_settings(Outer, None, {"inner.rate": 3, "items": [{"size": 1}]}) == Outer(
        inner=Inner(rate=3), items=[Item(size=1)]
    )


MISTAKES = {
    "inner: {raet: 1}": "unknown key 'inner.raet'; did you mean 'inner.rate'?",
    "inner: {items: []}": "unknown key 'inner.items'; did you mean 'items'?",
    "rate: 1": "unknown key 'rate'; did you mean 'inner.rate'?",
    "items: [{size: 1, lable: x}]": "unknown key 'items.0.lable'; did you mean 'items.label'?",
    "items: [{siez: 1}]": "unknown key 'items.0.siez'; did you mean 'items.size'?",
    "items: [{label: x}]": "items.0.size: Field required",
    "inner: {rate: fast}": "inner.rate: Input should be a valid number",
    "inner: {rate: .nan}": "inner.rate: Input should be a finite number",
    "- a": "must hold a mapping of sections such as 'inner:' and 'items:'",
    "a: [": "is no readable YAML",
    "when: 2020-13-45": "is no readable YAML",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as told:
        load(tmp_path, text)
    assert MISTAKES[text] in str(told.value)
    assert "\n" not in str(told.value)


def test_a_value_is_no_section(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"path.to: 'path' is a value, not a section"):
        load(tmp_path, "path: a", path__to="b")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no configuration file"):
        load_settings(Outer, tmp_path / "c.yaml", {})


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="is no readable YAML"):
        load_settings(Outer, tmp_path / "c.yaml", {})


def test_settings_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Outer().count = 2  # type: ignore[misc]


def test_words_of_the_command_line_are_yaml() -> None:
    words = ["a.b=1", "c=[x, y]", "d={e: 0.5}", "f=", "g=h=i"]
    assert parse_assignments(words, "a=1") == {"a.b": 1, "c": ["x", "y"], "d": {"e": 0.5}, "f": None, "g": "h=i"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("steps", "--set wants key=value, for example a=1, not 'steps'"),
        ("=3", "--set wants key=value, for example a=1, not '=3'"),
        ("a=[", "--set a: '[' is no YAML value"),
        ("a=2020-13-45", "--set a: '2020-13-45' is no YAML value"),
    ],
)
def test_a_word_that_sets_nothing_is_refused(word: str, message: str) -> None:
    with pytest.raises(SettingsError) as told:
        parse_assignments([word], "a=1")
    assert str(told.value) == message


def test_every_key_is_known() -> None:
    assert known_keys(Outer) == [
        "inner", "inner.rate", "inner.names", "items", "items.size", "items.label", "path", "count"
    ]  # fmt: skip


@given(st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=20))
def test_any_unknown_key_is_one_line(name: str) -> None:
    if name in Inner.model_fields:
        return
    with pytest.raises(SettingsError, match="unknown key") as told:
        load_settings(Outer, None, {f"inner.{name}": 1})
    assert str(told.value).splitlines() == [str(told.value)]
