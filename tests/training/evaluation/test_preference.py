"""The blind page: nobody is told whose picture is where until all designs are judged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser import Browser
from training.errors import UsageError
from training.evaluation import preference
from training.evaluation.preference import Side, compare
from training.outputs import Output

DESIGNS = 12


def results(root: Path, shade: int, designs: int = DESIGNS, path: str = "pictures/{}.png") -> Path:
    """Results of which each design's pictures have colours of its own; half as many more are not of the first."""
    (root / "pictures").mkdir(parents=True)
    cases = []
    for number in range(designs + designs // 2):
        for name, colour in (
            (f"{number}-given", (0, 0, number, 255)),
            (f"{number}-made", (shade, number, 0, 255)),
            (f"{number}-layers", (shade, number, 1, 255)),
        ):
            Image.new("RGBA", (900 if "layers" in name else 8, 8), colour).save(root / "pictures" / f"{name}.png")
        pictures = {
            name: {"path": path.format(f"{number}-{kind}")}
            for name, kind in (("given", "given"), ("model, 8 steps", "made"))
        }
        cases.append(
            {
                "task": "image-to-layers",
                "which": "inside",
                "why": ["best", "first"] if number < designs else ["best"],
                "key": f"{number:032x}",
                "prompt": "a </script> sun",
                "pictures": pictures,
                "strips": {"model, 8 steps": {"path": path.format(f"{number}-layers")}},
            }
        )
    (root / "results.json").write_text(json.dumps({"format": 2, "cases": cases, "rows": []}))
    return root


@pytest.fixture
def page(tmp_path: Path) -> Path:
    one, other = (results(tmp_path / name, shade) for name, shade in (("one", 10), ("two", 200)))
    out = tmp_path / "page"
    assert preference.main([str(one), str(other), "--out", str(out), "--seed", "5", "--names", "ours", "theirs"]) == 0
    return out


def data(page: Path) -> dict[str, Any]:
    html = (page / "index.html").read_text(encoding="utf-8")
    found = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


def test_the_page_is_whole_and_names_of_pictures_tell_nothing(page: Path) -> None:
    said = data(page)
    assert (said["seed"], said["names"], len(said["cases"])) == (5, ["ours", "theirs"], DESIGNS)
    for number, case in enumerate(said["cases"]):
        assert case["prompt"] == "a </script> sun"
        colours = [(0, 0, number), (10, number, 0), (200, number, 0), (10, number, 1), (200, number, 1)]
        for path, colour in zip([case["given"], *case["pictures"], *case["layers"]], colours, strict=True):
            assert re.fullmatch(r"pictures/[0-9a-f]{16}\.png", path)
            with Image.open(page / path) as image:
                assert image.getpixel((0, 0))[:3] == colour  # type: ignore[index]


def test_votes_are_counted_for_what_was_shown(page: Path, tmp_path: Path) -> None:
    said = data(page)
    with Browser(tmp_path / "profile") as browser:
        browser.open((page / "index.html").as_uri(), width=400)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 400
        assert "ours" not in browser.evaluate("document.body.innerText")
        lefts = []
        for number in range(DESIGNS):
            shown = browser.evaluate("document.getElementById('left').getAttribute('src')")
            lefts.append(said["cases"][number]["pictures"].index(shown))
            layers = browser.evaluate("document.getElementById('left-layers').getAttribute('src')")
            assert said["cases"][number]["layers"].index(layers) == lefts[-1]
            ours = "1" if lefts[-1] == 0 else "2"
            key = ours if number < 7 else "0"
            browser.evaluate(f"document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")
        assert 0 < sum(lefts) < DESIGNS
        browser.click("#again")
        browser.click("[data-choice='2']")
        assert not browser.evaluate("document.getElementById('after').checkVisibility()")
        browser.click("#reveal")
        votes = browser.evaluate("votes()")
        last = 1 - lefts[-1]
        tally = [7 + (last == 0), int(last == 1)]
        assert (votes["tally"], votes["neither"]) == (tally, DESIGNS - 8)
        assert [vote["left"] for vote in votes["votes"]] == [said["names"][left] for left in lefts]
        assert [vote["preferred"] for vote in votes["votes"]][:7] == ["ours"] * 7
        assert "ours" in browser.evaluate("document.getElementById('tally').innerText")
        assert browser.errors == []


def test_only_designs_of_both_are_shown(tmp_path: Path) -> None:
    one, other = results(tmp_path / "one", 1, designs=5), results(tmp_path / "two", 2, designs=3)
    assert compare(Side.open(str(one)), Side.open(str(other)), ("a", "b"), Output(str(tmp_path / "out")), 0) == 3
    none = results(tmp_path / "none", 3, designs=0)
    with pytest.raises(UsageError, match="shows nothing of a model"):
        Side.open(str(none))


def test_mistakes_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results of acetate evaluate"):
        Side.open(str(tmp_path / "nowhere"))
    one = results(tmp_path / "one", 1)
    with pytest.raises(UsageError, match="shows nothing of 'model, 2 steps'; it has model, 8 steps"):
        Side.open(str(one), "model, 2 steps")
    outside = results(tmp_path / "outside", 1, path="../{}.png")
    with pytest.raises(UsageError, match="which is not in its pictures"):
        compare(Side.open(str(outside)), Side.open(str(one)), ("a", "b"), Output(str(tmp_path / "out")), 0)
