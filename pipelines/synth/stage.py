"""The layers and groups of a design in the making, bottom to top."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from pipelines.formats import style as styles
from pipelines.formats.tree import Document, Group, Leaf, Mask, Node
from pipelines.synth import words
from pipelines.synth.dice import Dice
from pipelines.synth.fonts import Pairing
from pipelines.synth.looks import Effects, Looks
from pipelines.synth.palettes import Palette
from pipelines.synth.render import extent, render
from pipelines.synth.text import Setting
from schemas.compositing import Rgba
from schemas.design import LayerKind
from schemas.geometry import Box


@dataclass
class Stage:
    """The canvas of one design in px, its choices, and the nodes so far.

    ``overflow`` says whether layers may reach out of the visible box; where not, every layer is cut to it. ``simple``
    keeps clipped layers to what OpenRaster can say (normal mode, no mask). A ``sparse`` design has only what its layout
    needs. ``looks`` draws the layers' effects.
    """

    width: int
    height: int
    dice: Dice
    palette: Palette
    fonts: Pairing
    copy: words.Copy
    looks: Looks
    overflow: bool = True
    simple: bool = False
    sparse: bool = False
    stack: list[list[Node]] = field(default_factory=lambda: [[]])

    @property
    def visible(self) -> Box:
        return Box(0, 0, self.width, self.height)

    @property
    def unit(self) -> float:
        """A hundredth of the canvas's mean side: the measure of type and spacing."""
        return float(np.sqrt(self.width * self.height)) / 100

    def reach(self, share: float) -> int:
        """How far (px) a layer may stick out: ``share`` of the mean side where there is overflow, else 0."""
        return int(share * 100 * self.unit) if self.overflow else 0

    def add(
        self,
        name: str,
        pixels: Rgba,
        x: float,
        y: float,
        *,
        kind: LayerKind = LayerKind.SHAPE,
        opacity: float = 1.0,
        blend: str = "normal",
        clipped: bool = False,
        mask: Mask | None = None,
        visible: bool = True,
        setting: Setting | None = None,
        style: Effects = (),
        fill_opacity: float = 1.0,
        fill: styles.Paint | None = None,
    ) -> Box:
        """A layer with its top left at (``x``, ``y``); opacity is kept in 1/255 as files store it. Returns its box."""
        x0, y0 = round(x), round(y)
        box = Box(x0, y0, x0 + pixels.shape[1], y0 + pixels.shape[0])
        if not self.overflow:
            part = box.intersect(self.visible)
            pixels, box = pixels[part.within(box).slices], part
        if box.empty or not pixels[..., 3].any():
            return box
        own = np.ascontiguousarray(pixels)
        normal = clipped and self.simple
        leaf = Leaf(
            name,
            visible,
            round(opacity * 255) / 255,
            "normal" if normal else blend,
            clipped,
            None if normal else mask,
            fill_opacity=fill_opacity,
            style=style,
            kind=kind,
            box=box,
            pixels=lambda: own,
            text=setting.text if setting else None,
            fill=fill,
        )
        self.stack[-1].append(leaf)
        return box

    @contextmanager
    def group(
        self,
        name: str,
        *,
        opacity: float = 1.0,
        blend: str = "normal",
        isolated: bool = False,
        mask: Mask | None = None,
        style: Effects = (),
    ) -> Iterator[None]:
        """What is added inside becomes the children of a group; an empty one leaves nothing."""
        self.stack.append([])
        yield
        children = tuple(self.stack.pop())
        if children:
            node = Group(
                name,
                True,
                round(opacity * 255) / 255,
                blend,
                False,
                mask,
                children=children,
                isolated=isolated or opacity < 1 or blend != "normal" or mask is not None or bool(style),
                style=style,
            )
            self.stack[-1].append(node)

    @contextmanager
    def merged(self, name: str, *, kind: LayerKind = LayerKind.IMAGE) -> Iterator[None]:
        """What is added inside becomes one layer with pixels, without effects."""
        self.stack.append([])
        looks, self.looks = self.looks, self.looks.off()
        yield
        self.looks = looks
        children = self.stack.pop()
        box = extent(children)
        if not box.empty:
            moved = Group(name, children=tuple(children))
            self.add(name, render([moved], box), box.x0, box.y0, kind=kind)

    def document(self) -> Document:
        """The finished document, with its preview drawn."""
        nodes = tuple(self.stack[0])
        return Document(self.width, self.height, nodes, preview=render(nodes, self.visible))
