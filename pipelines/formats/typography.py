"""What a font's name, the letters of a text and its style sheet say about weight, slant, direction and language."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Literal

_WEIGHTS = (
    (r"hairline|thin|\bth\b", 100),
    (r"(extra|ultra|x)[ -]?(light|lt)\b|(extra|ultra)[ -]?light|\bult ?lt\b|\bel\b", 200),
    (r"(semi|demi)[ -]?(bold|bd)|\b(demi|sb)\b", 600),
    (r"(extra|ultra)[ -]?(bold|bd|black)|heavy|\b(hv|eb)\b", 800),
    (r"black|poster|\bx?blk\b|\bfat\b", 900),
    (r"light|\blt\b", 300),
    (r"medium|\bmd\b|\bmed\b", 500),
    (r"bold|\bbd\b", 700),
)
_NUMBERED = re.compile(r"(?<![0-9])([1-9])00(?![0-9])|\bw([1-9])\b")
_SLANTED = re.compile(r"italic|oblique|inclined|slanted|kursiv|\b(it|ital|obl)\b")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[0-9])(?=[A-Z])|[-_,. ]+")
_LANGUAGES = {
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "CJK": "zh",
    "CYRILLIC": "ru",
    "GREEK": "el",
    "ARABIC": "ar",
    "HEBREW": "he",
    "THAI": "th",
    "DEVANAGARI": "hi",
    "LATIN": "en",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "BENGALI": "bn",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "ORIYA": "or",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "LAO": "lo",
}
"""The first word of a letter's Unicode name, and the language most written with it."""
_OTHER_SCRIPT = {"uk": "CYRILLIC", "bg": "CYRILLIC", "sr": "CYRILLIC", "be": "CYRILLIC", "fa": "ARABIC"} | {
    "mr": "DEVANAGARI"
}


def weight_of(font: str) -> int:
    """The weight (100..900) that a font's name says; 400 where it says none."""
    style = _style(font)
    numbered = _NUMBERED.search(style)
    if numbered:
        return 100 * int(numbered[1] or numbered[2])
    return next((weight for pattern, weight in _WEIGHTS if re.search(pattern, style)), 400)


def slanted(font: str) -> bool:
    """Whether a font's name says that it is italic or oblique."""
    return _SLANTED.search(_style(font)) is not None


def _style(font: str) -> str:
    """The words of a name in lower case; of a PostScript name those behind the hyphen, where the style is."""
    family, hyphen, style = font.partition("-")
    return " ".join(_WORDS.split(style if hyphen and style else family)).lower()


def direction_of(text: str) -> Literal["ltr", "rtl"]:
    """The direction of most letters."""
    classes = Counter(unicodedata.bidirectional(c) for c in text)
    return "rtl" if classes["R"] + classes["AL"] > classes["L"] else "ltr"


def language_of(text: str, claimed: str | None = None) -> str | None:
    """The language of a text: the one it is ``claimed`` to be in where its letters are of that one's script, else the
    one most written in their script. Kana decides for ja. None without letters.
    """
    scripts = Counter(_script(c) for c in text if c.isalpha())
    if scripts["HIRAGANA"] + scripts["KATAKANA"]:
        return "ja"
    known = [script for script, _ in scripts.most_common() if script in _LANGUAGES]
    if not known:
        return None
    return claimed if claimed and known[0] in _scripts_of(claimed) else _LANGUAGES[known[0]]


def _scripts_of(language: str) -> set[str]:
    if language in _OTHER_SCRIPT:
        return {_OTHER_SCRIPT[language]}
    if language == "ja":
        return {"CJK"}
    return {script for script, most in _LANGUAGES.items() if most == language} or {"LATIN"}


def _script(letter: str) -> str:
    words = unicodedata.name(letter, "").split(" ")
    return words[1] if words[0] in ("FULLWIDTH", "HALFWIDTH") and len(words) > 1 else words[0]
