"""Where the members of samples lie: the index's columns of one shard, checked and kept small."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.sample import MAX_MEMBER_BYTES
from training.errors import DamageError
from training.streaming.jobs import MemberAt

LOCATED = ("key", "shard", "expires", "members")
"""The columns of the index that a sample is located by."""

MAX_OFFSET = 2**50
KEY_DIGITS, HASH_DIGITS = 32, 64
_SHARD = re.compile(r"shards(/[\w-][\w.-]{0,254}){1,8}", re.ASCII)
_NAME = re.compile(r"[\w-][\w.-]{0,254}", re.ASCII)
_HEX = b"0123456789abcdef"
Int64 = npt.NDArray[np.int64]


class Located(NamedTuple):
    """A sample of the index. ``expires`` is as the index has it, date or not; so are ``members``, which are checked."""

    key: str
    shard: str
    expires: str | None
    members: tuple[MemberAt, ...]


@dataclass(frozen=True)
class ShardRows:
    """Samples of one shard. Member i of sample s is ``starts[s] + i``; about 80 bytes a member."""

    shard: str
    keys: str
    expires: tuple[str | None, ...]
    starts: tuple[int, ...]
    names: tuple[str, ...]
    codes: npt.NDArray[np.uint16]
    offsets: Int64
    sizes: Int64
    hashes: str

    @classmethod
    def of(cls, table: pa.Table) -> ShardRows:
        """Copy the LOCATED columns of samples of one shard, of which there is at least one.

        Raises:
            DamageError: a value is none that an index may have.
        """
        shard = table.column("shard")[0].as_py()
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise DamageError(f"the index names a shard {str(shard)[:100]!r}, which is no path under shards/")
        lists = _array(table, "members")
        members = lists.flatten()
        field = dict(zip(("name", "offset", "size", "sha256"), members.flatten(), strict=True))
        if lists.null_count or members.null_count or any(column.null_count for column in field.values()):
            raise DamageError(f"the index lacks members of samples of {shard}")
        names, codes = _names(field["name"], shard)
        starts = np.zeros(len(lists) + 1, np.int64)
        np.cumsum(pc.list_value_length(lists).to_numpy(), out=starts[1:])
        return cls(
            shard,
            _digits(_array(table, "key"), KEY_DIGITS, shard),
            tuple(_array(table, "expires").to_pylist()),
            tuple(starts.tolist()),
            names,
            codes,
            _numbers(field["offset"], MAX_OFFSET, shard),
            _numbers(field["size"], MAX_MEMBER_BYTES, shard),
            _digits(field["sha256"], HASH_DIGITS, shard),
        )

    def __len__(self) -> int:
        return len(self.expires)

    def __getitem__(self, sample: int) -> Located:
        start, end = self.starts[sample], self.starts[sample + 1]
        members = map(
            MemberAt,
            [self.names[code] for code in self.codes[start:end].tolist()],
            self.offsets[start:end].tolist(),
            self.sizes[start:end].tolist(),
            [self.hashes[at : at + HASH_DIGITS] for at in range(start * HASH_DIGITS, end * HASH_DIGITS, HASH_DIGITS)],
        )
        key = self.keys[sample * KEY_DIGITS : (sample + 1) * KEY_DIGITS]
        return Located(key, self.shard, self.expires[sample], tuple(members))


def _array(table: pa.Table, name: str) -> Any:
    return table.column(name).combine_chunks()


def _digits(values: Any, digits: int, shard: str) -> str:
    """All values one after another; each must have so many hex digits."""
    text = "".join(values.to_pylist()) if values.null_count == 0 else "-"
    even = pc.all(pc.equal(pc.binary_length(values), digits)).as_py() is not False
    if text.encode().translate(None, _HEX) or not even:
        raise DamageError(f"the index has a key or a hash in {shard} that is not {digits} hex digits")
    return text


def _numbers(values: Any, limit: int, shard: str) -> Int64:
    numbers: Int64 = values.to_numpy().copy()
    if len(numbers) and (numbers.min() < 0 or numbers.max() > limit):
        raise DamageError(f"the index has an offset or a size in {shard} that is not from 0 to {limit}")
    return numbers


def _names(values: Any, shard: str) -> tuple[tuple[str, ...], npt.NDArray[np.uint16]]:
    encoded = values.dictionary_encode()
    names = tuple(encoded.dictionary.to_pylist())
    if len(names) > np.iinfo(np.uint16).max or not all(_NAME.fullmatch(name) for name in names):
        raise DamageError(f"the index has a member in {shard} whose name is none of a member")
    return names, encoded.indices.to_numpy().astype(np.uint16)
