"""The benchmark of streaming measures what it says: the same bytes for everybody, a gate that waits, honest ratios."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("cv2")

from infra.bench import stream_data, stream_decoders, stream_gate, stream_race, stream_run
from infra.bench.stream_data import Recipe
from infra.bench.stream_designs import draw, renamed
from infra.bench.stream_formats import packed, unpacked
from infra.bench.stream_peers import Spec
from infra.bench.stream_run import Result
from schemas.images import Codec
from schemas.index import INDEX_SCHEMA
from schemas.sample import Sample, read_shard
from training.batch import MicroBatch
from training.streaming.config import PlanConfig, Task
from training.streaming.jobs import Item, Job, Loaded

SIDE = 96


@pytest.fixture(scope="module")
def sample() -> Sample:
    return draw(3, SIDE, 4).sample(Codec.WEBP)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> Path:
    root = tmp_path_factory.mktemp("designs")
    stream_data.publish(root, [renamed(sample, f"copy {number}") for number in range(12)])
    return root


def spec(dataset: Path, cache: Path, **changes: object) -> Spec:
    base = Spec("ours", str(dataset), "cv2", batch=2, tokens=9000, samples=12, sample_bytes=10_000, cache=str(cache))
    return replace(base, **changes)  # type: ignore[arg-type]


def in_child(spec: Spec) -> Result:
    asked, answer = Path(spec.cache) / "asked", Path(spec.cache) / "answer"
    asked.write_text(json.dumps(asdict(spec)))
    command = [sys.executable, "-m", "infra.bench.stream_run", str(asked), str(answer)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return Result(**json.loads(answer.read_text()))


def test_a_design_is_the_same_every_time_and_reaches_out_of_its_visible_box() -> None:
    first, again = draw(5, SIDE, 11), draw(5, SIDE, 11)
    assert first.design == again.design
    assert all(np.array_equal(first.pictures[stem], again.pictures[stem]) for stem in first.pictures)
    assert first.design.visible.area == SIDE**2 < first.design.canvas.width * first.design.canvas.height
    assert first.sample(Codec.PNG).composite().tobytes() == first.sample(Codec.WEBP).composite().tobytes()


def test_the_published_dataset_has_every_sample_where_its_index_says(dataset: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(next((dataset / "manifest").glob("index-*")))
    assert table.schema.equals(INDEX_SCHEMA)
    shards = {str(path.relative_to(dataset)): path.read_bytes() for path in (dataset / "shards").iterdir()}
    keys = set()
    for row in table.to_pylist():
        member = row["members"][0]
        data = shards[row["shard"]][member["offset"] : member["offset"] + member["size"]]
        assert json.loads(data)["design_id"] == row["key"]
        keys.add(row["key"])
    assert len(keys) == 12 and len(shards) % 2 == 0


def test_every_way_of_decoding_gives_the_pixels_of_the_sample(dataset: Path) -> None:
    shard = min((dataset / "shards").iterdir())
    with shard.open("rb") as source:
        whole = next(read_shard(source))
    members = unpacked(next(packed(str(shard))))
    assert set(members) == {"json", *whole.members}
    expected = [whole.composite(), *(whole.layer(layer.index) for layer in whole.design.layers)]
    for work in ("cv2", "Pillow"):
        found = stream_decoders.WORK[work](members)
        assert [np.array_equal(one, two) for one, two in zip(found, expected, strict=False)] == [True] * len(expected)
        assert len(found) == len(expected) + 1  # the preview


def test_the_gate_opens_when_all_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stream_gate.GATE, "")
    monkeypatch.setenv(stream_gate.PARENT, "")
    gate = stream_gate.Gate(tmp_path, 2)
    waiting = threading.Thread(target=stream_gate.wait_at_gate)
    waiting.start()
    time.sleep(0.1)
    assert waiting.is_alive() and gate.opened == 0
    (tmp_path / "another").touch()
    waiting.join(10)
    assert not waiting.is_alive() and gate.opened > 0
    stream_gate.wait_at_gate()


def test_a_process_that_never_comes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stream_gate.GATE, str(tmp_path))
    monkeypatch.setattr(stream_gate, "SECONDS", 0.05)
    with pytest.raises(TimeoutError, match="did not open"):
        stream_gate.wait_at_gate()


def test_the_tree_of_a_process_has_its_children_and_their_memory() -> None:
    code = "import time; x = bytearray(2**26); print(1, flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.readline()
        assert {os.getpid(), child.pid} <= set(stream_gate.tree(os.getpid()))
        resident, proportional = stream_gate.memory(child.pid)
        assert 2**26 < proportional <= resident < 2**28
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize(("name", "work"), [("ByOpenCV", "cv2"), ("ByPillow", "Pillow")])
def test_our_stream_s_decoder_gives_what_the_work_gives(dataset: Path, name: str, work: str) -> None:
    loaded = []
    for one in packed(str(min((dataset / "shards").iterdir()))):
        loaded.append(Loaded(Item(one["key"], Task.TEXT_TO_LAYERS, -1, 0, "", ()), unpacked(one)))
    decoder = getattr(stream_decoders, name)(PlanConfig(), 0, frozenset())
    decoded = decoder.decode(Job(0, 0), loaded, lambda wanted: {n: np.empty(*of) for n, of in wanted.items()})
    for (key, pictures), one in zip(stream_run.cut(MicroBatch.of(decoded, 0, 0)), loaded, strict=True):
        expected = stream_decoders.WORK[work](one.members)
        assert key == one.item.key
        assert [np.array_equal(a.numpy(), b) for a, b in zip(pictures, expected, strict=True)] == [True] * len(expected)


@pytest.mark.slow
def test_contestants_deliver_the_same_bytes_and_the_packed_work_all_designs(dataset: Path, tmp_path: Path) -> None:
    asked = [("ours", "cv2"), ("pure decode", "cv2"), ("webdataset", "cv2"), ("ours", "packed"), ("plain", "plain")]
    results = []
    for number, (name, work) in enumerate(asked):
        (cache := tmp_path / str(number)).mkdir()
        results.append(in_child(spec(dataset, cache, contestant=name, work=work, verify=True)))
    assert {(one.samples, one.keys) for one in results} == {(12, results[0].keys)}
    assert {one.digest for one in results[:3]} == {results[0].digest}
    assert all(one.seconds > 0 for one in results)


def test_a_missing_sample_and_other_bytes_are_found() -> None:
    specs = [Spec("a", "", "cv2", samples=4), Spec("b", "", "cv2", samples=4)]
    good = Result(1.0, 1.0, 4, "keys", "bytes")
    stream_race.agree(specs, [good, good], alike=True)
    with pytest.raises(AssertionError, match="b delivered 3 of 4"):
        stream_race.agree(specs, [good, replace(good, samples=3)], alike=True)
    other = replace(good, digest="others")
    stream_race.agree(specs, [good, other], alike=False)
    with pytest.raises(AssertionError, match="b delivered other bytes than a"):
        stream_race.agree(specs, [good, other], alike=True)


def test_ratios_are_medians_over_the_rounds() -> None:
    def measured(name: str, seconds: list[float]) -> stream_race.Measured:
        return stream_race.Measured(Spec(name, "", "cv2"), [Result(s, s, 10, "", "") for s in seconds], 2**20, 2**20)

    ours, peer = measured("ours", [1.0, 2.0, 4.0]), measured("peer", [2.0, 3.0, 4.0])
    assert ours.against(peer) == pytest.approx(1.5)
    rows = stream_race.rows([ours, peer])
    assert rows[0][1] == "5.00 (1.00)" and rows[1][1] == "3.33 (1.50)" and len(rows[0]) == len(stream_race.HEAD)
    for one in (ours, peer):
        one.requests, one.spec = 5, replace(one.spec, samples=10)
    assert len(stream_race.rows([ours, peer])[0]) == len(stream_race.HEAD_STORE)


def test_both_digests_see_a_changed_byte_and_a_changed_order() -> None:
    first, second = np.arange(4096, dtype=np.uint8), np.full((3, 5, 4), 7, np.uint8)
    changed = first.copy()
    changed[1] ^= 1
    for look in (stream_run.summed, stream_run.hashed):
        assert look([first, second]) == look([first.copy(), second.copy()])
        assert look([first, second]) != look([changed, second])
        assert look([first, second]) != look([second, first])


def test_a_recipe_that_is_not_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(SystemExit, match="holds something else"):
        stream_data.make(tmp_path, Recipe(designs=1))
