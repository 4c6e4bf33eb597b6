"""The results as files: JSON, a Markdown table, and a page of cases that opens from its folder, without a server.

index.html, results.json, table.md and pictures/: of a case what was given, the true and the made merged pictures, and
its layers, the true above the made.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from model.tasks import LAYOUTS
from schemas.compositing import Rgba
from schemas.geometry import Box, union
from training.evaluation.results import (
    COLUMNS,
    READING,
    Results,
    Row,
    Shown,
    between,
    cell,
    columns_of,
    heading,
    markdown,
    named,
)
from training.evaluation.stack import Placed, Stack, flattened
from training.outputs import Output

PAGE, DOCUMENT, TABLE, PICTURES = "index.html", "results.json", "table.md", "pictures"

LARGE, SMALL, GAP = 512, 112, 4
"""Px: the longest side of a merged picture, the side of a layer's cell, and what is between cells."""

FRAME = (128, 128, 128, 255)

MOST_LAYERS = 32
"""Of a strip of layers."""


class Picture(NamedTuple):
    """``path``: from the page. ``name``: what it shows."""

    path: str
    name: str
    width: int
    height: int


def write(results: Results, output: Output) -> None:
    """Write everything into a folder, the page last.

    Raises:
        TrainingError: it cannot be written.
    """
    cases = [_case(shown, number, output) for number, shown in enumerate(results.shown)]
    output.write(TABLE, markdown(results).encode("utf-8", "replace"))
    output.write(DOCUMENT, results.to_json(cases))
    output.write(PAGE, page(results, cases).encode("utf-8", "replace"))


def page(results: Results, cases: Sequence[dict[str, Any]]) -> str:
    """The page as HTML; everything in it is escaped."""
    return (
        environment()
        .get_template("index.html.j2")
        .render(
            about={name: value for name, value in results.about.items() if not isinstance(value, dict)},
            settings=results.about.get("settings", {}),
            notes=results.notes,
            reading=READING,
            tables=[_table(heading(task, which, rows), rows) for task, which, rows in results.tables()],
            sections=_sections(results, cases),
        )
    )


def environment() -> Environment:
    """Where the templates are; what is not there is an error, what comes from outside is escaped."""
    return Environment(
        loader=PackageLoader("training.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _table(title: str, rows: Sequence[Row]) -> dict[str, Any]:
    names = columns_of(rows)
    most = max([row.values["cost"] for row in rows if "cost" in row.values], default=0.0)
    return {
        "title": title,
        "columns": [COLUMNS[name][0] for name in names],
        "rows": [
            {
                "name": named(row),
                "layout": str(row.layout),
                "model": row.method.startswith("model") and not row.control,
                "share": row.values["cost"] / most if "cost" in row.values and most else None,
                "cells": [{"value": cell(row, name), "interval": between(row, name)} for name in names],
            }
            for row in rows
        ],
    }


def _sections(results: Results, cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases of each table, the best first, then the worst."""
    out = []
    for task, which, rows in results.tables():
        own = [case for case in cases if (case["task"], case["which"]) == (task, which)]
        parts = []
        for why, title in (("best", "Best"), ("worst", "Worst"), ("first", "First of the set")):
            chosen = [case for case in own if case["why"][0] == why]
            if chosen:
                parts.append({"title": title, "cases": chosen})
        if parts:
            out.append({"title": heading(task, which, rows), "parts": parts})
    return out


def _case(shown: Shown, number: int, output: Output) -> dict[str, Any]:
    """Write the pictures of a case; what a document says of it."""
    case, shown_box = shown.case, shown.case.truth.shown
    stem = f"{PICTURES}/{number:04d}-{case.key[:12]}"
    pictures = {}
    if LAYOUTS[case.task].composed_clean:
        pictures["given"] = _put(output, f"{stem}-given.png", flattened([case.composed], shown_box), "given")
    pictures["truth"] = _put(output, f"{stem}-truth.png", _merged(case.truth), "truth")
    for at, (name, made) in enumerate(shown.made.items()):
        pictures[name] = _put(output, f"{stem}-made-{at}.png", _merged(made.stack), name)
    last = _of_model(shown)
    strip = _strip(case.truth, shown.made[last].stack, case.targets)
    layers = _put(output, f"{stem}-layers.png", strip, f"layers: truth above, {last} below", shrink=False)
    return {
        "task": case.task,
        "which": shown.which,
        "why": shown.why,
        "key": case.key,
        "prompt": case.prompt,
        "layers": len(case.targets),
        "scores": {name: _said(shown, name) for name in shown.made},
        "costs": {name: score.layers.cost for name, score in shown.scores.items() if score.layers},
        "pictures": {name: picture._asdict() for name, picture in pictures.items()},
        "strip": layers._asdict(),
    }


def _of_model(shown: Shown) -> str:
    """The last of the model's own methods, by which the case was chosen."""
    return [name for name in shown.made if name.startswith("model")][-1]


def _said(shown: Shown, method: str) -> str:
    score = shown.scores[method]
    if score.layers is not None:
        return f"cost {score.layers.cost:.3f}"
    return f"merged PSNR {score.merged.psnr:.1f}" if score.merged is not None else ""


def _merged(stack: Stack) -> Rgba:
    return flattened(stack.layers, stack.shown)


def _put(output: Output, name: str, pixels: Rgba, said: str, shrink: bool = True) -> Picture:
    image = Image.fromarray(np.ascontiguousarray(pixels), "RGBA")
    if shrink and max(image.size) > LARGE:
        image.thumbnail((LARGE, LARGE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    output.write(name, out.getvalue())
    return Picture(name, said, *image.size)


def _strip(true: Stack, made: Stack, targets: Sequence[int]) -> Rgba:
    """The layers that were to be made, side by side, each at its place on the canvas; the true above the made."""
    area = union([true.shown, *(box for box, _ in true.layers)]).intersect(true.frame)
    places = list(targets)[:MOST_LAYERS]
    scale = min(SMALL / max(area.width, area.height), 2.0)
    width, height = max(1, round(area.width * scale)), max(1, round(area.height * scale))
    out = np.zeros((2 * height + GAP, len(places) * (width + GAP) - GAP, 4), np.uint8)
    for row, stack in enumerate((true, made)):
        for column, place in enumerate(places):
            if place < len(stack.layers):
                y, x = row * (height + GAP), column * (width + GAP)
                out[y : y + height, x : x + width] = _scaled(stack.layers[place], area, (width, height))
    return out


def _scaled(layer: Placed, area: Box, size: tuple[int, int]) -> Rgba:
    """A layer in an area, with a fine frame, so that an empty layer is seen too."""
    image = Image.fromarray(flattened([layer], area), "RGBA")
    kind = Image.Resampling.NEAREST if size[0] > area.width else Image.Resampling.LANCZOS
    out = np.array(image.resize(size, kind))
    for edge in (out[0], out[-1], out[:, 0], out[:, -1]):
        edge[:] = FRAME
    return out
