"""Whether training learns what it is shown: ``python -m infra.bench.overfit [--parts alone mixed held-out]``.

``alone`` (five minutes), ``mixed`` (twenty): sixteen designs, image-to-layers alone and all tasks mixed; what the model
samples for them is judged as an evaluation judges it. ``held-out`` (an hour): on a larger dataset, the loss of each
task on held-out designs and fixed noise, after training with all tasks and after as many steps without that one.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from infra.bench.machine import describe
from infra.bench.tables import Section, publish
from infra.bench.train_data import published, tiny
from model.guidance import Guidance
from model.tasks import Task
from schemas.settings import parse_assignments
from training.config import TrainConfig
from training.evaluation.checkpoints import load
from training.evaluation.metrics import LayerScore, mean, score_layers
from training.evaluation.runs import Made, Runner
from training.evaluation.sets import Group, choose, read
from training.evaluation.stack import clipped
from training.examples import prepare
from training.learner import Learner
from training.run import MODEL
from training.sampled import Sampler
from training.streaming.config import PAPER_MIX, plan_config
from training.streaming.index import Index
from training.streaming.source import Source
from training.train import train
from training.validation import FixedDesigns, Validation, ValidationConfig

CPU = torch.device("cpu")
DESIGNS, STEPS = 16, 800
SEED, HELD_OUT_SEED = 16, 23
SAMPLED = (1, 8)
"""Steps of the sampler."""
LEAST_IOU, MOST_COST = 0.75, 0.15
SHIFT = 3.0
PARTS = ("alone", "mixed", "held-out")
TASKS = tuple(PAPER_MIX)

AS_THEY_ARE: Mapping[str, Any] = {
    "data.workers": 0,
    "data.token_budget": 3200,
    "data.grouping": 0.0,
    "examples": {"empty_prompt": 0, "no_references": 0, "coloured_ground": 0, "jitter": {"share": 0}},
    "examples.references": {"alpha": 1, "opaque": 0, "refitted": 0},
    "optimiser": {"lr": 3.0e-3, "warmup": 50, "schedule": "cosine", "floor": 0.02},
    "average.decay": 0.99,
}
"""The designs as an evaluation shows them, all of them in a step or two, and an optimiser for few steps."""

Method = Callable[[Group], list[Made]]


@dataclass(frozen=True)
class Fit:
    """What was sampled of the designs that were learned, for a task: means over designs, each over its layers."""

    task: Task
    steps: int
    score: LayerScore

    @property
    def reached(self) -> bool:
        return self.score.alpha_iou >= LEAST_IOU and self.score.cost <= MOST_COST

    @property
    def row(self) -> tuple[str, ...]:
        score = self.score
        figures = (score.alpha_iou, score.rgb_l1, score.cost)
        return self.task, str(self.steps), *(f"{value:.3f}" for value in figures), "yes" if self.reached else "NO"


FIT_HEAD = (
    "task",
    "sampled in steps",
    f"alpha soft IoU (at least {LEAST_IOU})",
    "RGB L1",
    f"layer cost (at most {MOST_COST})",
    "reached",
)


def mixed(tasks: Sequence[Task]) -> dict[Task, float]:
    """Weights that ask for each of the tasks as often."""
    return dict.fromkeys(tasks, 1.0)


def overfit(dataset: Path, out: Path, tasks: Sequence[Task], steps: int, changes: Mapping[str, Any]) -> list[Fit]:
    """Train on all designs of a dataset, and sample them. ``changes``: dotted keys of the configuration."""
    own = {"run.steps": steps, "data.tasks": mixed(tasks), **AS_THEY_ARE, **changes}
    config = tiny(dataset, out, own)
    learner = trained(config)
    return [
        Fit(task, count, judged(config, task, learner.codec.token_px, partial(sampled, learner, count)))
        for task in tasks
        for count in SAMPLED
    ]


def trained(config: TrainConfig) -> Learner:
    """The averaged weights at the end of a run, as it writes them."""
    if not train(config):
        raise KeyboardInterrupt
    return load(Path(config.run.out) / MODEL, CPU)


def sampled(learner: Learner, steps: int, group: Group) -> list[Made]:
    """What a model makes of a group, without guidance."""
    return Runner(learner, CPU).run(group, Sampler(steps=steps, shift=SHIFT, guidance=Guidance()))


def judged(config: TrainConfig, task: Task, token_px: int, method: Method) -> LayerScore:
    """The score of a method on the designs that a run learns from, laid out as a task shows them."""
    data = config.data
    plan = plan_config(
        split=data.split,
        resolution=data.resolution,
        token_px=token_px,
        token_budget=data.token_budget,
        tasks={task: 1.0},
        grouping=0.0,
    )
    index = Index.open(Source(data.dataset))
    groups = [group for chosen in choose(index, plan, DESIGNS) for group in read(index, chosen, plan)]
    found = mean(score for group in groups for score in _scores(group, method(group)))
    if found is None:
        raise RuntimeError(f"the designs have no layer to judge for {task}")
    return found


def _scores(group: Group, made: Sequence[Made]) -> Iterator[LayerScore | None]:
    """For each design the mean over the layers that were to be made."""
    for case, one in zip(group.cases, made, strict=True):
        layers = score_layers(clipped(one.stack, case.truth), case.truth)
        yield mean(layers[place] for place in case.targets)


def validated(config: TrainConfig, learner: Learner, tasks: Sequence[Task], designs: int) -> dict[Task, float]:
    """The loss of each task on held-out designs, whatever the learner was trained for."""
    settings = config.data.stream_settings(learner.codec.token_px, seed=config.run.seed, tasks=mixed(tasks))
    as_it_is = partial(
        prepare, codec=learner.codec, config=config.examples, seed=config.run.seed, device=CPU, evaluation=True
    )
    of = ValidationConfig(designs=designs)
    return Validation(FixedDesigns(settings, as_it_is, split=of.split, seed=of.seed), of)(learner).means


def held_out(dataset: Path, folder: Path, steps: int, designs: int, changes: Mapping[str, Any]) -> Section:
    """Train with all tasks and without each of them in turn, as many steps each.

    The other runs see more of the other tasks: what is compared is a task's share of the training.
    """
    rows, losses = [], {}
    for without in (None, *TASKS):
        tasks = [task for task in TASKS if task is not without]
        own = {"run.steps": steps, "data.tasks": mixed(tasks), **changes}
        config = tiny(dataset, folder / f"without-{without or 'none'}", own)
        losses[without] = validated(config, trained(config), TASKS, designs)
        print(f"without {without or 'none'}: {losses[without]}", flush=True)
    for task in TASKS:
        with_it, without_it = losses[None][task], losses[task][task]
        rows.append(
            (
                task,
                f"{with_it:.4f}",
                f"{without_it:.4f}",
                f"{with_it - without_it:+.4f}",
                "yes" if with_it < without_it else "NO",
            )
        )
    head = ("task", "in the mix", "without it in the mix", "difference", "falls below")
    return f"Loss on held-out designs and fixed noise after {steps} steps", head, rows


def sections(arguments: argparse.Namespace, folder: Path) -> Iterator[Section]:
    """The tables that are asked for; what is there in ``folder`` is gone on with."""
    parts, changes = arguments.parts, parse_assignments(arguments.set, "optimiser.lr=0.001")
    if {"alone", "mixed"} & set(parts):
        few = published(folder / "few", DESIGNS, SEED, {"train": 1.0})
    if "alone" in parts:
        fits = overfit(few, folder / "alone", [Task.IMAGE_TO_LAYERS], arguments.steps, changes)
        yield f"{DESIGNS} designs, image-to-layers alone, {arguments.steps} steps", FIT_HEAD, [one.row for one in fits]
    if "mixed" in parts:
        steps = arguments.steps * len(TASKS)
        fits = overfit(few, folder / "mixed", TASKS, steps, changes)
        yield f"{DESIGNS} designs, all tasks mixed, {steps} steps", FIT_HEAD, [one.row for one in fits]
    if "held-out" in parts:
        dataset = arguments.dataset
        if dataset is None:
            shares = {"train": 0.9, "validation": 0.1}
            dataset = published(folder / "many", arguments.designs, HELD_OUT_SEED, shares)
        yield held_out(dataset, folder, arguments.held_out_steps, arguments.validated, changes)


def main() -> None:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m infra.bench.overfit", description=about)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=["alone"], help="what is measured (default: alone)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="steps for a task of the few designs")
    parser.add_argument("--held-out-steps", type=int, default=2000, help="steps of each run on the larger dataset")
    parser.add_argument("--validated", type=int, default=64, help="held-out designs of each task")
    parser.add_argument("--designs", type=int, default=2000, help="designs of the larger dataset")
    parser.add_argument("--dataset", type=Path, help="use this larger dataset of tiny designs and make none")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a key of all runs")
    parser.add_argument("--keep", type=Path, help="keep runs and datasets here, and go on with what is there")
    parser.add_argument("--out", type=Path, help="write the tables to this Markdown file too")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-overfit-")))
        tables = list(sections(arguments, folder))
        publish("Overfitting, and what a task gains by being in the mix", _preamble(arguments), tables, arguments.out)


def _preamble(arguments: argparse.Namespace) -> str:
    parts = " ".join(arguments.parts)
    changes = "".join(f" --set {word}" for word in arguments.set)
    return (
        f"{describe()}; torch {torch.__version__}.\n"
        f"Command: `python -m infra.bench.overfit --parts {parts} --steps {arguments.steps} "
        f"--held-out-steps {arguments.held_out_steps} --designs {arguments.designs}{changes}`\n\n"
        f"`infra/examples/train-tiny.yaml` but for what the tables say; the {DESIGNS} designs without augmentation, by "
        f"AdamW at {AS_THEY_ARE['optimiser']['lr']}. Layers are cut to the exact boxes of the true ones; no guidance. "
        f"One seed.\n"
    )


if __name__ == "__main__":
    main()
