"""What every kind of run has on a rank: its folder, its checkpoints, what watches it, and what is due after a step."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import yaml
from rich.console import Console
from torch import Tensor

from training.checkpoint import Checkpoints
from training.config import KeptConfig
from training.parallel import World, by_first, together
from training.progress import logged
from training.run_folder import RunFolder
from training.watch import Picture, Watch
from training.watchdog import Watchdog

log = logging.getLogger(__name__)


class Session(ABC):
    """A run that goes on from the last checkpoint of its folder where there is one. ``step``: steps that are done.

    What is begun ends with ``stack``. ``check``: of the data, before anything is written; gives URL and fingerprint of
    the datasets. A subclass makes what it trains, then calls ``resume``.

    Raises:
        TrainingError: the folder is another run's or in use, or a store refuses.
    """

    def __init__(
        self, config: KeptConfig, world: World, stack: ExitStack, check: Callable[[], list[dict[str, str]]]
    ) -> None:
        run, self._settings, self._stack, self.world = config.run, config, stack, world
        console = Console(stderr=True)
        stack.enter_context(logged(console, world.rank))
        self.console = console if world.rank == 0 else Console(quiet=True)
        datasets = together(check, world)
        self._folder = RunFolder(run.out, run.storage_options)
        stack.callback(self._folder.close)
        by_first(self._folder.claim, world)
        self.output = self._folder.output
        self._checkpoints = Checkpoints(
            run.out,
            config.checkpoint,
            rank=world.rank,
            world_size=world.size,
            storage_options=run.storage_options,
        )
        stack.callback(self._checkpoints.close)
        self._latest = self._checkpoints.latest()
        self.step = 0
        self._saved: object = None
        self._begin(datasets)
        self.watchdog = stack.enter_context(Watchdog(run.hang, world))

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds, by name."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What it says beside, in JSON."""

    @abstractmethod
    def accept(self, facts: dict[str, Any]) -> None:
        """Go on where ``facts`` say. Raises TrainingError: they are of another run."""

    @property
    def goes_on(self) -> bool:
        """There is a checkpoint."""
        return self._latest is not None

    @property
    def mark(self) -> object:
        """What is saved once for each of its values."""
        return self.step

    def resume(self) -> None:
        """Fill the tensors from the last checkpoint where there is one; then the run is watched.

        Raises:
            TrainingError: see ``Checkpoints.load`` and ``accept``; a file cannot be written.
        """
        latest = self._latest
        if latest is not None:
            facts = self._checkpoints.load(latest, self.tensors())
            self.step = latest.step
            self.accept(facts)
            log.info("goes on from step %d", self.step)
        self._saved = self.mark
        step = latest.step if latest else None
        self._watch = together(
            lambda: Watch(self._folder, self._settings.watch, self.world.rank, step=step), self.world
        )
        self._stack.callback(self._watch.close)

    def due(self, every: int) -> bool:
        """After every so many steps; 0: never."""
        return every > 0 and self.step % every == 0

    def scalars(self, values: Mapping[str, float]) -> None:
        """Write numbers down, after this step."""
        by_first(partial(self._watch.scalars, self.step, values), self.world)

    def show(self, name: str, picture: Callable[[], Picture]) -> None:
        """Keep a picture that the first rank makes."""
        by_first(lambda: self._watch.image(self.step, name, picture()), self.world)

    def save(self) -> None:
        """Save a checkpoint in the background, unless the last has the same mark.

        Raises:
            TrainingError: another process has the folder, or a file cannot be written.
        """
        if self.mark != self._saved:
            self.watchdog.beat("save a checkpoint")
            by_first(self._folder.hold, self.world)
            self._checkpoints.save(self.step, self.tensors(), self.facts())
            self._saved = self.mark
            by_first(self._folder.upload, self.world)

    def _begin(self, datasets: list[dict[str, str]]) -> None:
        """The first rank says in the folder what is begun; it has what is logged until the end."""
        config = self._settings
        text = yaml.safe_dump(config.written(), sort_keys=False)
        step = self._latest.step if self._latest else 0
        begin = partial(self._folder.open, resume=self.goes_on, step=step, filled=type(config).filled)
        by_first(lambda: begin(text, {"datasets": datasets}), self.world)


def named(**parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of several parts by ``part.name``."""
    return {f"{part}.{name}": value for part, some in parts.items() for name, value in some.items()}
