"""One run of one contestant, in a process of its own: ``python -m infra.bench.stream_run SPEC.json RESULT.json``.

The result has the seconds and CPU seconds from the opened gate to the last sample, the samples that came, and a digest
over the bytes of all of them, whatever their order.
"""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infra.bench import stream_peers, stream_plain
from infra.bench.stream_decoders import WORK, padded
from infra.bench.stream_formats import packed, unpacked
from infra.bench.stream_gate import Gate, cpu_seconds, wait_at_gate
from infra.bench.stream_peers import Sample, Spec

PAGE = 4096


@dataclass(frozen=True)
class Result:
    """Of a run: ``keys`` is a hash of the samples' names, ``digest`` of their bytes too, for runs of the same
    ``Spec.verify``.
    """

    seconds: float
    cpu: float
    samples: int
    keys: str
    digest: str


def summed(arrays: Iterable[Any]) -> int:
    """A number from a word of every page, which is enough to have all of them mapped."""
    total = 0
    for number, array in enumerate(arrays, 1):
        flat = _bytes(array)
        words = flat[: flat.size // 8 * 8].view(np.uint64)
        total += number * int(words[:: PAGE // 8].sum(dtype=np.uint64))
    return total


def hashed(arrays: Iterable[Any]) -> int:
    """A number from a cryptographic hash over shapes and bytes."""
    out = hashlib.blake2b(digest_size=16)
    for array in arrays:
        out.update(repr(tuple(array.shape)).encode())
        out.update(_bytes(array).data)
    return int.from_bytes(out.digest(), "big")


def _bytes(array: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if isinstance(array, torch.Tensor):
        array = array.view(torch.uint8).numpy()
    flat: np.ndarray[Any, np.dtype[np.uint8]] = array.reshape(-1).view(np.uint8)
    return flat


def consume(batches: Iterator[list[Sample]], spec: Spec, gate: Gate) -> Result:
    """Take all batches, and look at every byte of them."""
    look = hashed if spec.verify else summed
    seen: dict[str, int] = {}
    while len(seen) < spec.samples:
        batch = next(batches, None)
        if batch is None:
            break
        for key, arrays in batch:
            if key in seen:
                raise AssertionError(f"sample {key} came twice")
            seen[key] = look(arrays)
        del batch
    ended = time.perf_counter()
    return _result(gate, ended, seen)


def _result(gate: Gate, ended: float, seen: dict[str, int]) -> Result:
    cpu = cpu_seconds(os.getpid())
    return Result(ended - gate.opened, cpu - gate.cpu, len(seen), _hash(sorted(seen)), _hash(sorted(seen.items())))


def _hash(what: Any) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def pure(spec: Spec, gate: Gate) -> Result:
    """The same work on members that lie in memory, in as many processes, each taking the next sample; nothing is
    handed over.
    """
    shards = stream_peers.shards(spec)
    samples = [(one["key"], unpacked(one)) for shard in shards for one in packed(shard)]
    context = multiprocessing.get_context("fork")
    turn, done = context.Value("q", 0), context.SimpleQueue()
    look, work = hashed if spec.verify else summed, WORK[spec.work]

    def decode() -> None:
        wait_at_gate()
        seen = {}
        while True:
            with turn:
                at, turn.value = turn.value, turn.value + 1
            if at >= len(samples):
                break
            key, members = samples[at]
            seen[key] = look(work(members))
        done.put((time.perf_counter(), seen))

    processes = [context.Process(target=decode) for _ in range(spec.workers)]
    for process in processes:
        process.start()
    answers = [done.get() for _ in processes]
    seen = {key: value for _, part in answers for key, value in part.items()}
    result = _result(gate, max(ended for ended, _ in answers), seen)
    for process in processes:
        process.join()
    return result


def ours(spec: Spec) -> Iterator[list[Sample]]:
    """Our stream. Its reader, in this process, waits at the gate as its workers do."""
    from training.stream import DesignStream
    from training.streaming.config import ReadConfig
    from training.streaming.fetch import Fetcher

    fetch = Fetcher.fetch

    def gated(jobs: Iterable[Any]) -> Iterator[Any]:
        wait_at_gate()
        yield from jobs

    Fetcher.fetch = lambda self, jobs: fetch(self, gated(jobs))  # type: ignore[method-assign]
    decoder, split = OURS[spec.work]
    stream = DesignStream(
        spec.url,
        tasks="text-to-layers",
        token_budget=spec.tokens,
        workers=spec.workers,
        decoder=f"infra.bench.stream_decoders:{decoder}",
        read=ReadConfig(prefetch_bytes=spec.memory),
        plan_dir=spec.cache,
        window=spec.window,
        storage_options=stream_peers.fsspec_options(spec.storage),
    )
    for batch in stream:
        yield split(batch)


def cut(batch: Any) -> list[Sample]:
    """The pictures of each design of a micro-batch, as views."""
    out, at, sizes = [], 0, iter(batch["sizes"].tolist())
    for key, count in zip(batch.keys, batch["counts"].tolist(), strict=True):
        pictures = []
        for _ in range(count):
            height, width = next(sizes)
            size = height * width * 4
            pictures.append(batch["pixels"][at : at + size].view(height, width, 4))
            at += padded(size)
        out.append((key, pictures))
    return out


def of_designs(name: str, rows: int, batch: Any) -> list[Sample]:
    """The part of each design of a tensor whose regions have ``rows`` rows a token."""
    out: dict[str, list[torch.Tensor]] = {key: [] for key in batch.keys}
    starts = (batch["starts"] * rows).tolist()
    for design, start, end in zip(batch["design"].tolist(), starts, starts[1:], strict=False):
        out[batch.keys[design]].append(batch[name][start:end])
    return list(out.items())


OURS: dict[str, tuple[str, Callable[[Any], list[Sample]]]] = {
    "cv2": ("ByOpenCV", cut),
    "Pillow": ("ByPillow", cut),
    "latents": ("Latents", functools.partial(of_designs, "latents", 1)),
    "packed": ("Pixels", functools.partial(of_designs, "pixels", 256)),
}

CONTESTANTS: dict[str, Callable[[Spec], Iterator[list[Sample]]]] = {
    "ours": ours,
    "webdataset": stream_peers.webdataset,
    "webdataset (curl)": stream_peers.webdataset,
    **dict.fromkeys(stream_plain.STEPS, stream_plain.plain),
    "MosaicML": stream_peers.mosaicml,
    "litdata": stream_peers.litdata,
}


def run(spec: Spec) -> Result:
    """Run a contestant in this process."""
    torch.set_num_threads(1)
    workers = spec.workers + (spec.contestant == "ours" and spec.workers > 0)
    with tempfile.TemporaryDirectory(dir=spec.cache) as folder:
        gate = Gate(Path(folder), max(1, workers))
        if spec.contestant == "pure decode":
            return pure(spec, gate)
        return consume(CONTESTANTS[spec.contestant](spec), spec, gate)


def main() -> None:
    spec = Spec(**json.loads(Path(sys.argv[1]).read_text()))
    result = run(spec)
    Path(sys.argv[2]).write_text(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
