"""Opening a PSD with psd-tools in a third of its time: without parsing what nothing here looks at.

psd-tools parses every block when it opens a file. The typesetting resources alone (``Txt2``: what Photoshop needs to
edit text again) take more than half of that time in files with text, and its tokenizer most of the rest.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from psd_tools import PSDImage
from psd_tools.constants import Resource, Tag
from psd_tools.psd import bin_utils, image_resources, tagged_blocks
from psd_tools.psd.engine_data import EngineData
from psd_tools.psd.parse_limits import ParseLimits

from pipelines.formats.limits import ReadLimits
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
_OBJECTS = 1_000_000
_OBJECTS_A_LAYER = 2_000
"""Numbers, words and lists; a layer with all effects has about 900."""
_PATCHED = threading.Lock()


def max_objects(limits: ReadLimits) -> int:
    """How many objects the descriptors of one file may have together."""
    return max(_OBJECTS, _OBJECTS_A_LAYER * limits.max_layers)


def opened(path: Path, limits: ReadLimits) -> PSDImage:
    """The parsed document; raises whatever psd-tools raises at bad bytes.

    It is read from memory: psd-tools seeks to the end before each number it reads, which throws a file's buffer away.
    """
    bounds = ParseLimits(max_objects=max_objects(limits))
    with _PATCHED, ExitStack() as until:
        until.enter_context(warnings.catch_warnings())
        until.enter_context(_left(tagged_blocks.TYPES, _BLOCKS))
        until.enter_context(_left(image_resources.TYPES, _RESOURCES))
        until.enter_context(_replaced(tagged_blocks, "EngineData", _Engine))
        until.enter_context(_replaced(bin_utils, "_format_objects", lru_cache(256)(bin_utils._format_objects)))
        warnings.simplefilter("ignore")
        return PSDImage.open(io.BytesIO(path.read_bytes()), max_alloc_bytes=limits.max_bytes, parse_limits=bounds)


class _Engine:
    """What psd-tools calls to parse the typography of a text layer."""

    @staticmethod
    def frombytes(data: bytes) -> EngineData:
        return parsed(data)


@contextmanager
def _left(parsers: MutableMapping[Any, Any], keys: tuple[Any, ...]) -> Iterator[None]:
    """While it holds, blocks with these keys stay bytes."""
    parked = {key: parsers.pop(key) for key in keys if key in parsers}
    try:
        yield
    finally:
        parsers.update(parked)


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """While it holds, a name of a module means something else."""
    own = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, own)
