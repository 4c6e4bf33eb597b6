"""Tars without an index, read through webdataset from start to end: what is left where there are shards alone.

The stages of a webdataset pipeline, but for the one that opens and unpacks: webdataset's own runs ``pipe:`` URLs in a
shell, takes a cut tar for a whole one and believes any size that a header gives.
"""

from __future__ import annotations

import itertools
import logging
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from schemas.dataset import DATASET_JSON
from schemas.design import Design
from schemas.errors import RecordError
from schemas.sample import RECORD
from training.errors import DamageError, StreamError, UsageError
from training.streaming.config import TASKS, PlanConfig
from training.streaming.draws import draw_partitions, draw_subset, draw_tasks, generator, key64
from training.streaming.jobs import Decoder, Item, Job, Loaded, MemberAt
from training.streaming.layout import foregrounds, regions, restyled
from training.streaming.source import Source

log = logging.getLogger(__name__)

SAMPLE_BYTES = 2**31
"""Bytes of a sample with its headers, at most."""
MAX_SHARDS = 1_000_000
"""Also of the files beside them that are listed to find them."""

DEPTH = 3
"""Levels of folders in which tars are looked for."""

_READ_BYTES = 4 * 2**20
_LOST = (
    "no global order, no exact resume, no change of the world size, no hash checks, no word of what was revoked "
    "(revoked.parquet) or rejected since, and ranks may end apart"
)
_TAR = re.compile(r"\.tar(\?|\Z)")
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)[.}]")

Urls = str | Sequence[str]
OnDamage = Callable[[StreamError], None]
Withdrawn = Callable[[str, str | None], str | None]
"""Of (key, expiry): why a design is left out, or None."""


def indexed(urls: Urls, options: Mapping[str, Any] | None = None) -> bool:
    """Whether ``urls`` is a published dataset: no list or pattern of tars, and no directory with tars alone."""
    return isinstance(urls, str) and not _pattern(urls) and Source(urls, options).exists(DATASET_JSON)


def find_shards(urls: Urls, split: str, options: Mapping[str, Any] | None = None) -> list[str]:
    """The URLs of the tars that a directory, a URL with braces or a list of such URLs names, sorted.

    Of a directory, DEPTH levels deep, those called ``{split}-…``, or all of them where none is.

    Raises:
        UsageError: there is no tar, too many of them, or a URL is for a shell.
        ReadError: a directory cannot be listed, or has too many files.
    """
    patterns = [urls] if isinstance(urls, str) else list(urls)
    for url in patterns:
        if _command(url):
            raise UsageError(f"{url!r} is a command: name the tar by an fsspec URL (s3://, gs://, https://, a path)")
    if isinstance(urls, str) and not _pattern(urls):
        found = _listed(Source(urls, options), split)
    else:
        found = sorted(itertools.islice(itertools.chain.from_iterable(map(_expanded, patterns)), MAX_SHARDS + 1))
    if not 0 < len(found) <= MAX_SHARDS:
        raise UsageError(f"{urls!r} names {'no' if not found else f'over {MAX_SHARDS:,}'} tars, and no {DATASET_JSON}")
    return found


def unindexed_jobs(
    urls: Urls,
    config: PlanConfig,
    seed: int,
    epoch: int,
    *,
    rank: int = 0,
    world_size: int = 1,
    decoder: Decoder,
    options: Mapping[str, Any] | None = None,
    withdrawn: Withdrawn = lambda key, expires: None,
    on_damage: OnDamage | None = None,
) -> Iterator[tuple[Job, list[Loaded]]]:
    """One epoch of a rank: its share of the shards, samples in their order, packed one after another under the budget.

    Jobs are numbered from 0 on each rank; their members have neither offset nor hash. ``on_damage`` is told of a sample
    or a rest of a shard that cannot be used, which is then left out; without it the error is raised.

    Raises:
        UsageError: there is no tar, fewer of them than ranks, or webdataset is not installed.
        ReadError, DamageError: a shard cannot be read, is cut off or damaged, or a sample's record is.
    """
    shards = find_shards(urls, config.split, options)
    if len(shards) < world_size:
        raise UsageError(f"{len(shards)} shards without an index cannot be split over {world_size} ranks")
    log.warning("%s has no index, so it is read as a plain WebDataset of %d tars: %s", urls, len(shards), _LOST)
    order = generator("shards", seed, epoch, "unindexed").permutation(len(shards))
    mine = [shards[i] for i in order[rank::world_size]]
    told = on_damage or _raised
    samples = _Samples(config, seed, epoch, decoder, withdrawn, told)
    yield from _packed(samples.loaded(_read(mine, options, told)), config.token_budget, epoch)


