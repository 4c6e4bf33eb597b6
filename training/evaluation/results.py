"""What an evaluation found: rows of measures, as JSON and as tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from model.tasks import Task
from training.evaluation.layouts import Layout
from training.evaluation.runs import Made
from training.evaluation.scores import CaseScore, Values
from training.evaluation.sets import Case, Which

FORMAT = 2

CLEARLY = 1.5
"""How many times the cost the control must have for the model to look at what it is given."""

COLUMNS: Mapping[str, tuple[str, int]] = {
    "cost": ("cost", 3),
    "rgb_l1": ("RGB L1", 3),
    "alpha_iou": ("alpha IoU", 3),
    "psnr_masked": ("PSNR masked", 2),
    "psnr_full": ("PSNR full", 2),
    "ssim_masked": ("SSIM masked", 3),
    "ssim_full": ("SSIM full", 3),
    "overflow_cost": ("overflow cost", 3),
    "overflow_rgb_l1": ("overflow RGB L1", 3),
    "overflow_alpha_iou": ("overflow alpha IoU", 3),
    "overflow_psnr_masked": ("overflow PSNR", 2),
    "overflow_ssim_masked": ("overflow SSIM", 3),
    "merged_psnr": ("merged PSNR", 2),
    "merged_ssim": ("merged SSIM", 3),
    **{f"edit_{merges}": (f"edit {merges}", 3) for merges in range(6)},
    "frechet": ("Fréchet", 3),
}
"""Heading and decimals of the measures that tables show, in their order."""

BRIEF = ("cost", "rgb_l1", "alpha_iou", "overflow_cost", "merged_psnr", "edit_0", "edit_5", "frechet")
"""Those for a terminal."""

READING = (
    "Cost = (RGB L1 + 1 - alpha IoU) / 2, the mean over a design's layers and then over designs, with its 95 % "
    "bootstrap interval over designs. Every method is cut to the exact box of each true layer's pixels, but for "
    "layouts without true layers. Masked: on the pixels of the true layer; full: on the canvas. Overflow: on the "
    "pixels outside the visible box. Edit: layer edit distance after so many merges. Control: the model is given the "
    "picture of another design. A crop wins the merged picture by construction. Text-to-layers has no true layers: the "
    "merged picture is compared with the composed one that the model made. Fréchet: distance of the made designs to "
    "the true ones by their features; that of few designs is too large, which its interval is corrected for, so "
    "that it may lie below. 100 dB stand for pictures that are the same."
)


@dataclass(frozen=True)
class Row:
    """A method over the designs of a set. ``costs``: of each design by its key. ``control``: must be clearly worse."""

    task: Task
    which: Which
    method: str
    layout: Layout
    designs: int
    values: Values
    costs: dict[str, float] = field(default_factory=dict)
    control: bool = False


@dataclass(frozen=True)
class SetSize:
    """How large a set is: ``designs`` of ``wanted``, from ``there`` in the split."""

    task: Task
    which: Which
    designs: int
    wanted: int
    there: int


@dataclass(frozen=True, eq=False)
class Shown:
    """A design of the sheet of cases. ``why``: best, worst, first of its set. ``made`` and ``scores``: by method; the
    last of a model's is the one by which it is among the best or the worst.
    """

    case: Case
    which: Which
    why: tuple[str, ...]
    made: dict[str, Made]
    scores: dict[str, CaseScore]


@dataclass(frozen=True, eq=False)
class Results:
    """``about``: what was evaluated, on what, and how. ``notes``: what a reader must know, in sentences."""

    about: dict[str, Any]
    sets: list[SetSize]
    rows: list[Row]
    shown: list[Shown]

    def to_json(self, pictures: Sequence[Mapping[str, Any]]) -> bytes:
        """The document; ``pictures``: what ``report`` wrote of the cases."""
        document = {
            "format": FORMAT,
            "about": self.about,
            "notes": self.notes,
            "sets": [asdict(one) for one in self.sets],
            "rows": [asdict(row) for row in self.rows],
            "cases": list(pictures),
        }
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8", "replace") + b"\n"

    @property
    def notes(self) -> list[str]:
        """Sets that are smaller than asked for, and how the control stands."""
        return [*self._short(), *self._controls()]

    def tables(self) -> Iterator[tuple[Task, Which, list[Row]]]:
        """The rows of each task and set, in the order in which they were judged."""
        kept: dict[tuple[Task, Which], list[Row]] = {}
        for row in self.rows:
            kept.setdefault((row.task, row.which), []).append(row)
        for (task, which), rows in kept.items():
            yield task, which, rows

    def _short(self) -> Iterator[str]:
        for size in self.sets:
            if size.designs < size.wanted:
                what = f"{size.task}, {size.which}: {size.designs} designs, not {size.wanted}"
                yield f"{what}; the split has {size.there} that fit" if size.designs else f"{what}; none fits"

    def _controls(self) -> Iterator[str]:
        for task, which, rows in self.tables():
            models = [row for row in rows if not row.control and row.layout is Layout.TRUE]
            costs = {row.method: row.values.get("cost") for row in models}
            for row in rows:
                own = costs.get(row.method)
                if row.control and own:
                    times = row.values["cost"] / own
                    note = f"{task}, {which}, {row.method}: given another picture the cost is {times:.2f} times as high"
                    yield note if times >= CLEARLY else f"{note}, less than {CLEARLY}: it hardly looks at the picture"


def heading(task: Task, which: Which, rows: Sequence[Row]) -> str:
    """The name of a table."""
    said = {Which.INSIDE: "inside of", Which.OVERFLOW: "that overflow"}
    return f"{task}: {max(row.designs for row in rows)} designs {said[which]} their visible box"


def columns_of(rows: Iterable[Row], wanted: Iterable[str] = COLUMNS) -> list[str]:
    """The measures that any of the rows has."""
    kept = list(rows)
    return [name for name in wanted if any(name in row.values for row in kept)]


def cell(row: Row, name: str) -> str:
    """A value; a dash where the measure does not apply."""
    return f"{row.values[name]:.{COLUMNS[name][1]}f}" if name in row.values else "–"


def between(row: Row, name: str) -> str:
    """The interval of a value; nothing where it has none."""
    low, high = (row.values.get(f"{name}_{end}") for end in ("low", "high"))
    decimals = COLUMNS[name][1]
    return f"{low:.{decimals}f} to {high:.{decimals}f}" if low is not None and high is not None else ""


def named(row: Row) -> str:
    """The method, and whether it is the control."""
    return f"{row.method}, control" if row.control else row.method


def markdown(results: Results) -> str:
    """All tables as Markdown."""
    lines = ["# Evaluation", "", READING, ""]
    lines += [f"- {key}: {value}" for key, value in results.about.items() if not isinstance(value, dict)]
    lines += [f"- {note}" for note in results.notes]
    for task, which, rows in results.tables():
        names = columns_of(rows)
        lines += ["", f"## {heading(task, which, rows)}", ""]
        lines.append("| method | layout | " + " | ".join(COLUMNS[name][0] for name in names) + " |")
        lines.append("|---|---|" + "--:|" * len(names))
        for row in rows:
            said = [
                f"{cell(row, name)} ({found})" if (found := between(row, name)) else cell(row, name) for name in names
            ]
            lines.append(f"| {named(row)} | {row.layout} | {' | '.join(said)} |")
    return "\n".join(lines) + "\n"


def printed(results: Results) -> list[Table]:
    """The main measures, for a terminal."""
    out = []
    for task, which, rows in results.tables():
        names = columns_of(rows, BRIEF)
        table = Table(title=heading(task, which, rows), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("method", no_wrap=True)
        table.add_column("layout", no_wrap=True)
        for name in names:
            table.add_column(COLUMNS[name][0], justify="right")
        for row in rows:
            table.add_row(named(row), row.layout, *(cell(row, name) for name in names))
        out.append(table)
    return out
