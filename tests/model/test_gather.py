"""Rows of a table: the value of each, and a gradient that does not stall."""

from __future__ import annotations

import pytest
import torch

from model.gather import rows_of


def test_it_is_indexing_with_its_gradient() -> None:
    table = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([2, 0, 2, 2])
    assert torch.equal(rows_of(table, rows), table[rows])
    assert torch.autograd.gradcheck(lambda values: rows_of(values, rows), (table,))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_ten_thousand_tokens_of_a_row_add_up_in_bfloat16(device: str) -> None:
    table = torch.zeros(2, 3, dtype=torch.bfloat16, device=device, requires_grad=True)
    rows_of(table, torch.zeros(10_000, dtype=torch.long, device=device)).sum(0).sum().backward()
    assert table.grad is not None
    torch.testing.assert_close(table.grad[0].float().cpu(), torch.full((3,), 10_000.0), rtol=0.01, atol=0)
