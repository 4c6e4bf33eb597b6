"""Reading PSD and PSB with psd-tools: the header against the limits, then the tree and the merged picture.

The tree says what the file says; what the reader cannot make sense of is named in ``Node.undrawn``.
"""

from __future__ import annotations

import logging
import struct
import warnings
from pathlib import Path

from psd_tools import PSDImage
from psd_tools.api.layers import Group
from psd_tools.constants import ColorMode
from psd_tools.psd.parse_limits import ParseLimitError

from pipelines.errors import Rejected
from pipelines.formats.limits import ReadLimits, unreadable
from pipelines.formats.psd_colours import Colours
from pipelines.formats.psd_nodes import Reader
from pipelines.formats.psd_open import max_objects, opened
from pipelines.formats.psd_pixels import has_alpha, merged
from pipelines.formats.tree import Document
from schemas.compositing import Rgba
from schemas.ledger import Code

HEADER = struct.Struct(">4sH6xHIIHH")
_MODES = {0, 1, 2, 3, 4, 7, 8, 9}
logging.getLogger("psd_tools").addHandler(logging.NullHandler())


def read(path: Path, limits: ReadLimits) -> Document:
    """Read a PSD or PSB; raises Rejected(UNREADABLE | UNSUPPORTED | TOO_LARGE)."""
    with path.open("rb") as stream:
        width, height = _checked_header(stream.read(HEADER.size), limits)
    try:
        with unreadable("psd-tools cannot parse it"):
            psd = opened(path, limits)
    except Rejected as error:
        if isinstance(error.__cause__, ParseLimitError):
            most = f" (max_layers allows {max_objects(limits)} objects)" if "max_objects" in error.message else ""
            raise Rejected(Code.TOO_LARGE, f"{error.message}{most}") from None
        raise
    _check_tree(psd, limits)
    if psd.color_mode is ColorMode.MULTICHANNEL:
        raise Rejected(Code.UNSUPPORTED, "multichannel documents have no colours to convert")
    with unreadable("psd-tools cannot read it"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        colours = Colours.of(psd)
        nodes = Reader(psd, colours, limits).nodes(psd)
        preview = merged(psd, colours, limits)
        if nodes and preview is not None and _flat(preview):
            preview = None  # written without a merged picture: some programs leave a black or white one
        return Document(
            width=width,
            height=height,
            nodes=nodes,
            preview=preview,
            colour_mode=psd.color_mode.name,
            depth=psd.depth,
            space=colours.space,
            opaque_on_white=preview is not None and not has_alpha(psd, colours),
        )


def _check_tree(psd: PSDImage, limits: ReadLimits) -> None:
    """Count layers and nesting level by level: nothing here may recurse into what the file nests."""
    level, count, depth = list(psd), 0, 0
    while level:
        count += len(level)
        limits.check_layers(count)
        groups = [layer for layer in level if isinstance(layer, Group)]
        depth += bool(groups)
        limits.check_depth(depth)
        level = [child for group in groups for child in group]


def _checked_header(data: bytes, limits: ReadLimits) -> tuple[int, int]:
    """(width, height) of a well-formed header within the limits; 26 bytes, before any parser runs."""
    if len(data) < HEADER.size:
        raise Rejected(
            Code.UNREADABLE, f"a PSD starts with {HEADER.size} bytes of header; this file has {len(data)} bytes"
        )
    signature, version, channels, height, width, depth, mode = HEADER.unpack(data)
    if signature != b"8BPS" or version not in (1, 2):
        raise Rejected(Code.UNREADABLE, "no PSD or PSB: the signature or the version is wrong")
    if not 1 <= channels <= 56 or depth not in (1, 8, 16, 32) or mode not in _MODES:
        raise Rejected(Code.UNREADABLE, f"the header says {channels} channels, depth {depth}, colour mode {mode}")
    limits.check_document(width, height)
    limits.check_bytes(width * height * channels * max(depth, 8) // 8, "the merged picture")
    return width, height


def _flat(pixels: Rgba) -> bool:
    """Whether every pixel is the same."""
    return bool((pixels == pixels[0, 0]).all())
