"""One of two ranks: several runs together, one after another. Takes a folder with a YAML file for each.

Writes ``RANK.json``: of each run its exit code and what it said. The weights of ``STEPPED`` after one step, and what
the step reported, are there too.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import torch

from tests.training.stepping import Stepped, stepped
from training.parallel import join
from training.train import main as train


def said_by(config: Path) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = train([str(config)])
    return code, said.getvalue()


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with join("cpu", timeout_s=100) as world:
        found = {config.stem: said_by(config) for config in sorted(folder.glob("*.yaml"))}
        steps: dict[str, Stepped] = {name: stepped(name, world) for name in ("whole", "short", "broken")}
    rank = os.environ["RANK"]
    (folder / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    torch.save({name: tuple(step) for name, step in steps.items()}, folder / f"{rank}.pt")


if __name__ == "__main__":
    main()
