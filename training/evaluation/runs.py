"""The layers that a model makes for the designs of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from model.errors import ModelError
from model.pictures import Fit, refit
from model.sampling import layered_shift
from model.tasks import BACKGROUND, COMPOSED, LAYERED_INPUT
from model.variants import Variant, visible_tokens
from schemas.geometry import Box
from training.errors import UsageError
from training.evaluation.layouts import Layout, detected
from training.evaluation.sets import Case, Group
from training.evaluation.stack import Placed, Stack
from training.examples import Example, ExampleConfig, prepare
from training.jitter import JitterConfig
from training.learner import Learner
from training.sampled import Sampler, decoded, sample_tokens


@dataclass(frozen=True, eq=False)
class Made:
    """What a method made of a case.

    ``by_number``: its layers are those of the truth, one for one. ``composed``: the composed picture, where the model
    makes it itself.
    """

    stack: Stack
    by_number: bool = True
    composed: Placed | None = None


@dataclass(frozen=True, eq=False)
class Runner:
    """A model on a device. ``jitter``: of the jittered layout. ``seed``: of that and of the noise.

    ``layered_shift``: the schedule of each picture is the one that Qwen-Image-Layered was released with.
    """

    learner: Learner
    device: torch.device
    jitter: JitterConfig = field(default_factory=lambda: JitterConfig(share=1))
    seed: int = 0
    layered_shift: bool = False

    @property
    def variant(self) -> Variant:
        return variant_of(self.learner.transformer.config)

    @property
    def overflows(self) -> bool:
        """Its layers may reach out of the picture."""
        return self.variant is Variant.MRT and self.learner.bundle.overflow

    @property
    def token_px(self) -> int:
        return self.learner.codec.token_px

    def run(
        self,
        group: Group,
        sampler: Sampler,
        layout: Layout = Layout.TRUE,
        shown: Sequence[Placed] | None = None,
    ) -> list[Made]:
        """The layers of each case. ``shown``: other pictures that the model is given in place of the cases' own.

        Raises:
            UsageError: the model does not know the task, cannot take a design, or makes of one what is no picture.
        """
        example = self._example(group, layout)
        if shown is not None:
            example = self._given(example, [picture for _, picture in shown])
        tokens_TC = torch.cat([sample_tokens(self.learner, one, own) for one, own in self._samplers(example, sampler)])
        return self._made(group, example, tokens_TC, layout)

    @torch.no_grad()
    def ceiling(self, group: Group) -> list[Made]:
        """The true layers encoded and decoded: what a perfect model would make."""
        example = self._example(group, Layout.TRUE)
        return self._made(group, example, example.tokens, Layout.TRUE)

    def _example(self, group: Group, layout: Layout) -> Example:
        """The designs as they are, but for their layout."""
        codec, variant, jittered = self.learner.codec, self.variant, layout is Layout.JITTERED
        config = ExampleConfig(empty_prompt=0, coloured_ground=0, jitter=self.jitter, overflow=self.overflows)
        example = prepare(
            group.batch, codec, config, seed=self.seed, device=self.device, variant=variant, evaluation=not jittered
        )
        return detected(example, group, self.token_px, self.overflows) if layout is Layout.DETECTED else example

    def _given(self, example: Example, pictures: Sequence[Tensor]) -> Example:
        regions, t = example.regions, self.token_px
        tokens = list(torch.split(example.tokens, regions.counts))
        rows = zip(regions.layer.tolist(), regions.clean.tolist(), regions.design.tolist(), regions.sizes, strict=True)
        for row, (layer, clean, design, (height, width)) in enumerate(rows):
            if clean and layer in (COMPOSED, LAYERED_INPUT):
                other = refit(pictures[design].to(self.device), (height * t, width * t), Fit.STRETCH)
                tokens[row] = self.learner.codec.encode([other]).to(example.tokens)
        return replace(example, tokens=torch.cat(tokens))

    def _samplers(self, example: Example, sampler: Sampler) -> list[tuple[Example, Sampler]]:
        if not self.layered_shift:
            return [(example, sampler)]
        alone = [example.select([number]) for number in range(len(example.keys))]
        return [(one, replace(sampler, shift=layered_shift(one.regions.counts[0]))) for one in alone]

    def _made(self, group: Group, example: Example, tokens_TC: Tensor, layout: Layout) -> list[Made]:
        regions = example.regions
        kept = [row for row, condition in enumerate(regions.condition.tolist()) if not condition]
        boxes, layers, owners = regions.boxes.tolist(), regions.layer.tolist(), regions.design.tolist()
        out = []
        for number, pictures in enumerate(self._decoded(example, tokens_TC)):
            case, rows = group.cases[number], [row for row in kept if owners[row] == number]
            x, y = (a - b for a, b in zip(case.truth.visible[:2], example.visible[number].tolist()[:2], strict=True))
            placed = {
                layers[row]: (Box(*(side * self.token_px for side in boxes[row])).shift(round(x), round(y)), made.cpu())
                for row, made in zip(rows, pictures, strict=True)
            }
            given = any(layers[row] == COMPOSED and bool(regions.clean[row]) for row in rows)
            out.append(self._of_case(case, placed, layout, None if given else placed[COMPOSED]))
        return out

    def _decoded(self, example: Example, tokens_TC: Tensor) -> list[list[Tensor]]:
        try:
            return decoded(self.learner, example, tokens_TC)
        except ModelError as error:
            raise UsageError(f"checkpoint: of design {example.keys[0]} and those beside it: {error}") from error

    def _of_case(self, case: Case, placed: dict[int, Placed], layout: Layout, composed: Placed | None) -> Made:
        if layout is Layout.DETECTED:
            found = [placed[layer] for layer in sorted(placed) if layer >= BACKGROUND]
            return Made(replace(case.truth, layers=found), by_number=False)
        numbers = dict(zip(self._known(case), range(BACKGROUND, len(placed) + BACKGROUND), strict=False))
        layers = []
        for place, (box, true) in enumerate(case.truth.layers):
            if place not in case.targets:
                layers.append((box, true))
            else:
                layers.append(placed[numbers[place]] if place in numbers else (box, torch.zeros_like(true)))
        return Made(replace(case.truth, layers=layers), composed=composed)

    def _known(self, case: Case) -> list[int]:
        """Places of the layers that the model has tokens for: where they do not overflow, of what is in the picture."""
        layers = range(len(case.truth.layers))
        if self.overflows:
            return list(layers)
        visible = visible_tokens(torch.tensor([case.truth.visible], dtype=torch.float64), self.token_px)[0].tolist()
        picture = Box(*(side * self.token_px for side in visible))
        return [at for at in layers if at == 0 or not case.truth.layers[at][0].intersect(picture).empty]


def variant_of(config: Mapping[str, Any]) -> Variant:
    """Whose model a checkpoint is, by the settings of its transformer."""
    if config.get("use_layer3d_rope"):
        return Variant.LAYERED
    return Variant.ART if config.get("layer_slots") else Variant.MRT
