"""The results as files: JSON, a Markdown table, and a page of cases that opens from its folder, without a server.

index.html, results.json, table.md and pictures/: of a case what was given, the true and the made merged pictures, and
for each of those a strip of its layers, so that the true stand above the made.
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
            most_layers=MOST_LAYERS,
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
        for why, title in (("best", "Best by {}"), ("worst", "Worst by {}"), ("first", "First of the set")):
            chosen = [case for case in own if case["why"][0] == why]
            if chosen:
                parts.append({"title": title.format(chosen[0]["chosen_by"]), "cases": chosen})
        if parts:
            out.append({"title": heading(task, which, rows), "parts": parts})
    return out


def _case(shown: Shown, number: int, output: Output) -> dict[str, Any]:
    """Write the pictures of a case; what a document says of it."""
    case, shown_box = shown.case, shown.case.truth.shown
    stem = f"{PICTURES}/{number:04d}-{case.key[:12]}"
    pictures, strips = {}, {}
    if LAYOUTS[case.task].composed_clean:
        pictures["given"] = _put(output, f"{stem}-given.png", flattened([case.composed], shown_box), "given")
    made = {name: one.stack for name, one in shown.made.items()}
    area = union([shown_box, *(box for box, _ in case.truth.layers)]).intersect(case.truth.frame)
    for at, (name, stack) in enumerate({"truth": case.truth, **made}.items()):
        file = f"{stem}-made-{at - 1}" if at else f"{stem}-truth"
        pictures[name] = _put(output, f"{file}.png", _merged(stack), name)
        # Another model may have tokens of another size, and so the picture elsewhere on its canvas.
        own = area.shift(stack.shown.x0 - shown_box.x0, stack.shown.y0 - shown_box.y0)
        strip = _strip(stack, own, case.targets[:MOST_LAYERS])
        strips[name] = _put(output, f"{file}-layers.png", strip, f"{name}, layer by layer", shrink=False)
    return {
        "task": case.task,
        "which": shown.which,
        "why": shown.why,
        "chosen_by": _chosen_by(shown),
        "key": case.key,
        "prompt": case.prompt,
        "layers": len(case.targets),
        "scores": {name: _said(shown, name) for name in shown.made},
        "costs": {name: score.layers.cost for name, score in shown.scores.items() if score.layers},
        "pictures": {name: picture._asdict() for name, picture in pictures.items()},
        "strips": {name: picture._asdict() for name, picture in strips.items()},
    }


def _chosen_by(shown: Shown) -> str:
    """The measure of the last of the model's own methods, by which a case is among the best or the worst."""
    method = [name for name in shown.made if name.startswith("model")][-1]
    return f"the {'cost' if shown.scores[method].layers is not None else 'merged PSNR'} of {method}"


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


def _strip(stack: Stack, area: Box, places: Sequence[int]) -> Rgba:
    """The layers at some ``places`` side by side, each where it is in an area of the canvas."""
    scale = min(SMALL / max(area.width, area.height), 2.0)
    width, height = max(1, round(area.width * scale)), max(1, round(area.height * scale))
    out = np.zeros((height, len(places) * (width + GAP) - GAP, 4), np.uint8)
    for column, place in enumerate(places):
        x = column * (width + GAP)
        out[:, x : x + width] = _scaled(stack.layers[place], area, (width, height))
    return out


def _scaled(layer: Placed, area: Box, size: tuple[int, int]) -> Rgba:
    """A layer in an area, with a fine frame, so that an empty layer is seen too."""
    image = Image.fromarray(flattened([layer], area), "RGBA")
    kind = Image.Resampling.NEAREST if size[0] > area.width else Image.Resampling.LANCZOS
    out = np.array(image.resize(size, kind))
    for edge in (out[0], out[-1], out[:, 0], out[:, -1]):
        edge[:] = FRAME
    return out
