"""Layouts that are not the true one: found in the flat picture by classical means."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from model.regions import Regions
from model.tasks import Box as TokenBox
from model.tasks import Task, lay_out
from schemas.geometry import Box
from training.evaluation.sets import Case, Group
from training.examples import Example

DIFFERENT = 24
"""The largest difference of a channel to the background's colour, of 255, over which a pixel belongs to something."""
LEAST_SHARE = 0.001
"""Of the picture's pixels that a region has at least."""
MOST = 49
"""Foregrounds that are kept, the largest."""


class Layout(StrEnum):
    """Where a method is told that the layers are.

    ``true``: in the boxes of the record. ``jittered``: in those, moved as in training. ``detected``: in boxes around
    what differs from the background, of which there are others than layers.
    """

    TRUE = "true"
    JITTERED = "jittered"
    DETECTED = "detected"


def found_boxes(picture: Tensor) -> list[Box]:
    """Boxes around the connected regions that differ from the background, the largest first.

    ``picture``: u8 [h, w, 4], opaque. The background's colour is the median of the picture's border. What overlaps in
    the picture is one region, so a design has fewer of them than layers, and what lies outside is not found.
    """
    colours = picture[..., :3].cpu().numpy().astype(np.int16)
    border = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]])
    differs = np.abs(colours - np.median(border, axis=0)).max(axis=2) > DIFFERENT
    labels, count = ndimage.label(differs, structure=np.ones((3, 3)))
    areas = np.bincount(labels.reshape(-1), minlength=count + 1)[1:]
    places = ndimage.find_objects(labels)
    kept = [at for at in np.argsort(-areas, kind="stable").tolist() if areas[at] >= LEAST_SHARE * differs.size][:MOST]
    return [Box(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in (places[at] for at in kept)]


def detected(example: Example, group: Group, token_px: int, overflow: bool = True) -> Example:
    """The example of image-to-layers with the layers that are found in what is given; the background fills the picture.

    The tokens of the layers are 0: they are there to be made. ``overflow``: the canvas is that of the design, else its
    picture is all there is of it.
    """
    own = example.regions
    pieces = torch.split(example.tokens, own.counts)
    designs, canvases, shown, tokens = [], [], [], []
    for number, case in enumerate(group.cases):
        composed = own.design.tolist().index(number)
        x0, y0, x1, y1 = box = _four(own.boxes[composed].tolist())
        width, height = case.truth.canvas
        canvases.append((width // token_px, height // token_px) if overflow else (x1, y1))
        found = [(x0 + left, y0 + top, x0 + right, y0 + bottom) for left, top, right, bottom in _found(case, token_px)]
        regions = lay_out(Task.IMAGE_TO_LAYERS, [box, *found], canvases[-1], box)
        made = sum(region.tokens for region in regions[1:])
        designs.append(regions)
        shown.append(box)
        tokens += [pieces[composed], example.tokens.new_zeros(made, example.tokens.shape[1])]
    regions_R = Regions.lay_out(designs, canvases, shown, example.keys)
    return replace(example, regions=regions_R.to(example.tokens.device), tokens=torch.cat(tokens))


def _found(case: Case, token_px: int) -> list[TokenBox]:
    """Boxes in tokens of the picture."""
    box, picture = case.composed
    shown = case.truth.shown.within(box)
    found = [one.shift(shown.x0, shown.y0) for one in found_boxes(picture[shown.slices])]
    return [(x0 // token_px, y0 // token_px, -(-x1 // token_px), -(-y1 // token_px)) for x0, y0, x1, y1 in found]


def _four(values: list[int]) -> TokenBox:
    x0, y0, x1, y1 = values
    return x0, y0, x1, y1
