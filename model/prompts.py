"""Prompts that are too long: a plain one ends earlier, the captions of layers are shortened fairly and keep their tags.

Works on the token ids of any encoder. A prompt of any length costs a bounded amount of tokenising.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from functools import cache

from model.tasks import LAYER_TAGS

Tokenise = Callable[[str], list[int]]
Cut = Callable[[list[int], int], list[int]]

LONGEST_TOKEN = 64
"""Characters: longer tokens are runs of one character, and a prompt of nothing else may be cut too early."""

_OPEN, _CLOSE = LAYER_TAGS
_TAG = re.compile(f"({re.escape(_OPEN)}|{re.escape(_CLOSE)})")
_log = logging.getLogger(__name__)


def first(tokens: list[int], most: int) -> list[int]:
    """The first ``most`` tokens."""
    return tokens[:most]


def fit(prompt: str, tokenise: Tokenise, limit: int, cut: Cut = first) -> list[int]:
    """The tokens of a prompt, at most ``limit``.

    A prompt that fits is left as it is. ``<layer> caption </layer> <layer> ...`` keeps every tag, and no caption is
    longer than the longest that lets all fit; where the tags alone do not fit, the last layers are left out, which is
    logged once. Any other prompt is cut at its end. ``cut``: the first tokens, at most so many, where tokens cannot be
    parted anywhere.
    """
    most = LONGEST_TOKEN * limit
    tokens = tokenise(_encodable(prompt[:most]))
    if len(prompt) <= most and len(tokens) <= limit:
        return tokens
    captions = captions_of(prompt)
    return _fit_captions(captions, tokenise, limit, cut) if captions else cut(tokens, limit)


def captions_of(prompt: str) -> list[str]:
    """The captions of a prompt that is ``<layer> caption </layer> <layer> ...`` and nothing else; else none."""
    texts = _TAG.split(prompt)
    tags, between, captions = texts[1::2], texts[0::4], texts[2::4]
    balanced = tags == [_OPEN, _CLOSE] * len(captions)
    return [caption.strip() for caption in captions] if balanced and not "".join(between).strip() else []


def fair_cap(lengths: Sequence[int], room: int) -> int:
    """The largest cap for which the lengths, none longer than it, take at most ``room`` together."""
    left = len(lengths)
    for length in sorted(lengths):
        if length * left > room:
            return room // left
        room, left = room - length, left - 1
    return max(lengths, default=0)


def _fit_captions(captions: list[str], tokenise: Tokenise, limit: int, cut: Cut) -> list[int]:
    opening, between, closing = (tokenise(text) for text in (_OPEN, f" {_CLOSE} {_OPEN}", f" {_CLOSE}"))
    room = limit - len(opening) - len(closing)
    fitting = 1 + room // len(between) if room >= 0 else 0
    if fitting < len(captions):
        _say_left_out(fitting, limit)
        captions = captions[:fitting]
    if not captions:
        return []
    # Characters are shared out as tokens are: a caption keeps more of them than the tokens that it may have can hold.
    characters = fair_cap([len(caption) for caption in captions], LONGEST_TOKEN * limit)
    tokens = [tokenise(_encodable(f" {caption[:characters]}")) for caption in captions]
    most = fair_cap([len(some) for some in tokens], room - len(between) * (len(captions) - 1))
    out = list(opening)
    for number, some in enumerate(tokens, 1):
        out += cut(some, most)
        out += between if number < len(tokens) else closing
    return out


def _encodable(text: str) -> str:
    """Lone surrogates, which JSON may hold and UTF-8 may not, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _say_left_out(fitting: int, limit: int) -> None:
    _log.warning("%d text tokens name %d layers at most: the rest is left out; add fewer at once", limit, fitting)
