"""Does the layer stack show what the designer saw? ``python -m infra.bench.fidelity [FOLDER]``.

Every layered file under FOLDER (default ``../shared/corpus``) that has a leaf layer and an embedded preview that is not
one flat colour is eligible; it is *true* where our flat stack recomposes to the preview with a mean absolute error
under 1/255 and a 99th percentile under 25/255. Peers in the same run, by the same measure: psd-tools' composite of the
whole document, and its composite of each layer, one over the other. One row a feature; each file is measured in child
processes with limits, so a crash or a hang is a failure of that file.
"""

from __future__ import annotations

import argparse
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL
import psd_tools
import scipy
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from infra.bench import recompose
from infra.bench.files import add_arguments, named
from infra.bench.machine import describe
from infra.bench.recompose import Error, Result
from infra.bench.tables import Section, console, publish
from pipelines.errors import Rejected
from pipelines.formats import FORMATS, detect
from pipelines.sandbox import ChildError, Limits, Sandbox

T = TypeVar("T")

TRUE_BAR, FEATURE_BAR, REUSABLE_BAR, DESIGN_BAR = 0.93, 0.75, 0.80, 0.99
ALL = "all eligible files"
_FIXTURES = re.compile(r"^(unit)?(tests?|specs?|fixtures?|test_?data|test[-_.].*|.*[-_.]tests?)$", re.IGNORECASE)
_LIMITS = Limits(cpu_seconds=180, wall_seconds=600, memory_mb=8192)


def is_design(path: str) -> bool:
    """Whether a file is somebody's design and not a parser's test file: no folder of its path is named for tests."""
    return not any(_FIXTURES.match(part) for part in Path(path).parts[:-1])


@dataclass(frozen=True)
class Runner:
    """Measures files, each thread in a child process of its own."""

    folder: Path
    pictures: Path | None
    local: threading.local
    children: list[Sandbox]

    def measure(self, name: str) -> Result:
        """Everything about one file; what fails is in its ``problems``."""
        path, format = self.folder / name, detect(name) or ""
        result = Result(name, format)
        described = self._call(result, "reading", recompose.describe_file, path, format)
        if described is None:
            return result
        result.eligible, result.features = described.eligible, described.features
        if described.problem:
            result.problems["reading"] = described.problem[:300]
        if not result.eligible:
            return result
        picture = self.pictures / f"{name.replace('/', '__')}.png" if self.pictures else None
        ours = self._call(result, "stack", recompose.measure_stack, path, format, picture)
        if ours is not None:
            result.ours, result.message = ours.error, ours.message
            result.foreground, result.reusable = ours.foreground, ours.reusable
        result.render = self._call(result, "render", recompose.measure_render, path, format)
        if format == "psd":
            result.document = self._call(result, "psd-tools document", recompose.measure_peer_document, path, format)
            result.layers = self._call(result, "psd-tools layers", recompose.measure_peer_layers, path, format)
        return result

    def _call(self, result: Result, what: str, function: Callable[..., T], *arguments: Any) -> T | None:
        if not hasattr(self.local, "sandbox"):
            self.local.sandbox = Sandbox(_LIMITS)
            self.children.append(self.local.sandbox)
        try:
            value: T = self.local.sandbox.run(function, *arguments)
            return value
        except (Rejected, ChildError) as error:
            result.problems[what] = str(error)[:300]
            return None


