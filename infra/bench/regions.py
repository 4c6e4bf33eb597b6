"""What do region tokens save? ``python -m infra.bench.regions [--out FILE.md] [--resolution 256] [--repeats 5]``.

One transformer with drawn weights, the width and blocks of ``tiny``, tokens of 16 px. The same designs as regions
(image-to-layers: composed, background, a box a layer) and as Qwen-Image-Layered has them (composed, every layer as
large as it, the given picture). The two take turns; of each design the least time of the repeats counts. Shares of
layers are lognormal (median 4.5 %, sigma 1), and text is as long as 256 tokens would be at 1024 px.

Waste is 1 - useful / executed FLOPs of micro-batches of mixed designs: executed as torch counts them, useful what each
design needs alone, with one row of modulation. With a GPU also: bf16, 1024 px and the real width.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import torch

from infra.bench import regions_gpu, regions_parity
from infra.bench.machine import describe
from infra.bench.regions_measure import flops, kept_bytes
from infra.bench.regions_race import HEAD, POOL, race
from infra.bench.regions_work import TASK, TOKEN_PX, Work, backbone, both, grown
from infra.bench.tables import Section, publish
from model import cost, layouts
from model.attention import Backend
from model.cost import Architecture
from model.layouts import Layout
from model.tasks import COMPOSED, Region
from model.transformer import RegionTransformer

BARS = {4: 3.0, 11: 9.0, 20: 16.0}
"""Layers, and how many times as fast a forward pass with regions must be."""
MEMORY_BAR = 5.0
PARITY_BAR = 1e-5
WASTE_BAR = 0.03
BATCHES, TOGETHER = 4, 8
"""Micro-batches, and designs in each, of which waste is measured."""
_PACKAGES = ("torch", "diffusers")


@dataclass
class Bench:
    """The settings of all sections, the bars and what was measured against them. ``side``: of the canvas, in tokens."""

    side: int
    repeats: int
    designs: int
    model: RegionTransformer
    bars: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def text(self) -> int:
        return max(1, round(256 * (self.side / 64) ** 2))

    def speed(self) -> Section:
        """Wall clock of a forward pass."""
        raced = [race(self.model, layers, self.side, self.text, self.designs, self.repeats) for layers in BARS]
        for one in raced:
            bar = BARS[one.layers]
            self._bar(f"speed, {one.layers} layers", f"{one.times:.2f} x", f"at least {bar:.0f} x", one.times >= bar)
            less = one.cpu[1] / one.cpu[0]
            self._bar(f"CPU time, {one.layers} layers", f"{less:.2f} x", f"at least {bar:.0f} x", less >= bar)
        return "forward pass, CPU", HEAD, [one.row() for one in raced]

    def memory(self) -> Section:
        """What training keeps for the backward pass, and by what a new process grows in one step."""
        rows: list[tuple[object, ...]] = []
        a, less = Architecture.of(self.model.config), 0.0
        for layers in BARS:
            works = both(self.model, layouts.draw(layers, self.side, 0), self.text)
            kept = [kept_bytes(work.velocity, self.model.parameters()) for work in works]
            off = [cost.activations(a, work.lengths, 4) / has - 1 for work, has in zip(works, kept, strict=True)]
            less = kept[1] / kept[0]
            off_most = max(off, key=abs)
            rows.append((f"kept, {layers} layers", *(_mib(value) for value in kept), less, f"{100 * off_most:+.2f} %"))
        grew = [grown_alone(layers, self.side, self.text, full) for full in (False, True)]
        rows.append((f"resident, {layers} layers", *(_mib(value) for value in grew), grew[1] / grew[0], "–"))
        self._bar(f"activation memory, {layers} layers", f"{less:.2f} x less", "at least 5 x less", less >= MEMORY_BAR)
        head = ("what", "MiB, regions", "MiB, full canvas", "times less", "model.cost is off by")
        return "memory of a training step", head, rows

    def parity(self) -> Section:
        """Ours against diffusers, and against ours in other company."""
        measured = list(regions_parity.measure())
        for one in measured:
            self._bar(one.what, f"{one.difference:.1e}", f"at most {PARITY_BAR:.0e}", one.difference <= PARITY_BAR)
        rows = [(one.what, f"{one.difference:.1e}", f"{one.scale:.1f}") for one in measured]
        return "parity, float32", ("what", "largest difference", "largest value"), rows

    def waste(self) -> Section:
        """Of packed micro-batches, and of padded ones."""
        at, rows = random.Random(0), []
        totals = {"packed, segments": [0, 0], "packed, attention padded and masked": [0, 0], "all padded": [0, 0]}
        for batch in range(BATCHES):
            numbers = [at.randint(2, 20) for _ in range(TOGETHER)]
            drawn = [layouts.draw(number, self.side, batch * TOGETHER + n) for n, number in enumerate(numbers)]
            texts = [at.randint(1, 2 * self.text) for _ in drawn]
            for name, (useful, executed) in zip(totals, waste_of(self.model, drawn, texts), strict=True):
                totals[name][0] += useful
                totals[name][1] += executed
        for name, (useful, executed) in totals.items():
            rows.append(
                (name, f"{useful / 1e9:.2f}", f"{executed / 1e9:.2f}", f"{100 * (1 - useful / executed):.2f} %")
            )
        useful, executed = totals["packed, segments"]
        wasted = 1 - useful / executed
        self._bar("waste, packed", f"{100 * wasted:.2f} %", "under 3 %", wasted < WASTE_BAR)
        title = f"waste of {BATCHES} micro-batches of {TOGETHER} designs of 2 to 20 layers"
        return title, ("how", "useful GFLOPs", "executed GFLOPs", "waste"), rows

    def _bar(self, what: str, value: str, bar: str, reached: bool) -> None:
        self.bars.append((what, value, bar, "yes" if reached else "NO"))


def waste_of(model: RegionTransformer, drawn: Sequence[Layout], texts: Sequence[int]) -> list[tuple[int, int]]:
    """Useful and executed FLOPs of a micro-batch: packed, with padded attention, and padded throughout."""
    work = Work.of(model, [layout.regions(TASK) for layout in drawn], drawn, texts)
    bare = replace(Architecture.of(model.config), split=False)
    useful = sum(cost.forward(bare, [lengths]) for lengths in work.lengths)
    packed = flops(work.infer)
    model.set_attention(Backend.PADDED)
    masked = flops(work.infer)
    model.set_attention(Backend.AUTO)
    return [(useful, packed), (useful, masked), (useful, flops(_padded(work).infer))]


def _padded(work: Work) -> Work:
    """As many designs, each as long as the longest: what a batch of equal rows computes."""
    longest = max(image for _, image in work.lengths)
    texts = [max(text for text, _ in work.lengths)] * len(work.lengths)
    box = (0, 0, longest, 1)
    rows = [[Region(COMPOSED, box)] for _ in texts]
    return Work.of(work.model, rows, [Layout((longest, 1), box, (box,)) for _ in texts], texts)


def grown_alone(*arguments: object) -> int:
    """``grown`` in a process that did nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(grown, *arguments).result()  # type: ignore[arg-type]


