"""Shards without an index: what comes of them, how they are shared out, and what damaged or hostile ones do."""

from __future__ import annotations

import io
import logging
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from schemas.design import Design
from schemas.sample import Sample
from tests.pipelines.dataset_builder import Entry, draft, make_sample, publish, with_design
from training.errors import DamageError, ReadError, StreamError, UsageError
from training.streaming import unindexed
from training.streaming.config import PlanConfig, Task
from training.streaming.decode import make_decoder
from training.streaming.draws import draw_subset
from training.streaming.jobs import Job, Loaded
from training.streaming.layout import regions
from training.streaming.unindexed import find_shards, indexed, unindexed_jobs

COUNT, SHARDS = 12, 4
CONFIG = PlanConfig(resolution=64, token_budget=120)


class Layers:
    """A decoder that asks for the record and the layers."""

    def members(self, names: Sequence[str], task: Task) -> list[str]:
        return sorted(name for name in names if name == "json" or name.startswith("layer_"))

    def decode(self, *_: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [make_sample(i, layers=2 + i % 3) for i in range(COUNT)]


@pytest.fixture
def shards(samples: list[Sample], tmp_path: Path) -> Path:
    """Four shards of the split train and nothing else."""
    made = draft([Entry(sample, unit=i % SHARDS) for i, sample in enumerate(samples)])
    for name, data in made.shards.items():
        path = tmp_path / "tars" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "tars"


def read(urls: str | Sequence[str] | Path, **settings: Any) -> list[tuple[Job, list[Loaded]]]:
    settings = {"config": CONFIG, "seed": 1, "epoch": 0, "decoder": Layers(), **settings}
    return list(unindexed_jobs(str(urls) if isinstance(urls, Path) else urls, **settings))


def keys(jobs: Sequence[tuple[Job, list[Loaded]]]) -> list[str]:
    return [item.key for job, _ in jobs for item in job.items]


def first(shards: Path) -> Path:
    return min(shards.rglob("*.tar"))


def test_every_sample_comes_once_with_its_own_bytes(shards: Path, samples: list[Sample]) -> None:
    jobs = read(shards)
    by_key = {sample.design.design_id: sample for sample in samples}
    assert sorted(keys(jobs)) == sorted(by_key)
    assert [job.position for job, _ in jobs] == list(range(len(jobs)))
    for job, loaded in jobs:
        assert [sample.item for sample in loaded] == list(job.items)
        for sample in loaded:
            design = Design.from_json(bytes(sample.members["json"]))
            source = by_key[sample.item.key]
            assert design == source.design
            layers = {name: data for name, data in source.members.items() if name.startswith("layer_")}
            assert {name: data for name, data in sample.members.items() if name != "json"} == layers
            assert [(at.name, at.size) for at in sample.item.members] == [
                (n, len(d)) for n, d in sample.members.items()
            ]


def test_tokens_are_those_of_the_regions_and_fill_the_budget_greedily(shards: Path) -> None:
    jobs = read(shards)
    for job, loaded in jobs:
        for item, sample in zip(job.items, loaded, strict=True):
            design = Design.from_json(bytes(sample.members["json"]))
            subset = draw_subset(design, item.task, 1, 0)
            assert item.tokens == sum(r.tokens for r in regions(design, item.task, item.partition, subset, CONFIG)[1])
    sums = [sum(item.tokens for item in job.items) for job, _ in jobs]
    assert max(sums) <= CONFIG.token_budget
    for total, (following, _) in zip(sums, jobs[1:], strict=False):
        assert total + following.items[0].tokens > CONFIG.token_budget
    assert {len(job.items) for job, _ in jobs} != {1}


def test_the_decoder_of_indexed_streams_takes_them(shards: Path) -> None:
    decoder = make_decoder("pixels", CONFIG, 1, frozenset())
    for job, loaded in read(shards, decoder=decoder):
        decoded = decoder.decode(job, loaded, lambda wanted: {name: np.empty(*of) for name, of in wanted.items()})
        assert decoded.keys == tuple(item.key for item in job.items)
        assert decoded.arrays["starts"][-1] == sum(item.tokens for item in job.items)


def test_a_sample_over_the_budget_is_alone(shards: Path) -> None:
    jobs = read(shards, config=PlanConfig(resolution=64, token_budget=1))
    assert [len(job.items) for job, _ in jobs] == [1] * COUNT


def test_ranks_share_the_shards_and_epochs_order_them_anew(shards: Path, samples: list[Sample]) -> None:
    ranks = [keys(read(shards, rank=rank, world_size=3)) for rank in range(3)]
    assert sorted(key for rank in ranks for key in rank) == sorted(sample.design.design_id for sample in samples)
    assert all(ranks)
    assert keys(read(shards)) == keys(read(shards))
    assert len({tuple(keys(read(shards, epoch=epoch))) for epoch in range(6)}) > 1
    with pytest.raises(UsageError, match=r"4 shards .* 5 ranks"):
        read(shards, world_size=5)


def test_one_line_says_what_is_lost(shards: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(shards)
    (record,) = caplog.records
    for lost in ("no global order", "no exact resume", "world size", "no hash checks", "revoked.parquet"):
        assert lost in record.message
    assert "\n" not in record.message


def test_patterns_lists_and_object_stores(shards: Path, samples: list[Sample]) -> None:
    expected = keys(read(shards))
    tars = [str(path) for path in sorted(shards.rglob("*.tar"))]
    assert find_shards(str(shards), "train") == tars
    assert keys(read(list(reversed(tars)))) == expected
    for number, tar in enumerate(tars):
        fsspec.filesystem("memory").pipe_file(f"/unindexed/{number}.tar", Path(tar).read_bytes())
    assert sorted(keys(read("memory://unindexed/{0..3}.tar"))) == sorted(expected)
    assert sorted(keys(read("memory://unindexed"))) == sorted(expected)


def test_a_split_has_its_own_tars_where_names_say_so(tmp_path: Path) -> None:
    made = draft([Entry(make_sample(i), unit=i, split="train" if i else "test") for i in range(3)])
    for name, data in made.shards.items():
        (tmp_path / Path(name).name).write_bytes(data)
    assert [Path(url).name[:6] for url in find_shards(str(tmp_path), "train")] == ["train-"] * 2
    assert len(find_shards(str(tmp_path), "other")) == 3


def test_what_has_an_index_is_told_from_what_has_none(shards: Path, samples: list[Sample], tmp_path: Path) -> None:
    publish(tmp_path / "ds", [Entry(samples[0])])
    assert indexed(str(tmp_path / "ds"))
    assert not indexed(str(shards))
    assert not indexed([str(first(shards))])
    assert not indexed(f"{shards}/shards/{{0..3}}.tar")


@pytest.mark.parametrize("name", ["my.target/ds", "ds.tar.d", "ds.tar", "{a,b}/ds", "{0..3}"])
def test_a_directory_may_be_called_anything(shards: Path, samples: list[Sample], tmp_path: Path, name: str) -> None:
    folder = tmp_path / "odd" / name
    publish(folder, [Entry(samples[0])])
    assert indexed(str(folder))
    (folder / "dataset.json").unlink()
    assert not indexed(str(folder))
    assert find_shards(str(folder), "train") == [str(path) for path in folder.rglob("*.tar")]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/x/{0..1}.tar", ["/x/0.tar", "/x/1.tar"]),
        ("/x/{a.tar,b.tar}", ["/x/a.tar", "/x/b.tar"]),
        ("https://h/my.target/a.tar", ["https://h/my.target/a.tar"]),
        ("https://h/a.tar?signature=x", ["https://h/a.tar?signature=x"]),
        ("/nothing/like\0this.tar", ["/nothing/like\0this.tar"]),
        (f"/{'x' * 300}.tar", [f"/{'x' * 300}.tar"]),
    ],
)
def test_patterns_are_known_without_a_look(url: str, expected: list[str]) -> None:
    assert not indexed(url)
    assert find_shards(url, "train") == expected


