"""Mutations of bytes, blind to what they mean and then with an eye for what a PSD keeps where."""

from __future__ import annotations

import re
import struct
from random import Random

_EDGES = (0, 1, 2, 255, 256, 32_767, 65_535, 30_000, 300_000, 2**31 - 1, 2**31, 2**32 - 1)
_DOUBLES = (float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e300, -1e300, 1e9, 1e-300, 65_536.0)
_BLOCK = re.compile(rb"(?:8BIM|8B64)([A-Za-z0-9 ]{4})(....)", re.DOTALL)
_NUMBER = re.compile(rb"doub|UntF.{4}", re.DOTALL)
_COUNTED = re.compile(rb"VlLs|TEXT|tdta|Objc|long|UnFl")
_TEXT_NUMBER = re.compile(rb"-?\d*\.\d+|\b\d+\b")


def flip_bits(data: bytearray, dice: Random, other: bytes) -> None:
    for _ in range(dice.choice((1, 1, 2, 4, 8, 32))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def flip_early(data: bytearray, dice: Random, other: bytes) -> None:
    for _ in range(dice.choice((1, 2, 4))):
        data[dice.randrange(min(len(data), 4_000))] = dice.randrange(256)


def truncate(data: bytearray, dice: Random, other: bytes) -> None:
    del data[dice.randrange(len(data)) :]


def overwrite(data: bytearray, dice: Random, other: bytes) -> None:
    start = dice.randrange(len(data))
    size = min(dice.choice((4, 16, 64, 1024)), len(data) - start)
    data[start : start + size] = dice.choice((bytes(size), b"\xff" * size, dice.randbytes(size)))


def delete(data: bytearray, dice: Random, other: bytes) -> None:
    start = dice.randrange(len(data))
    del data[start : start + dice.choice((1, 2, 4, 100, 1000))]


def repeat(data: bytearray, dice: Random, other: bytes) -> None:
    start = dice.randrange(len(data))
    part = bytes(data[start : start + dice.choice((4, 100, 2000))])
    data[start:start] = part * dice.choice((1, 3, 50))


def edge_number(data: bytearray, dice: Random, other: bytes) -> None:
    """A number at the edge of what its width can hold, of either byte order."""
    size, code = dice.choice(((1, "B"), (2, "H"), (4, "I")))
    at = dice.randrange(max(1, len(data) - size))
    packed = struct.pack(dice.choice("<>") + code, dice.choice(_EDGES) & (2 ** (8 * size) - 1))
    data[at : at + size] = packed


def splice(data: bytearray, dice: Random, other: bytes) -> None:
    """A piece of another file of the format, in place or pushed in."""
    start = dice.randrange(len(other))
    part = other[start : start + dice.choice((16, 256, 4096))]
    at = dice.randrange(len(data))
    data[at : at + (len(part) if dice.random() < 0.7 else 0)] = part


def header(data: bytearray, dice: Random, other: bytes) -> None:
    """A PSD header of another size, depth, mode or number of channels."""
    at, size, values = dice.choice(
        (
            (14, 4, (1, 30_000, 300_000, 2_000, 0, 2**32 - 1)),
            (18, 4, (1, 30_000, 300_000, 2_000, 0, 2**32 - 1)),
            (12, 2, (0, 1, 2, 4, 5, 56, 57, 65_535)),
            (22, 2, (1, 8, 16, 32, 0, 64)),
            (24, 2, tuple(range(11))),
            (4, 2, (1, 2)),
        )
    )
    value = dice.choice(values)
    data[at : at + size] = value.to_bytes(size, "big")
    if value == 30_000:
        data[14:22] = struct.pack(">II", value, value)


def block_length(data: bytearray, dice: Random, other: bytes) -> None:
    """A tagged block or resource that says another length."""
    found = list(_BLOCK.finditer(data))
    if found:
        at = dice.choice(found).start(2)
        data[at : at + 4] = struct.pack(">I", dice.choice(_EDGES))


def block_key(data: bytearray, dice: Random, other: bytes) -> None:
    """A tagged block under the key of another: its data is then read as something else."""
    found, keys = list(_BLOCK.finditer(data)), [match[1] for match in _BLOCK.finditer(other)]
    if found and keys:
        at = dice.choice(found).start(1)
        data[at : at + 4] = dice.choice(keys)


def descriptor_number(data: bytearray, dice: Random, other: bytes) -> None:
    """Numbers of descriptors that are not finite, negative, or of any size."""
    found = list(_NUMBER.finditer(data))
    for match in dice.sample(found, min(len(found), dice.choice((1, 1, 3, 10)))):
        data[match.end() : match.end() + 8] = struct.pack(">d", dice.choice(_DOUBLES))


def descriptor_count(data: bytearray, dice: Random, other: bytes) -> None:
    """A list, text or piece of raw data that says another length."""
    if found := list(_COUNTED.finditer(data)):
        at = dice.choice(found).end()
        data[at : at + 4] = struct.pack(">I", dice.choice(_EDGES))


def written_number(data: bytearray, dice: Random, other: bytes) -> None:
    """A number in text (engine data, XML, JSON) as one of the same length that says something else."""
    found = [match for match in _TEXT_NUMBER.finditer(data) if len(match[0]) > 1][:20_000]
    if found:
        match = dice.choice(found)
        size = len(match[0])
        data[match.start() : match.end()] = dice.choice((b"9" * size, b"-" + b"9" * (size - 1), b"0" * size))


ANY = (flip_bits, flip_early, truncate, overwrite, delete, repeat, edge_number, splice)
PSD = (header, block_length, block_key, descriptor_number, descriptor_count, written_number)
