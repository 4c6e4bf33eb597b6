"""A bad store and bad shards: what passes changes nothing; what stays is named, or left out, counted and reported."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import s3fs

from infra.s3.faults import Fault, Proxy, faulty
from tests.conftest import S3
from tests.pipelines.dataset_builder import Draft, Entry, draft, make_sample, publish
from training.batch import MicroBatch
from training.errors import DamageError, ReadError, StreamError
from training.stream import DesignStream
from training.streaming.config import ReadConfig

DESIGNS, PER_SHARD, TOKEN_PX = 16, 4, 16
SETTINGS: dict[str, Any] = {
    "tasks": "text-to-layers",
    "resolution": 64,
    "token_px": TOKEN_PX,
    "token_budget": 200,
    "window": 8,
    "balance": 2,
    "seed": 3,
    "read": ReadConfig(attempts=3, timeout=20),
}


class Member(NamedTuple):
    key: str
    shard: str
    name: str
    offset: int
    size: int
    sha256: str

    @property
    def middle(self) -> int:
        return self.offset + self.size // 2


@dataclass
class Data:
    """A dataset where it can be read, and what its index says."""

    url: str
    members: list[Member]
    options: dict[str, Any] = field(default_factory=dict)

    def stream(self, **changes: Any) -> DesignStream:
        return DesignStream(self.url, storage_options=self.options, **{**SETTINGS, **changes})

    @property
    def shard(self) -> str:
        return self.members[0].shard

    @property
    def victim(self) -> Member:
        """The background of the second sample of the first shard: every task needs it."""
        second = list(dict.fromkeys(member.key for member in self.members if member.shard == self.shard))[1]
        return next(member for member in self.members if (member.key, member.name) == (second, "layer_00.webp"))

    def keys(self, shard: str = "") -> set[str]:
        return {member.key for member in self.members if shard in member.shard}

    def behind(self, offset: int) -> set[str]:
        """The samples of the first shard that need a byte at or behind ``offset``."""
        needed = [member for member in self.members if member.name.startswith(("json", "layer_"))]
        return {m.key for m in needed if m.shard == self.shard and m.offset + m.size > offset}


def small() -> Draft:
    return draft([Entry(make_sample(n, side=48, layers=2 + n % 3), unit=n // PER_SHARD) for n in range(DESIGNS)])


def published(root: Path, content: Draft) -> Data:
    publish(root, content)
    (part,) = root.glob("manifest/index-*.parquet")
    rows = sorted(pq.read_table(part).to_pylist(), key=lambda row: (row["shard"], row["members"][0]["offset"]))
    places = [(row, member) for row in rows for member in row["members"]]
    members = [Member(r["key"], r["shard"], m["name"], m["offset"], m["size"], m["sha256"]) for r, m in places]
    return Data(str(root), members)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The dataset as it should be; nobody changes it."""
    return published(tmp_path_factory.mktemp("clean"), small())


@pytest.fixture(scope="module")
def told(clean: Data, tmp_path_factory: pytest.TempPathFactory) -> list[MicroBatch]:
    """An epoch of it."""
    return list(clean.stream(plan_dir=tmp_path_factory.mktemp("plans")))


@pytest.fixture(scope="module")
def bucket(clean: Data, s3: S3) -> str:
    url = f"{s3.bucket()}/dataset"
    s3fs.S3FileSystem(**s3.options).put(clean.url, url, recursive=True)
    return url


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with faulty(s3.endpoint) as running:
        yield running


@pytest.fixture
def remote(clean: Data, bucket: str, s3: S3, proxy: Proxy) -> Data:
    """The same dataset on S3, behind the proxy."""
    return Data(bucket, clean.members, {**s3.options, "endpoint_url": proxy.endpoint})


def designs(batches: list[MicroBatch]) -> dict[str, tuple[Any, ...]]:
    """What was delivered of each design, wherever it lies in its micro-batch."""
    out = {}
    for batch in batches:
        pixels = batch["pixels"].reshape(-1, TOKEN_PX**2, 4)
        regions = list(zip(batch["starts"].tolist(), batch["starts"].tolist()[1:], strict=False))
        for d, key in enumerate(batch.keys):
            mine = [r for r, owner in enumerate(batch["design"].tolist()) if owner == d]
            images = [pixels[slice(*regions[r])].numpy().tobytes() for r in mine]
            assert key not in out
            out[key] = (batch.position, batch.tasks[d], batch.prompts[d], batch["boxes"][mine].tolist(), images)
    return out