def test_listing_ends(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = find_shards(str(shards), "train")
    deep = shards.joinpath(*"abcd", "train-deep.tar")
    deep.parent.mkdir(parents=True)
    deep.write_bytes(b"")
    assert find_shards(str(shards), "train") == expected
    with pytest.raises(UsageError, match="names over 1,000,000 tars"):
        find_shards("/x/{0..9999999999}.tar", "train")
    monkeypatch.setattr(unindexed, "MAX_SHARDS", SHARDS - 1)
    with pytest.raises(ReadError, match="has over 3 files"):
        find_shards(str(shards), "train")


@pytest.mark.parametrize(
    "url", ["pipe:cat x.tar", "x.tar | sh", "pipe:curl -s http://h/{0..3}.tar", "pipe:curl http://h/x", "s3://a|sh"]
)
def test_commands_are_refused(url: str) -> None:
    assert not indexed(url)
    with pytest.raises(UsageError, match="is a command"):
        read([url])
    with pytest.raises(UsageError, match="is a command"):
        read(url)


def test_no_shell_is_reached_from_a_name_in_a_folder(shards: Path, tmp_path: Path) -> None:
    """webdataset would run this name; here it is a file like any other."""
    marker = tmp_path / "ran"
    odd = shards / "shards" / f"pipe:touch {marker.name}; cat x.tar".replace("/", "_")
    odd.write_bytes(first(shards).read_bytes())
    assert len(keys(read(shards, config=PlanConfig(resolution=64, split="pipe:touch ran; cat x.tar")))) == COUNT + 3
    assert not marker.exists()
    assert not Path("ran").exists()


def test_nothing_there_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no tars, and no dataset\.json"):
        read(tmp_path)
    with pytest.raises(ReadError, match=r"gone\.tar is missing"):
        read([str(tmp_path / "gone.tar")])


def test_expired_and_withdrawn_designs_are_left_out(shards: Path) -> None:
    gone = sorted(keys(read(shards)))[0]
    assert gone not in keys(read(shards, withdrawn=lambda key, expires: "revoked" if key == gone else None))
    seen: list[str | None] = []
    expiring = make_sample(99)
    licence = expiring.design.licence.model_copy(update={"expires": "2020-01-01"})
    made = draft([Entry(with_design(expiring, licence=licence))])
    (shards / "shards" / "train-more.tar").write_bytes(next(iter(made.shards.values())))
    read(shards, withdrawn=lambda key, expires: seen.append(expires))
    assert seen.count("2020-01-01") == 1


def headers(path: Path) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        yield from tar


def cut(path: Path, where: str) -> int:
    """Cut a tar off in a member, in a header, between samples or before its end mark; returns the samples left."""
    infos = list(headers(path))
    starts = [info for at, info in enumerate(infos) if not at or _head(info) != _head(infos[at - 1])]
    last = starts[-1]
    offset, whole = {
        "member": (infos[-1].offset_data + 3, len(starts) - 1),
        "header": (last.offset + 100, len(starts) - 2),
        "sample": (last.offset, len(starts) - 2),
        "end": (infos[-1].offset_data + -(-infos[-1].size // 512) * 512, len(starts) - 1),
    }[where]
    path.write_bytes(path.read_bytes()[:offset])
    return whole


def _head(info: tarfile.TarInfo) -> str:
    return info.name.partition(".")[0]


@pytest.mark.parametrize("where", ["member", "header", "sample", "end"])
def test_a_cut_tar_is_named_and_what_came_whole_can_be_kept(shards: Path, where: str) -> None:
    path = first(shards)
    whole = cut(path, where)
    with pytest.raises(DamageError, match="cut off") as raised:
        read(shards)
    assert str(path) in str(raised.value)
    told: list[StreamError] = []
    kept = keys(read(shards, on_damage=told.append))
    assert len(kept) == COUNT - COUNT // SHARDS + whole
    assert len(told) == 1


def tar_of(*members: tuple[str, bytes], **fields: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def record(sample: Sample, **changes: Any) -> bytes:
    return with_design(sample, **changes).design.to_json()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.layer_00.webp", b"x")], "has no record"),
        ([("a.json", b"{}")], "Design: "),
        ([("a.json", b"\xff\x00")], "Design: "),
        ([("a.json", b"{}"), ("a.JSON", b"{}")], "twice"),
    ],
    ids=["no-record", "empty-record", "no-json", "twice"],
)
def test_samples_that_are_none_are_named(shards: Path, members: list[tuple[str, bytes]], reason: str) -> None:
    (shards / "shards" / "train-bad.tar").write_bytes(tar_of(*members))
    with pytest.raises(DamageError, match=reason) as raised:
        read(shards)
    assert "train-bad.tar" in str(raised.value)
    assert "\n" not in str(raised.value)
    told: list[StreamError] = []
    assert len(keys(read(shards, on_damage=told.append))) == COUNT
    assert len(told) == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"no tar at all" * 100, np.random.default_rng(0).bytes(4096), b"\x1f\x8b\x08" + bytes(2000)],
    ids=["empty", "text", "noise", "gzip"],
)
def test_files_that_are_no_tar(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(DamageError, match=r"x\.tar is no plain tar"):
        read([str(path)])


def test_a_sparse_header_gets_no_memory(tmp_path: Path) -> None:
    """512 bytes that say: a file of a terabyte of zeros."""
    info = tarfile.TarInfo("a.json")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = (2**40).to_bytes(12, "big")
    block[483] = 0x80
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(block) + bytes(1024))
    with pytest.raises(DamageError, match="sparse"):
        read([str(path)])


def test_a_sample_is_bounded(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unindexed, "SAMPLE_BYTES", 100_000)
    monkeypatch.setattr(unindexed, "_READ_BYTES", 1024)
    assert len(keys(read(shards))) == COUNT
    many = [(f"a.{i:04d}.webp", bytes(1000)) for i in range(200)]
    (shards / "shards" / "train-big.tar").write_bytes(tar_of(*many))
    with pytest.raises(DamageError, match="more than 100,000 bytes"):
        read(shards)
    monkeypatch.setattr(unindexed, "SAMPLE_BYTES", 2**31)
    told: list[StreamError] = []
    assert len(keys(read(shards, on_damage=told.append))) == COUNT


def test_without_webdataset_the_extra_is_named(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "webdataset", None)
    with pytest.raises(UsageError, match=r"acetate\[train\]"):
        read(shards)
