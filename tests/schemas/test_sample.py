"""Shards: deterministic, addressable by byte, readable by others, and never silently short."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import RecordError, SampleError, SchemaError
from schemas.images import Codec
from schemas.sample import Sample, read_shard, required_members, write_shard
from tests.builders import disc, layer, make_sample, solid, texture


def samples(codec: Codec = Codec.WEBP) -> list[Sample]:
    return [
        make_sample([layer(texture(40, 30, seed)), layer(disc(16 + seed, "red"), at=(20, 4))], codec=codec)
        for seed in range(3)
    ]


def shard(of: list[Sample]) -> bytes:
    out = io.BytesIO()
    write_shard(out, of, "shards/x.tar")
    return out.getvalue()


def test_a_shard_reads_back_as_it_was_written() -> None:
    written = samples()
    assert list(read_shard(io.BytesIO(shard(written)))) == written


def test_the_same_samples_give_the_same_bytes_in_any_order_of_members() -> None:
    written = samples()
    turned = [Sample(sample.design, dict(reversed(sample.members.items()))) for sample in written]
    assert shard(written) == shard(turned) == shard(samples())


def test_no_time_owner_or_machine_is_in_a_header() -> None:
    with tarfile.open(fileobj=io.BytesIO(shard(samples()))) as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, 0, "", "", 0o644)


@pytest.mark.parametrize("codec", list(Codec))
def test_every_member_is_one_ranged_checked_read(codec: Codec) -> None:
    written = samples(codec)
    out = io.BytesIO()
    locations = write_shard(out, written, "shards/x.tar")
    data = out.getvalue()
    assert [location.key for location in locations] == [sample.design.design_id for sample in written]
    for location, sample in zip(locations, written, strict=True):
        assert location.shard == "shards/x.tar"
        members = {"json": sample.design.to_json(), **sample.members}
        assert {member.name for member in location.members} == set(members)
        for member in location.members:
            ranged = data[member.offset : member.offset + member.size]
            assert ranged == members[member.name]
            assert hashlib.sha256(ranged).hexdigest() == member.sha256


def test_a_shard_can_be_written_to_a_stream_without_a_position() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.parts.append(bytes(data))  # type: ignore[call-overload]
            return len(self.parts[-1])

    pipe = Pipe()
    write_shard(pipe, samples(), "x")
    assert b"".join(pipe.parts) == shard(samples())


@pytest.mark.parametrize("codec", list(Codec))
def test_stock_webdataset_reads_a_shard(tmp_path: Path, codec: Codec) -> None:
    written = samples(codec)
    path = tmp_path / "train-000000.tar"
    path.write_bytes(shard(written))
    read = list(webdataset.WebDataset(str(path), shardshuffle=False).decode("pilrgba"))
    assert [entry["__key__"] for entry in read] == [sample.design.design_id for sample in written]
    for entry, sample in zip(read, written, strict=True):
        assert entry["json"] == json.loads(sample.design.to_json())
        for index in range(len(sample.design.layers)):
            picture = entry[f"layer_{index:02d}.{codec}"]
            assert picture.mode == "RGBA"
            assert np.array_equal(np.array(picture), sample.layer(index))


def test_a_shard_cut_anywhere_is_an_error() -> None:
    data = shard(samples())
    end = len(data.rstrip(b"\0")) + 512  # a cut in the zeros at the end of the file loses nothing
    blocks = range(0, end, tarfile.BLOCKSIZE)
    for cut in {*blocks, *(block + 100 for block in blocks)}:
        with pytest.raises(SchemaError):
            list(read_shard(io.BytesIO(data[:cut])))


@given(st.data())
@settings(max_examples=200)
def test_a_damaged_shard_raises_our_errors_alone(data: st.DataObject) -> None:
    damaged = bytearray(shard(samples()[:2]))
    for _ in range(data.draw(st.integers(1, 4))):
        block = data.draw(st.integers(0, len(damaged) // tarfile.BLOCKSIZE - 1)) * tarfile.BLOCKSIZE
        at = block + data.draw(st.integers(0, 160) | st.integers(0, tarfile.BLOCKSIZE - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(SchemaError):
        list(read_shard(io.BytesIO(bytes(damaged))))


def test_a_member_that_comes_twice_is_refused() -> None:
    key, record = samples()[0].design.design_id, samples()[0].design.to_json()
    with pytest.raises(SampleError, match="twice"):
        list(read_shard(made_tar(*[(tarfile.TarInfo(f"{key}.json"), record)] * 2)))


@pytest.mark.parametrize("bad", [b"", b"no tar at all" * 100, b"\0" * 3])
def test_what_is_no_tar_is_a_sample_error(bad: bytes) -> None:
    with pytest.raises(SampleError):
        list(read_shard(io.BytesIO(bad)))


def made_tar(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    out.seek(0)
    return out


def test_links_directories_and_nameless_members_are_refused() -> None:
    link = tarfile.TarInfo("a.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for info in (link, tarfile.TarInfo("noextension")):
        with pytest.raises(SampleError, match="no member of a sample"):
            list(read_shard(made_tar((info, b""))))


def test_a_sample_without_record_or_with_anothers_is_refused() -> None:
    key, record = samples()[0].design.design_id, samples()[1].design.to_json()
    with pytest.raises(SampleError, match="has no record"):
        list(read_shard(made_tar((tarfile.TarInfo(f"{key}.composite.webp"), b"x"))))
    with pytest.raises(SampleError, match="holds the record of"):
        list(read_shard(made_tar((tarfile.TarInfo(f"{key}.json"), record))))
    with pytest.raises(RecordError):
        list(read_shard(made_tar((tarfile.TarInfo(f"{key}.json"), b"{}"))))


def test_members_of_a_sample_decode_to_the_size_of_their_boxes() -> None:
    sample = make_sample([layer(solid(30, 20, "teal")), layer(disc(12, "white"), at=(25, 15))], visible=(0, 0, 30, 20))
    assert sample.composite().shape == (27, 37, 4)
    assert [(pixels.shape[:2], box) for pixels, box in sample.placed()] == [
        ((20, 30), (0, 0, 30, 20)),
        ((12, 12), (25, 15, 37, 27)),
    ]
    assert required_members(sample.design) == {"composite", "preview", "layer_00", "layer_01"}
    with pytest.raises(SampleError, match="no member 'restyle_01'"):
        sample.member("restyle_01")
