"""How good a codec is at designs that it never learned from, a sheet of them, and the statistics of its latents.

Pictures are encoded and decoded as generation does it, in 8 bits. Ranks share the micro-batches; figures are of all.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from model.codecs.base import LayerCodec
from model.codecs.vae import RgbaCodec
from model.tasks import Task
from schemas.compositing import Placed, composite_fast
from schemas.geometry import Box
from training.batch import MicroBatch
from training.codec_config import CodecValidationConfig
from training.codec_learner import Layers
from training.errors import UsageError
from training.examples import Example
from training.parallel import World, together, total
from training.sheet import Row, rows_of, sheet
from training.stream import DesignStream, default_plan_dir

LEAST_STD = 1e-4
"""Of a channel of the latents: one that is always the same is not blown up."""


class Scores(NamedTuple):
    """Means over layers that show anything: ``rgb_l1``: of colour, in [0, 1], where the truth is visible; ``alpha_l1``;
    ``alpha_iou``: soft. ``composite_psnr``: dB, of the mean square error of designs over white in their visible boxes.
    """

    rgb_l1: float
    alpha_l1: float
    alpha_iou: float
    composite_psnr: float

    def scalars(self) -> dict[str, float]:
        """By a name for ``training.watch``."""
        return {f"validation/{name}": value for name, value in self._asdict().items()}


class FirstDesigns:
    """The first designs of a split in whole micro-batches, the same at every world size; they are kept in memory.

    ``settings``: arguments of a ``DesignStream``, as for training.
    """

    def __init__(self, settings: Mapping[str, Any], designs: int, world: World, **changes: Any) -> None:
        folder = Path(settings.get("plan_dir") or default_plan_dir()) / "validation"
        fixed = {"tasks": Task.TEXT_TO_LAYERS, "workers": 0, "plan_dir": folder, **changes}
        self._settings, self._designs, self._world = {**settings, **fixed}, designs, world
        self._kept: list[MicroBatch] | None = None

    @classmethod
    def held_out(cls, settings: Mapping[str, Any], config: CodecValidationConfig, world: World) -> FirstDesigns:
        """Those of the validation."""
        return cls(settings, config.designs, world, split=config.split, seed=config.seed)

    def kept(self) -> list[MicroBatch]:
        """This rank's, read the first time; all ranks ask together."""
        if self._kept is None:
            self._kept = together(lambda: list(self.read()), self._world)
        return self._kept

    def read(self) -> Iterator[MicroBatch]:
        """This rank's, those without a design left out.

        Raises:
            UsageError: the split has no design. StreamError: it cannot be read.
        """
        stream = DesignStream(**self._settings, rank=self._world.rank, world_size=self._world.size)
        plan = stream.plan()
        if len(plan) == 0:
            raise UsageError(f"the split {stream.config.split!r} has no design: set validation.split to one that has")
        count = next((number for number in range(1, len(plan)) if plan.starts[number] >= self._designs), len(plan))
        with closing(cast(Generator[MicroBatch, None, None], iter(stream))) as batches:
            for batch in batches:
                if batch.position >= count:
                    return
                if batch.keys:
                    yield batch


def validate(codec: LayerCodec, designs: FirstDesigns, world: World) -> Scores:
    """The scores of the designs of all ranks, which all call it."""
    layer_sums, design_sums = np.zeros(4), np.zeros(2)
    for batch in designs.kept():
        layers, back = _coded(codec, batch, world.device)
        for truth, made in zip(layers.pictures, back, strict=True):
            if truth[..., 3].any():
                layer_sums += [*_errors(truth, made), 1]
        for row in _rows(batch, layers, codec.token_px, back):
            shown = [_on_white(version.layers, row.visible) for version in row.versions.values()]
            design_sums += [np.square(shown[0] - shown[1]).mean(), 1]
    sums = total(torch.from_numpy(np.concatenate([layer_sums, design_sums])), world).tolist()
    rgb, alpha, iou = (value / max(1, sums[3]) for value in sums[:3])
    return Scores(rgb, alpha, iou, -10 * math.log10(max(sums[4] / max(1, sums[5]), 1e-10)))


