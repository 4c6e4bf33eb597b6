"""The names of blend modes: CSS's where CSS has one, else Photoshop's in CSS spelling."""

from __future__ import annotations

from collections.abc import Mapping

PSD: Mapping[str, bytes] = {
    "normal": b"norm",
    "dissolve": b"diss",
    "darken": b"dark",
    "multiply": b"mul ",
    "color-burn": b"idiv",
    "linear-burn": b"lbrn",
    "darker-color": b"dkCl",
    "lighten": b"lite",
    "screen": b"scrn",
    "color-dodge": b"div ",
    "linear-dodge": b"lddg",
    "lighter-color": b"lgCl",
    "overlay": b"over",
    "soft-light": b"sLit",
    "hard-light": b"hLit",
    "vivid-light": b"vLit",
    "linear-light": b"lLit",
    "pin-light": b"pLit",
    "hard-mix": b"hMix",
    "difference": b"diff",
    "exclusion": b"smud",
    "subtract": b"fsub",
    "divide": b"fdiv",
    "hue": b"hue ",
    "saturation": b"sat ",
    "color": b"colr",
    "luminosity": b"lum ",
}
"""Name to the key in a PSD layer record."""

FROM_PSD: Mapping[bytes, str] = {key: name for name, key in PSD.items()}

DESCRIPTOR: Mapping[str, bytes] = {
    "normal": b"Nrml",
    "dissolve": b"Dslv",
    "darken": b"Drkn",
    "multiply": b"Mltp",
    "color-burn": b"CBrn",
    "linear-burn": b"linearBurn",
    "darker-color": b"darkerColor",
    "lighten": b"Lghn",
    "screen": b"Scrn",
    "color-dodge": b"CDdg",
    "linear-dodge": b"linearDodge",
    "lighter-color": b"lighterColor",
    "overlay": b"Ovrl",
    "soft-light": b"SftL",
    "hard-light": b"HrdL",
    "vivid-light": b"vividLight",
    "linear-light": b"linearLight",
    "pin-light": b"pinLight",
    "hard-mix": b"hardMix",
    "difference": b"Dfrn",
    "exclusion": b"Xclu",
    "subtract": b"blendSubtraction",
    "divide": b"blendDivide",
    "hue": b"H   ",
    "saturation": b"Strt",
    "color": b"Clr ",
    "luminosity": b"Lmns",
}
"""Name to the value in a PSD descriptor, the short one where it has two."""


def _long(name: str) -> bytes:
    first, *others = name.split("-")
    return (first + "".join(word.title() for word in others)).encode("ascii")


FROM_DESCRIPTOR: Mapping[bytes, str] = {
    **{key: name for name, key in DESCRIPTOR.items()},
    **{_long(name): name for name in DESCRIPTOR},
    **FROM_PSD,
}
"""The short and long values of descriptors, and the keys of layer records, which some writers use there."""

ORA: Mapping[str, str] = {
    "normal": "svg:src-over",
    "plus-lighter": "svg:plus",
    **{
        name: f"svg:{name}"
        for name in (
            "multiply",
            "screen",
            "overlay",
            "darken",
            "lighten",
            "color-dodge",
            "color-burn",
            "hard-light",
            "soft-light",
            "difference",
            "color",
            "luminosity",
            "hue",
            "saturation",
        )
    },
}
"""Name to ``composite-op`` (OpenRaster 0.0.6, section 3.2)."""

FROM_ORA: Mapping[str, str] = {op: name for name, op in ORA.items()}
