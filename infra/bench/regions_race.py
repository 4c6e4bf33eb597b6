"""Regions against full-canvas layers on one transformer: the same designs, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from infra.bench.regions_measure import seconds
from infra.bench.regions_work import TASK, both
from model import cost, layouts
from model.cost import Architecture
from model.layouts import Layout
from model.transformer import RegionTransformer

POOL = 200
T = TypeVar("T", int, float)
HEAD = (
    "layers", "image tokens, regions", "full canvas", "s, regions", "s, full canvas", "times as fast",
    "times less CPU time", "times fewer FLOPs", "GFLOP/s, regions", "GFLOP/s, full canvas",
)  # fmt: skip


@dataclass(frozen=True)
class Race:
    """Of designs of as many ``layers``: sums for regions and for full canvases. ``designs``: how many.

    ``seconds`` are wall clock, ``cpu`` those that this process worked.
    """

    layers: int
    designs: int
    tokens: tuple[int, int]
    flops: tuple[int, int]
    seconds: tuple[float, float]
    cpu: tuple[float, float]

    @property
    def times(self) -> float:
        return self.seconds[1] / self.seconds[0]

    def row(self) -> tuple[object, ...]:
        mean = [f"{tokens / self.designs:.0f}" for tokens in self.tokens]
        speed = [f"{flops / taken / 1e9:.0f}" for flops, taken in zip(self.flops, self.seconds, strict=True)]
        taken = [f"{value:.3f}" for value in self.seconds]
        less = self.cpu[1] / self.cpu[0], self.flops[1] / self.flops[0]
        return (self.layers, *mean, *taken, self.times, *less, *speed)


def representative(layers: int, side: int, count: int) -> list[Layout]:
    """Of ``POOL`` drawn designs those at evenly spaced ranks of the number of tokens, so that few stand for all."""
    pool = [layouts.draw(layers, side, seed) for seed in range(POOL)]
    pool.sort(key=lambda layout: sum(region.tokens for region in layout.regions(TASK)))
    return [pool[(2 * place + 1) * POOL // (2 * count)] for place in range(count)]


def race(model: RegionTransformer, layers: int, side: int, text: int, designs: int, repeats: int) -> Race:
    """Forward passes of ``designs`` designs on canvases of ``side`` tokens; of each the least of its times."""
    a = Architecture.of(model.config)
    out = Race(layers, designs, (0, 0), (0, 0), (0.0, 0.0), (0.0, 0.0))
    for layout in representative(layers, side, designs):
        works = both(model, layout, text)
        taken: list[list[tuple[float, float]]] = [[], []]
        for _ in range(repeats + 1):
            for place, work in enumerate(works):
                taken[place].append(seconds(work.infer, model.device))
        wall, cpu = ([min(one[kind] for one in each[1:]) for each in taken] for kind in (0, 1))
        out = replace(
            out,
            tokens=_add(out.tokens, [work.regions.tokens for work in works]),
            flops=_add(out.flops, [cost.forward(a, work.lengths) for work in works]),
            seconds=_add(out.seconds, wall),
            cpu=_add(out.cpu, cpu),
        )
    return out


def _add(sums: tuple[T, T], more: Sequence[T]) -> tuple[T, T]:
    return sums[0] + more[0], sums[1] + more[1]
