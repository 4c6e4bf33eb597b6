"""Running the methods of a benchmark over its sets, and choosing the cases that are shown."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
from rich.progress import Progress

from model.tasks import Task
from training.evaluation.config import EvaluateConfig
from training.evaluation.features import Extractor
from training.evaluation.methods import Method
from training.evaluation.results import Row, SetSize, Shown
from training.evaluation.runs import Made
from training.evaluation.scores import CaseScore, distance, judged, score, values_of
from training.evaluation.sets import Case, Group, Which, choose, read
from training.streaming.index import Index

log = logging.getLogger(__name__)


class Judge:
    """Collects ``sizes``, ``rows`` and ``shown`` cases, one set at a time, whose pictures lie in memory.

    ``progress``: bars; without them there is a line in the log for each method.
    """

    def __init__(self, config: EvaluateConfig, index: Index, features: Extractor, progress: Progress | None) -> None:
        self._config, self._index, self._features, self._progress = config, index, features, progress
        self.sizes: list[SetSize] = []
        self.rows: list[Row] = []
        self.shown: list[Shown] = []

    def judge(self, task: Task, token_px: int, methods: Callable[[Sequence[Group]], list[Method]]) -> None:
        """Both sets of a task by the ``methods`` for them.

        Raises:
            StreamError: the data cannot be delivered.
        """
        plan = self._config.plan(task, token_px)
        for chosen in choose(self._index, plan, self._config.designs):
            groups = read(self._index, chosen, plan)
            cases = [case for group in groups for case in group.cases]
            self.sizes.append(SetSize(task, chosen.which, len(cases), chosen.wanted, chosen.there))
            if cases:
                candidates = self._judge(chosen.which, groups, methods(groups))
                self.shown += _picked(chosen.which, cases, candidates, self._config.cases)

    def beside(self, task: Task, token_px: int, method: Method) -> None:
        """The same sets by one more model, which may have other tokens; its pictures go to the cases that are shown."""
        plan = self._config.plan(task, token_px)
        for chosen in choose(self._index, plan, self._config.designs):
            groups = read(self._index, chosen, plan)
            if not groups:
                continue
            ((name, made, scores),) = self._judge(chosen.which, groups, [method])
            found = {score.key: (one, score) for one, score in zip(made, scores, strict=True)}
            for shown in self.shown:
                if (shown.case.task, shown.which) == (task, chosen.which) and shown.case.key in found:
                    shown.made[name], shown.scores[name] = found[shown.case.key]

    def _judge(
        self, which: Which, groups: Sequence[Group], methods: Sequence[Method]
    ) -> list[tuple[str, list[Made], list[CaseScore]]]:
        """The rows of a set; what is made by the methods whose results are shown, which alone is kept."""
        cases = [case for group in groups for case in group.cases]
        true = np.concatenate([self._features([case.truth for case in group.cases]) for group in groups])
        steps = self._steps(f"{cases[0].task}, {which}", len(cases) * len(methods))
        kept = []
        for method in methods:
            began, made, scores, features = time.perf_counter(), [], [], []
            for group in groups:
                some = method.make(group)
                scores += [score(case, one) for case, one in zip(group.cases, some, strict=True)]
                features.append(self._features(judged(group.cases, some)))
                made += some if method.shown else []
                steps(len(some))
            values = values_of(scores) | distance(np.concatenate(features), true, alike=not method.control)
            costs = {one.key: one.layers.cost for one in scores if one.layers is not None}
            row = Row(cases[0].task, which, method.name, method.layout, len(cases), values, costs, method.control)
            self.rows.append(row)
            took = time.perf_counter() - began
            how = "control" if method.control else f"{method.layout} layout"
            log.info("%s, %s: %s, %s, %.1f s", cases[0].task, which, method.name, how, took)
            if method.shown:
                kept.append((method.name, made, scores))
        return kept

    def _steps(self, name: str, total: int) -> Callable[[int], None]:
        if self._progress is None:
            return lambda steps: None
        progress, bar = self._progress, self._progress.add_task(name, total=total)
        return lambda steps: progress.advance(bar, steps)


def _picked(
    which: Which, cases: Sequence[Case], candidates: Sequence[tuple[str, list[Made], list[CaseScore]]], number: int
) -> list[Shown]:
    """The best and the worst cases by the last of the shown methods, and the first ones, whatever the method.

    Of few cases none is both among the best and the worst.
    """
    _, _, scores = candidates[-1]
    order = sorted(range(len(cases)), key=lambda at: _badness(scores[at]))
    why: dict[int, list[str]] = {}
    for name, places in (
        ("best", order[: min(number, len(order) - len(order) // 2)]),
        ("worst", order[::-1][: min(number, len(order) // 2)]),
        ("first", range(min(number, len(order)))),
    ):
        for place in places:
            why.setdefault(place, []).append(name)
    return [
        Shown(
            cases[place],
            which,
            tuple(names),
            {name: made[place] for name, made, _ in candidates},
            {name: found[place] for name, _, found in candidates},
        )
        for place, names in why.items()
    ]


def _badness(score: CaseScore) -> float:
    """The cost of the layers; where they have no true answer, how far they are from the model's own picture."""
    if score.layers is not None:
        return score.layers.cost
    return -score.merged.psnr if score.merged is not None else 0.0
