"""The page of cases: whole, escaped, and readable in a browser without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model.tasks import Task
from tests.browser import Browser
from tests.training.evaluation import bench
from training.evaluation.config import EvaluateConfig
from training.evaluation.evaluate import evaluate
from training.evaluation.report import MOST_LAYERS, SMALL, write
from training.evaluation.results import Results
from training.evaluation.runs import Made
from training.evaluation.sets import Which
from training.outputs import Output

HOSTILE = '<script>alert("x")</script> & "quotes" \ud800'


class References(HTMLParser):
    """What a page asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


@pytest.fixture(scope="module")
def results(benchmark_url: str, checkpoint: Path) -> Results:
    settings = {"resolution": bench.RESOLUTION, "steps": [1, 2], "cases": 2, "device": "cpu", "guidance": 1.0}
    where = {"checkpoint": str(checkpoint), "dataset": benchmark_url, "out": "unused", "layouts": ["true"]}
    tasks = [Task.IMAGE_TO_LAYERS, Task.TEXT_TO_LAYERS]
    return evaluate(EvaluateConfig.load(None, {**where, **settings, "tasks": tasks}))


@pytest.fixture(scope="module")
def folder(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    write(results, Output(str(root)))
    return root


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


def test_all_that_the_page_shows_is_in_its_folder(folder: Path) -> None:
    parser = References()
    parser.feed((folder / "index.html").read_text(encoding="utf-8"))
    assert parser.found and all((folder / name).is_file() for name in parser.found)
    written = {path.relative_to(folder).as_posix() for path in (folder / "pictures").iterdir()}
    assert written == set(parser.found)


def test_cases_are_the_best_the_worst_and_the_first(results: Results, folder: Path) -> None:
    for task, which, rows in results.tables():
        costs = next(row.costs for row in rows if row.method == "model, 2 steps" and not row.control)
        own = [case for case in document(folder)["cases"] if (case["task"], case["which"]) == (task, which)]
        assert {why for case in own for why in case["why"]} == {"best", "worst", "first"}
        if costs:
            ordered = sorted(costs, key=costs.__getitem__)
            assert [case["key"] for case in own if "best" in case["why"]] == ordered[:2]
            assert {case["key"] for case in own if "worst" in case["why"]} == set(ordered[2:][-2:])
            assert {case["chosen_by"] for case in own} == {"the cost of model, 2 steps"}
            assert [case["costs"]["model, 2 steps"] for case in own if "best" in case["why"]] == sorted(costs.values())[
                :2
            ]


def test_pictures_are_what_they_are_said_to_be(results: Results, folder: Path) -> None:
    for shown, case in zip(results.shown, document(folder)["cases"], strict=True):
        given = case["task"] == Task.IMAGE_TO_LAYERS
        assert list(case["pictures"]) == [*(["given"] if given else []), "truth", "model, 1 step", "model, 2 steps"]
        assert list(case["strips"]) == ["truth", "model, 1 step", "model, 2 steps"]
        for picture in [*case["pictures"].values(), *case["strips"].values()]:
            with Image.open(folder / picture["path"]) as image:
                assert image.size == (picture["width"], picture["height"]) and image.mode == "RGBA"
        if given:
            with Image.open(folder / case["pictures"]["given"]["path"]) as image:
                visible = shown.case.truth.shown
                assert image.size == (visible.width, visible.height)
                assert image.getextrema()[3] == (255, 255)
        strips = [(strip["width"], strip["height"]) for strip in case["strips"].values()]
        assert len(set(strips)) == 1 and strips[0][1] <= SMALL and len(shown.case.targets) <= MOST_LAYERS


def test_layers_are_where_they_are_whatever_the_canvas(results: Results, tmp_path: Path) -> None:
    """A model with other tokens has another canvas around the same picture."""
    shown = next(one for one in results.shown if one.which is Which.OVERFLOW)
    stack = shown.case.truth
    layers = [(box.shift(8, 8), picture) for box, picture in stack.layers]
    visible = tuple(side + 8 for side in stack.visible)
    other = replace(stack, layers=layers, visible=visible, canvas=(stack.canvas[0] + 8, stack.canvas[1] + 8))
    moved = replace(shown, made={name: Made(other) for name in shown.made})
    write(replace(results, shown=[moved]), Output(str(tmp_path)))
    strips = document(tmp_path)["cases"][0]["strips"].values()
    assert len({(tmp_path / strip["path"]).read_bytes() for strip in strips}) == 1


def test_what_comes_from_outside_is_escaped(results: Results, tmp_path: Path) -> None:
    first, *others = results.shown
    hostile = replace(first, case=replace(first.case, prompt=HOSTILE))
    about = {**results.about, "dataset": HOSTILE}
    write(replace(results, about=about, shown=[hostile, *others]), Output(str(tmp_path)))
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script" not in html and "&lt;script&gt;" in html


def test_a_browser_shows_it_from_a_file(folder: Path, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        for width, dark in ((1280, False), (400, True)):
            browser.open((folder / "index.html").as_uri(), width=width, dark=dark)
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            broken = (
                "[...document.images].filter((i) => { i.loading = 'eager'; return i.complete && !i.naturalWidth; })"
            )
            assert browser.evaluate(f"{broken}.length") == 0
            ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (ground == "rgb(17, 18, 21)") is dark
        assert browser.errors == []
        assert all(url.startswith(("file:", "about:")) for url in browser.requests)
