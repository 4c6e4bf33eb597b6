"""Scores of a method over the designs of a set, from the measures of each design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from model.tasks import Task
from schemas.geometry import Box
from training.evaluation.edits import edit_scores
from training.evaluation.frechet import Features, frechet_distance, frechet_interval
from training.evaluation.metrics import (
    LayerScore,
    MergedScore,
    mean,
    score_layers,
    score_merged,
    score_overflow,
)
from training.evaluation.runs import Made
from training.evaluation.sets import Case
from training.evaluation.stack import Placed, Stack, clipped, composite

DRAWS = 2000
"""Of a bootstrap."""
CONFIDENCE = 0.95
MOST_FEATURES = 256
"""Of a design, for which hundreds of distances take no more than seconds."""
LEAST_DESIGNS = 3
"""For each feature, for an interval: of fewer it is too narrow (of 20 designs by 16 features it holds in half of the
cases).
"""

Values = dict[str, float]
"""A measure by its name; what does not apply is not there."""


@dataclass(frozen=True)
class CaseScore:
    """One design. ``layers``: the mean over the layers that were to be made, ``overflow``: over their pixels outside of
    the visible box. ``edits``: the edit distance after 0, 1, ... merges.
    """

    key: str
    layers: LayerScore | None
    overflow: LayerScore | None
    merged: MergedScore | None
    edits: tuple[float, ...] = ()


def score(case: Case, made: Made) -> CaseScore:
    """What applies to a case: by number where a layer has one true answer, by edits where it is image-to-layers.

    The merged picture is compared with what was given in image-to-layers, with the true one in add-layer and restyle,
    and with the composed picture that the model made itself in text-to-layers.
    """
    if case.task is Task.TEXT_TO_LAYERS:
        merged = score_merged(made.stack, made.composed) if made.composed else None
        return CaseScore(case.key, None, None, merged)
    stack = clipped(made.stack, case.truth) if made.by_number else made.stack
    layers = overflow = None
    if made.by_number:
        layers = _over(case, score_layers(stack, case.truth))
        overflow = _over(case, score_overflow(stack, case.truth))
    shown = case.task is Task.IMAGE_TO_LAYERS
    edits = tuple(one.cost for one in edit_scores(stack, case.truth)) if shown else ()
    reference = case.composed if shown else merged_truth(case.truth)
    return CaseScore(case.key, layers, overflow, score_merged(stack, reference), edits)


def _over(case: Case, scores: Sequence[LayerScore | None]) -> LayerScore | None:
    """The mean over the layers that were to be made."""
    return mean(scores[place] for place in case.targets)


def merged_truth(stack: Stack) -> Placed:
    """The layers of a design as one picture of its canvas."""
    return Box(0, 0, *stack.canvas), composite(stack)


def judged(cases: Sequence[Case], made: Sequence[Made]) -> list[Stack]:
    """The stacks as they are judged: cut to the exact boxes where the layers have true ones."""
    return [
        clipped(one.stack, case.truth) if one.by_number and case.task is not Task.TEXT_TO_LAYERS else one.stack
        for case, one in zip(cases, made, strict=True)
    ]


def values_of(scores: Sequence[CaseScore]) -> Values:
    """Means over designs, each the mean over its layers, and the bootstrap interval of the mean cost."""
    out: Values = {}
    for prefix, found in (
        ("", mean(score.layers for score in scores)),
        ("overflow_", mean(score.overflow for score in scores)),
        ("merged_", mean(score.merged for score in scores)),
    ):
        out |= {f"{prefix}{name}": value for name, value in (asdict(found) if found else {}).items()}
    costs = [score.layers.cost for score in scores if score.layers is not None]
    if costs:
        out["cost_low"], out["cost_high"] = interval(costs)
    edits = [score.edits for score in scores if score.edits]
    if edits:
        out |= {f"edit_{merges}": float(value) for merges, value in enumerate(np.mean(edits, axis=0))}
    return out


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The bootstrap interval of a mean over designs, by percentiles."""
    found = np.asarray(values)
    drawn = np.random.default_rng(0).integers(len(found), size=(DRAWS, len(found)))
    low, high = np.quantile(found[drawn].mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return low, high


def distance(made: Features, true: Features, *, alike: bool = True) -> Values:
    """Fréchet's distance of the made designs to the true ones; nothing of fewer than two.

    It has its interval where that can be told: features are few, designs many to them, and what is made of a design is
    ``alike`` it, not another one.
    """
    if len(made) < 2:
        return {}
    features = made.shape[1]
    if not alike or features > MOST_FEATURES or len(made) < LEAST_DESIGNS * features:
        return {"frechet": frechet_distance(made, true)}
    found = frechet_interval(made, true, confidence=CONFIDENCE)
    return {"frechet": found.value, "frechet_low": found.low, "frechet_high": found.high}
