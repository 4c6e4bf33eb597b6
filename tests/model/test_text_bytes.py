"""The byte-level encoder: packed, trainable, reproducible, and cut between characters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from model.errors import CheckpointError
from model.prompts import captions_of
from model.text import Text
from model.text_bytes import STRIDE, ByteText

BYTES, TOKENS = 1024, 256
"""Of a prompt, at most."""


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
            assert len(values) == max(1, min(TOKENS, -(-bytes_ // STRIDE)))
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
    room = (BYTES - len(before)) // len(character.encode())
    with torch.no_grad():
        cut, whole = (model.encode([before + character * count]).values for count in (1100, room))
    torch.testing.assert_close(cut, whole)


def test_captions_of_layers_keep_their_tags(model: ByteText) -> None:
    short, long = "<layer> a cat </layer>", "<layer> " + "é" * 1000 + " </layer>"
    kept = (BYTES - len(short) - len(" <layer>  </layer>")) // 2
    with torch.no_grad():
        cut, whole = (model.encode([f"{short} {end}"]).values for end in (long, f"<layer> {'é' * kept} </layer>"))
    torch.testing.assert_close(cut, whole)


def test_the_captions_of_fifty_layers_fit(model: ByteText) -> None:
    prompt = " ".join(f"<layer> a caption of layer {number} </layer>" for number in range(50))
    kept = bytes(byte for window in model._windows(prompt)[:, 2:6].tolist() for byte in window if byte < 256).decode()
    assert len(captions_of(kept)) == 50 and set(captions_of(kept)) == {"a"}
    assert model.encode([prompt]).lengths[0] <= TOKENS


def test_a_prompt_can_be_any_text(model: ByteText) -> None:
    assert model.encode(["\ud800", "\0" * 100_000, "<|im_end|>", "é" * 100_000]).lengths == (1, TOKENS, 3, TOKENS)


def test_every_parameter_learns() -> None:
    model = encoder(width=16, max_bytes=20)
    model.encode(["abcdefghijklmnopqrst", ""]).values.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Whole(nn.Module):
    """A model that the encoder is a part of, so that FSDP2 frees its parameters between forward and backward."""

    def __init__(self, text: ByteText) -> None:
        super().__init__()
        self.text, self.scale = text, nn.Parameter(torch.ones(1))

    def forward(self, prompts: list[str]) -> torch.Tensor:
        return self.text.encode(prompts).values * self.scale


@pytest.mark.usefixtures("process_group")
def test_it_is_sharded_with_the_rest() -> None:
    prompts = ["a red cat", ""]
    alone, sharded = encoder(width=16), Whole(encoder(width=16))
    alone.encode(prompts).values.square().sum().backward()
    mesh = init_device_mesh("cpu", (1,))
    fully_shard(sharded.text, mesh=mesh, reshard_after_forward=True)
    fully_shard(sharded, mesh=mesh)
    sharded(prompts).square().sum().backward()
    for one, other in zip(alone.parameters(), sharded.text.parameters(), strict=True):
        torch.testing.assert_close(other.grad.full_tensor(), one.grad)


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 2**40}, "width: Input should be less than or equal to 4096"),
        ({"max_bytes": 10**12}, "max_bytes: Input should be less"),
        ({"width": 0}, "width: Input should be greater"),
        ({"width": "16"}, "width: Input should be a valid integer"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "'quantization_config' is no setting"),
        ({"width": 32}, "convolution"),
    ],
    ids=str,
)
def test_settings_that_are_not_its_own_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    encoder(width=16).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **settings}))
    with pytest.raises(CheckpointError, match=message) as caught:
        ByteText.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
