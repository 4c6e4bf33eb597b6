"""The peers in the benchmark of streaming, each tuned as its documentation says.

A contestant yields lists of samples, key and tensors, in the process that would train; ``spec.workers`` processes
decode. What crosses between processes are torch tensors, which torch hands over in shared memory.
"""

from __future__ import annotations

import functools
import os
import shlex
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import fsspec
import torch
from torch.utils.data import IterableDataset

from infra.bench.stream_decoders import WORK
from infra.bench.stream_formats import unpacked
from infra.bench.stream_gate import wait_at_gate

Sample = tuple[str, list[torch.Tensor]]
REGION = "us-east-1"


@dataclass(frozen=True)
class Spec:
    """One run of one contestant.

    ``url``: the dataset, a path or ``s3://``; ``work``: what is done with a sample's members; ``batch``: samples that
    are handed over at once, ``tokens`` of them for our stream; ``memory``: bytes that are read ahead or held for
    shuffling, over all workers, and ``sample_bytes`` of one sample; ``cache``: an empty directory; ``storage``:
    ``endpoint``, ``key`` and ``secret`` of an S3 store.
    """

    contestant: str
    url: str
    work: str
    batch: int = 4
    tokens: int = 12_000
    workers: int = 2
    samples: int = 0
    sample_bytes: int = 1
    memory: int = 64 * 2**20
    window: int = 1024
    cache: str = ""
    storage: dict[str, str] = field(default_factory=dict)
    verify: bool = False

    @property
    def held(self) -> int:
        """Samples that a worker may hold."""
        return max(1, self.memory // max(1, self.workers) // self.sample_bytes)


def tensors(members: Any, work: str) -> list[torch.Tensor]:
    """What comes of a sample's members."""
    return [item if isinstance(item, torch.Tensor) else torch.from_numpy(item) for item in WORK[work](members)]


class Gated(IterableDataset[Any]):
    """A dataset whose workers connect to the store, if there is one, and wait at the gate before their first read."""

    def __init__(self, inner: Any, storage: dict[str, str]) -> None:
        self.inner, self.storage = inner, storage

    def __iter__(self) -> Iterator[Any]:
        if self.storage:
            fsspec.filesystem("s3", **fsspec_options(self.storage)).connect()
        wait_at_gate()
        yield from self.inner


def webdataset(spec: Spec) -> Iterator[list[Sample]]:
    """Sequential tars: shuffled shards, a shuffle buffer of undecoded samples, batches made in the workers."""
    import webdataset as wds

    urls = shards(spec)
    wds.gopen_schemes["s3"] = functools.partial(_opened, spec)
    held = max(2, spec.held)
    dataset = wds.WebDataset(urls, shardshuffle=len(urls), seed=0)
    dataset = dataset.shuffle(held, initial=held).map(functools.partial(_worked, spec.work))
    batches = Gated(dataset.batched(spec.batch, collation_fn=None), spec.storage)
    return iter(wds.WebLoader(batches, batch_size=None, num_workers=spec.workers))


def _worked(work: str, sample: dict[str, Any]) -> Sample:
    return sample["__key__"], tensors({name: data for name, data in sample.items() if name[0] != "_"}, work)


def shards(spec: Spec) -> list[str]:
    if "://" not in spec.url:
        return sorted(str(path) for path in (Path(spec.url) / "shards").glob("*.tar"))
    store = fsspec.filesystem("s3", **fsspec_options(spec.storage))
    urls = [store.unstrip_protocol(path) for path in sorted(store.find(f"{spec.url}/shards"))]
    if spec.contestant != "webdataset (curl)":
        return urls
    return [f"pipe:curl --silent --fail {shlex.quote(store.sign(url, expiration=3600))}" for url in urls]


def _opened(spec: Spec, url: str, mode: str = "rb", bufsize: int = 8192, **rest: Any) -> Any:
    """A shard on S3 as fsspec reads one from front to back: in blocks, the last one kept, half of the memory of a
    worker.
    """
    del bufsize, rest
    block = max(2**20, spec.memory // max(1, spec.workers) // 2)
    store = fsspec.filesystem("s3", **fsspec_options(spec.storage))
    return store.open(url, mode, block_size=block, cache_type="readahead")


def fsspec_options(storage: dict[str, str]) -> dict[str, Any]:
    """What fsspec is given for a store."""
    if not storage:
        return {}
    return {"endpoint_url": storage["endpoint"], "key": storage["key"], "secret": storage["secret"]}


def streaming() -> Any:
    """MosaicML's package. It imports torchvision, whose wheel does not load beside the CPU torch: a stub stands in."""
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
        module = types.ModuleType(name)
        module.__spec__, module.__path__ = ModuleSpec(name, None), []
        module.__dict__.update(__version__="0", VisionDataset=object, to_tensor=None)
        sys.modules[name] = module
    import streaming as package

    return package


def mosaicml(spec: Spec) -> Iterator[list[Sample]]:
    """Shards fetched whole ahead of use, shuffled inside blocks of a shard's samples, one canonical node."""
    package = streaming()

    class Samples(package.StreamingDataset):  # type: ignore[misc, name-defined]
        def __getitem__(self, at: int) -> Sample:
            sample = super().__getitem__(at)
            return sample["key"], tensors(unpacked(sample), spec.work)

        def __iter__(self) -> Iterator[Sample]:
            wait_at_gate()
            yield from super().__iter__()

    for name, value in _aws(spec).items():
        os.environ[name] = value
    remote = "://" in spec.url
    places = {"remote": spec.url, "local": spec.cache} if remote else {"local": spec.url}
    dataset = Samples(
        **places, batch_size=spec.batch, shuffle=True, num_canonical_nodes=1, predownload=max(spec.batch, spec.held)
    )
    return iter(
        package.StreamingDataLoader(dataset, batch_size=spec.batch, num_workers=spec.workers, collate_fn=_as_list)
    )


def _aws(spec: Spec) -> dict[str, str]:
    if not spec.storage:
        return {}
    names = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "S3_ENDPOINT_URL": "endpoint"}
    return {"AWS_REGION": REGION, **{name: spec.storage[what] for name, what in names.items()}}


def _as_list(samples: list[Any]) -> list[Any]:
    return samples


def litdata(spec: Spec) -> Iterator[list[Sample]]:
    """Chunks mapped in place on a local disk and fetched whole, four ahead, from a store."""
    import litdata as package
    from litdata.streaming import downloader

    class Samples(package.StreamingDataset):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Any:
            wait_at_gate()
            return super().__iter__()

    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # it has no setting for a store on loopback
    names = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "endpoint_url": "endpoint"}
    store = {name: spec.storage[what] for name, what in names.items()} if spec.storage else {}
    dataset = Samples(
        spec.url,
        cache_dir=spec.cache,
        shuffle=True,
        transform=functools.partial(_lit_worked, spec.work),
        storage_options={**store, "region_name": REGION} if store else None,
    )
    return iter(
        package.StreamingDataLoader(dataset, batch_size=spec.batch, num_workers=spec.workers, collate_fn=_as_list)
    )


def _lit_worked(work: str, sample: dict[str, Any]) -> Sample:
    return sample["key"], tensors(unpacked(sample), work)
