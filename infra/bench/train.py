"""Whether training waits for its data: ``python -m infra.bench.train [--steps 100] [--repeats 5] [--out FILE.md]``.

The trainer as ``make train-tiny`` configures it, fed by the stream (its samples decoded in this process, and in a
worker) and by the same micro-batches from memory, in turn: a step has the same work whoever feeds it. Then how long a
checkpoint holds training up.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

import torch

from infra.bench.machine import describe
from infra.bench.tables import Section, publish
from infra.bench.train_data import EXAMPLES, published, tiny
from training.config import TrainConfig, load_config
from training.parallel import join
from training.run import Run, Stage, opened
from training.steps import Fetched, fetched
from training.stream import DesignStream

BAR = 0.95
WARM = 10
"""Steps of each turn that are not timed: workers start, caches fill."""
MEMORY = "from memory"
SEED = 21

Feed = Callable[[], Generator[Fetched, None, None]]
"""The same steps from the beginning, each time it is called."""


@dataclass(frozen=True)
class Turn:
    """Some steps in a row. ``waited``: of its ``seconds``, those until the data of a step were there."""

    steps: int
    seconds: float
    tokens: int
    waited: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint: ``blocking`` seconds that no step was made, ``after``: seconds of the steps after it, during which
    it is written.
    """

    blocking: float
    after: float


class Trainer:
    """A run with a stage of its own, of which some steps are made at a time, fed by whom we like."""

    def __init__(self, run: Run, stage: Stage) -> None:
        self._run, self._stage = run, stage

    def streamed(self, workers: int) -> Feed:
        """A stream that begins anew, with so many worker processes."""
        config, run = self._stage.config, self._run

        def feed() -> Generator[Fetched, None, None]:
            settings = config.data.stream_settings(run.learner.codec.token_px, seed=config.run.seed, workers=workers)
            return fetched(DesignStream(**settings), config.run.micro_batches, run.world)

        return feed

    def preloaded(self, steps: int) -> Feed:
        """The first steps of the stream, read now."""
        with closing(self.streamed(0)()) as feed:
            kept = [some.batches for some in islice(feed, steps)]

        def again() -> Generator[Fetched, None, None]:
            for batches in kept:
                yield Fetched(batches, 0.0, {})

        return again

    def turn(self, feed: Feed, steps: int, warm: int = WARM) -> Turn:
        """Make ``warm`` steps, and then ``steps`` that are timed."""
        with closing(feed()) as found:
            for some in islice(found, warm):
                self._step(some)
            began, tokens, waited = time.perf_counter(), 0, 0.0
            for some in islice(found, steps):
                tokens += self._step(some)
                waited += some.waited
            return Turn(steps, time.perf_counter() - began, tokens, waited)

    def save(self, feed: Feed, steps: int) -> Saved:
        """Make some steps, save, and make as many while the checkpoint is written."""
        self.turn(feed, steps, warm=0)
        began = time.perf_counter()
        self._run.save()
        blocking = time.perf_counter() - began
        return Saved(blocking, self.turn(feed, steps, warm=0).seconds)

    def _step(self, some: Fetched) -> int:
        report = self._stage.stepper(some.batches, self._stage.step)
        self._run.after(self._stage, some, report)
        return report.tokens


def race(trainer: Trainer, feeds: dict[str, Feed], steps: int, repeats: int) -> dict[str, list[Turn]]:
    """The turns of each, ``repeats`` rounds of them; another begins in each round."""
    turns: dict[str, list[Turn]] = {name: [] for name in feeds}
    names = list(feeds)
    for number in range(repeats):
        at = number % len(names)
        for name in names[at:] + names[:at]:
            turn = trainer.turn(feeds[name], steps)
            turns[name].append(turn)
            print(f"round {number + 1}: {name}: {turn.steps / turn.seconds:.2f} steps/s", flush=True)
    return turns


def ratios(turns: Sequence[Turn], of: Sequence[Turn]) -> list[float]:
    """The pace of each round, divided by that of the others."""
    return [theirs.seconds / ours.seconds for ours, theirs in zip(turns, of, strict=True)]


