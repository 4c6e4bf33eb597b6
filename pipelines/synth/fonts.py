"""The fonts of the synthetic designs: files of pinned packages, found without running any code of theirs.

Rights: all may be used, embedded and redistributed; pictures made with them are free of their licences' conditions.

- Source Sans Pro, Source Serif Pro (Adobe), Manrope, Hanken Grotesk, Amatic SC, Fredoka One: SIL OFL 1.1, ``font-*``
- Caladea (Carolina Giovagnoli, Andrés Torresi): Apache-2.0, package ``font-caladea``
- Noto Sans Arabic, Noto Sans Hebrew (The Noto Project Authors): SIL OFL 1.1, package ``justmytype-intl-rtl``
- Noto Sans CJK JP (Adobe, Google): SIL OFL 1.1, packages ``noto-cjk-sans-jp-regular`` and ``noto-cjk-sans-jp-bold``
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from PIL import ImageFont

from pipelines.errors import UsageError
from pipelines.synth.dice import Dice

LATIN, GREEK, CYRILLIC, ARABIC, HEBREW, CJK = "latin", "greek", "cyrillic", "arabic", "hebrew", "cjk"
_EUROPE = frozenset({LATIN, GREEK, CYRILLIC})

SCRIPTS = {
    "el": GREEK,
    "ru": CYRILLIC,
    "uk": CYRILLIC,
    "bg": CYRILLIC,
    "ar": ARABIC,
    "he": HEBREW,
    "ja": CJK,
    "zh": CJK,
    "ko": CJK,
}
"""The script of a language; every other language is written in Latin."""


@dataclass(frozen=True)
class Face:
    """One file: its package, path in it, CSS weight, and whether it is italic. ``axes``: it is a variable font."""

    package: str
    path: str
    weight: int
    italic: bool = False
    axes: bool = False


@dataclass(frozen=True)
class Family:
    """A type family: its faces, the scripts it covers, what it is fit for, and languages whose letters it ``lacks``."""

    name: str
    faces: tuple[Face, ...]
    scripts: frozenset[str]
    display: bool = True
    body: bool = True
    lacks: tuple[str, ...] = ()

    def covers(self, language: str) -> bool:
        return script_of(language) in self.scripts and language not in self.lacks

    def face(self, weight: int, italic: bool) -> Face:
        """The nearest face; an upright one where there is no italic."""
        slanted = [face for face in self.faces if face.italic == italic] or list(self.faces)
        return min(slanted, key=lambda face: abs(face.weight - weight))


_WEIGHTS = {
    "ExtraLight": 200,
    "Light": 300,
    "Regular": 400,
    "Medium": 500,
    "Semibold": 600,
    "SemiBold": 600,
    "Bold": 700,
    "ExtraBold": 800,
    "Black": 900,
}


def _faces(
    package: str, stem: str, uprights: str, italics: str = "", suffix: str = "ttf", slant: str = "It"
) -> tuple[Face, ...]:
    folder = package.replace("-", "_") + "/files"
    faces = [Face(package, f"{folder}/{stem}-{name}.{suffix}", _WEIGHTS[name]) for name in uprights.split()]
    for name in italics.split():
        cut = slant if name == "Regular" else name + slant
        faces.append(Face(package, f"{folder}/{stem}-{cut}.{suffix}", _WEIGHTS[name], italic=True))
    return tuple(faces)


def _noto(folder: str, stem: str) -> tuple[Face, ...]:
    path = f"justmytype_intl_rtl/fonts/ofl/{folder}/{stem}[wdth,wght].ttf"
    return tuple(Face("justmytype-intl-rtl", path, weight, axes=True) for weight in (300, 400, 500, 700, 900))


def _cjk(name: str, weight: int) -> Face:
    package = f"noto-cjk-sans-jp-{name.lower()}"
    return Face(package, f"{package.replace('-', '_')}/NotoSansCJKjp-{name}.otf", weight)


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "Source Sans Pro",
            _faces(
                "font-source-sans-pro", "SourceSansPro", "Light Regular Semibold Bold Black", "Regular Semibold Bold"
            ),
            _EUROPE,
        ),
        Family(
            "Source Serif Pro",
            _faces(
                "font-source-serif-pro", "SourceSerifPro", "Light Regular Semibold Bold Black", "Regular Semibold Bold"
            ),
            _EUROPE,
        ),
        Family("Manrope", _faces("font-manrope", "Manrope", "Light Regular Medium SemiBold Bold ExtraBold"), _EUROPE),
        Family(
            "Hanken Grotesk",
            _faces(
                "font-hanken-grotesk",
                "HankenGrotesk",
                "Light Regular Medium SemiBold Bold",
                "Light Regular Bold",
                "otf",
                "Italic",
            ),
            frozenset({LATIN}),
        ),
        Family(
            "Caladea",
            _faces("font-caladea", "Caladea", "Regular Bold", "Regular Bold", slant="Italic"),
            frozenset({LATIN}),
        ),
        Family(
            "Fredoka One",
            _faces("font-fredoka-one", "FredokaOne", "Regular"),
            frozenset({LATIN}),
            body=False,
            lacks=("pl", "tr"),
        ),
        Family("Amatic SC", _faces("font-amatic-sc", "AmaticSC", "Regular Bold"), frozenset({LATIN}), body=False),
        Family("Noto Sans Arabic", _noto("notosansarabic", "NotoSansArabic"), frozenset({ARABIC})),
        Family("Noto Sans Hebrew", _noto("notosanshebrew", "NotoSansHebrew"), frozenset({HEBREW})),
        Family("Noto Sans CJK JP", (_cjk("Regular", 400), _cjk("Bold", 700)), frozenset({CJK, LATIN})),
    )
}


def script_of(language: str) -> str:
    return SCRIPTS.get(language.split("-", maxsplit=1)[0], LATIN)


def families_for(language: str, *, display: bool) -> list[Family]:
    """The families that cover ``language``, those fit for headlines or those fit for reading."""
    fits = [
        family
        for family in FAMILIES.values()
        if family.covers(language) and (family.display if display else family.body)
    ]
    return fits if script_of(language) == CJK else [family for family in fits if CJK not in family.scripts]


@dataclass(frozen=True)
class Pairing:
    """The two families of a design and the weights it uses for headlines and text."""

    display: Family
    body: Family
    heavy: int
    regular: int

    def for_language(self, language: str) -> Pairing:
        """The same pairing where it covers ``language``, else the first families that do."""
        display = self.display if self.display.covers(language) else families_for(language, display=True)[0]
        body = self.body if self.body.covers(language) else families_for(language, display=False)[0]
        return Pairing(display, body, self.heavy, self.regular)


def draw_pairing(dice: Dice, language: str) -> Pairing:
    return Pairing(
        dice.pick(families_for(language, display=True)),
        dice.pick(families_for(language, display=False)),
        dice.pick((600, 700, 800, 900)),
        dice.pick((400, 400, 500)),
    )


@lru_cache(maxsize=64)
def _file(package: str, path: str) -> Path:
    try:
        found = Path(str(metadata.distribution(package).locate_file(path)))
    except metadata.PackageNotFoundError:
        raise UsageError(f"the font package {package} is not installed: pip install {package}") from None
    if not found.is_file():
        raise UsageError(f"the font package {package} has no {path}: reinstall the pinned version (constraints.txt)")
    return found


@lru_cache(maxsize=256)
def load(face: Face, size: int) -> ImageFont.FreeTypeFont:
    """The font at ``size`` px. Basic layout only: shaping libraries differ between machines, and so would the bytes.

    Raises:
        UsageError: the package that carries the font is missing.
    """
    font = ImageFont.truetype(str(_file(face.package, face.path)), size, layout_engine=ImageFont.Layout.BASIC)
    if face.axes:
        font.set_variation_by_axes([face.weight, 100])
    return font
