"""Opening a PSD with psd-tools without parsing what nothing here looks at, and typography quicker.

psd-tools parses every block when it opens a file. The typesetting resources alone (``Txt2``: what Photoshop needs to
edit text again, repeated in each text layer) take more than half of that time in files with text.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from psd_tools import PSDImage
from psd_tools.constants import Resource, Tag
from psd_tools.psd import image_resources, tagged_blocks
from psd_tools.psd.engine_data import EngineData

from pipelines.formats.psd_engine_data import parsed

_BLOCKS = (
    Tag.TEXT_ENGINE_DATA,
    Tag.METADATA_SETTING,
    Tag.COMPOSITOR_INFO,
    Tag.PLACED_LAYER1,
    Tag.PLACED_LAYER2,
    Tag.SMART_OBJECT_LAYER_DATA1,
    Tag.SMART_OBJECT_LAYER_DATA2,
)
_RESOURCES = (Resource.SLICES, Resource.PRINT_INFO_CS5, Resource.PRINT_STYLE)


def opened(path: Path, max_bytes: int) -> PSDImage:
    """The parsed document; raises whatever psd-tools raises at bad bytes."""
    with ExitStack() as until:
        until.enter_context(warnings.catch_warnings())
        until.enter_context(_left(tagged_blocks.TYPES, _BLOCKS))
        until.enter_context(_left(image_resources.TYPES, _RESOURCES))
        until.enter_context(_quicker())
        warnings.simplefilter("ignore")
        return PSDImage.open(path, max_alloc_bytes=max_bytes)


class _Engine(EngineData):
    """What psd-tools calls to parse the typography of a text layer."""

    @classmethod
    def frombytes(cls, data: Any, *args: Any, **kwargs: Any) -> EngineData:
        return parsed(bytes(data))


@contextmanager
def _quicker() -> Iterator[None]:
    """While it holds, typography is parsed by us."""
    own: Any = tagged_blocks
    own.EngineData = _Engine
    try:
        yield
    finally:
        own.EngineData = EngineData


@contextmanager
def _left(parsers: MutableMapping[Any, Any], keys: tuple[Any, ...]) -> Iterator[None]:
    """While it holds, blocks with these keys stay bytes."""
    parked = {key: parsers.pop(key) for key in keys if key in parsers}
    try:
        yield
    finally:
        parsers.update(parked)
