"""What a document may cost to read. Every limit is checked against headers, before memory is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pipelines.errors import Rejected
from schemas.ledger import Code

Positive = Annotated[int, Field(gt=0)]
MAX_DEPTH = 64
_MASKS = 4
"""All masks of a document together have at most as many times the pixels of one."""


class ReadLimits(BaseModel):
    """The limits of one document.

    ``max_bytes``: source bytes, and what they unpack to. ``max_pixels``: the visible box. ``max_layers``: nodes of
    the tree. ``max_layer_side``: px of a layer's side, and how far from the origin it may lie.
    ``max_layer_pixels``: one layer or mask.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: Positive = 2 * 1024**3
    max_pixels: Positive = 150_000_000
    max_layers: Positive = 2_000
    max_layer_side: Positive = 60_000
    max_layer_pixels: Positive = 200_000_000

    def check_document(self, width: int, height: int) -> None:
        """Raises Rejected: UNREADABLE for an empty visible box, TOO_LARGE for one over ``max_pixels``."""
        if width <= 0 or height <= 0:
            raise Rejected(Code.UNREADABLE, f"the document is {width} x {height} px")
        if width * height > self.max_pixels or max(width, height) > self.max_layer_side:
            raise Rejected(Code.TOO_LARGE, f"the document is {width} x {height} px; the limit is {self.max_pixels} px")

    def check_layer(self, name: str, x: int, y: int, width: int, height: int) -> None:
        """Raises Rejected(TOO_LARGE) for a layer or mask that is too large or too far away."""
        far = max(abs(x), abs(y), abs(x + width), abs(y + height)) > 2 * self.max_layer_side
        if width * height > self.max_layer_pixels or max(width, height) > self.max_layer_side or far:
            raise Rejected(Code.TOO_LARGE, f"layer {name[:80]!r} is {width} x {height} px at ({x}, {y})")

    def check_masks(self, pixels: int) -> None:
        """Raises Rejected(TOO_LARGE) for a document whose masks have too many pixels together."""
        if pixels > _MASKS * self.max_layer_pixels:
            most = _MASKS * self.max_layer_pixels
            raise Rejected(Code.TOO_LARGE, f"the masks of its layers have over {most} px together")

    def check_layers(self, count: int) -> None:
        """Raises Rejected(TOO_LARGE) for a tree of more than ``max_layers`` nodes."""
        if count > self.max_layers:
            raise Rejected(Code.TOO_LARGE, f"the document has {count} layers; the limit is {self.max_layers}")

    def check_depth(self, depth: int) -> None:
        """Raises Rejected(TOO_LARGE) for groups nested more than ``MAX_DEPTH`` deep."""
        if depth > MAX_DEPTH:
            raise Rejected(Code.TOO_LARGE, f"groups are nested more than {MAX_DEPTH} deep")

    def check_bytes(self, count: int, what: str = "the source") -> None:
        """Raises Rejected(TOO_LARGE) for more than ``max_bytes``."""
        if count > self.max_bytes:
            raise Rejected(Code.TOO_LARGE, f"{what} is over {self.max_bytes} bytes")


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, at most 200 characters; its type where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


@contextmanager
def unreadable(what: str) -> Iterator[None]:
    """Turn whatever a parser throws at bad bytes into Rejected(UNREADABLE); memory errors and Rejected pass through."""
    try:
        yield
    except (Rejected, MemoryError):
        raise
    except Exception as error:  # parsers of untrusted bytes throw anything; this is where it ends
        raise Rejected(Code.UNREADABLE, f"{what}: {first_line(error)}") from error