def codec_sheet(codec: LayerCodec, batches: Sequence[MicroBatch], designs: int, device: torch.device) -> Image.Image:
    """The truth and what the codec gives back of it, of the first ``designs`` of some micro-batches."""
    rows: list[Row] = []
    for batch in batches:
        if len(rows) < designs:
            layers, back = _coded(codec, batch, device)
            rows += _rows(batch, layers, codec.token_px, back)
    return sheet(rows[:designs])


@torch.no_grad()
def latent_statistics(codec: RgbaCodec, designs: FirstDesigns, world: World) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of the latents of the regions of designs, before normalisation.

    Asked by all ranks together.

    Raises:
        TrainingError: of this rank or of another, while designs are read.
    """
    mean_z, std_z = (
        torch.tensor(codec.vae.config[name], dtype=torch.float64) for name in ("latents_mean", "latents_std")
    )
    sums = together(lambda: _token_sums(codec, designs, world.device), world)
    count, first_z, second_z = torch.split(total(sums, world), [1, len(mean_z), len(mean_z)])
    tokens_mean_z = first_z / count
    tokens_std_z = (second_z / count - tokens_mean_z.square()).clamp(min=0).sqrt()
    measured_z = (tokens_std_z * std_z).clamp(min=LEAST_STD)
    return (tokens_mean_z * std_z + mean_z).tolist(), measured_z.tolist()


def _token_sums(codec: RgbaCodec, designs: FirstDesigns, device: torch.device) -> Tensor:
    """float64 [1 + 2 z]: how many latents, their sums, and those of their squares, as they are normalised now."""
    latents = int(codec.vae.config["z_dim"])
    sums = torch.zeros(1 + 2 * latents, dtype=torch.float64)
    for batch in designs.read():
        layers = Layers.of(batch, codec.token_px, device)
        tokens_TC = codec.encode(layers.pictures).double().cpu()
        values_zN = tokens_TC.reshape(len(tokens_TC), latents, -1).transpose(0, 1).flatten(1)
        count = torch.tensor([values_zN.shape[1]], dtype=torch.float64)
        sums += torch.cat([count, values_zN.sum(dim=1), values_zN.square().sum(dim=1)])
    return sums


def _coded(codec: LayerCodec, batch: MicroBatch, device: torch.device) -> tuple[Layers, list[Tensor]]:
    layers = Layers.of(batch, codec.token_px, device)
    return layers, codec.decode_regions(codec.encode(layers.pictures), layers.regions)


def _errors(truth: Tensor, made: Tensor) -> tuple[float, float, float]:
    a, b = truth.float() / 255, made.float() / 255
    rgb = (a - b)[truth[..., 3] > 0][:, :3].abs().mean()
    alpha = (a - b)[..., 3].abs().mean()
    iou = torch.minimum(a[..., 3], b[..., 3]).sum() / torch.maximum(a[..., 3], b[..., 3]).sum()
    return float(rgb), float(alpha), float(iou)


def _rows(batch: MicroBatch, layers: Layers, token_px: int, back: Sequence[Tensor]) -> list[Row]:
    """Truth and model of each design, as ``training.sheet`` shows them."""
    owners = layers.regions.design.tolist()

    def of_designs(pictures: Sequence[Tensor]) -> list[list[Tensor]]:
        each: list[list[Tensor]] = [[] for _ in batch.keys]
        for owner, picture in zip(owners, pictures, strict=True):
            each[owner].append(picture)
        return each

    example = Example(
        keys=batch.keys,
        tasks=batch.tasks,
        prompts=batch.prompts,
        epoch=batch.epoch,
        position=batch.position,
        regions=layers.regions,
        tokens=torch.empty(0),
        visible=batch["visible"],
    )
    return rows_of(example, token_px, of_designs(layers.pictures), of_designs(back))


def _on_white(layers: Sequence[Placed], visible: Box) -> npt.NDArray[np.float64]:
    """[H, W, 3] in [0, 1]."""
    white = np.full((visible.height, visible.width, 4), 255, np.uint8)
    shown = composite_fast([(white, visible), *layers], visible)
    return shown[..., :3] / np.float64(255)
