"""The report in a real browser: what a reviewer sees and does."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.report import ReportConfig, write_report
from pipelines.storage import Store
from schemas import images
from tests.browser import Browser
from tests.pipelines.report_samples import hostile, posters, report_dataset

TITLE = "ds · Acetate report"


@dataclass
class Site:
    store: Store
    url: str
    ids: list[str]
    hostile: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("report") / "ds"
    evil = hostile(9)
    store, dataset = report_dataset(root, [*posters(4), evil], failures=8)
    page = write_report(store, dataset, ReportConfig())
    ids = json.loads(store.read("report/summary.json"))["gallery"]
    return Site(store, (root / page).as_uri(), ids, evil.design.design_id)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, site: Site) -> Iterator[Browser]:
    """The browser with the report open; the page may complain of nothing and ask for nothing but its files."""
    chromium.errors.clear()
    chromium.requests.clear()
    chromium.open(site.url)
    yield chromium
    assert chromium.errors == []
    root = site.url.removesuffix("index.html")
    assert [url for url in chromium.requests if not url.startswith((root, "about:"))] == []


def shown_layers(browser: Browser) -> list[int]:
    script = "[...document.querySelectorAll('#d-canvas .layer:not([hidden])')].map(n => Number(n.dataset.layer))"
    found: list[int] = browser.evaluate(script)
    return found


def is_open(browser: Browser) -> bool:
    return bool(browser.evaluate("document.getElementById('detail').open"))


def test_a_card_opens_its_design_and_escape_closes_it(browser: Browser, site: Site) -> None:
    assert not is_open(browser)
    browser.click(f"a.card[data-id='{site.ids[1]}']")
    browser.wait("document.getElementById('detail').open")
    assert browser.evaluate("location.hash") == f"#design={site.ids[1]}"
    browser.key("Escape")
    browser.wait("!document.getElementById('detail').open")
    assert browser.evaluate("document.activeElement.dataset.id") == site.ids[1]


def test_arrow_keys_walk_through_the_gallery(browser: Browser, site: Site) -> None:
    browser.open(f"{site.url}#design={site.ids[0]}")
    browser.key("ArrowRight")
    assert browser.evaluate("location.hash") == f"#design={site.ids[1]}"
    browser.key("ArrowLeft")
    browser.key("ArrowLeft")
    assert browser.evaluate("location.hash") == f"#design={site.ids[-1]}"


def test_a_deep_link_shows_those_layers(browser: Browser, site: Site) -> None:
    browser.open(f"{site.url}#design={site.ids[1]}&layers=0,2&view=layout&layer=2")
    assert is_open(browser)
    assert shown_layers(browser) == [0, 2]
    checked = "[...document.querySelectorAll('#d-layers input:checked')].map(n => n.closest('li').dataset.layer)"
    assert browser.evaluate(checked) == ["2", "0"]  # top to bottom
    assert browser.evaluate("document.querySelector('#d-views [data-view=layout]').ariaPressed") == "true"
    assert browser.evaluate("document.querySelectorAll('#d-layers .facts-list:not([hidden])').length") == 1


def test_toggles_and_solo_change_the_link(browser: Browser, site: Site) -> None:
    browser.open(f"{site.url}#design={site.ids[1]}")
    everything = shown_layers(browser)
    browser.click("#d-layers li[data-layer='1'] input")
    assert shown_layers(browser) == [index for index in everything if index != 1]
    browser.click("#d-layers li[data-layer='1'] input")
    assert browser.evaluate("location.hash") == f"#design={site.ids[1]}"
    browser.click("#d-layers li[data-layer='2'] .solo")
    assert browser.evaluate("location.hash") == f"#design={site.ids[1]}&layers=2"
    browser.click("#d-none")
    assert shown_layers(browser) == []
    browser.click("#d-all")
    assert shown_layers(browser) == everything


def test_a_hovered_layer_stands_out(browser: Browser, site: Site) -> None:
    browser.open(f"{site.url}#design={site.ids[1]}")
    browser.hover("#d-layers li[data-layer='2'] .name")
    assert browser.evaluate("document.querySelector('.layer.peeked').dataset.layer") == "2"


def test_a_grouping_colours_its_parts(browser: Browser, site: Site) -> None:
    browser.open(f"{site.url}#design={site.ids[1]}")
    browser.click(".groups button")
    hue = "[n.dataset.layer, n.style.getPropertyValue('--hue')]"
    found = browser.evaluate(f"[...document.querySelectorAll('#d-canvas .in-part')].map(n => {hue})")
    assert [layer for layer, _ in found] == ["0", "1", "2", "3"]  # the parts of more than one layer
    assert found[0][1] == found[1][1] != found[2][1] == found[3][1]
    assert browser.evaluate("location.hash").endswith("&group=0")


def test_the_layers_compose_to_the_design(browser: Browser, site: Site, tmp_path: Path) -> None:
    """What the browser draws from the layers is the stored composite, up to scaling."""
    browser.open(f"{site.url}#design={site.ids[1]}")
    browser.wait("[...document.querySelectorAll('#d-canvas img')].every(i => i.complete && i.naturalWidth)")
    browser.screenshot(tmp_path / "page.png")
    box = browser.evaluate(
        "(r => [r.left, r.top, r.right, r.bottom])(document.querySelector('.visible').getBoundingClientRect())"
    )
    drawn = Image.open(tmp_path / "page.png").convert("RGB").crop([round(edge) for edge in box])
    card = browser.evaluate("cards[1]")
    stored = images.decode(site.store.read(f"report/{card['recomposite']}"))
    expected = Image.fromarray(stored).convert("RGB").resize(drawn.size)
    inner = np.s_[4:-4, 4:-4]  # the outline of the visible box is not the design's
    difference = np.abs(np.asarray(drawn, int)[inner] - np.asarray(expected, int)[inner])
    assert difference.mean() < 3


def test_compare_shows_the_preview_beside_the_recomposite(browser: Browser, site: Site) -> None:
    browser.open(f"{site.url}#design={site.ids[1]}&view=compare")
    browser.wait("[...document.querySelectorAll('.compare img')].every(i => i.complete && i.naturalWidth)")
    labels = browser.evaluate("[...document.querySelectorAll('.compare figcaption')].map(n => n.textContent)")
    assert labels == ["The document's preview", "Composed from the layers", "Difference × 8"]
    width = browser.evaluate("document.querySelector('.compare img').getBoundingClientRect().width")
    assert width > 200


def test_hostile_words_stay_words(browser: Browser, site: Site) -> None:
    for view in ("stack", "layout", "exploded", "compare"):
        browser.open(f"{site.url}#design={site.hostile}&view={view}&layer=1")
        assert is_open(browser)
        assert browser.evaluate("document.title") == TITLE
    assert browser.evaluate("document.scripts.length") == 2
    assert "</script><script>" in browser.evaluate("document.getElementById('d-side').textContent")
    assert browser.evaluate("document.querySelectorAll('#d-side a[href^=javascript]').length") == 0


@pytest.mark.parametrize("link", ["#design=", "#design=%3Cb%3E", "#design=0&layers=,,9e9,-1&view=nothing&group=99"])
def test_a_link_to_nowhere_says_so(browser: Browser, site: Site, link: str) -> None:
    browser.open(site.url + link)
    assert not is_open(browser)
    assert browser.evaluate("document.getElementById('toast').hidden") is False


def test_absurd_state_is_taken_as_far_as_it_makes_sense(browser: Browser, site: Site) -> None:
    browser.open(f"{site.url}#design={site.ids[0]}&layers=1,77777,x&group=99&layer=500&view=%00")
    assert shown_layers(browser) == [1]


def test_the_ledger_filter_opens_what_matches(browser: Browser) -> None:
    browser.click("#ledger-filter")
    browser.type("BROKEN-00003")
    open_codes = "[...document.querySelectorAll('.outcome[open] .code')].map(n => n.textContent)"
    assert browser.evaluate(open_codes) == ["unreadable"]
    assert browser.evaluate("document.querySelectorAll('.outcome[open] tbody tr:not([hidden])').length") == 1
    assert browser.evaluate("document.getElementById('ledger-count').textContent") == "1 listed input found"


def test_the_gallery_filter_hides_the_rest(browser: Browser, site: Site) -> None:
    browser.click("#gallery-filter")
    browser.type("poster 002")
    assert browser.evaluate("document.querySelectorAll('#cards > li:not([hidden])').length") == 1


@pytest.mark.parametrize("width", [1440, 400])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_runs_out_of_the_window(browser: Browser, site: Site, width: int, dark: bool, tmp_path: Path) -> None:
    for link in ("", f"#design={site.hostile}&layer=1", f"#design={site.ids[0]}&view=compare"):
        browser.open(site.url + link, width=width, height=900, dark=dark)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        browser.screenshot(tmp_path / "page.png")
        corner = Image.open(io.BytesIO((tmp_path / "page.png").read_bytes())).convert("L").getpixel((2, 2))
        assert (corner < 100) is dark
