"""What may be a password is masked before it is written or said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"


def masked(tree: Any) -> Any:
    """A configuration without what opens a store: values below a ``storage_options``, and parts of URLs."""
    if isinstance(tree, str):
        return shown(tree)
    if isinstance(tree, Mapping):
        return {name: _hidden(value) if name == "storage_options" else masked(value) for name, value in tree.items()}
    return [masked(value) for value in tree] if isinstance(tree, list) else tree


def shown(text: str) -> str:
    """A text with what may be a password masked where it is a URL: its user information and its query."""
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text
    rest = re.sub(r"\?.*", f"?{MASK}", rest, count=1, flags=re.DOTALL)
    return scheme + mark + re.sub(r"(^|://)[^/]*@", rf"\1{MASK}@", rest)


def first_line(error: BaseException) -> str:
    """What an error says, in one line and with its URLs as they may be shown; the name of its type where that is
    nothing."""
    lines = str(error).splitlines()
    return re.sub(r"\S+://\S+", lambda found: shown(found[0]), lines[0]) if lines else type(error).__name__


def _hidden(value: Any) -> Any:
    return dict.fromkeys(value, MASK) if isinstance(value, Mapping) else MASK
