"""A page on which people choose between two evaluations: ``python -m training.evaluation.preference A B --out DIR``.

A and B are the folders of results. Of each design that both show as one of the first of its set, the merged pictures
and the layers stand side by side, in an order that a seed draws and nobody is told; the names are told at the end, with
the votes to keep as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from model.tasks import Task
from training.errors import TrainingError, UsageError
from training.evaluation.report import DOCUMENT, PAGE, PICTURES, environment
from training.evaluation.sets import Which
from training.outputs import Output

MAX_PICTURE = 2**26
"""Bytes."""
MAX_DOCUMENT = 2**28


class _Picture(BaseModel):
    model_config = ConfigDict(frozen=True)

    path: str


class _Case(BaseModel):
    model_config = ConfigDict(frozen=True)

    task: Task
    which: Which
    key: str
    why: list[str]
    prompt: str
    pictures: dict[str, _Picture]
    strips: dict[str, _Picture]


class _Document(BaseModel):
    """What is read of ``results.json``; the rest is not looked at."""

    model_config = ConfigDict(frozen=True)

    cases: list[_Case]


@dataclass(frozen=True, eq=False)
class Side:
    """The results in a folder, and the method of theirs that is compared, in the cases that no method chose."""

    source: Output
    method: str
    cases: Mapping[tuple[Task, Which, str], _Case]

    @classmethod
    def open(cls, url: str, method: str | None = None) -> Side:
        """``method``: None takes the last of the model's.

        Raises:
            UsageError: there are no results, or none of the method.
        """
        folder = Output(url)
        try:
            document = _Document.model_validate_json(folder.source.read(DOCUMENT, MAX_DOCUMENT))
        except (ValidationError, TrainingError) as error:
            first = str(error).partition("\n")[0]
            raise UsageError(f"{url} holds no results of acetate evaluate ({first}): give its folder out") from None
        names = list(dict.fromkeys(name for case in document.cases for name in case.strips))
        models = [name for name in names if name.startswith("model")]
        chosen = method or (models[-1] if models else "")
        if chosen not in names:
            wanted = repr(chosen) if chosen else "a model"
            raise UsageError(f"{url} shows nothing of {wanted}; it has {', '.join(names) or 'no cases'}")
        # Those that were chosen for being the best or the worst of one side would favour a side.
        unchosen = [case for case in document.cases if "first" in case.why and chosen in case.strips]
        return cls(folder, chosen, {(case.task, case.which, case.key): case for case in unchosen})


def compare(one: Side, other: Side, names: tuple[str, str], out: Output, seed: int) -> int:
    """Write the page and its pictures; how many designs it shows. ``names``: of both, told at the end.

    Raises:
        UsageError: no design is in both. TrainingError: something cannot be read or written.
    """
    shared = [place for place in one.cases if place in other.cases]
    if not shared:
        raise UsageError("the two results show no design in common: evaluate both on one dataset and split, with cases")
    cases = []
    for place in shared:
        case = one.cases[place]
        given = case.pictures.get("given")
        both = [(side, side.cases[place]) for side in (one, other)]
        cases.append(
            {
                "task": case.task,
                "which": case.which,
                "key": case.key,
                "prompt": case.prompt,
                "given": _copied(one.source, given.path, out) if given else None,
                "pictures": [_copied(side.source, own.pictures[side.method].path, out) for side, own in both],
                "layers": [_copied(side.source, own.strips[side.method].path, out) for side, own in both],
            }
        )
    data: dict[str, Any] = {"seed": seed, "names": names, "cases": cases}
    html = environment().get_template("preference.html.j2").render(data=json.loads(json.dumps(data)))
    out.write(PAGE, html.encode("utf-8", "replace"))
    return len(cases)


def _copied(source: Output, path: str, out: Output) -> str:
    """A picture under a name that does not tell whose it is."""
    if not path.startswith(f"{PICTURES}/") or ".." in path:
        raise UsageError(f"{source.source.shown} names a picture {path[:100]!r}, which is not in its {PICTURES}")
    pixels = source.source.read(path, MAX_PICTURE)
    name = f"{PICTURES}/{hashlib.sha256(pixels).hexdigest()[:16]}.png"
    out.write(name, pixels)
    return name


def main(argv: Sequence[str] | None = None) -> int:
    """The command line. 0: done; 2: a setting or an input is wrong; 1: something else failed."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.preference", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("results", nargs=2, help="two folders that acetate evaluate wrote")
    parser.add_argument("--methods", nargs=2, metavar="NAME", help="of each; the model's last by default")
    parser.add_argument("--names", nargs=2, metavar="NAME", help="told at the end; folders and methods by default")
    parser.add_argument("--out", required=True, help="the folder of the page")
    parser.add_argument("--seed", type=int, help="of the order; drawn by default")
    arguments = parser.parse_args(argv)
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    try:
        asked = arguments.methods or (None, None)
        one, other = (Side.open(url, method) for url, method in zip(arguments.results, asked, strict=True))
        first, second = arguments.names or [
            f"{letter} ({Path(url).name}, {side.method})"
            for letter, url, side in zip("AB", arguments.results, (one, other), strict=True)
        ]
        seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
        count = compare(one, other, (first, second), Output(arguments.out), seed)
    except UsageError as error:
        errors.print(f"error: {error}")
        return 2
    except TrainingError as error:
        errors.print(f"error: {error}")
        return 1
    errors.print(f"{count} designs to choose between: {arguments.out.rstrip('/')}/{PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
