"""Does our stream keep up with its peers? ``python -m infra.bench.stream [--out FILE.md] [--only same,work,latents]``.

``same``: the same members of full-resolution shards, decoded by the same function in two processes, by our stream,
stock webdataset, MosaicML streaming, litdata, and from memory without any of them. ``work``: shards to packed
micro-batches at 512 px against the same pipeline written plainly on webdataset with PNG members. ``latents``: little to
decode. Behind a name, ``-s3``: from a real S3 server on loopback, latents behind 20 ms.

The contestants take turns (A B C A B C ...), each run is a new process, the clock starts when its workers stand at a
gate before their first read (``stream_gate``), and every byte that comes is compared in a run before the timed ones.

What the peers gained from: decoding and making batches in the workers and sending torch tensors, which torch puts into
shared memory itself; for webdataset a short shuffle buffer of undecoded samples and an even number of shards, and on S3
blocks of 16 MiB in fsspec's reader, or curl, which streams a shard in one request; for MosaicML one canonical node and
members in one field of bytes (a field a member costs a header each, and they vary in number); for litdata the same, and
its own defaults, which map local chunks and fetch four ahead from a store. The S3 server's buffers are of 1 MiB.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import s3fs

from infra.bench.machine import describe
from infra.bench.stream_data import Recipe, bytes_of, make
from infra.bench.stream_peers import Spec, fsspec_options
from infra.bench.stream_plain import STEPS
from infra.bench.stream_race import HEAD, HEAD_STORE, Measured, race, rows
from infra.bench.tables import Section, publish
from infra.s3.faults import Fault, Proxy, faulty
from infra.s3.serve import Server, serving

OURS, PURE, WDS, CURL = "ours", "pure decode", "webdataset", "webdataset (curl)"
FORMATS = {"MosaicML": "-mds", "litdata": "-lit"}
PEERS = (WDS, *FORMATS)
FROM_S3 = (WDS, CURL, "litdata")
"""MosaicML streaming is left out: from this store it took a minute a run where the others took seconds."""
LATENCY = 0.02
AHEAD, WINDOW = 256 * 2**20, 100
"""Of our stream behind the latency: one process with this much read ahead is no larger than webdataset's three with
theirs, and a window of one shard mixes about what its shuffle buffers do.
"""
BUCKET = "bench"
_PACKAGES = (
    "torch", "webdataset", "mosaicml-streaming", "litdata", "opencv-python-headless", "pillow", "safetensors", "s3fs",
)  # fmt: skip


@dataclass
class Bench:
    """The settings of all sections, the bars and what was measured against them."""

    data: Path
    recipe: Recipe
    repeats: int
    bars: list[tuple[str, ...]] = field(default_factory=list)

    def same(self, work: str = "cv2", store: Store | None = None) -> Section:
        """The same bytes, the same decode."""
        base = Spec("", "", work, samples=self.recipe.designs)
        names = (OURS, *(FROM_S3 if store else PEERS), PURE)
        measured = race([self._spec(base, name, "designs", store) for name in names], self.repeats, say)
        ours, *peers, pure = measured
        where = f"same bytes, same decode ({work}), {'S3' if store else 'local disk'}"
        if not store:
            self._bar(f"{where}: of pure decode", ours.against(pure), 0.95)
        self._bar(f"{where}: of the best peer", ours.against(best(peers)), 1.0)
        return where, HEAD, rows(measured)

    def work(self) -> Section:
        """The work that counts."""
        base = Spec("", "", "packed", samples=self.recipe.designs)
        plain = [replace(self._spec(base, name, "designs", None), work=name) for name in STEPS]
        png = replace(plain[0], url=str(self.data / "designs-png"))
        specs = [self._spec(base, OURS, "designs", None), png, *plain]
        measured = race(specs, self.repeats, say, alike=False)
        titles = (OURS, "plain, PNG", *(f"{step}, WebP" for step in STEPS))
        table = [(title, *row[1:]) for title, row in zip(titles, rows(measured), strict=True)]
        sizes = [bytes_of(Path(spec.url)) for spec in specs[:2]]
        self._bar("full resolution to packed 512 px: of the plain pipeline", measured[0].against(measured[1]), 2.0)
        self._bar("full resolution to packed 512 px: PNG's bytes to ours", sizes[1] / sizes[0], 1.0)
        return "full-resolution shards to micro-batches at 512 px, text-to-layers", HEAD, table

    def latents(self, store: Store | None = None) -> Section:
        """Not decode-bound."""
        base = Spec("", "", "latents", batch=11, tokens=32_768, samples=self.recipe.latents)
        names = (OURS, *(FROM_S3 if store else PEERS))
        specs = [self._spec(base, name, "latents", store) for name in names]
        if store:
            specs[0] = replace(specs[0], workers=0, memory=AHEAD, window=WINDOW)
        measured = race(specs, self.repeats, say, proxy=store.proxy if store else None)
        ours, *peers = measured
        if store:
            self._bar("latents, S3 with 20 ms: of webdataset", ours.against(peers[0]), 1.5)
            self._bar("latents, S3 with 20 ms: of webdataset through curl", ours.against(peers[1]), 1.5)
            return "latents, S3 with 20 ms of latency", HEAD_STORE, rows(measured)
        self._bar("latents, local disk: of the best peer", ours.against(best(peers)), 1.0)
        return "latents, local disk", HEAD, rows(measured)

    def _spec(self, base: Spec, name: str, dataset: str, store: Store | None) -> Spec:
        folder = self.data / (dataset + FORMATS.get(name, ""))
        url = f"s3://{BUCKET}/{folder.name}" if store and name != PURE else str(folder)
        each = bytes_of(folder) // base.samples
        settings = store.settings if store and name != PURE else {}
        return replace(base, contestant=name, url=url, sample_bytes=each, storage=settings)

    def _bar(self, what: str, value: float, least: float) -> None:
        self.bars.append((what, f"{value:.2f}", f"{least:.2f}", "yes" if value >= least else "NO"))


@dataclass(frozen=True)
class Store:
    """An S3 server with the data in it; ``proxy`` stands before it and counts."""

    settings: dict[str, str]
    proxy: Proxy | None = None


def best(measured: Sequence[Measured]) -> Measured:
    """The fastest."""
    return max(measured, key=lambda one: one.rate)


@contextlib.contextmanager
def stored(data: Path, dataset: str, late: bool) -> Iterator[Store]:
    """A server with a dataset in all formats, behind the latency where it is to be ``late``."""
    with tempfile.TemporaryDirectory(prefix="bench-s3-") as root, serving(Path(root)) as (server, _):
        _upload(data, dataset, server)
        if not late:
            yield Store(_settings(server, server.endpoint))
            return
        with faulty(server.endpoint, Fault("latency", method=None, seconds=LATENCY)) as proxy:
            yield Store(_settings(server, proxy.endpoint), proxy)


def _settings(server: Server, endpoint: str) -> dict[str, str]:
    return {"endpoint": endpoint, "key": server.key, "secret": server.secret}


def _upload(data: Path, dataset: str, server: Server) -> None:
    store: Any = s3fs.S3FileSystem(**fsspec_options(_settings(server, server.endpoint)))
    store.mkdir(BUCKET)
    for suffix in sorted({FORMATS.get(name, "") for name in FROM_S3}):
        root = data / (dataset + suffix)
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            store.put_file(str(path), f"{BUCKET}/{root.name}/{path.relative_to(root)}")


def say(line: str) -> None:
    print(line, flush=True)


def _sections(bench: Bench) -> dict[str, Callable[[], Section]]:
    def on_store(dataset: str, late: bool, section: Callable[[Store], Section]) -> Section:
        with stored(bench.data, dataset, late) as store:
            return section(store)

    return {
        "same": bench.same,
        "same-pillow": lambda: bench.same("Pillow"),
        "same-s3": lambda: on_store("designs", False, lambda store: bench.same(store=store)),
        "work": bench.work,
        "latents": bench.latents,
        "latents-s3": lambda: on_store("latents", True, bench.latents),
    }


def main() -> None:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m infra.bench.stream", description=about)
    parser.add_argument("--out", type=Path, help="write the tables to this Markdown file too")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each contestant")
    parser.add_argument("--only", default="", help="sections, with commas between them")
    parser.add_argument("--designs", type=int, default=Recipe.designs, help="samples with pictures")
    parser.add_argument("--latents", type=int, default=Recipe.latents, help="samples with latents")
    parser.add_argument("--data", type=Path, help="keep the data here for another time")
    arguments = parser.parse_args()
    recipe = Recipe(designs=arguments.designs, latents=arguments.latents)
    with contextlib.ExitStack() as stack:
        data = arguments.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-stream-data-")))
        make(data, recipe)
        bench = Bench(data, recipe, arguments.repeats)
        sections = _sections(bench)
        wanted = arguments.only.split(",") if arguments.only else list(sections)
        tables = [sections[name]() for name in wanted]
        bars: Section = ("Bars", ("what", "ratio", "bar", "reached"), bench.bars)
        publish("Streaming", _preamble(bench), [bars, *tables], arguments.out)


def _preamble(bench: Bench) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    sizes = ", ".join(
        f"{name} {bytes_of(bench.data / name) / 2**20:.0f} MiB"
        for name in ("designs", "designs-png", "designs-mds", "designs-lit", "latents", "latents-mds", "latents-lit")
    )
    return (
        f"{describe()}; {versions}.\n"
        f"Command: `python -m infra.bench.stream --repeats {bench.repeats} --designs {bench.recipe.designs} "
        f"--latents {bench.recipe.latents}`\n\n"
        f"{bench.recipe}: {sizes}. Two worker processes each; 64 MiB read ahead or held for shuffling. In brackets: "
        "ours divided by the row's (of speed: how many times as fast ours is, the median over the rounds).\n"
    )


if __name__ == "__main__":
    main()
