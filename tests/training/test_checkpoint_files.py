"""The data files of checkpoints: headers that lie are refused, whatever they say, before anything is allocated."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from training.checkpoint_files import BLOCK, DataFile, Piece, read_header, write_file

NAME = "rank-00003.safetensors"


def written() -> tuple[DataFile, bytes]:
    out = io.BytesIO()
    file = write_file(out, NAME, [("half", (2,), torch.ones(3).half()), ("whole", (0, 0), torch.ones(2, 2))])
    return file, out.getvalue()


def changed(**changes: Any) -> tuple[DataFile, bytes]:
    """The header of a file, some of its entries replaced or, by None, left out."""
    file, data = written()
    tree = {**json.loads(data[8 : file.header]), **changes}
    text = json.dumps({name: entry for name, entry in tree.items() if entry is not None}).encode()
    header = len(text).to_bytes(8, "little") + text
    return file.model_copy(update={"header": len(header), "size": file.size - file.header + len(header)}), header


def test_the_pieces_of_a_file_are_where_the_header_says() -> None:
    file, data = written()
    assert file.size == len(data)
    pieces = read_header(file, data[: file.header])
    assert pieces == {
        "whole": Piece(NAME, torch.float32, (0, 0), (2, 2), file.header),
        "half": Piece(NAME, torch.float16, (2,), (3,), file.header + 16),
    }
    assert file.header % 8 == 0


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"whole": entry(data_offsets=[0, 12])},
        {"whole": entry(data_offsets=[16, 0])},
        {"whole": entry(data_offsets=[-16, 0])},
        {"whole": entry(data_offsets=[1000, 1016])},
        {"whole": entry(shape=[2**20, 2**20])},
        {"whole": entry(shape=[-2, -2])},
        {"whole": entry(shape=[0, 2**70])},
        {"whole": entry(shape=[4])},
        {"whole": entry(shape=[1] * 1000)},
        {"whole": entry(dtype="F4")},
        {"whole": entry(more=1)},
        {"whole": None},
        {"other": entry()},
        {"__metadata__": None},
        {"__metadata__": {"DCP_SHARDING_INFO": "[]", "DCP_VERSION": "1.0", "format": "pt"}},
    ],
)
def test_a_header_that_lies_is_refused(changes: dict[str, Any]) -> None:
    file, header = changed(**changes)
    with pytest.raises(ValueError, match=r"."):
        read_header(file, header)


@given(st.binary(max_size=40), st.integers(0, 400))
def test_random_headers_are_headers_or_refused(noise: bytes, at: int) -> None:
    file, data = written()
    header = data[: file.header]
    at = min(at, len(header))
    mixed = header[:at] + noise + header[at + len(noise) :]
    try:
        found = read_header(file, mixed)
    except ValueError:
        return
    assert all(file.header <= piece.begin <= file.size for piece in found.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../rank-00000.safetensors"},
        {"header": 7},
        {"header": 10**9},
        {"size": 2 * BLOCK},
        {"size": -1},
        {"sha256": ["0" * 63]},
        {"sha256": []},
    ],
)
def test_a_file_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    file, _ = written()
    with pytest.raises(ValidationError):
        DataFile.model_validate({**file.model_dump(), **changes})