def _mib(value: int) -> str:
    return f"{value / 2**20:.0f}"


def _preamble(bench: Bench, arguments: argparse.Namespace) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    settings = f"--resolution {arguments.resolution} --repeats {arguments.repeats} --designs {arguments.designs}"
    return (
        f"{describe()}; {versions}; one thread; load average {os.getloadavg()[0]:.1f}.\n"
        f"Command: `python -m infra.bench.regions {settings}`\n\n"
        f"{bench.side} x {bench.side} tokens of {TOKEN_PX} px a canvas, {bench.text} text tokens, "
        f"{bench.designs} designs a row, at evenly spaced ranks of {POOL} drawn ones by their tokens; seconds are sums "
        f"over them of the least of {bench.repeats} runs. The bars of speed hold for wall clock and for CPU time.\n"
    )


def main() -> None:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m infra.bench.regions", description=about)
    parser.add_argument("--out", type=Path, help="write the tables to this Markdown file too")
    parser.add_argument("--resolution", type=int, default=256, help="px of a side of the canvas")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each design")
    parser.add_argument("--designs", type=int, default=6, help="designs of each number of layers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # more wait for each other wherever somebody else works on the machine
    model = backbone("tiny", torch.device("cpu"), torch.float32)
    bench = Bench(arguments.resolution // TOKEN_PX, arguments.repeats, arguments.designs, model)
    sections = [bench.speed(), bench.memory(), bench.parity(), bench.waste(), *regions_gpu.sections(arguments.repeats)]
    bars: Section = ("Bars", ("what", "measured", "bar", "reached"), bench.bars)
    publish("Region tokens", _preamble(bench, arguments), [bars, *sections], arguments.out)


if __name__ == "__main__":
    main()
