"""Reading descriptors (the key-value objects of Photoshop's files) without trusting them: every number is finite and
bounded, and what is missing or of another type is the default.
"""

from __future__ import annotations

import math
from typing import Any

from psd_tools.psd.descriptor import Descriptor, List

from pipelines.formats.blending import FROM_DESCRIPTOR

MAX_ITEMS = 256
"""Of a list in a descriptor, as many items are read: stops, curve points, instances of an effect."""


def number(data: Descriptor, key: bytes, default: float, low: float, high: float) -> float:
    """A number between ``low`` and ``high``, whatever its unit; the default where there is none or it is not finite."""
    value = finite(data.get(key))
    return default if value is None else min(high, max(low, value))


def finite(value: Any) -> float | None:
    """A number of a descriptor as a float; None where it is not a finite number."""
    value = getattr(value, "value", value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def angle(data: Descriptor, key: bytes, default: float) -> float:
    """Degrees, -360..360."""
    value = finite(data.get(key))
    return default if value is None else math.fmod(value, 360.0)


def flag(data: Descriptor, key: bytes, default: bool) -> bool:
    value = data.get(key)
    value = getattr(value, "value", value)
    return bool(value) if isinstance(value, int | float) else default


def enum(data: Descriptor, key: bytes) -> bytes:
    """The value of an enumeration, empty where there is none."""
    value = getattr(data.get(key), "enum", b"")
    value = getattr(value, "value", value)
    return bytes(value) if isinstance(value, bytes) else b""


def text(data: Descriptor, key: bytes) -> str:
    value = getattr(data.get(key), "value", "")
    return value.rstrip("\0") if isinstance(value, str) else ""


def child(data: Descriptor, key: bytes) -> Descriptor | None:
    value = data.get(key)
    return value if isinstance(value, Descriptor) else None


def items(data: Descriptor, key: bytes) -> list[Any]:
    """The first ``MAX_ITEMS`` of a list; empty where there is none."""
    value = data.get(key)
    return list(value)[:MAX_ITEMS] if isinstance(value, List) else []


def children(data: Descriptor, key: bytes) -> list[Descriptor]:
    """The descriptors in a list."""
    return [item for item in items(data, key) if isinstance(item, Descriptor)]


def blend_mode(data: Descriptor, key: bytes) -> str:
    """A blend mode by its CSS name; an unknown one by its own, which nothing can draw; normal where there is none."""
    value = enum(data, key)
    if not value:
        return "normal"
    return FROM_DESCRIPTOR.get(value) or value.decode("ascii", "replace").strip()
