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
