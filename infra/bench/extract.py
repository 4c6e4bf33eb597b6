"""How fast and how large is extraction? ``python -m infra.bench.extract [FOLDER]``.

Designs per CPU second of our extraction (read, flatten, check, encode every picture) against the plain psd-tools loop
(open, ``composite()`` each visible leaf layer, ``composite()`` the document, encode every picture with the same
encoder): the same files in turn in one warm process, one thread, medians, on the files that both can do. A table says
where our time goes, another what a design's peak memory above the idle process is in multiples of its decoded layers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, TypeVar

import PIL
import psd_tools
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from infra.bench import one_design
from infra.bench.files import add_arguments, named
from infra.bench.machine import describe
from infra.bench.one_design import Memory, Timed
from infra.bench.tables import Section, console, publish
from pipelines.formats import detect

T = TypeVar("T")

SPEED_BAR, STRETCH, MEMORY_BAR = 1.5, 3.0, 8.0
LARGE = 8 * 2**20
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_MIB = 2**20


@contextmanager
def _child(context: BaseContext, tasks: int | None = None) -> Iterator[Callable[..., Any]]:
    """Calls functions in one child process, started again where a call ends it; None where a call came to no result."""
    pools = [ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=tasks)]

    def call(function: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return pools[-1].submit(function, *arguments).result()
        except BrokenProcessPool:
            pools.append(ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=tasks))
            return None
        except Exception as error:  # noqa: BLE001 - whatever fails in one file costs that file its row
            print(f"{function.__name__} of {arguments[0]}: {type(error).__name__}: {error}"[:300])
            return None

    try:
        yield call
    finally:
        for pool in pools:
            pool.shutdown()


def each(names: Sequence[str], what: str, job: Callable[[str], T]) -> dict[str, T]:
    """The job's result for each name, with a line of progress."""
    shown = console()
    columns = (TextColumn(what), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    out: dict[str, T] = {}
    with Progress(*columns, console=shown, transient=True) as progress:
        task = progress.add_task("", total=len(names))
        for done, name in enumerate(names, 1):
            out[name] = job(name)
            progress.update(task, advance=1)
            if not shown.is_terminal and done % 40 == 0:
                print(f"{what}: {done} of {len(names)} files", flush=True)
    return out


def measure(
    folder: Path, names: Sequence[str], repeats: int
) -> tuple[dict[str, Timed], dict[str, dict[str, float]], dict[str, Memory]]:
    """(times of each file, seconds by stage, memory): the last two of the files that we can do."""
    for name in _THREADS:
        os.environ[name] = "1"
    spawn, server = multiprocessing.get_context("spawn"), multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["infra.bench.one_design"])
    crashed = Timed(excluded="ours or psd-tools: the process died")
    with _child(spawn) as call:

        def timed(name: str) -> Timed:
            return call(one_design.time_file, folder / name, detect(name), repeats) or crashed

        each(names[:3], "warming up", timed)
        times = each(names, "timing", timed)
    kept = [name for name, time in times.items() if not time.excluded]
    with _child(spawn) as call:
        stages = each(kept, "stages", lambda name: call(one_design.stages_of, folder / name, detect(name)) or {})
    with tempfile.TemporaryDirectory() as temporary, _child(server, tasks=1) as call:
        warm = Path(temporary) / "warm.psd"
        one_design.small_design(warm)
        memory = each(kept, "memory", lambda name: call(one_design.memory_of, folder / name, detect(name), warm))
    return times, stages, {name: found for name, found in memory.items() if found is not None}


def speed(times: dict[str, Timed]) -> list[tuple[str, str, str]]:
    """(measure, value, bar) of the files that both can do."""
    both = [time for time in times.values() if not time.excluded]
    if not both:
        return []
    ours, peer, lazy = (sum(values) for values in zip(*((t.ours, t.peer, t.lazy_peer) for t in both), strict=True))
    ratios = sorted(time.peer / time.ours for time in both)
    return [
        ("files that both can do", f"{len(both)} of {len(times)}", ""),
        ("our designs per CPU second", f"{len(both) / ours:.1f}", ""),
        ("psd-tools' designs per CPU second", f"{len(both) / peer:.1f}", ""),
        ("ratio", f"{peer / ours:.2f}", f"{SPEED_BAR} (stretch {STRETCH:.0f})"),
        ("ratio of a file: median", f"{statistics.median(ratios):.2f}", ""),
        ("ratio of a file: tenth and ninetieth percentile", f"{_at(ratios, 0.1):.2f}, {_at(ratios, 0.9):.2f}", ""),
        ("files where we are slower", f"{sum(ratio < 1 for ratio in ratios)}", ""),
        ("ratio where psd-tools may return the preview as the whole document", f"{lazy / ours:.2f}", ""),
    ]


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def slowest(times: dict[str, Timed]) -> list[tuple[str, str, str, str]]:
    """(file, our ms, psd-tools' ms, ratio) of the ten files that take us longest."""
    ordered = sorted(((t, n) for n, t in times.items() if not t.excluded), key=lambda pair: -pair[0].ours)
    return [(n, f"{t.ours * 1e3:.0f}", f"{t.peer * 1e3:.0f}", f"{t.peer / t.ours:.2f}") for t, n in ordered[:10]]


