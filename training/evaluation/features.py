"""What Fréchet distances compare: designs as rows of numbers.

``design_features`` needs no network: sixteen numbers of the merged picture and of the layers, told in ``NAMES``, all of
about the same range. ``PictureFeatures`` passes merged pictures through a network: an Inception makes the distance
the FID.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from training.errors import UsageError
from training.evaluation.frechet import Features
from training.evaluation.stack import WHITE, Stack, cut, flattened
from training.networks import imported

BUILT_IN = "design"
NAMES = {
    "red": "mean of the merged picture over white, inside the visible box, 0..1",
    "green": "",
    "blue": "",
    "red_spread": "standard deviation of the same",
    "green_spread": "",
    "blue_spread": "",
    "coverage": "mean alpha of the merged picture inside the visible box",
    "edges": "mean step of its luminance between neighbouring pixels, across and down",
    "layers": "log10 of 1 + the layers that have a pixel",
    "area": "mean over the layers of their summed alpha, as a share of the visible box",
    "area_spread": "standard deviation of the same",
    "centre_x": "mean over the layers of their centre of mass, 0..1 from side to side of the visible box",
    "centre_y": "",
    "centre_spread": "root mean square distance of those centres from their mean",
    "overflow": "share of the summed alpha of all layers that is outside the visible box",
    "texture": "mean over the layers of the standard deviation of their colour",
}
"""The built-in features; one without words goes with that before it. Sides and shares are of the visible box."""


class Extractor(Protocol):
    """What makes features ``[N, F]`` of N designs."""

    def __call__(self, designs: Sequence[Stack]) -> Features: ...


def extractor(name: str, device: torch.device | str = "cpu") -> Extractor:
    """The extractor of a setting: ``design``, or ``module:function`` that gives a network for ``PictureFeatures``.

    Raises:
        UsageError: it names neither, or the module is not installed.
    """
    if name == BUILT_IN:
        return design_features
    return PictureFeatures(imported("features", name, BUILT_IN, device), device)


def design_features(designs: Sequence[Stack]) -> Features:
    """The features of ``NAMES``, ``[N, 16]``."""
    return np.array([[*_of_picture(design), *_of_layers(design)] for design in designs]).reshape(-1, len(NAMES))


class PictureFeatures:
    """The merged pictures over white, inside the visible box, through a network.

    The network takes float32 ``[N, 3, side, side]`` in 0..1, with sides brought to ``side`` px by antialiased bilinear
    resampling, and gives ``[N, F]``; how it normalises is its own affair.

    Raises:
        UsageError: on a call, it gives something else, or values that are not finite.
    """

    def __init__(
        self, network: nn.Module, device: torch.device | str = "cpu", *, side: int = 299, batch: int = 16
    ) -> None:
        self.network = network.to(device).eval()
        self.device, self.side, self.batch = device, side, batch

    @torch.no_grad()
    def __call__(self, designs: Sequence[Stack]) -> Features:
        rows = [self.network(pictures).double().cpu() for pictures in self._batches(designs)]
        found: Features = torch.cat(rows).numpy()
        if found.ndim != 2 or len(found) != len(designs) or not np.isfinite(found).all():
            raise UsageError(
                f"features: of {len(designs)} pictures the network made {list(found.shape)}, or values that are not "
                "finite: it must give [N, F] of [N, 3, side, side]"
            )
        return found

    def _batches(self, designs: Sequence[Stack]) -> Iterator[Tensor]:
        for start in range(0, len(designs), self.batch):
            yield torch.cat([self._sized(design) for design in designs[start : start + self.batch]])

    def _sized(self, design: Stack) -> Tensor:
        merged = torch.from_numpy(flattened(design.layers, design.shown, WHITE)).to(self.device)
        picture = merged[..., :3].permute(2, 0, 1)[None].float() / 255
        sized: Tensor = interpolate(picture, (self.side, self.side), mode="bilinear", antialias=True)
        return sized.clamp(0, 1)


def _of_picture(design: Stack) -> list[float]:
    opaque = flattened(design.layers, design.shown, WHITE)[..., :3] / 255
    coverage = flattened(design.layers, design.shown, None)[..., 3].mean() / 255
    luminance = opaque @ np.array([0.2126, 0.7152, 0.0722])
    steps = np.concatenate([np.abs(np.diff(luminance, axis=axis)).ravel() for axis in (0, 1)])
    edges = float(steps.sum()) / max(1, len(steps))
    return [*opaque.mean(axis=(0, 1)), *opaque.std(axis=(0, 1)), float(coverage), edges]


def _of_layers(design: Stack) -> list[float]:
    x0, y0, x1, y1 = design.visible
    visible = (x1 - x0) * (y1 - y0)
    areas, centres, textures, inside = [], [], [], 0.0
    for box, picture in design.layers:
        pixels = picture.numpy(force=True)
        alpha = pixels[..., 3] / 255
        mass = float(alpha.sum())
        if mass == 0:
            continue
        x, y = alpha.sum(axis=0) @ (np.arange(box.width) + 0.5), alpha.sum(axis=1) @ (np.arange(box.height) + 0.5)
        centres.append(((box.x0 + x / mass - x0) / (x1 - x0), (box.y0 + y / mass - y0) / (y1 - y0)))
        areas.append(mass / visible)
        textures.append(float((pixels[..., :3][alpha > 0] / 255).std(axis=0).mean()))
        inside += float((cut((box, picture), design.shown)[..., 3] / 255).sum()) / visible
    if not areas:
        return [0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0]
    middle = np.mean(centres, axis=0)
    spread = float(np.sqrt(np.square(centres - middle).sum(axis=1).mean()))
    overflow = max(0.0, 1 - inside / sum(areas))
    shares = [float(np.mean(areas)), float(np.std(areas))]
    return [float(np.log10(1 + len(areas))), *shares, *middle.tolist(), spread, overflow, float(np.mean(textures))]
