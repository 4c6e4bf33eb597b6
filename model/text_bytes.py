"""The built-in text encoder of the small presets: UTF-8 bytes and one strided convolution, trained with the rest.

Shapes: S text tokens, K bytes that a token sees, E width of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from model.errors import CheckpointError
from model.folder import loading
from model.prompts import fit
from model.settings import WHERE, ByteTextSettings, check_part, drop_unknown
from model.text import Text, TextEncoder

END = 256
"""Stands before and behind the bytes of a prompt; an empty prompt has nothing else."""

STRIDE, MARGIN = 4, 2
"""Bytes of a token, and those that it sees on either side of its own."""


class ByteText(ModelMixin, ConfigMixin, TextEncoder):  # type: ignore[misc]
    """Prompts of at most ``max_bytes`` bytes to a token for every 4 of them; the rest of a prompt is cut off.

    The tags of 50 layers fit the default, with a few bytes of each caption. It is trained with the rest, and what
    shards it (FSDP2) acts on a call: ``encode`` is one.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 64, max_bytes: int = 1024) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(END + 1, width)
        self.convolution = nn.Conv1d(width, width, STRIDE + 2 * MARGIN, STRIDE)
        self.out = nn.Linear(width, width)
        self.positions = nn.Parameter(0.02 * torch.randn(-(-max_bytes // STRIDE), width))

    @classmethod
    def from_pretrained(cls, path: Any, **options: Any) -> Self:
        """Load a folder or a hub repository.

        Raises:
            CheckpointError: it is not there, damaged, too large or lacks parameters.
        """
        where = {name: options[name] for name in WHERE if name in options}
        with loading(f"no built-in text encoder at {path}"):
            check_part(path, cls, ByteTextSettings, **where)
            model: Self = super().from_pretrained(path, **{**options, "use_safetensors": True})
            if missing := [name for name, parameter in model.named_parameters() if parameter.is_meta]:
                raise CheckpointError(f"it lacks {', '.join(missing)}; it is of another model")
        drop_unknown(model)
        return model

    def encode(self, prompts: Sequence[str]) -> Text:
        text: Text = self(prompts)  # type: ignore[operator]
        return text

    def forward(self, prompts: Sequence[str]) -> Text:
        """As ``encode``, with gradient."""
        windows = [self._windows(prompt) for prompt in prompts]
        lengths = tuple(len(some) for some in windows)
        if not lengths:
            return Text(self.positions[:0], ())
        seen_SKE = self.embedding(torch.cat(windows).to(self.device))
        # A token is one step of the convolution: packed as such, no prompt is padded to the length of another.
        values_SE = self.out(nn.functional.gelu(self.convolution(seen_SKE.transpose(1, 2)).squeeze(2)))
        return Text(values_SE + torch.cat([self.positions[:length] for length in lengths]), lengths)

    def _windows(self, prompt: str) -> Tensor:
        """What each token of a prompt sees: i64 [S, K], its own four bytes and two more on either side."""
        ids = fit(prompt, _bytes, self.config.max_bytes, _whole_characters)
        behind = -len(ids) % STRIDE if ids else STRIDE
        margin = [END] * MARGIN
        return torch.tensor(margin + ids + [END] * behind + margin).unfold(0, STRIDE + 2 * MARGIN, STRIDE)


def _bytes(text: str) -> list[int]:
    return list(text.encode())


def _whole_characters(ids: list[int], most: int) -> list[int]:
    """The first ids, at most so many, without the bytes of a character that is not whole."""
    while 0 < most < len(ids) and ids[most] & 0xC0 == 0x80:  # in the middle of one
        most -= 1
    return ids[:most]