def where(stages: dict[str, dict[str, float]]) -> list[tuple[str, str, str, str]]:
    """(stage, seconds over all files, share, median share of a file)."""
    total = sum(sum(found.values()) for found in stages.values())
    rows = []
    for stage in one_design.STAGES:
        seconds = sum(found.get(stage, 0.0) for found in stages.values())
        shares = [found.get(stage, 0.0) / max(sum(found.values()), 1e-9) for found in stages.values() if found]
        middle = statistics.median(shares) if shares else 0.0
        rows.append((stage, f"{seconds:.2f}", f"{seconds / max(total, 1e-9):.1%}", f"{middle:.1%}"))
    return rows


def memory_rows(memory: dict[str, Memory]) -> list[tuple[str, str, str]]:
    """(measure, value, bar). The bar is for designs with 8 MiB of decoded layers or more: the smaller they are, the
    more the process itself is what is measured. All of them are there in MiB too.
    """
    rows: list[tuple[str, str, str]] = []
    for least, bar in ((LARGE, f"{MEMORY_BAR:.0f}"), (_MIB, "")):
        ratios = sorted(found.peak / found.layers for found in memory.values() if found.layers >= least)
        what = f"designs with at least {least // _MIB} MiB of decoded layers"
        rows.append((what, str(len(ratios)), ""))
        if ratios:
            spread = ", ".join(f"{v:.1f}" for v in (statistics.median(ratios), _at(ratios, 0.95), ratios[-1]))
            rows.append(("their peak in multiples of these: median, 95th percentile, worst", spread, bar))
            whole = sorted(m.peak / (m.layers + m.canvas) for m in memory.values() if m.layers >= least)
            spread = ", ".join(f"{v:.1f}" for v in (statistics.median(whole), _at(whole, 0.95), whole[-1]))
            rows.append(("the same of the layers and the canvas, which every design composites to", spread, ""))
    peaks = sorted(found.peak / _MIB for found in memory.values())
    if peaks:
        spread = ", ".join(f"{v:.1f}" for v in (statistics.median(peaks), _at(peaks, 0.95), peaks[-1]))
        rows.append((f"peak of all {len(peaks)} in MiB: median, 95th percentile, worst", spread, ""))
    return rows


def largest(memory: dict[str, Memory]) -> list[tuple[str, str, str, str, str]]:
    """(file, peak, decoded layers, canvas, multiple) in MiB of the ten designs with the highest multiple among those
    with 1 MiB of decoded layers or more.
    """
    rows = sorted(((m.peak / m.layers, n, m) for n, m in memory.items() if m.layers >= _MIB), key=lambda row: -row[0])
    return [
        (n, f"{m.peak / _MIB:.1f}", f"{m.layers / _MIB:.1f}", f"{m.canvas / _MIB:.1f}", f"{ratio:.1f}")
        for ratio, n, m in rows[:10]
    ]


def excluded(times: dict[str, Timed]) -> list[tuple[str, int]]:
    """(why, files) of what is not compared."""
    return sorted(Counter(time.excluded for time in times.values() if time.excluded).items())


def main() -> None:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m infra.bench.extract", description=about)
    add_arguments(parser)
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many runs of each file")
    arguments = parser.parse_args()
    found = named(arguments.folder, ("psd", "ora"))
    if found is None:
        return
    folder, names = found
    times, stages, memory = measure(folder, names, max(1, arguments.repeats))
    preamble = (
        f"{describe()}; psd-tools {psd_tools.__version__}, Pillow {PIL.__version__}.\n"
        f"Command: `python -m infra.bench.extract {arguments.folder} --repeats {arguments.repeats}`\n\n"
        "CPU time in one warm process with one thread, ours and psd-tools in turn, the median of the repeats. Both "
        f"write {one_design.CONFIG.image.codec} at effort {one_design.CONFIG.image.effort}. The stages come from "
        "timers around our functions in a run of their own. Memory: the peak above the idle process, in a child of its "
        "own, and the bytes of the visible layers as they are decoded.\n"
    )
    sections: list[Section] = [
        ("Speed", ("measure", "value", "bar"), speed(times)),
        ("Where our time goes", ("stage", "seconds", "share", "median share of a file"), where(stages)),
        ("The slowest files", ("file", "our ms", "psd-tools' ms", "ratio"), slowest(times)),
        ("Memory", ("measure", "value", "bar"), memory_rows(memory)),
        ("The hungriest designs", ("file", "peak MiB", "layers MiB", "canvas MiB", "multiple"), largest(memory)),
        ("Not compared", ("why", "files"), excluded(times)),
    ]
    publish("Speed and memory of extraction", preamble, sections, arguments.out)


if __name__ == "__main__":
    main()
