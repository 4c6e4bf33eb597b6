"""One design from (seed, index): kind, layout, family, colours, copy; a pure function of its key.

Designs come in blocks of eight indices. A block is split into families by its own dice: members of a family share kind,
layout, theme and typefaces, and differ in size, colours, words and pictures, as the formats of one campaign do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.formats.tree import Document
from pipelines.synth import banners, posters, prints, screens, socials, words
from pipelines.synth.dice import Dice
from pipelines.synth.fonts import draw_pairing
from pipelines.synth.grounds import finish
from pipelines.synth.looks import Looks
from pipelines.synth.palettes import draw_palette
from pipelines.synth.scene import Scene

BLOCK = 8
_FAMILIES, _TEMPLATE, _VARIANT, _FORMAT, _LOOKS = range(5)  # separate streams of the same key


@dataclass(frozen=True)
class Kind:
    """A kind of design: its layouts, its canvas sizes, and the sizes a layout is made for (all without an entry)."""

    layouts: Mapping[str, Callable[[Scene], None]]
    sizes: Sequence[tuple[int, int]]
    fits: Mapping[str, tuple[int, ...]]


KINDS: dict[str, Kind] = {
    "poster": Kind(posters.LAYOUTS, posters.SIZES, {}),
    "banner": Kind(banners.LAYOUTS, banners.SIZES, {}),
    "social": Kind(socials.LAYOUTS, socials.SIZES, {}),
    "ui": Kind(screens.LAYOUTS, screens.SIZES, screens.FITS),
    "print": Kind(prints.LAYOUTS, prints.SIZES, prints.FITS),
}


_SUITED = {
    "menu": ("food", "coffee"),
    "sale": ("sale", "winter", "home"),
    "player": ("music", "film"),
    "profile": ("art", "tech", "music"),
}
"""The themes that some layouts ask for."""


@dataclass(frozen=True)
class Member:
    """Where an index stands: its family's name, the family's first index, and its place in the family."""

    family: str
    leader: int
    place: int


def member_of(seed: int, index: int) -> Member:
    block, offset = divmod(index, BLOCK)
    sizes = Dice(seed, block, _FAMILIES).pick(
        ((1,) * 8, (1, 1, 1, 2, 1, 2), (2, 1, 3, 1, 1), (1, 1, 1, 1, 1, 3), (4, 1, 1, 1, 1))
    )
    first = 0
    for size in sizes:
        if offset < first + size:
            leader = block * BLOCK + first
            return Member(f"family-{leader:06d}", leader, offset - first)
        first += size
    raise AssertionError("the families of a block add up to its size")


def format_of(seed: int, index: int) -> str:
    """The format a design is written in: half PSD, a quarter OpenRaster, a quarter layer folders."""
    return Dice(seed, index, _FORMAT).pick(("psd", "ora", "folder"), (0.5, 0.25, 0.25))


def kind_of(seed: int, index: int) -> str:
    return Dice(seed, member_of(seed, index).leader, _TEMPLATE).pick(tuple(KINDS), (0.25, 0.16, 0.23, 0.2, 0.16))


def design(seed: int, index: int, *, simple: bool = False) -> Document:
    """Design ``index`` of ``seed``; with effects if it is to be a PSD. ``simple``: clipping that OpenRaster can say."""
    member = member_of(seed, index)
    template, variant = Dice(seed, member.leader, _TEMPLATE), Dice(seed, index, _VARIANT)
    name = template.pick(tuple(KINDS), (0.25, 0.16, 0.23, 0.2, 0.16))
    kind = KINDS[name]
    layout = template.pick(tuple(kind.layouts))
    sizes = kind.fits.get(layout, tuple(range(len(kind.sizes))))
    start = template.integer(0, len(sizes) - 1)
    width, height = kind.sizes[sizes[(start + member.place) % len(sizes)]]
    if width * height > 2_000_000 and variant.chance(0.6):
        width, height = width // 2, height // 2
    language = words.draw_language(template if member.place == 0 else variant)
    palette = draw_palette(variant)
    effects = format_of(seed, index) == "psd"  # the other formats cannot keep them
    scene = Scene(
        width,
        height,
        variant,
        palette,
        draw_pairing(template, "en").for_language(language),
        words.draw_copy(variant, language, _SUITED.get(layout, ())),
        Looks(Dice(seed, index, _LOOKS), palette, (width * height) ** 0.5 / 100, on=effects),
        overflow=variant.chance(0.64),
        simple=simple,
    )
    kind.layouts[layout](scene)
    finish(scene)
    return scene.document()
