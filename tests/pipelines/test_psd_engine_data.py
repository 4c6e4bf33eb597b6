"""Engine data is parsed as psd-tools parses it, and what is broken is refused."""

from __future__ import annotations

from typing import Any

import pytest
from psd_tools.psd.base import DictElement, ListElement
from psd_tools.psd.engine_data import EngineData

from pipelines.formats.psd_engine_data import MAX_BYTES, parsed


def text(value: str) -> bytes:
    stored = value.encode("utf-16-be")
    for escaped in (b"\\", b"(", b")"):
        stored = stored.replace(escaped, b"\\" + escaped)
    return b"(\xfe\xff" + stored + b")"


def plain(value: Any) -> Any:
    if isinstance(value, DictElement | dict):
        return {str(getattr(key, "value", key)): plain(item) for key, item in value.items()}
    if isinstance(value, ListElement | list):
        return [plain(item) for item in value]
    return getattr(value, "value", value)


SAMPLE = b"""\n\n<<\n\t/EngineDict\n\t<<\n\t\t/Editor << /Text %s >>\n\t\t/Values [ 1.0 .5 -3 true false ]
\t\t/Nested [ [ 1 ] << /A 2 >> ]\n\t>>\n\t/ResourceDict << /Name %s /Tag (hwid) >>\n>>\x00"""


@pytest.mark.parametrize("said", ["plain", "a (b) \\ c)", "東京 🍎\r", ""])
def test_it_says_what_psd_tools_says(said: str) -> None:
    data = SAMPLE % (text(said), text("Font"))
    found = plain(parsed(data))
    assert found["EngineDict"]["Editor"]["Text"] == said
    assert found["EngineDict"]["Values"] == [1.0, 0.5, -3, True, False]
    if said:  # psd-tools takes an empty text for one that does not end
        expected = plain(EngineData.frombytes(data))
        assert {key: found[key] for key in ("EngineDict",)} == {key: expected[key] for key in ("EngineDict",)}


@pytest.mark.parametrize("data", [b"<< /A (\xfe\xff", b"<< /A & >>", b"\xff\xff", b"<< /A " + b"[" * 100])
def test_what_is_broken_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="engine data"):
        parsed(data)


def test_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="too much"):
        parsed(b" " * (MAX_BYTES + 1))


@pytest.mark.parametrize("data", [b"", b">> >> ] ]", b"1 2 3", b"/A /B /C", b"<< << << >>"])
def test_what_makes_no_sense_says_nothing(data: bytes) -> None:
    assert isinstance(parsed(data), EngineData)