@dataclass(frozen=True)
class _Samples:
    """Draws what the index would have decided, from the record of each sample."""

    config: PlanConfig
    seed: int
    epoch: int
    decoder: Decoder
    withdrawn: Withdrawn
    on_damage: OnDamage

    def loaded(self, samples: Iterable[Mapping[str, Any]]) -> Iterator[Loaded]:
        for sample in samples:
            try:
                found = self._load(sample)
            except DamageError as error:
                self.on_damage(error)
                continue
            if found is not None:
                yield found

    def _load(self, sample: Mapping[str, Any]) -> Loaded | None:
        where = f"{sample['__url__']}: sample {sample['__key__']!r}"
        if RECORD not in sample:
            raise DamageError(f"{where} has no record (member {RECORD!r})")
        try:
            design = Design.from_json(sample[RECORD])
        except RecordError as error:
            raise DamageError(f"{where}: {error}") from None
        key = design.design_id
        if self.withdrawn(key, design.licence.expires) is not None:
            return None
        keys, drawn = key64([key]), (self.seed, self.epoch, self.config)
        layers, pairs = np.array([len(foregrounds(design))]), np.array([len(restyled(design))])
        tasks = draw_tasks(keys, *drawn, foregrounds=layers, restyles=pairs)
        if tasks[0] < 0:
            return None
        partition = int(draw_partitions(keys, *drawn, tasks, np.array([len(design.groupings)]))[0])
        task = TASKS[tasks[0]]
        subset = draw_subset(design, task, self.seed, self.epoch)
        _, found = regions(design, task, partition, subset, self.config)
        names = [name for name in sample if not name.startswith("__")]
        members = {name: sample[name] for name in self.decoder.members(names, task)}
        places = tuple(MemberAt(name, 0, len(data), "") for name, data in members.items())
        tokens = sum(region.tokens for region in found)
        return Loaded(Item(key, task, partition, tokens, sample["__url__"], places), members)


def _packed(samples: Iterable[Loaded], budget: int, epoch: int) -> Iterator[tuple[Job, list[Loaded]]]:
    """Fill micro-batches one after another; a sample over the budget is alone."""
    position, batch, tokens = 0, list[Loaded](), 0
    for sample in samples:
        if batch and tokens + sample.item.tokens > budget:
            yield _job(epoch, position, batch), batch
            position, batch, tokens = position + 1, [], 0
        batch.append(sample)
        tokens += sample.item.tokens
    if batch:
        yield _job(epoch, position, batch), batch


def _job(epoch: int, position: int, batch: Sequence[Loaded]) -> Job:
    return Job(epoch, position, tuple(sample.item for sample in batch))


def _read(shards: Sequence[str], options: Mapping[str, Any] | None, on_damage: OnDamage) -> Iterable[Mapping[str, Any]]:
    """The samples of the shards: member -> bytes, with ``__key__`` and ``__url__``."""
    try:
        import webdataset as wds
        from webdataset.tariterators import group_by_keys
    except ImportError:
        raise _missing() from None
    unpack = partial(_unpacked, options=options, on_damage=on_damage)
    samples: Iterable[Mapping[str, Any]] = wds.DataPipeline(wds.SimpleShardList(shards), unpack, group_by_keys)
    return samples


