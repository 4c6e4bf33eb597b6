"""Attention inside each design of a packed micro-batch, over its text and its image tokens together.

No token sees another design and none is padded, so nothing is computed that is not used. Shapes: D designs, T image
tokens, S text tokens, N = T + S, H heads, K head dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence


class QKV(NamedTuple):
    """Query, key and value of one stream, each ``[tokens, H, K]``."""

    query: Tensor
    key: Tensor
    value: Tensor


class Backend(StrEnum):
    """``auto``: the variable-length kernel where there is one, else design by design."""

    AUTO = "auto"
    SEGMENTS = "segments"
    VARLEN = "varlen"
    PADDED = "padded"


class Spans(NamedTuple):
    """Where the designs lie among the N tokens, on their device, as the variable-length kernel takes it.

    ``ends`` int32 [D + 1]: 0, then where each design ends. ``longest``: tokens of the longest design.
    """

    ends: Tensor
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[tuple[int, int]], device: torch.device) -> Self:
        """Of ``lengths``, text and image tokens of each design. It copies to the device: make it once a micro-batch."""
        sizes = [sum(pair) for pair in lengths]
        return cls(torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device=device), max(sizes, default=0))


def attend(
    text: QKV, image: QKV, lengths: Sequence[tuple[int, int]], backend: Backend, spans: Spans | None = None
) -> tuple[Tensor, Tensor]:
    """The two streams after attention: ``[S, H, K]`` and ``[T, H, K]``.

    ``lengths``: of the text and the image tokens of each design, in whose order both streams are packed. ``spans``:
    those of ``lengths``, made once for all blocks; None: made here, where the backend needs them.
    """
    if not lengths:  # a rank without a design: every projection gets a gradient as on the others, of zeros
        tie = 0 * torch.stack([x.sum() for x in (*text, *image)]).sum()
        return text.value + tie, image.value + tie
    joint = QKV(*(_interleave(one, other, lengths) for one, other in zip(text, image, strict=True)))
    sizes = [size for pair in lengths for size in pair]
    backend = _resolve(backend, joint.query)
    if backend is Backend.VARLEN:
        out = _varlen(joint, spans or Spans.of(lengths, joint.query.device))
    else:
        kernel = _padded if backend is Backend.PADDED else _segments
        out = kernel(joint, [sum(pair) for pair in lengths])
    pieces = torch.split(out, sizes)
    return _joined(pieces[::2]), _joined(pieces[1::2])


def _joined(pieces: Sequence[Tensor], dim: int = 0) -> Tensor:
    """``cat``, but for the copy where there is nothing to join."""
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), dim)


def _resolve(backend: Backend, query: Tensor) -> Backend:
    if backend is not Backend.AUTO:
        return backend
    fits = query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)
    return Backend.VARLEN if fits else Backend.SEGMENTS


def _interleave(text: Tensor, image: Tensor, lengths: Sequence[tuple[int, int]]) -> Tensor:
    """``[N, H, K]``: the text, then the image tokens of the first design, of the second, ..."""
    if len(lengths) == 1:
        return torch.cat([text, image])
    texts, images = torch.split(text, [s for s, _ in lengths]), torch.split(image, [t for _, t in lengths])
    return torch.cat([piece for pair in zip(texts, images, strict=True) for piece in pair])


def _segments(joint: QKV, lengths: Sequence[int]) -> Tensor:
    """One call a design; ``split`` and ``cat`` so that the backward pass makes no full-size gradient for each."""
    outs = []
    for query, key, value in zip(*(torch.split(x.transpose(0, 1), list(lengths), 1) for x in joint), strict=True):
        outs.append(scaled_dot_product_attention(query[None], key[None], value[None])[0])
    return _joined(outs, dim=1).transpose(0, 1)


def _varlen(joint: QKV, spans: Spans) -> Tensor:
    """One call for all designs, by the flash kernel for sequences of different lengths."""
    from torch.nn.attention.varlen import varlen_attn

    ends, longest = spans
    return cast(Tensor, varlen_attn(joint.query, joint.key, joint.value, ends, ends, longest, longest))


def _padded(joint: QKV, lengths: Sequence[int]) -> Tensor:
    """All designs padded to the longest and masked: what the other two are measured against."""
    padded = (pad_sequence(list(torch.split(x, list(lengths))), batch_first=True) for x in joint)
    query, key, value = (x.transpose(1, 2) for x in padded)
    sizes = torch.tensor(list(lengths), device=query.device)
    valid_DN = torch.arange(query.shape[2], device=query.device) < sizes[:, None]
    out = scaled_dot_product_attention(query, key, value, attn_mask=valid_DN[:, None, None])
    return out.transpose(1, 2)[valid_DN]
