"""What a user asks for one design, with what is given. Pictures are uint8 [h, w, 4], straight RGBA, sRGB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.tasks import LAYOUTS, Task
from schemas.compositing import Rgba
from schemas.design import LayerKind
from training.errors import UsageError
from training.generation.layout import LayoutPlan

MAX_PROMPT = 20_000
"""Characters."""


@dataclass(frozen=True, eq=False)
class Request:
    """One design. ``key``: of its noise and its files. Layers are told by their place in ``layout.layers``.

    ``picture``: what is taken apart, as large as the visible box (image-to-layers). ``given``: the layers that stay,
    and ``chosen`` those that are made (add-layer, restyle). ``references``: a picture for each chosen layer (restyle).
    All pictures of layers are as large as their boxes.

    Raises:
        UsageError: something is missing, too much or of another size.
    """

    key: str
    task: Task
    layout: LayoutPlan
    prompt: str = ""
    seed: int = 0
    picture: Rgba | None = None
    given: Mapping[int, Rgba] = field(default_factory=dict)
    chosen: tuple[int, ...] = ()
    references: Mapping[int, Rgba] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.prompt) > MAX_PROMPT:
            raise UsageError(
                f"{self.key}: the prompt has {len(self.prompt):,} characters; shorten it to {MAX_PROMPT:,}"
            )
        layers = self.layout.layers
        self._check_needless()
        if LAYOUTS[self.task].others_clean:
            self._check_chosen()
        visible = self.layout.visible
        if self.task is Task.IMAGE_TO_LAYERS and self.picture is None:
            raise UsageError(f"{self.key}: {self.task} takes a picture apart: give one")
        if self.picture is not None:
            self._check_size("the picture", self.picture, (visible.height, visible.width))
        for name, some in (("layer", self.given), ("reference", self.references)):
            for number, picture in some.items():
                box = layers[number].box
                self._check_size(f"{name} {number}", picture, (box.height, box.width))

    def _check_needless(self) -> None:
        layout = LAYOUTS[self.task]
        for name, there, used in (
            ("picture", self.picture is not None, self.task is Task.IMAGE_TO_LAYERS),
            ("given layer", bool(self.given), layout.others_clean),
            ("chosen layer", bool(self.chosen), layout.others_clean),
            ("reference", bool(self.references), layout.conditions),
        ):
            if there and not used:
                raise UsageError(f"{self.key}: {self.task} has no use for a {name}: leave it out or take another task")

    def _check_chosen(self) -> None:
        there = range(len(self.layout.layers))
        if not self.chosen:
            raise UsageError(f"{self.key}: {self.task} needs the layers to make: choose some of 0 to {len(there) - 1}")
        for number in (*self.chosen, *self.given, *self.references):
            if number not in there:
                raise UsageError(f"{self.key}: there is no layer {number}; layers are 0 to {len(there) - 1}")
        for number in self.chosen:
            if self.layout.layers[number].kind is LayerKind.BACKGROUND:
                raise UsageError(f"{self.key}: layer {number} is the background, which stays; choose others")
            if LAYOUTS[self.task].conditions and number not in self.references:
                raise UsageError(f"{self.key}: {self.task} needs a picture for layer {number}")
        if missing := [number for number in there if number not in self.chosen and number not in self.given]:
            raise UsageError(f"{self.key}: layer {missing[0]} is neither given nor chosen")

    def _check_size(self, what: str, picture: Rgba, size: tuple[int, int]) -> None:
        if picture.ndim != 3 or picture.shape[2] != 4 or picture.dtype != "uint8":
            said = f"{picture.dtype} {list(picture.shape)}"
            raise UsageError(f"{self.key}: {what} is {said}; give RGBA as uint8 [height, width, 4]")
        if picture.shape[:2] != size:
            height, width = picture.shape[:2]
            raise UsageError(
                f"{self.key}: {what} is {width} x {height} px, its box {size[1]} x {size[0]} px; scale one to the other"
            )


@dataclass(frozen=True, eq=False)
class Made:
    """What came of a request: a picture for each layer of its layout, as large as its box; ``merged``: all of them, as
    large as the visible box, without hidden ones. A layer that was given is the very array that was.
    """

    request: Request
    layers: tuple[Rgba, ...]
    merged: Rgba
