"""Sequence parallelism: a forward pass of a region transformer over several processes (DeepSpeed-Ulysses, 2309.14509).

Every process holds all weights and a slice of the image and of the text tokens. Projections and MLPs see the slice;
before attention an all-to-all trades it for all tokens of some of the heads, after attention another trades back.
Slices may be unequal, even empty, as all-to-all takes split sizes: so no token is padded, and none has to be masked.

It hangs on the projections of attention as hooks, by which the blocks, their attention and its backends stay as they
are. Diffusers' context parallelism wants equal slices, so padding and a mask that packed attention has no use for, and
its own attention dispatch.

Shapes: P processes, T tokens of a stream (image or text), N tokens of this process's slice of it, M width of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function

from model.errors import ModelError
from model.transformer import Packing, RegionBlock, RegionTransformer


@contextmanager
def sequence_parallel(transformer: RegionTransformer, group: dist.ProcessGroup | None = None) -> Iterator[None]:
    """Share the work of every forward pass within it among the processes of ``group`` (None: all there are).

    All of them must make the same passes with the same arguments, and each gets the whole velocity. Where each computes
    the same loss of it, the mean of a parameter's gradients over the processes is its gradient, as FSDP takes it.

    Raises:
        ModelError: the heads cannot be shared out equally.
    """
    size = dist.get_world_size(group) if dist.is_initialized() else 1
    if size == 1:
        yield
        return
    heads = transformer.config.num_attention_heads
    if heads % size:
        fits = ", ".join(str(number) for number in range(1, heads + 1) if heads % number == 0)
        raise ModelError(f"{heads} attention heads cannot be shared by {size} processes; start one of {fits}")
    with ExitStack() as hooks:
        blocks = [block for block in transformer.transformer_blocks if isinstance(block, RegionBlock)]
        _hook(blocks, _Shares(group), hooks)
        yield


def _hook(blocks: Sequence[RegionBlock], shares: _Shares, hooks: ExitStack) -> None:
    for number, block in enumerate(blocks):
        attn = block.attn
        handles = [block.register_forward_pre_hook(shares.enter_first if number == 0 else shares.enter)]
        streams: tuple[tuple[int, Sequence[nn.Module], nn.Module], ...] = (
            (0, (attn.to_q, attn.to_k, attn.to_v), attn.to_out[0]),
            (1, (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj), attn.to_add_out),
        )
        for stream, projections, out in streams:
            handles += [module.register_forward_hook(shares.to_heads(stream)) for module in projections]
            handles.append(out.register_forward_pre_hook(shares.to_tokens(stream)))
        if number == len(blocks) - 1:
            handles.append(block.register_forward_hook(shares.leave))
        for handle in handles:
            hooks.callback(handle.remove)
        hooks.callback(setattr, attn, "heads", attn.heads)
        attn.heads //= shares.size


class _Shares:
    """Who has which tokens of the pass at hand, and the hooks that trade them.

    ``counts``: of the image and of the text, the tokens of each process. They are taken anew in each block, since a
    checkpointed block is computed again in the backward pass, when another pass may have come between.
    """

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group = group
        self.size = dist.get_world_size(group)
        self.rank = dist.get_rank(group)
        self.counts: tuple[list[int], list[int]] = [], []

    def enter_first(self, block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Keep the own slices of both streams."""
        _, _, temb_BM, packing = self.enter(block, given)
        image_TM, text_TM, *_ = given
        return self._own(0, image_TM), self._own(1, text_TM), temb_BM, packing

    def enter(self, block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Attention has all tokens, so lengths and rotations stay; the modulation has the slice."""
        image_NM, text_NM, temb_BM, packing = given
        self.counts = self._counts(packing, 1), self._counts(packing, 0)
        image_rows, text_rows = packing.image_rows, packing.text_rows
        own = replace(
            packing,
            image_rows=None if image_rows is None else self._own(0, image_rows),
            text_rows=None if text_rows is None else self._own(1, text_rows),
        )
        return image_NM, text_NM, temb_BM, own

    def leave(self, block: nn.Module, given: tuple[Any, ...], out: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Give every process the image tokens of all; nothing reads the text any more."""
        text_NM, image_NM = out
        counts = self.counts[0]
        image_TM = _exchange(image_NM.repeat(self.size, 1), [len(image_NM)] * self.size, counts, self.group)
        return text_NM, image_TM

    def to_heads(self, stream: int) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        """From [N, M] to [T, M / P]."""

        def trade(module: nn.Module, given: Any, out_NM: Tensor) -> Tensor:
            counts = self.counts[stream]
            pieces = out_NM.view(len(out_NM), self.size, out_NM.shape[1] // self.size).transpose(0, 1).flatten(0, 1)
            return _exchange(pieces, [len(out_NM)] * self.size, counts, self.group)

        return trade

    def to_tokens(self, stream: int) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
        """From [T, M / P] back to [N, M]."""

        def trade(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
            counts = self.counts[stream]
            own = counts[self.rank]
            pieces = _exchange(given[0], counts, [own] * self.size, self.group)
            return (pieces.view(self.size, own, pieces.shape[1]).transpose(0, 1).flatten(1),)

        return trade

    def _counts(self, packing: Packing, which: int) -> list[int]:
        """As equal as can be, the first ones larger; ``which`` of a packing's lengths."""
        each, left = divmod(sum(pair[which] for pair in packing.lengths), self.size)
        return [each + (rank < left) for rank in range(self.size)]

    def _own(self, stream: int, x: Tensor) -> Tensor:
        return torch.split(x, self.counts[stream])[self.rank]


def _exchange(x: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup | None) -> Tensor:
    """``sent[p]`` rows to each process p, ``received[p]`` rows from it, in the order of the processes."""
    out: Tensor = _Exchange.apply(x, sent, received, group)  # type: ignore[no-untyped-call]
    return out


class _Exchange(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup | None) -> Tensor:
        ctx.way = sent, received, group
        out = x.new_empty(sum(received), *x.shape[1:])
        dist.all_to_all_single(out, x.contiguous(), received, sent, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        sent, received, group = ctx.way
        return _exchange(grads[0], received, sent, group), None, None, None
