"""Text encoders: prompts to packed text tokens.

Shapes: S text tokens, E width of the text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Text:
    """The text tokens of several prompts one after another, ``values`` [S, E], and the ``lengths`` of each, never 0."""

    values: Tensor
    lengths: tuple[int, ...]


class TextEncoder(ABC):
    """Prompts to text tokens of ``width`` E."""

    width: int

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Text:
        """The text tokens of each prompt, whatever stands beside it; an empty prompt has some too.

        A prompt that is too long is cut as ``prompts.fit`` says. Nothing in a prompt is taken for a control token.
        """
