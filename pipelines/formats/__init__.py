"""Design files in and out: PSD, PSB, OpenRaster, layer folders and Crello rows, read into one neutral tree (``tree``).

``fetch`` copies a source's bytes to local disk within limits and hashes them; ``read`` parses them (in a child
process: a file can do anything to a parser); ``write`` turns a tree back into a file.
"""

from __future__ import annotations

from pipelines.formats.fetch import Fetched, discover, fetch
from pipelines.formats.limits import ReadLimits
from pipelines.formats.registry import FORMATS, Format, detect, read, write
from pipelines.formats.tree import Document, Group, Leaf, Mask, Node

__all__ = [
    "FORMATS",
    "Document",
    "Fetched",
    "Format",
    "Group",
    "Leaf",
    "Mask",
    "Node",
    "ReadLimits",
    "detect",
    "discover",
    "fetch",
    "read",
    "write",
]
