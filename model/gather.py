"""Rows of a small table for many tokens, whose gradient adds up in float32.

Thousands of tokens share a row: added in bfloat16 one by one, their gradients would stop growing at 256 times a term.
Shapes: B rows, T tokens, M width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def rows_of(table_BM: Tensor, rows_T: Tensor) -> Tensor:
    """[T, M]: the row of each token."""
    out: Tensor = _Rows.apply(table_BM, rows_T)  # type: ignore[no-untyped-call]
    return out


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table_BM: Tensor, rows_T: Tensor) -> Tensor:
        ctx.save_for_backward(rows_T)
        ctx.like = table_BM.shape, table_BM.dtype
        return table_BM.index_select(0, rows_T)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (rows_T,), (grad_TM,), (shape, dtype) = ctx.saved_tensors, grads, ctx.like
        total = torch.zeros(shape, dtype=torch.promote_types(dtype, torch.float32), device=grad_TM.device)
        return total.index_add_(0, rows_T, grad_TM.to(total.dtype)).to(dtype), None