PASSING: dict[str, Callable[[Member], Fault]] = {
    "error": lambda victim: Fault("error", "/shards/", times=3),
    "throttled": lambda victim: Fault("error", "/shards/", times=2, status=429),
    "cut": lambda victim: Fault("cut", "/shards/", times=2),
    "reset": lambda victim: Fault("reset", "/shards/", times=2),
    "slow": lambda victim: Fault("slow", "/shards/", rate=1_000_000),
    "truncated": lambda victim: Fault("truncated", victim.shard, times=1, at=victim.middle),
    "corrupted": lambda victim: Fault("corrupted", victim.shard, times=1, at=victim.middle),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_changes_nothing(name: str, remote: Data, proxy: Proxy, told: list[MicroBatch]) -> None:
    proxy.add(fault := PASSING[name](remote.victim))
    stream = remote.stream()
    assert designs(list(stream)) == designs(told)
    assert stream.skipped == []
    assert 0 < proxy.happened[fault.kind] == (fault.times or proxy.happened[fault.kind])


def test_all_of_it_at_once_changes_nothing_under_workers(remote: Data, proxy: Proxy, told: list[MicroBatch]) -> None:
    proxy.add(*(make(remote.victim) for make in PASSING.values()))
    stream = remote.stream(workers=2, read=ReadConfig(attempts=10, timeout=20))
    assert designs(list(stream)) == designs(told)
    assert stream.skipped == []
    assert set(proxy.happened) == {make(remote.victim).kind for make in PASSING.values()}


def test_a_request_without_an_answer_is_asked_again(remote: Data, proxy: Proxy, told: list[MicroBatch]) -> None:
    proxy.add(Fault("latency", "/shards/", times=1, seconds=60))
    began = time.monotonic()
    assert designs(list(remote.stream(read=ReadConfig(attempts=10, timeout=1)))) == designs(told)
    assert proxy.happened["latency"] == 1
    assert time.monotonic() - began < 50


@dataclass
class Spoiled:
    """A dataset with one bad shard: who cannot be delivered, which error says so and what it names."""

    data: Data
    lost: set[str]
    error: type[StreamError]
    expected: str


def on_s3(kind: str, request: pytest.FixtureRequest) -> Spoiled:
    remote, proxy = request.getfixturevalue("remote"), request.getfixturevalue("proxy")
    faults = {
        "missing": Fault("missing", remote.shard),
        "emptied": Fault("truncated", remote.shard, at=0),
        "truncated": Fault("truncated", remote.shard, at=remote.victim.middle),
        "corrupted": Fault("corrupted", remote.shard, at=remote.victim.middle),
    }
    proxy.add(faults[kind])
    return spoiled(kind, remote)


def on_disk(kind: str, request: pytest.FixtureRequest) -> Spoiled:
    data = published(request.getfixturevalue("tmp_path") / "bad", small())
    path, at = Path(data.url) / data.shard, data.victim.middle
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: {"emptied": 0, "truncated": at, "corrupted": None}[kind]])
    return spoiled(kind, data)


def spoiled(kind: str, data: Data) -> Spoiled:
    victim = data.victim
    lost = {
        "missing": data.keys(data.shard),
        "emptied": data.keys(data.shard),
        "corrupted": {victim.key},
        "truncated": data.behind(victim.middle),
    }
    error = DamageError if kind == "corrupted" else ReadError
    return Spoiled(data, lost[kind], error, "" if kind == "missing" else "sha256")


@pytest.mark.parametrize(("place", "workers"), [(on_disk, 0), (on_disk, 2), (on_s3, 0)])
@pytest.mark.parametrize("kind", ["missing", "emptied", "truncated", "corrupted"])
def test_what_stays_is_named_or_left_out(
    place: Callable[[str, pytest.FixtureRequest], Spoiled],
    workers: int,
    kind: str,
    told: list[MicroBatch],
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = place(kind, request)
    assert 0 < len(bad.lost) < DESIGNS
    check_named(bad, workers)
    check_skipped(bad, workers, told, caplog)


def check_named(bad: Spoiled, workers: int) -> None:
    with pytest.raises(bad.error) as caught:
        list(bad.data.stream(workers=workers))
    message = str(caught.value)
    assert f"{bad.data.url}/{bad.data.shard}" in message
    assert bad.expected in message
    named = [member for member in bad.data.members if member.sha256 in message]
    assert bool(named) == bool(bad.expected)
    assert {member.key for member in named} <= bad.lost
    assert "\n" not in message


def check_skipped(bad: Spoiled, workers: int, told: list[MicroBatch], caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    stream = bad.data.stream(workers=workers, on_error="skip")
    with caplog.at_level(logging.WARNING, "training"):
        batches = list(stream)
    assert [batch.position for batch in batches] == [batch.position for batch in told]
    assert designs(batches) == {key: what for key, what in designs(told).items() if key not in bad.lost}
    assert sorted(key for key, _ in stream.skipped) == sorted(bad.lost)
    assert all(f"{bad.data.url}/{bad.data.shard}" in reason for _, reason in stream.skipped)
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("training")]
    assert f"{len(bad.lost)} samples" in said
    assert bad.data.shard in said


@pytest.mark.parametrize(("lie", "workers"), [("offset", 0), ("offset", 2), ("size", 0), ("sha256", 0)])
def test_an_index_that_lies_is_caught(
    lie: str, workers: int, tmp_path: Path, told: list[MicroBatch], caplog: pytest.LogCaptureFixture
) -> None:
    """The member of a sample is said to be where another is, longer than it is, or something else."""
    content = small()
    row = content.index_rows[5]
    (at,) = [i for i, member in enumerate(row["members"]) if member["name"] == "layer_01.webp"]
    other = content.index_rows[2]["members"][at]
    row["members"][at] = {**row["members"][at], lie: row["members"][at]["size"] + 512 if lie == "size" else other[lie]}
    data = published(tmp_path / "lying", content)
    bad = Spoiled(
        Data(data.url, [m for m in data.members if m.shard == row["shard"]]), {row["key"]}, DamageError, "sha256"
    )
    check_named(bad, workers)
    check_skipped(bad, workers, told, caplog)


def test_a_store_that_stays_down_is_said_so(remote: Data, proxy: Proxy) -> None:
    proxy.add(Fault("error", remote.shard))
    with pytest.raises(ReadError, match=f"{remote.url}/{remote.shard}"):
        list(remote.stream(read=ReadConfig(attempts=1)))
    proxy.clear()
    assert set(designs(list(remote.stream()))) == remote.keys()
