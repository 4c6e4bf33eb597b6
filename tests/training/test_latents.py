"""Decoding of latents: tensors as they were stored, nothing for a damaged file."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save

from training.errors import DamageError
from training.streaming.config import PlanConfig, Task
from training.streaming.decode import make_decoder
from training.streaming.jobs import Arrays, Decoded, Item, Job, Loaded
from training.streaming.latents import LATENTS

KEYS = ("0" * 32, "1" * 32, "2" * 32)


def allocate(wanted: Mapping[str, tuple[tuple[int, ...], npt.DTypeLike]]) -> Arrays:
    return {name: np.full(shape, 77, dtype) for name, (shape, dtype) in wanted.items()}


def decoded(*files: bytes | None) -> Decoded:
    read = [
        Loaded(Item(key, Task.TEXT_TO_LAYERS, -1, 1, "a.tar", ()), {} if data is None else {LATENTS: memoryview(data)})
        for key, data in zip(KEYS, files, strict=False)
    ]
    decoder = make_decoder("latents", PlanConfig(), 0, frozenset(), threads=2)
    assert decoder.members(["json", "layer_00.webp", LATENTS], Task.RESTYLE) == [LATENTS]
    return decoder.decode(Job(0, 0), read, allocate)


def tensor(rows: int, dtype: npt.DTypeLike = np.float16, dim: int = 6) -> npt.NDArray[Any]:
    return np.random.default_rng(rows).normal(size=(rows, dim)).astype(dtype)


def raw(dtype: str, shape: list[int], data: bytes, **more: Any) -> bytes:
    header = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]} | more}).encode()
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_tensors_lie_one_after_another_by_name(dtype: npt.DTypeLike) -> None:
    a, b, c = tensor(3, dtype), tensor(0, dtype), tensor(5, dtype)
    result = decoded(save({"region_01": b, "region_00": a}), save({"x": c}))
    assert result.arrays["latents"].dtype == dtype
    assert np.array_equal(result.arrays["latents"], np.concatenate([a, b, c]))
    assert result.arrays["starts"].tolist() == [0, 3, 3, 8]
    assert result.arrays["design"].tolist() == [0, 0, 1]
    assert result.keys == KEYS[:2] and result.prompts == ("", "")


def test_bfloat16_comes_as_its_bits() -> None:
    bits = np.arange(12, dtype=np.uint16)
    arrays = decoded(raw("BF16", [2, 6], bits.tobytes())).arrays
    assert arrays["latents_bf16"].dtype == np.uint16
    assert arrays["latents_bf16"].tolist() == bits.reshape(2, 6).tolist()


def test_a_tensor_without_rows() -> None:
    assert decoded(save({"a": tensor(0, dim=4096)})).arrays["latents"].shape == (0, 4096)


def test_an_empty_micro_batch() -> None:
    result = decoded()
    assert result.keys == () and result.arrays["starts"].tolist() == [0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "no member"),
        (b"", "damaged latents"),
        (struct.pack("<Q", 2**40) + bytes(100), "damaged latents"),
        (save({"a": tensor(4)})[:-1], "damaged latents"),
        (raw("F32", [2**40, 2**20], bytes(24)), "more than its bytes"),
        (raw("F32", [2, 6], bytes(24)), "damaged latents"),
        (save({"a": np.zeros((2, 3, 4), np.float32)}), "not .n, dim."),
        (save({"a": np.zeros((2, 3), np.int64)}), "not .n, dim."),
        *(
            (raw("F16", shape, b""), "more than its bytes")
            for shape in ([2**62, 0], [0, 2**62], [2**63, 0], [0, 2**40])
        ),
        (raw("F16", [2**62, 0], b"", b={"dtype": "F16", "shape": [2**62, 0], "data_offsets": [0, 0]}), "more than"),
    ],
)
def test_damage_names_the_design_in_one_line(data: bytes | None, message: str) -> None:
    with pytest.raises(DamageError, match=message) as caught:
        decoded(save({"a": tensor(2)}), data)
    assert caught.value.key == KEYS[1] and KEYS[1] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [tensor(2, np.float32), tensor(2, dim=7)])
@pytest.mark.parametrize("odd", [0, 1, 2])
def test_the_design_whose_latents_differ_from_most_is_named(other: npt.NDArray[Any], odd: int) -> None:
    files = [save({"a": tensor(2)})] * 3
    files[odd] = save({"a": other})
    with pytest.raises(DamageError, match="differ") as caught:
        decoded(*files)
    assert caught.value.key == KEYS[odd] and KEYS[odd] in str(caught.value)


def test_one_kind_is_left_when_those_that_differ_are_skipped() -> None:
    with pytest.raises(DamageError, match="differ") as caught:
        decoded(save({"a": tensor(2)}), save({"a": tensor(2, np.float32)}))
    assert caught.value.key == KEYS[1]


def test_mutations_decode_or_are_damage() -> None:
    rng, good = np.random.default_rng(0), save({"a": tensor(4), "b": tensor(2)})
    for _ in range(500):
        data = bytearray(good)
        data[int(rng.integers(len(data) if rng.random() < 0.2 else 140))] = rng.integers(256)
        try:
            arrays = decoded(bytes(data)).arrays
        except DamageError:
            continue
        assert sum(array.nbytes for name, array in arrays.items() if name.startswith("latents")) <= len(good)
