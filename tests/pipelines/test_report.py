from __future__ import annotations

import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.report import ReportConfig, stale_assets, write_report
from pipelines.report.choose import Chooser
from pipelines.report.page import _percent
from pipelines.report.pictures import Scaling, _encode
from pipelines.report.statistics import Statistics, bars, histogram
from pipelines.report.tables import Place, entries, row_groups
from pipelines.storage import Store
from schemas import images
from schemas.dataset import DATASET_JSON, Dataset
from schemas.sample import read_shard
from tests.pipelines.dataset_builder import tiny_dataset
from tests.pipelines.report_samples import HOSTILE, hostile, poster, posters, report_dataset

CONFIG = ReportConfig(gallery=4, ledger_rows=2, image_side=200)


class Parsed(HTMLParser):
    """The elements of a page: (tag, attributes) in order, and the text of its data block."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self._in_data = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_data = tag == "script" and dict(attrs).get("id") == "data"

    def handle_data(self, data: str) -> None:
        self.data += data if self._in_data else ""

    def handle_endtag(self, tag: str) -> None:
        self._in_data = False

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def made(root: Path, **changes: Any) -> tuple[Store, Dataset, str]:
    store, dataset = report_dataset(root, posters(5), **changes)
    return store, dataset, store.read(write_report(store, dataset, CONFIG)).decode()


def contents(store: Store) -> dict[str, str]:
    return {name: hashlib.sha256(store.read(name)).hexdigest() for name in store.names("report")}


def test_the_page_shows_the_facts_of_the_dataset(tmp_path: Path) -> None:
    _, dataset, html = made(tmp_path / "spring posters")
    page = Parsed(html)
    assert '<h1 id="name"><bdi>spring posters</bdi></h1>' in html
    assert dataset.fingerprint[:12] in html
    assert "13 inputs" in html  # 5 designs, 2 x 3 and 2 others
    shares = next(a for a in page.all("svg") if a.get("class") == "shares")
    assert shares["aria-label"] == "5 ok, 4 filtered and 4 failed of 13 inputs"
    assert "unreadable" in html
    assert "recomposition error is low" in html
    assert len([a for a in page.all("a") if a.get("class") == "card"]) == CONFIG.gallery


def test_the_same_dataset_gives_the_same_bytes_anywhere(tmp_path: Path) -> None:
    first, _, _ = made(tmp_path / "a" / "ds")
    second, _, _ = made(tmp_path / "b" / "ds")
    assert contents(first) == contents(second)


def test_a_report_written_again_encodes_no_picture_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, dataset, _ = made(tmp_path / "ds")
    before = contents(store)
    monkeypatch.setattr("pipelines.report.pictures._encode", None)
    write_report(store, dataset, CONFIG)
    assert contents(store) == before


def test_the_page_asks_for_nothing_but_its_own_files(tmp_path: Path) -> None:
    store, _, html = made(tmp_path / "ds")
    page = Parsed(html)
    asked = [a["src"] for tag in ("img", "script") for a in page.all(tag) if "src" in a]
    asked += [a["href"] for a in page.all("link")]
    cards = json.loads(page.data)
    for card in cards:
        asked += [*card["layers"], *card["restyles"], card["thumb"], card["recomposite"], card["preview"]]
    used = {name.removeprefix("report/") for name in json.loads(store.read("report/summary.json"))["assets"]}
    assert set(asked) == used
    assert all(store.exists(f"report/{name}") for name in used)
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "unsafe" not in policy


def test_what_a_design_says_never_becomes_markup(tmp_path: Path) -> None:
    store, dataset = report_dataset(tmp_path / "ds", [hostile(1), *posters(1)])
    html = store.read(write_report(store, dataset, CONFIG)).decode()
    page = Parsed(html)
    assert [set(a) for a in page.all("script")] == [{"type", "id"}, {"src"}]
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert not [a for a in page.all("a") if not re.match(r"#|https?://", a["href"] or "")]
    card = next(card for card in json.loads(page.data) if card["record"]["licence"]["licensor"] == HOSTILE)
    assert card["link"] is False
    assert {layer["name"] for layer in card["record"]["layers"]} == {HOSTILE}


def test_a_huge_text_is_cut(tmp_path: Path) -> None:
    store, dataset = report_dataset(tmp_path / "ds", [poster(1, family="x" * 1_000_000)])
    assert store.size(write_report(store, dataset, CONFIG)) < 200_000


def test_pictures_are_scaled_without_fringes(tmp_path: Path) -> None:
    store, _, html = made(tmp_path / "ds")
    for card in json.loads(Parsed(html).data):
        canvas = card["record"]["canvas"]
        scale = min(1, CONFIG.image_side / max(canvas["width"], canvas["height"]))
        for layer, path in zip(card["record"]["layers"], card["layers"], strict=True):
            width, height = Image.open(io.BytesIO(store.read(f"report/{path}"))).size
            x0, y0, x1, y1 = layer["box"]
            assert (width, height) == (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    striped = np.zeros((64, 64, 4), np.uint8)
    striped[:, ::2] = (250, 20, 20, 255)
    striped[:, 1::2] = (0, 255, 0, 0)  # green that nobody sees
    small = images.decode(_encode(striped, Scaling(factor=0.25)))
    assert small.shape == (16, 16, 4)
    assert small[..., 1].max() < 60
    assert abs(int(small[8, 8, 3]) - 128) <= 2


def test_the_ledger_lists_failures_first_and_names_the_rest(tmp_path: Path) -> None:
    _, dataset, html = made(tmp_path / "ds")
    codes = re.findall(r'<span class="code">(\w+)</span>', html)
    assert codes == ["unreadable", "timeout", "licence_not_allowed", "recompose_mismatch", "ok"]
    assert html.count("not a PSD: bad signature") == CONFIG.ledger_rows
    assert f"The first 2 of 3. All are in <code>{dataset.ledger[0]}</code>." in html


def test_expectations_link_to_the_designs_shown(tmp_path: Path) -> None:
    store, _, html = made(tmp_path / "ds")
    summary = json.loads(store.read("report/summary.json"))
    assert summary["expectations"] == {"passed": 1, "failed": ["recomposition error is low"], "critical_failed": []}
    failed = json.loads(store.read("manifest/expectations-000001-0123abcd.json"))[1]["failed_ids"]
    assert failed[0] in summary["gallery"]
    assert f'<a class="mono" href="#design={failed[0]}">' in html
    assert f'<span class="mono">{failed[1]}</span>' in html


def test_expectations_of_another_generation_are_not_shown(tmp_path: Path) -> None:
    store, dataset = report_dataset(tmp_path / "ds", posters(1))
    later = dataset.model_copy(update={"generation": 2})
    assert "none were checked" in store.read(write_report(store, later, CONFIG)).decode()


def test_a_damaged_design_costs_its_card_alone(tmp_path: Path) -> None:
    store, dataset = report_dataset(tmp_path / "ds", posters(3))
    shard = pq.read_table(tmp_path / "ds" / dataset.index[0]).to_pylist()[0]["shard"]
    data = bytearray(store.read(shard))
    record = data.index(b'"canvas"')
    data[record] ^= 1
    store.write(shard, bytes(data))
    cards = json.loads(Parsed(store.read(write_report(store, dataset, CONFIG)).decode()).data)
    errors = [card["error"] for card in cards if "error" in card]
    assert len(errors) == 1
    assert "is not what the index says" in errors[0]


def test_an_empty_dataset_has_a_report(tmp_path: Path) -> None:
    store, dataset = report_dataset(tmp_path / "ds", [], failures=0)
    store.delete(name for name in store.names("manifest") if "expectations" in name)
    assert "This dataset holds no design." in store.read(write_report(store, dataset, CONFIG)).decode()


def test_pictures_of_designs_that_left_are_stale(tmp_path: Path) -> None:
    store, dataset, _ = made(tmp_path / "ds")
    assert stale_assets(store) == []
    before = json.loads(store.read("report/summary.json"))["gallery"]
    write_report(store, dataset, CONFIG.model_copy(update={"gallery": 1}))
    (kept,) = json.loads(store.read("report/summary.json"))["gallery"]
    assert {name.split("/")[2] for name in stale_assets(store)} == set(before) - {kept}


def test_a_dataset_in_another_store(tmp_path: Path) -> None:
    local = tiny_dataset(tmp_path / "ds")
    memory = Store(f"memory://report-{tmp_path.name}")
    for name in local.names():
        memory.write(name, local.read(name))
    dataset = Dataset.from_json(memory.read(DATASET_JSON))
    page = Parsed(memory.read(write_report(memory, dataset, ReportConfig())).decode())
    assert len(json.loads(page.data)) == dataset.counts.ok


def test_only_the_row_groups_of_the_gallery_are_read_again(tmp_path: Path) -> None:
    store = tiny_dataset(tmp_path / "ds", 6)
    dataset = Dataset.from_json(store.read(DATASET_JSON))
    table = pq.read_table(tmp_path / "ds" / dataset.index[0])
    pq.write_table(table, tmp_path / "ds" / "index.parquet", row_group_size=2)
    groups = list(row_groups(store, ["index.parquet"], ["key", "split"]))
    assert [place.group for place, _ in groups] == [0, 1, 2]
    key = groups[1][1]["key"][1]
    found = entries(store, {key: groups[1][0]})
    assert set(found) == {key}
    with store.open(found[key].shard) as stream:
        sample = next(sample for sample in read_shard(stream) if sample.design.design_id == key)
    member = next(member for member in found[key].members if member.name == "composite.webp")
    assert store.read_range(found[key].shard, member.offset, member.size) == sample.member("composite")


def test_the_gallery_is_spread_and_does_not_depend_on_the_order() -> None:
    rows = [(hashlib.sha256(str(i).encode()).hexdigest()[:32], "test" if i % 50 == 0 else "train") for i in range(500)]
    picked = []
    for order in (rows, rows[::-1]):
        chooser = Chooser(10)
        for start in range(0, 500, 100):
            part = order[start : start + 100]
            columns = {
                "key": [k for k, _ in part],
                "split": [s for _, s in part],
                "format": ["psd"] * 100,
                "layers": [5] * 100,
            }
            chooser.add(Place("index", 0), columns)
        picked.append(list(chooser.chosen()))
    assert picked[0] == picked[1]
    splits = dict(rows)
    assert [splits[key] for key in picked[0]].count("test") == 5


def test_a_design_that_an_expectation_names_is_in_the_gallery() -> None:
    keys = [f"{i:032x}" for i in range(100)]
    chooser = Chooser(8, frozenset(keys[90:]))
    columns = {"key": keys, "split": ["train"] * 100, "format": ["psd"] * 100, "layers": list(range(1, 101))}
    chooser.add(Place("index", 0), columns)
    chosen = list(chooser.chosen())
    assert len(chosen) == 8
    assert chosen[-2:] == keys[90:92]  # a quarter, after the others
    assert [int(key, 16) + 1 for key in chosen[:2]] == [64, 32]  # many layers first


def test_statistics_count_every_layer(tmp_path: Path) -> None:
    _, dataset = report_dataset(tmp_path / "ds", posters(5))
    table = pq.read_table(tmp_path / "ds" / dataset.index[0])
    statistics = Statistics()
    statistics.add(table.to_pydict())
    assert statistics.designs == 5
    assert statistics.layers == sum(statistics.kinds.values()) == sum(statistics.lowerings.values())
    assert statistics.reusable == statistics.layers - statistics.lowerings["baked"]
    assert statistics.overflowing == pa.compute.sum(pa.compute.greater(table["overflow_share"], 0)).as_py()


@pytest.mark.parametrize(("part", "whole", "text"), [(0, 0, "–"), (1, 3, "33.3%"), (1, 9999, "< 0.1%"), (4, 4, "100%")])
def test_percent(part: int, whole: int, text: str) -> None:
    assert _percent(part, whole) == text


def test_percent_never_rounds_up_to_all() -> None:
    assert _percent(99_999, 100_000) == "> 99.9%"


def test_a_histogram_keeps_every_value() -> None:
    found = histogram({2: 3, 7: 1, 50: 4}, bins=10)
    assert sum(bar.count for bar in found) == 8
    assert len(found) <= 10
    assert found[0].label == "2–6"
    assert found[-1].label == "47–50"


def test_bars_gather_the_tail() -> None:
    found = bars({f"code {i:02d}": 20 - i for i in range(20)}, limit=5)
    assert [bar.label for bar in found] == ["code 00", "code 01", "code 02", "code 03", "16 others"]
    assert sum(bar.count for bar in found) == 210
