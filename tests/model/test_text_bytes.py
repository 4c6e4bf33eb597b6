"""The byte-level encoder: packed, trainable, reproducible, and cut between characters."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from model.errors import CheckpointError
from model.text import Text
from model.text_bytes import STRIDE, ByteText


def encoder(seed: int = 0, **settings: int) -> ByteText:
    torch.manual_seed(seed)
    return ByteText(**settings).eval()


@pytest.fixture(scope="module")
def model() -> ByteText:
    return encoder()


def each(text: Text) -> list[torch.Tensor]:
    return list(text.values.split(list(text.lengths)))


def far_apart(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape != b.shape or bool((a - b).abs().max() > 1e-3)


@settings(max_examples=30)
@given(st.lists(st.text(max_size=90), min_size=1, max_size=5))
def test_a_prompt_is_encoded_as_if_it_stood_alone(model: ByteText, prompts: list[str]) -> None:
    with torch.no_grad():
        together = model.encode(prompts)
        for prompt, values in zip(prompts, each(together), strict=True):
            bytes_ = len(prompt.encode("utf-8", "replace"))
            assert len(values) == max(1, min(64, -(-bytes_ // STRIDE)))
            torch.testing.assert_close(values, model.encode([prompt]).values, atol=1e-6, rtol=0)


def test_no_prompt_and_empty_prompts(model: ByteText) -> None:
    none, empty = model.encode([]), model.encode(["", ""])
    assert (none.values.shape, none.lengths) == ((0, 64), ())
    assert (empty.values.shape, empty.lengths) == ((2, 64), (1, 1))
    torch.testing.assert_close(empty.values[0], empty.values[1])


@pytest.mark.parametrize(
    "others", [("abcd", "abce"), ("abcd", "bacd"), ("abc", "abc\0"), ("", "\0"), ("abcdefgh", "efghabcd")]
)
def test_other_prompts_have_other_tokens(model: ByteText, others: tuple[str, str]) -> None:
    with torch.no_grad():
        assert far_apart(*(model.encode([prompt]).values for prompt in others))


def test_the_same_bytes_differ_by_where_they_stand(model: ByteText) -> None:
    with torch.no_grad():
        tokens = model.encode(["a" * 40]).values[1:-1]
    assert all(far_apart(a, b) for a, b in pairwise(tokens))


@pytest.mark.parametrize("character", ["é", "漢", "🎨"])
@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_prompt_is_cut_between_characters(model: ByteText, before: str, character: str) -> None:
    room = (256 - len(before)) // len(character.encode())
    with torch.no_grad():
        cut, whole = (model.encode([before + character * count]).values for count in (300, room))
    torch.testing.assert_close(cut, whole)


def test_captions_of_layers_keep_their_tags(model: ByteText) -> None:
    short, long = "<layer> a cat </layer>", "<layer> " + "é" * 500 + " </layer>"
    kept = (256 - len(short) - len(" <layer>  </layer>")) // 2
    with torch.no_grad():
        cut, whole = (model.encode([f"{short} {end}"]).values for end in (long, f"<layer> {'é' * kept} </layer>"))
    torch.testing.assert_close(cut, whole)


def test_a_prompt_can_be_any_text(model: ByteText) -> None:
    assert model.encode(["\ud800", "\0" * 100_000, "<|im_end|>", "é" * 100_000]).lengths == (1, 64, 3, 64)


def test_every_parameter_learns() -> None:
    model = encoder(width=16, max_bytes=20)
    model.encode(["abcdefghijklmnopqrst", ""]).values.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_the_global_seed_decides_the_weights() -> None:
    one, again, other = encoder(1), encoder(1), encoder(2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert far_apart(one.positions, other.positions)


def test_it_is_saved_as_safetensors_and_loaded_the_same(tmp_path: Path) -> None:
    model = encoder(width=16, max_bytes=40)
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    loaded = ByteText.from_pretrained(tmp_path)
    assert (loaded.width, loaded.config.max_bytes) == (16, 40)
    prompts = ["a poster of a cat", "", "x" * 99]
    assert torch.equal(model.encode(prompts).values, loaded.encode(prompts).values)


def test_a_checkpoint_that_lacks_parameters_is_refused(tmp_path: Path) -> None:
    encoder(width=16).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    del weights["positions"]
    save_file(weights, tmp_path / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks positions; it is of another model"):
        ByteText.from_pretrained(tmp_path)
