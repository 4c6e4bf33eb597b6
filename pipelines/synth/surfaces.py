"""What the screens share: the colours of a light or a dark surface."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.synth.palettes import Rgb, mix
from pipelines.synth.scene import Scene

_LIGHT_INK: Rgb = (240, 242, 246)


@dataclass(frozen=True)
class Surface:
    """The colours of a screen, and its labels (words.json) with their language."""

    page: Rgb
    card: Rgb
    ink: Rgb
    accent: Rgb
    labels: list[str]
    language: str

    @property
    def dark(self) -> bool:
        return self.ink == _LIGHT_INK

    @property
    def quiet(self) -> Rgb:
        return mix(self.ink, self.card, 0.45)


def surface(s: Scene, labels: list[str], language: str) -> Surface:
    """A light surface in two of three screens, else a dark one."""
    if s.dice.chance(0.65):
        page: Rgb = mix(s.palette.paper, (244, 246, 250), 0.6)
        card, ink = (255, 255, 255), mix(s.palette.deep, (20, 24, 32), 0.4)
    else:
        page, card = mix(s.palette.deep, (14, 16, 22), 0.6), mix(s.palette.deep, (34, 38, 48), 0.5)
        ink = _LIGHT_INK
    return Surface(page, card, ink, s.palette.over(page).accent_on(card), labels, language)