def _unpacked(
    shards: Iterable[Mapping[str, str]], *, options: Mapping[str, Any] | None, on_damage: OnDamage
) -> Iterator[dict[str, Any]]:
    """A webdataset stage: the members of each shard, and an empty dict after its last.

    After damage the sample before it, which may lack members, is marked as ``__bad__``: webdataset leaves it out.
    """
    for shard in shards:
        url, last = shard["url"], ""
        folder, _, name = url.rpartition("/")
        try:
            with Source(folder or ".", options).open(name) as stream:
                for last, data in _members(stream, url):
                    yield {"fname": last, "data": data, "__url__": url}
        except StreamError as error:
            on_damage(error)
            if last:
                yield {"fname": f"{_key(last)}.__bad__", "data": True, "__url__": url}
        yield {}


def _members(stream: IO[bytes], url: str) -> Iterator[tuple[str, bytes]]:
    """Name and data of each regular file of a plain tar.

    Raises:
        ReadError: the store gave up; DamageError: no tar, cut off, damaged, or a sample over SAMPLE_BYTES.
    """
    bounded, key, seen = _Bounded(stream, url), "", set[str]()
    try:
        with tarfile.open(fileobj=bounded, mode="r|", bufsize=_READ_BYTES) as tar:  # type: ignore[call-overload]
            for info in filter(tarfile.TarInfo.isreg, tar):
                if _key(info.name) != key:
                    key, seen, bounded.left = _key(info.name), set(), SAMPLE_BYTES
                if info.issparse() or info.name.lower() in seen:
                    raise DamageError(f"{url} holds {info.name!r} {'as a sparse file' if info.issparse() else 'twice'}")
                seen.add(info.name.lower())
                yield info.name, tar.extractfile(info).read()
                tar.members = []
            if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise DamageError(f"{url} is damaged or cut off at byte {tar.offset}")
    except (tarfile.TarError, OverflowError, ValueError) as error:
        raise DamageError(f"{url} is no plain tar, or damaged or cut off: {error}") from None


class _Bounded:
    """Reads ``left`` bytes at most, so that a header cannot ask for more memory than a sample may have."""

    def __init__(self, stream: IO[bytes], url: str) -> None:
        self._stream, self._url, self.left = stream, url, SAMPLE_BYTES

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise DamageError(f"{self._url} has a sample of more than {SAMPLE_BYTES:,} bytes")
        return data


def _key(name: str) -> str:
    """What webdataset takes for a member's key: its path up to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _command(url: str) -> bool:
    return url.startswith("pipe:") or "|" in url


def _pattern(url: str) -> bool:
    """Whether a URL names tars. A directory of this host is one, whatever it is called."""
    try:
        if "://" not in url and Path(url).expanduser().is_dir():
            return False
    except (OSError, RuntimeError):  # a name that cannot be one, or no home
        pass
    return _command(url) or "{" in url or _TAR.search(url) is not None


def _listed(source: Source, split: str) -> list[str]:
    found = source.names(depth=DEPTH, limit=MAX_SHARDS)
    names = [name for name in found if name.endswith(".tar") and not name.startswith("_work/")]
    chosen = [name for name in names if name.rpartition("/")[2].startswith(f"{split}-")]
    return [f"{source.url}/{name}" for name in chosen or names]


def _expanded(pattern: str) -> Iterator[str]:
    try:
        from braceexpand import braceexpand
    except ImportError:
        raise _missing() from None
    for first, last in _RANGE.findall(pattern):  # braceexpand makes the whole of a range at once
        if abs(int(last) - int(first)) >= MAX_SHARDS:
            raise UsageError(f"{pattern!r} names over {MAX_SHARDS:,} tars")
    try:
        yield from braceexpand(pattern)
    except ValueError as error:  # of unbalanced braces
        raise UsageError(f"{pattern!r}: {error}") from None


def _missing() -> UsageError:
    return UsageError("reading without an index needs webdataset: pip install 'acetate[train]'")


def _raised(error: StreamError) -> None:
    raise error
