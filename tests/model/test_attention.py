"""Attention inside each design: by segments, padded, and as if each were alone."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.attention import QKV, Backend, Spans, attend
from tests.model.tiny_models import draw

HEADS, DIM = 2, 8
CPU = [Backend.SEGMENTS, Backend.PADDED]
Lengths = list[tuple[int, int]]


def streams(lengths: Lengths, seed: int = 0) -> tuple[QKV, QKV]:
    text, image = (sum(side) for side in zip(*lengths, strict=True))
    text_3SHK, image_3THK = draw(3, text, HEADS, DIM, seed=seed), draw(3, image, HEADS, DIM, seed=seed + 1)
    return QKV(*text_3SHK), QKV(*image_3THK)


def alone(text: QKV, image: QKV) -> tuple[Tensor, Tensor]:
    """One design, written out."""
    query, key, value = (torch.cat(pair).transpose(0, 1) for pair in zip(text, image, strict=True))
    weights = torch.softmax(query @ key.transpose(1, 2) / DIM**0.5, dim=-1)
    out = (weights @ value).transpose(0, 1)
    return out[: len(text.query)], out[len(text.query) :]


def parts(stream: QKV, lengths: list[int]) -> list[QKV]:
    return [QKV(*each) for each in zip(*(x.split(lengths) for x in stream), strict=True)]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9)), min_size=1, max_size=5))
def test_every_backend_is_each_design_alone(lengths: Lengths) -> None:
    text, image = streams(lengths)
    texts, images = (parts(x, [pair[i] for pair in lengths]) for i, x in enumerate((text, image)))
    wanted = [torch.cat(x) for x in zip(*(alone(*pair) for pair in zip(texts, images, strict=True)), strict=True)]
    for backend in (*CPU, Backend.AUTO):
        for got, want in zip(attend(text, image, lengths, backend), wanted, strict=True):
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", CPU)
def test_the_order_of_designs_does_not_matter(backend: Backend) -> None:
    lengths = [(3, 5), (1, 8), (4, 1)]
    text, image = streams(lengths)
    texts, images = parts(text, [3, 1, 4]), parts(image, [5, 8, 1])
    sizes = [3, 1, 4], [5, 8, 1]
    first = [x.split(s) for x, s in zip(attend(text, image, lengths, backend), sizes, strict=True)]
    for order in permutations(range(3)):
        moved = [QKV(*(torch.cat(x) for x in zip(*(each[i] for i in order), strict=True))) for each in (texts, images)]
        out = attend(moved[0], moved[1], [lengths[i] for i in order], backend)
        for got, before in zip(out, first, strict=True):
            torch.testing.assert_close(got, torch.cat([before[i] for i in order]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("backend", CPU)
def test_no_gradient_reaches_another_design(backend: Backend) -> None:
    lengths = [(3, 5), (2, 8)]
    text, image = (QKV(*(x.requires_grad_() for x in stream)) for stream in streams(lengths))
    text_SHK, image_THK = attend(text, image, lengths, backend)
    (text_SHK[:3].square().sum() + image_THK[:5].square().sum()).backward()
    for stream, mine in ((text, 3), (image, 5)):
        for x in stream:
            assert x.grad is not None and x.grad[:mine].any()
            assert not x.grad[mine:].any()


def test_gradients_of_both_backends_agree() -> None:
    lengths = [(3, 5), (2, 8), (6, 1)]
    grads = []
    for backend in CPU:
        text, image = (QKV(*(x.requires_grad_() for x in stream)) for stream in streams(lengths))
        sum(out.square().sum() for out in attend(text, image, lengths, backend)).backward()
        grads.append([x.grad for x in (*text, *image)])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_one_design_is_plain_attention() -> None:
    text, image = streams([(3, 5)])
    query, key, value = (torch.cat(pair).transpose(0, 1)[None] for pair in zip(text, image, strict=True))
    wanted = scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)
    got = torch.cat(attend(text, image, [(3, 5)], Backend.AUTO))
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "ends", "longest"),
    [([(3, 5), (0, 2), (4, 6)], [0, 8, 10, 20], 10), ([(2, 7)], [0, 9], 9), ([], [0], 0)],
)
def test_spans_begin_at_zero_and_end_with_each_design(lengths: Lengths, ends: list[int], longest: int) -> None:
    spans = Spans.of(lengths, torch.device("cpu"))
    assert spans.ends.dtype is torch.int32 and spans.ends.tolist() == ends and spans.longest == longest


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_the_kernel_for_different_lengths_is_the_same() -> None:
    lengths = [(3, 500), (200, 8), (64, 64)]
    kept, spans = [], Spans.of(lengths, torch.device("cuda"))
    for backend, given_spans in (
        (Backend.SEGMENTS, None), (Backend.VARLEN, None), (Backend.VARLEN, spans), (Backend.AUTO, spans),
    ):  # fmt: skip
        text, image = (
            QKV(*(x.repeat(1, 1, 8).to("cuda", torch.bfloat16).requires_grad_() for x in stream))
            for stream in streams(lengths)
        )
        outs = attend(text, image, lengths, backend, given_spans)
        sum(out.float().square().sum() for out in outs).backward()
        kept.append([*outs, *(x.grad for x in (*text, *image))])
    for some in kept[1:]:
        for one, other in zip(kept[0], some, strict=True):
            torch.testing.assert_close(one, other, atol=2e-2, rtol=2e-2)
