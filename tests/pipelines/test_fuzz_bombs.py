"""Files made to cost far more than they are: each is refused before it does, with one row of the ledger."""

from __future__ import annotations

import io
import itertools
import resource
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psd_tools import PSDImage
from psd_tools.constants import Compression, Tag
from psd_tools.psd.descriptor import Descriptor, Double, Integer, UnitFloat
from psd_tools.psd.tagged_blocks import TaggedBlock

from pipelines.errors import Rejected
from pipelines.extract import ExtractConfig, Extractor, ImageConfig, extract_file
from pipelines.flatten import FlattenConfig
from pipelines.formats import Document, Group, ReadLimits, fetch, read, write
from pipelines.plan import PlanRow
from pipelines.sandbox import Limits, Sandbox
from schemas.ledger import Code
from tests.pipelines.fuzz import seeds, target

CONFIG = ExtractConfig(read=ReadLimits(), extract=FlattenConfig(min_layers=1, min_side=1), image=ImageConfig())
MEGABYTE = 2**20
_SIDES = (30_000, 30_000)


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("seed") / "styled.psd"
    write(seeds.shown(seeds.styled()), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    box = Sandbox(Limits(cpu_seconds=30, wall_seconds=120, memory_mb=512))
    yield box
    box.close()


def saved(psd: PSDImage) -> bytes:
    out = io.BytesIO()
    psd._record.write(out)
    return out.getvalue()


@cache
def zeros() -> bytes:
    """What 700 megabytes of zeros are compressed to: a thousandth."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(700)) + packer.flush()


def layers(psd: PSDImage) -> Any:
    return psd._record.layer_and_mask_information.layer_info


def channel_bomb(data: bytes) -> bytes:
    """Every channel of every layer unfolds to 700 MB."""
    psd, bomb = PSDImage.open(io.BytesIO(data)), zeros()
    for record, channels in zip(layers(psd).layer_records, layers(psd).channel_image_data, strict=True):
        for info, channel in zip(record.channel_info, channels, strict=True):
            channel.data, channel.compression = bomb[: len(bomb) if channel.data else 0], Compression.ZIP
            info.length = len(channel.data) + 2
    return saved(psd)


def merged_bomb(data: bytes) -> bytes:
    psd = PSDImage.open(io.BytesIO(data))
    psd._record.image_data.data, psd._record.image_data.compression = zeros(), Compression.ZIP
    return saved(psd)


def vast_layer(data: bytes) -> bytes:
    """A layer that says it is 30,000 px a side, over the data of a small one."""
    psd = PSDImage.open(io.BytesIO(data))
    record = layers(psd).layer_records[1]
    record.right, record.bottom = record.left + 30_000, record.top + 30_000
    return saved(psd)


def vast_mask(data: bytes) -> bytes:
    psd = PSDImage.open(io.BytesIO(data))
    for record in layers(psd).layer_records:
        if record.mask_data is not None:
            record.mask_data.right, record.mask_data.bottom = 30_000, 30_000
    return saved(psd)


def vast_effects(data: bytes) -> bytes:
    """Every length, count and share of every effect is a thousand million."""
    psd = PSDImage.open(io.BytesIO(data))
    changed = 0
    for record in layers(psd).layer_records:
        style = record.tagged_blocks.get_data(Tag.OBJECT_BASED_EFFECTS_LAYER_INFO)
        changed += enlarge(style, 1e9) if style is not None else 0
    assert changed > 50
    return saved(psd)


def enlarge(value: Any, number: float) -> int:
    """Set every number below a descriptor; returns how many."""
    if isinstance(value, Double | UnitFloat | Integer):
        value.value = int(number) if isinstance(value, Integer) else number
        return 1
    if isinstance(value, Descriptor):
        return sum(enlarge(value[key], number) for key in value)
    return sum(enlarge(item, number) for item in value) if hasattr(value, "_items") else 0


def nested_groups(count: int, path: Path) -> bytes:
    """Groups in groups; the preview needs no drawing, since what is nested so deep is never drawn."""
    node = seeds.styled().nodes[0]
    for level in range(count):
        node = Group(f"{level}", children=(node,))
    write(Document(16, 16, (node,), preview=np.full((16, 16, 4), 7, np.uint8)), path)
    return path.read_bytes()


def nested_descriptors(data: bytes, count: int) -> bytes:
    """An effect whose descriptor holds a descriptor, and so on: as bytes, since no writer goes so deep."""
    level = struct.pack(">I", 0) * 2 + b"null" + struct.pack(">II", 1, 0) + b"Objc" + b"Objc"
    return with_block(data, b"lfx2", struct.pack(">II", 0, 16) + level * count)


def engine_bomb(data: bytes, count: int) -> bytes:
    """A text layer whose engine data opens dictionaries and never closes them."""
    return with_block(data, b"Txt2", b"<< /A [ " * count)


def with_block(data: bytes, key: bytes, content: bytes) -> bytes:
    """The file with one more tagged block, unparsed, in its second layer."""
    psd = PSDImage.open(io.BytesIO(data))
    content += bytes(-len(content) % 4)
    layers(psd).layer_records[1].tagged_blocks[Tag(key)] = TaggedBlock(key=Tag(key), data=content)
    return saved(psd)


def bombs(data: bytes, folder: Path) -> dict[str, bytes]:
    return {
        "channels": channel_bomb(data),
        "merged picture": merged_bomb(data),
        "layer": vast_layer(data),
        "mask": vast_mask(data),
        "effects": vast_effects(data),
        "groups": nested_groups(300, folder / "groups.psd"),
        "descriptors": nested_descriptors(data, 20_000),
        "engine data": engine_bomb(data, 100_000),
    }


def cost(uri: str, into: Path) -> tuple[Code, str, int, float]:
    """In the child: (code, message, bytes of memory at the peak above the start, CPU seconds)."""
    (Path("/proc/self/clear_refs")).write_text("5", encoding="ascii")
    idle, before = _status("VmRSS"), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    code, message = Code.OK, ""
    try:
        extract_file(fetch(uri, into, CONFIG.read, {}), CONFIG)
    except Rejected as error:
        code, message = error.code, error.message
    seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    return code, message, _status("VmHWM") - idle, seconds


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def test_a_bomb_costs_little_and_ends_in_a_code(tmp_path: Path, styled: bytes, sandbox: Sandbox) -> None:
    for name, data in bombs(styled, tmp_path).items():
        path, into = tmp_path / f"{name}.psd", tmp_path / f"{name} working"
        path.write_bytes(data)
        into.mkdir()
        code, message, memory, seconds = sandbox.run(cost, str(path), into)
        assert code in target.EXPECTED, (name, message)
        assert memory < 200 * MEGABYTE, f"{name}: {memory / MEGABYTE:.0f} MiB"
        assert seconds < 15, f"{name}: {seconds:.1f} s"
        if name in ("channels", "merged picture", "layer", "groups"):
            assert code in (Code.UNREADABLE, Code.TOO_LARGE), (name, message)


@pytest.mark.parametrize(("mode", "depth"), list(itertools.product((1, 2, 3, 4, 7, 8, 9), (8, 16, 32))))
def test_a_header_over_the_limit_is_refused_before_it_allocates(
    tmp_path: Path, styled: bytes, mode: int, depth: int
) -> None:
    path = tmp_path / "vast.psd"
    path.write_bytes(styled)
    read(path, "psd", ReadLimits())  # what is imported first is none of the file's cost
    path.write_bytes(styled[:14] + struct.pack(">IIHH", *_SIDES, depth, mode) + styled[26:])
    tracemalloc.start()
    with pytest.raises(Rejected) as caught:
        read(path, "psd", ReadLimits())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code is Code.TOO_LARGE
    assert peak < MEGABYTE


def test_every_mutated_file_has_one_row_of_the_ledger(tmp_path: Path, sandbox: Sandbox) -> None:
    every = seeds.own(tmp_path)
    uris = []
    for number in range(40):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        uris.append(target.mutate(number, every, folder)[1])
    rows = [
        PlanRow(
            row=i, unit=0, split="train", uri=uri, licence="MIT", licensor="x", family=uri, expires=None, caption=None
        )
        for i, uri in enumerate([*uris, str(tmp_path / "none.psd")])
    ]
    outcomes = list(Extractor(str(tmp_path), CONFIG, sandbox, {}).rows(rows))
    assert [outcome.key for outcome, _ in outcomes] == [row.key for row in rows]
    assert all((sample is not None) == (outcome.code is Code.OK) for outcome, sample in outcomes)
    assert all(outcome.code is Code.OK or outcome.message for outcome, _ in outcomes)
    assert {outcome.code for outcome, _ in outcomes} <= target.EXPECTED
    assert outcomes[-1][0].code is Code.NOT_FOUND