def throughput(turns: dict[str, list[Turn]]) -> tuple[Section, Section]:
    """The bars, and the figures that they are made of."""
    bars, rows = [], []
    for name, some in turns.items():
        found = ratios(some, turns[MEMORY])
        if name != MEMORY:
            bars.append((name, f"{median(found):.3f}", f"{BAR}", "yes" if median(found) >= BAR else "NO"))
        rows.append(
            (
                name,
                f"{median(turn.steps / turn.seconds for turn in some):.2f}",
                f"{median(turn.tokens / turn.seconds for turn in some):,.0f}",
                f"{median(turn.waited / turn.seconds for turn in some):.2%}",
                f"{median(found):.3f}",
                f"{min(found):.3f} to {max(found):.3f}",
            )
        )
    head = ("fed", "steps/s", "tokens/s", "waiting for data", "of memory", "over the rounds")
    return ("Bars", ("fed", "of memory", "bar", "reached"), bars), ("Throughput", head, rows)


def checkpoints(saved: Sequence[Saved], quiet: float, steps: int, size: float, every: int) -> Section:
    """What saving costs. ``quiet``: seconds of ``steps`` steps without a checkpoint; ``every``: steps between two."""
    first, *others = saved
    blocking = median(one.blocking for one in others)
    rows = [
        ("MiB", f"{size / 2**20:.1f}"),
        ("blocking, the first", f"{first.blocking * 1000:.0f} ms"),
        (f"blocking, median of {len(others)} more", f"{blocking * 1000:.0f} ms"),
        (f"{steps} steps while it is written, of those without", f"{median(one.after for one in others) / quiet:.3f}"),
        (f"share of the time at one in {every} steps", f"{blocking / (quiet / steps * every):.3%}"),
    ]
    return "A checkpoint (weights, average, optimiser)", ("what", "value"), rows


def measure(config: TrainConfig, steps: int, repeats: int, every: int) -> list[Section]:
    """All tables."""
    out = Path(config.run.out)
    with join("cpu") as world, opened(config, world) as run:
        for stage in run.stages():
            trainer = Trainer(run, stage)
            memory = trainer.preloaded(WARM + steps)
            feeds = {
                MEMORY: memory,
                "streamed, 0 workers": trainer.streamed(0),
                "streamed, 1 worker": trainer.streamed(1),
            }
            bars, figures = throughput(race(trainer, feeds, steps, repeats))
            few = min(steps, 20)
            saved = [trainer.save(memory, few) for _ in range(repeats + 1)]
            quiet = median(trainer.turn(memory, few).seconds for _ in range(repeats))
            break
    folders = list(out.glob("checkpoints/*"))
    size = sum(path.stat().st_size for folder in folders for path in folder.iterdir()) / len(folders)
    return [bars, figures, checkpoints(saved, quiet, few, size, every)]


def main() -> None:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m infra.bench.train", description=about)
    parser.add_argument("--steps", type=int, default=100, help="timed steps of a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each")
    parser.add_argument("--designs", type=int, default=1500, help="designs to make; more than a turn has")
    parser.add_argument("--dataset", type=Path, help="use this dataset of tiny designs and make none")
    parser.add_argument("--out", type=Path, help="write the tables to this Markdown file too")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-train-")))
        dataset = arguments.dataset or published(folder, arguments.designs, SEED, {"train": 1.0})
        every = load_config(EXAMPLES / "train-tiny.yaml", {}).checkpoint.every
        config = tiny(dataset, folder / "run", {"run.steps": 10**6})
        sections = measure(config, arguments.steps, arguments.repeats, every)
        said = (
            f"{describe()}; torch {torch.__version__}, {torch.get_num_threads()} threads.\n"
            f"Command: `python -m infra.bench.train --steps {arguments.steps} --repeats {arguments.repeats} "
            f"--designs {arguments.designs}`\n\n"
            f"`infra/examples/train-tiny.yaml` without validation and sheets; {arguments.steps} steps a turn after "
            f"{WARM} that are not timed, the median of {arguments.repeats} rounds.\n"
        )
        publish("Training", said, sections, arguments.out)


if __name__ == "__main__":
    main()
