"""What can go wrong in the model.

ModelError
├── LayoutError       regions that no model can take: a box outside its canvas, a design without one; names the design
├── CodecError        pictures or tokens that a codec cannot take, or a codec that does not fit the transformer
└── CheckpointError   a folder or a state dict that is not what it should be
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of every error of this package; the message is one line that a user can act on."""


class LayoutError(ModelError):
    """The regions of a design cannot be laid out. ``key`` is the design's, where it is known."""

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class CodecError(ModelError):
    """A codec cannot take what it was given, or does not fit the transformer beside it."""


class CheckpointError(ModelError):
    """A checkpoint lacks parameters, or has those of another model."""
