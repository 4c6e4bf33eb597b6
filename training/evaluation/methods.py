"""The methods of a benchmark: baselines, the model in all its ways of being asked, and its control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from model.guidance import Guidance
from model.tasks import Task
from model.variants import Variant
from training.evaluation.baselines import colour_key, crop, deranged
from training.evaluation.config import EvaluateConfig
from training.evaluation.layouts import Layout
from training.evaluation.runs import Made, Runner
from training.evaluation.sets import Case, Group
from training.evaluation.stack import Placed, Stack
from training.sampled import Sampler


@dataclass(frozen=True, eq=False)
class Method:
    """A row to be made. ``make``: of a micro-batch; ``control``: must be clearly worse; ``shown``: among the cases."""

    name: str
    make: Callable[[Group], list[Made]]
    layout: Layout = Layout.TRUE
    control: bool = False
    shown: bool = False


def methods(config: EvaluateConfig, runner: Runner, groups: Sequence[Group]) -> list[Method]:
    """What a set of designs of one task is judged by.

    Image-to-layers alone has baselines, other layouts, and a control that is given the picture of another design.
    """
    cases = [case for group in groups for case in group.cases]
    out = [Method("codec ceiling", runner.ceiling)]
    taken_apart = cases[0].task is Task.IMAGE_TO_LAYERS
    if taken_apart:
        out = [Method("exact crop", partial(_each, crop)), Method("colour key", partial(_each, colour_key)), *out]
    others = dict(zip((case.key for case in cases), deranged([case.composed for case in cases]), strict=True))
    for steps in config.steps:
        name = f"model, {steps} step{'s' if steps > 1 else ''}"
        run = partial(_run, runner, _sampler(config, steps, config.guidance))
        layouts = [Layout.TRUE]
        if taken_apart:
            boxed = runner.variant is Variant.MRT
            layouts = [layout for layout in config.layouts if boxed or layout is Layout.TRUE]
        out += [Method(name, partial(run, layout), layout, shown=layout is Layout.TRUE) for layout in layouts]
        if taken_apart and len(cases) > 1:
            out.append(Method(name, partial(run, Layout.TRUE, others=others), control=True))
    return out


def layered_method(config: EvaluateConfig, runner: Runner) -> Method:
    """Qwen-Image-Layered, told how many layers there are."""
    steps = config.layered_steps
    sampler = _sampler(config, steps, config.layered_guidance)
    return Method(f"Qwen-Image-Layered, {steps} steps", partial(_run, runner, sampler, Layout.TRUE), shown=True)


def _sampler(config: EvaluateConfig, steps: int, guidance: float | None) -> Sampler:
    asked = None if guidance is None else Guidance(guidance)
    return Sampler(steps=steps, shift=config.shift, guidance=asked, seed=config.seed)


def _each(method: Callable[[Case], Stack], group: Group) -> list[Made]:
    return [Made(method(case)) for case in group.cases]


def _run(
    runner: Runner, sampler: Sampler, layout: Layout, group: Group, others: dict[str, Placed] | None = None
) -> list[Made]:
    shown = None if others is None else [others[case.key] for case in group.cases]
    return runner.run(group, sampler, layout, shown)
