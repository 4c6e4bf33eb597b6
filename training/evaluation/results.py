"""What an evaluation found: rows of measures, as JSON and as tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from rich.table import Table

from model.tasks import Task
from training.evaluation.layouts import Layout
from training.evaluation.runs import Made
from training.evaluation.scores import Values
from training.evaluation.sets import Case, Which

FORMAT = 1

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

INTERVALS = {"cost": ("cost_low", "cost_high"), "frechet": ("frechet_low", "frechet_high")}

READING = (
    "cost = (RGB L1 + 1 - alpha IoU) / 2, the mean over a design's layers and then over designs, with its 95 % bootstrap "
    "interval over designs. Every method is cut to the exact box of each true layer's pixels, but for layouts without "
    "true layers. Masked: on the pixels of the true layer; full: on the canvas. Overflow: on the pixels outside the "
    "visible box. Edit: layer edit distance after so many merges. A crop wins the merged picture by construction."
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
    """A design of the sheet of cases. ``why``: best, worst, or first of its set. ``made``: by method, the last judged."""

    case: Case
    which: Which
    why: str
    made: dict[str, Made]
    costs: dict[str, float]


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
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    @property
    def notes(self) -> list[str]:
        """Sets that are smaller than asked for, and how the control stands."""
        return [*self._short(), *self._controls()]

    def tables(self) -> Iterator[tuple[Task, Which, list[Row]]]:
        """The rows of each task and set."""
        for (task, which), rows in groupby(
            sorted(self.rows, key=lambda row: (row.task, row.which)), key=lambda row: (row.task, row.which)
        ):
            yield task, which, list(rows)

    def _short(self) -> Iterator[str]:
        for size in self.sets:
            if size.designs < size.wanted:
                what = f"{size.task}, {size.which}: {size.designs} designs, not {size.wanted}"
                yield f"{what}; the split has {size.there} that fit" if size.designs else f"{what}; none fits"

    def _controls(self) -> Iterator[str]:
        for task, which, rows in self.tables():
            for row in rows:
                own = [one for one in rows if one.control is False and one.method == row.method and not one.control]
                same = [one for one in own if one.layout is Layout.TRUE and "cost" in one.values]
                if row.control and same and same[0].values["cost"] > 0:
                    times = row.values["cost"] / same[0].values["cost"]
                    yield f"{task}, {which}, {row.method}: given another picture the cost is {times:.2f} times as high"


def heading(task: Task, which: Which, rows: Sequence[Row]) -> str:
    """The name of a table."""
    said = {Which.INSIDE: "designs inside of their visible box", Which.OVERFLOW: "designs that overflow it"}
    return f"{task}: {max(row.designs for row in rows)} {said[which]}"


def columns_of(rows: Iterable[Row], wanted: Iterable[str] = COLUMNS) -> list[str]:
    """The measures that any of the rows has."""
    kept = list(rows)
    return [name for name in wanted if any(name in row.values for row in kept)]


def cell(row: Row, name: str) -> str:
    """A value with its interval; a dash where the measure does not apply."""
    if name not in row.values:
        return "–"
    decimals = COLUMNS[name][1]
    low, high = INTERVALS.get(name, ("", ""))
    said = f"{row.values[name]:.{decimals}f}"
    if low in row.values:
        said += f" [{row.values[low]:.{decimals}f}, {row.values[high]:.{decimals}f}]"
    return said


def named(row: Row) -> str:
    """The method, and whether it is the control."""
    return f"{row.method}, another picture (control)" if row.control else row.method


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
            values = " | ".join(cell(row, name) for name in names)
            lines.append(f"| {named(row)} | {row.layout} | {values} |")
    return "\n".join(lines) + "\n"


def printed(results: Results) -> list[Table]:
    """The main measures, for a terminal."""
    out = []
    for task, which, rows in results.tables():
        names = columns_of(rows, BRIEF)
        table = Table(title=heading(task, which, rows), title_justify="left")
        table.add_column("method")
        table.add_column("layout")
        for name in names:
            table.add_column(COLUMNS[name][0], justify="right", no_wrap=True)
        for row in rows:
            table.add_row(named(row), row.layout, *(cell(row, name) for name in names))
        out.append(table)
    return out
