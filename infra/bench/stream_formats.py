"""Write the samples of tar shards in a peer's format: ``python -m infra.bench.stream_formats mds|lit DATASET...``.

The result lies beside the dataset, with ``-mds`` or ``-lit`` behind its name. A peer's sample has the same fields every
time, so the members of a design, whose number varies, are one field of bytes with a field that says how it is cut.
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from infra.bench.stream_data import CHUNK_BYTES

Packed = dict[str, Any]
COLUMNS = {"key": "str", "sizes": "str", "data": "bytes"}


def packed(shard: str) -> Iterator[Packed]:
    """The samples of a shard: key, JSON of each member's size by name, and the members one after another."""
    with tarfile.open(shard) as tar:
        for key, infos in groupby(tar.getmembers(), lambda info: info.name.partition(".")[0]):
            members = {info.name.partition(".")[2]: _read(tar, info) for info in infos}
            sizes = {name: len(data) for name, data in members.items()}
            yield {"key": key, "sizes": json.dumps(sizes), "data": b"".join(members.values())}


def unpacked(sample: Packed) -> dict[str, memoryview]:
    """The members by name."""
    out, at, data = {}, 0, memoryview(sample["data"])
    for name, size in json.loads(sample["sizes"]).items():
        out[name] = data[at : at + size]
        at += size
    return out


def _read(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(info)
    assert stream is not None
    return stream.read()


def write_mds(shards: list[str], out: Path) -> None:
    """As the documentation of MosaicML streaming writes a dataset, shards of its default size."""
    from infra.bench.stream_peers import streaming

    with streaming().MDSWriter(out=str(out), columns=COLUMNS, size_limit=CHUNK_BYTES) as writer:
        for shard in shards:
            for sample in packed(shard):
                writer.write(sample)


def write_lit(shards: list[str], out: Path) -> None:
    """As the documentation of litdata writes a dataset, but chunks alike and even in number, each of its default size
    at most: its two readers fail on a chunk from a store that both of them need a part of.
    """
    import litdata

    samples = sum(len(_keys(shard)) for shard in shards)
    least = -(-sum(Path(shard).stat().st_size for shard in shards) // CHUNK_BYTES)
    chunks = next((n for n in range(least + least % 2, samples, 2) if samples % n == 0), samples)
    litdata.optimize(
        fn=packed,
        inputs=shards,
        output_dir=str(out),
        chunk_size=samples // chunks,
        num_workers=1,
        keep_data_ordered=True,
        verbose=False,
    )


def _keys(shard: str) -> set[str]:
    with tarfile.open(shard) as tar:
        return {name.partition(".")[0] for name in tar.getnames()}


def main() -> None:
    kind, *sources = sys.argv[1:]
    for source in map(Path, sources):
        shards = [str(path) for path in sorted((source / "shards").glob("*.tar"))]
        (write_mds if kind == "mds" else write_lit)(shards, source.with_name(f"{source.name}-{kind}"))


if __name__ == "__main__":
    main()
