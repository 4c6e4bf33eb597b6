"""A quick parser of engine data, the markup in which Photoshop keeps typography: ``<< /Key (text) /List [ 1 .5 ] >>``.

The dictionaries are Python's but for the two outer levels, which psd-tools looks at. psd-tools' own tokenizer tries a
dozen patterns on each token.
"""

from __future__ import annotations

import re
from typing import Any

from psd_tools.psd import engine_data

MAX_BYTES = 4 << 20
MAX_DEPTH = 64
_TOKEN = re.compile(
    rb"""[\s\x00]*+(?:
    /(?P<key>[A-Za-z0-9_]+) | (?P<real>-?\d*\.\d+) | (?P<whole>-?\d+) | (?P<open><<) | (?P<close>>>) | (?P<list>\[)
    | (?P<end>\]) | (?P<flag>true|false) | \((?P<text>[^\\)]*+(?:\\.[^\\)]*+)*+)\) | (?P<odd>--\(\.-0)
    )""",
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(rb"[\s\x00]*")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_UTF16 = b"\xfe\xff"


def parsed(data: bytes) -> engine_data.EngineData:
    """Engine data as nested dictionaries and lists; raises ValueError for what is broken, too large or too deep."""
    if len(data) > MAX_BYTES:
        raise ValueError("too much engine data")
    out = engine_data.EngineData()
    stack: list[Any] = [out]
    keys: list[str | None] = [None]
    names: dict[bytes, str] = {}
    at = 0
    while (match := _TOKEN.match(data, at)) is not None:
        at, kind = match.end(), match.lastgroup
        assert kind is not None
        token = match[kind]
        if kind == "key":
            keys[-1] = names.get(token) or names.setdefault(token, token.decode("ascii"))
            continue
        if kind in ("close", "end"):
            if len(stack) > 1:
                stack.pop()
                keys.pop()
            continue
        opens = kind in ("open", "list")
        if kind == "open" and len(stack) == 1 and keys[0] is None:
            continue  # the outermost dictionary is there already
        value = _opened(kind, len(stack)) if opens else _value(kind, token)
        if isinstance(stack[-1], list):
            stack[-1].append(value)
        elif keys[-1] is not None:
            stack[-1][keys[-1]] = value
            keys[-1] = None
        if opens:
            stack.append(value)
            keys.append(None)
    if _BLANK.match(data, at).end() != len(data):  # type: ignore[union-attr]
        raise ValueError("broken engine data")
    return out


def _opened(kind: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("engine data is nested too deep")
    if kind == "list":
        return []
    return engine_data.Dict() if depth == 1 else {}


def _value(kind: str, token: bytes) -> Any:
    if kind == "real":
        return float(token)
    if kind == "whole":
        return int(token[:32])
    if kind == "flag":
        return token == b"true"
    if kind != "text" or not token.startswith(_UTF16):
        return token.decode("latin-1")
    if b"\\" in token:
        token = _ESCAPED.sub(rb"\1", token)
    return token.decode("utf-16", "replace")