def measure_all(folder: Path, names: Sequence[str], jobs: int, pictures: Path | None) -> list[Result]:
    """The result of each file, in order, with a line of progress."""
    runner = Runner(folder, pictures, threading.local(), [])
    columns = (TextColumn("measuring"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    results: dict[str, Result] = {}
    shown = console()
    try:
        with Progress(*columns, console=shown, transient=True) as progress, ThreadPoolExecutor(jobs) as pool:
            task = progress.add_task("", total=len(names))
            for done, result in enumerate(pool.map(runner.measure, names), 1):
                results[result.path] = result
                progress.update(task, advance=1)
                if not shown.is_terminal and done % 20 == 0:
                    print(f"{done} of {len(names)} files", flush=True)
    finally:
        for child in runner.children:
            child.close()
    return [results[name] for name in names]


Row = tuple[str, int, int, float, str, str, str]


def feature_rows(results: Sequence[Result]) -> list[Row]:
    """(feature, files, true, share, psd-tools document, psd-tools layers, reusable), by name."""
    names = sorted({name for result in results for name in result.features})
    return [_row(name, [result for result in results if name in result.features]) for name in names]


def group_rows(results: Sequence[Result]) -> list[Row]:
    """The same of all files and of the design-like ones."""
    return [_row(ALL, results), _row("design-like files", [r for r in results if is_design(r.path)])]


def _row(name: str, results: Sequence[Result]) -> Row:
    true = sum(result.true for result in results)
    peers = [result for result in results if result.format == "psd"]
    document = _share(sum(_is_true(r.document) for r in peers), len(peers))
    layers = _share(sum(_is_true(r.layers) for r in peers), len(peers))
    reusable = _share(sum(r.reusable for r in results), sum(r.foreground for r in results))
    return name, len(results), true, true / max(1, len(results)), document, layers, reusable


def _is_true(error: Error | None) -> bool:
    return error is not None and error.true


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "–"


HEAD = ("feature", "eligible", "true", "share", "psd-tools document", "psd-tools layers", "reusable layers")


def totals(results: Sequence[Result]) -> list[tuple[str, str, str, str]]:
    """(measure, value, bar, reached) of everything with a bar."""
    designs = [result for result in results if is_design(result.path)]
    rows = feature_rows(results)
    true = sum(result.true for result in results)
    poor = [row for row in rows if row[3] < FEATURE_BAR]
    out = [_total("true recomposition of the eligible", true, len(results), TRUE_BAR)]
    out.append(("features under 0.75", str(len(poor)), "0", "no" if poor else "yes"))
    for what, group, bar in (
        ("reusable foreground layers, all files", results, REUSABLE_BAR),
        ("reusable foreground layers, design-like files", designs, DESIGN_BAR),
    ):
        out.append(_total(what, sum(r.reusable for r in group), sum(r.foreground for r in group), bar))
    kept = [result for result in results if result.true]
    out.append(_total("the same of the true files alone", sum(r.reusable for r in kept), _front(kept), None))
    out.append(_total("files with a true whole render of ours", sum(_is_true(r.render) for r in results), len(results)))
    explained = [r for r in results if not r.true and (r.message or r.problems)]
    missed = len(results) - true
    out.append(_total("files that are not true and are refused with a message", len(explained), missed))
    return out


def _front(results: Sequence[Result]) -> int:
    return sum(result.foreground for result in results)


def _total(what: str, part: int, whole: int, bar: float | None = None) -> tuple[str, str, str, str]:
    share = part / whole if whole else 1.0
    reached = "" if bar is None else ("yes" if share >= bar else "no")
    return what, f"{part} of {whole} ({share:.3f})", "" if bar is None else f"{bar:.2f}", reached


def failures(results: Sequence[Result]) -> list[tuple[str, str, str, str, str]]:
    """(file, mae, p99, psd-tools' mae, why) of each eligible file that is not true, the worst first."""
    out = []
    for r in sorted((r for r in results if not r.true), key=lambda r: -(r.ours.mae if r.ours else 1e9)):
        mae, p99 = (f"{r.ours.mae:.2f}", f"{r.ours.p99:.1f}") if r.ours else ("–", "–")
        peer = f"{r.document.mae:.2f}" if r.document else "–"
        why = r.message or "; ".join(f"{what}: {text}" for what, text in r.problems.items())
        features = ", ".join(sorted(r.features))
        out.append((r.path, mae, p99, peer, f"{why} [{features}]"))
    return out


def problems(results: Sequence[Result]) -> list[tuple[str, str]]:
    """(file, what failed), for files that count and parts of the measurement that came to no end."""
    return [(r.path, f"{what}: {text}") for r in results for what, text in r.problems.items()]


def sections(results: Sequence[Result]) -> list[Section]:
    """The tables of the report: title, head and rows."""
    eligible = [result for result in results if result.eligible]
    refused = [(r.path, r.problems["reading"]) for r in results if "reading" in r.problems and not r.eligible]
    return [
        ("Features", HEAD, [*group_rows(eligible), *feature_rows(eligible)]),
        ("Against the bars", ("measure", "value", "bar", "reached"), totals(eligible)),
        ("Features under 0.75", HEAD, [row for row in feature_rows(eligible) if row[3] < FEATURE_BAR]),
        ("Failures", ("file", "mae", "p99", "psd-tools' mae", "why [features]"), failures(eligible)),
        ("Measurements that failed", ("file", "what"), problems(eligible)),
        ("Not eligible and refused by our reader", ("file", "why"), refused),
    ]


def preamble(folder: Path, results: Sequence[Result]) -> str:
    """What was measured, where and with what."""
    eligible = f"{len(results)} files, {sum(result.eligible for result in results)} eligible"
    versions = f"psd-tools {psd_tools.__version__}, numpy {np.__version__}, scipy {scipy.__version__}"
    return (
        f"{describe()}; {versions}, Pillow {PIL.__version__}.\n"
        f"Command: `python -m infra.bench.fidelity {folder}`\n\n"
        f"{eligible}: at least one leaf layer and an embedded preview that is not one flat colour. "
        "True: mean absolute error under 1/255 and 99th percentile under 25/255 against the preview, over white and "
        "black where it has alpha. A feature counts where it can show. psd-tools is measured on the PSD and PSB files "
        "of the same row. Reusable: of our stacks' foreground layers, those without baked backdrop. Design-like: no "
        "folder of the file's path is named for tests, specs, fixtures or test data, as a parser's own files are.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m infra.bench.fidelity", description=(__doc__ or "").partition("\n")[0]
    )
    add_arguments(parser)
    parser.add_argument("--jobs", type=int, default=2, help="files measured at a time")
    parser.add_argument("--pictures", type=Path, help="preview, composite and difference (x 8) of each failure go here")
    arguments = parser.parse_args()
    found = named(arguments.folder, set(FORMATS) - {"crello"})
    if found is None:
        return
    folder, names = found
    results = measure_all(folder, names, max(1, arguments.jobs), arguments.pictures)
    publish("Fidelity of the layer stack", preamble(arguments.folder, results), sections(results), arguments.out)


if __name__ == "__main__":
    main()
