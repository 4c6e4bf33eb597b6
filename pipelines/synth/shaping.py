"""Visual order and Arabic letter forms, from the Unicode character database.

Enough for the short, unvocalised texts of the designs: letters join by their presentation forms (Unicode 17, section
9.2), lam-alef becomes its ligature, digits and Latin words keep their direction inside a right-to-left line.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_FORMS = ("isolated", "final", "initial", "medial")
_MIRROR = str.maketrans("()[]{}<>«»", ")(][}{><»«")
_WORD = r"[A-Za-z0-9\u0660-\u0669%]"
_LEFT_TO_RIGHT = re.compile(rf"{_WORD}(?:[A-Za-z0-9\u0660-\u0669.,:/%+@&-]*{_WORD})?")


@lru_cache(maxsize=1)
def _presentation() -> dict[str, dict[str, str]]:
    """letters -> form name -> presentation character."""
    table: dict[str, dict[str, str]] = {}
    for code in range(0xFE80, 0xFEFD):
        tag, *letters = unicodedata.decomposition(chr(code)).split()
        if tag.strip("<>") in _FORMS:
            key = "".join(chr(int(letter, 16)) for letter in letters)
            table.setdefault(key, {})[tag.strip("<>")] = chr(code)
    return table


def _joined(text: str) -> str:
    """Arabic letters of ``text`` as presentation forms, still in reading order."""
    table = _presentation()
    letters: list[str] = []
    for character in text:
        if letters and letters[-1] + character in table:
            letters[-1] += character
        else:
            letters.append(character)
    out = []
    for i, letter in enumerate(letters):
        forms = table.get(letter)
        if forms is None:
            out.append(letter)
            continue
        before = i > 0 and "initial" in table.get(letters[i - 1], {})
        after = "initial" in forms and i + 1 < len(letters) and "final" in table.get(letters[i + 1], {})
        form = ("medial" if before else "initial") if after else ("final" if before else "isolated")
        out.append(forms.get(form, letter))
    return "".join(out)


def visual(text: str) -> str:
    """One right-to-left line as the glyphs stand from left to right."""
    text = _joined(text)
    out = text[::-1].translate(_MIRROR)
    return _LEFT_TO_RIGHT.sub(lambda match: match.group()[::-1], out)
